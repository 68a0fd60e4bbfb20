"""Who hosts the library, from the first start over reloads to the end."""

import os
import resource
import signal
import socket
import subprocess
import threading

from harness import LIFE_CYCLE, Nginx, Skip, block, contains, equal, get, main, sockets, status, test, thread_names, threads, \
    wait_for

# A response that takes long, and a client that reads it, keep a worker draining.
SLOW = "http { server { listen 127.0.0.1:8080; location / { return 200 ok; } location /slow { limit_rate 1; " \
       "return 200 %s; } } }\n" % ("x" * 60)


def configuration(extra="", **arguments):
    return LIFE_CYCLE + SLOW + block("FOLDER/xds", **arguments) + extra


def start(text, **arguments):
    nginx = Nginx(text, **arguments)
    os.mkdir(nginx.folder + "/xds")
    return nginx


def answers():
    """The etcd endpoint gives an answer to this question."""
    try:
        return "etcdserver" in get(2379, path="/version")
    except OSError:
        return False


def reloaded(nginx, old):
    """Reloads and waits until workers other than those are the ones that serve."""
    nginx.reload()
    wait_for("new workers", lambda: nginx.workers() and not set(nginx.workers()) & set(old))


def idle(nginx):
    """Waits until a single process sleeps in its event loop: a signal that comes just before is seen with the next event."""
    equal(get(8080), "ok")
    wait_for("the process to sleep", lambda: status(nginx.pid, "State")["State"].startswith("S"))


class Slow:
    """A request under way as long as this is open."""

    def __enter__(self):
        self.socket = socket.create_connection(("127.0.0.1", 8080), 10)
        self.socket.sendall(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        self.socket.recv(1)

    def __exit__(self, *_):
        self.socket.close()


@test("of two workers and the master exactly one worker hosts; the other stands by with the same socket")
def one():
    with start(configuration("worker_processes 2;")) as nginx:
        wait_for("an answer", answers)
        equal(len(nginx.workers()), 2)
        host, = nginx.hosts()
        other, = set(nginx.workers()) - {host}
        equal(len(threads(nginx.pid)), 1)
        wait_for("the other to stand by", lambda: "mesh-standby" in thread_names(other))
        equal(2379 in sockets(nginx.pid), True)
        equal(sockets(host)[2379], sockets(nginx.pid)[2379])
        equal(sockets(other)[2379], sockets(nginx.pid)[2379])


@test("the cache manager and loader do not host and do not hold the socket")
def helpers():
    cache = "http { proxy_cache_path FOLDER/cache keys_zone=a:1m; }\n"
    with start(LIFE_CYCLE + cache + block("FOLDER/xds")) as nginx:
        wait_for("an answer", answers)
        manager, = wait_for("the cache manager", lambda: nginx.workers("cache manager process"))
        wait_for("it to close the socket", lambda: 2379 not in sockets(manager))
        equal(len(threads(manager)), 1)
        equal(nginx.hosts(), nginx.workers())


@test("a single process hosts")
def single():
    with start(configuration(), single=True) as nginx:
        wait_for("an answer", answers)
        equal(nginx.hosts(), [nginx.pid])


@test("a single process that reloads keeps the socket and hosts with the new settings")
def single_reload():
    with start(configuration(), single=True) as nginx:
        wait_for("an answer", answers)
        before = sockets(nginx.pid)[2379]
        first = set(threads(nginx.pid))
        nginx.configure(configuration(listen="etcd_listen 127.0.0.1:2379; log_level debug;"))
        idle(nginx)
        nginx.reload()
        wait_for("another thread", lambda: len(threads(nginx.pid)) > 1 and set(threads(nginx.pid)) != first)
        wait_for("an answer", answers)
        equal(sockets(nginx.pid)[2379], before)


@test("a worker killed with SIGKILL: the next one hosts on the same socket")
def killed():
    with start(configuration()) as nginx:
        wait_for("an answer", answers)
        before = sockets(nginx.pid)[2379]
        first = nginx.host()
        os.kill(first, signal.SIGKILL)
        wait_for("another host", lambda: nginx.hosts() and first not in nginx.hosts())
        wait_for("an answer", answers)
        equal(sockets(nginx.pid)[2379], before)


@test("reload: the same listening socket, and a client that connects at any moment is never refused")
def never_refused():
    with start(configuration("worker_processes 2;")) as nginx:
        wait_for("an answer", answers)
        before = sockets(nginx.pid)[2379]
        descriptors = len(os.listdir("/proc/%d/fd" % nginx.pid))
        refused, connected, done = [], [0], threading.Event()

        def client():
            while not done.is_set():
                try:
                    socket.create_connection(("127.0.0.1", 2379), 10).close()
                    connected[0] += 1
                except OSError as error:
                    refused.append(error)

        thread = threading.Thread(target=client)
        thread.start()
        try:
            for _ in range(5):
                reloaded(nginx, nginx.workers())
        finally:
            done.set()
            thread.join()
        equal(refused, [])
        equal(connected[0] > 50, True)
        equal(sockets(nginx.pid)[2379], before)
        wait_for("the old workers' channels to close",
                 lambda: len(os.listdir("/proc/%d/fd" % nginx.pid)) <= descriptors)
        wait_for("an answer", answers)


@test("reload: the new worker hosts, the old one has stopped at once though it still serves a request")
def draining():
    with start(configuration()) as nginx:
        wait_for("an answer", answers)
        old = nginx.host()
        with Slow():
            reloaded(nginx, [old])
            wait_for("the old worker to shut down", lambda: old in nginx.workers("worker process is shutting down"))
            wait_for("the old worker to stop hosting", lambda: len(threads(old)) == 1, 3)
            wait_for("it to let go of the socket", lambda: 2379 not in sockets(old), 3)
            equal(old in nginx.children(), True)
            new = nginx.host()
            equal(new != old, True)
            wait_for("an answer", answers)
            equal(get(8080), "ok")
        wait_for("the old worker to end", lambda: old not in nginx.children())
        equal(nginx.log_lines("alert"), [])


@test("reload to another address: the new one answers, the old one is closed")
def moved():
    with start(configuration()) as nginx:
        wait_for("an answer", answers)
        nginx.configure(configuration(listen="etcd_listen 127.0.0.1:2380;"))
        reloaded(nginx, nginx.workers())
        wait_for("an answer on the new port", lambda: "etcdserver" in get(2380, path="/version"))
        wait_for("the old port to be closed", lambda: not answers())
        equal(sorted(sockets(nginx.pid)), [2380, 8080])


@test("reload to a port in use: one clear line, and everything goes on as before")
def moved_in_use():
    with start(configuration()) as nginx, socket.create_server(("127.0.0.1", 2380)):
        wait_for("an answer", answers)
        workers = nginx.workers()
        before = sockets(nginx.pid)
        nginx.configure(configuration(listen="etcd_listen 127.0.0.1:2380;"))
        nginx.reload()
        line, = wait_for("the error", lambda: nginx.log_lines("emerg"))
        contains(line, "127.0.0.1:2380")
        equal(nginx.workers(), workers)
        equal(sockets(nginx.pid), before)
        equal(answers(), True)
        # Nothing of the failed reload stands in the way of the next.
        nginx.configure(configuration())
        reloaded(nginx, workers)
        wait_for("an answer", answers)
        equal(sockets(nginx.pid), before)


@test("reload that fails after the new address was opened: that socket is closed again")
def abandoned():
    with start(configuration()) as nginx:
        wait_for("an answer", answers)
        before = sockets(nginx.pid)
        late = "http { error_log FOLDER/no/such/folder; }\n"
        nginx.configure(LIFE_CYCLE + late + block("FOLDER/xds", listen="etcd_listen 127.0.0.1:2380;"))
        nginx.reload()
        wait_for("the error", lambda: nginx.log_lines("emerg", "no/such/folder"))
        wait_for("the socket to be closed", lambda: sockets(nginx.pid) == before)
        equal(answers(), True)


@test("reload without the block stops the library and closes the socket, reload with it brings both back")
def removed():
    with start(configuration()) as nginx:
        wait_for("an answer", answers)
        nginx.configure(LIFE_CYCLE + SLOW)
        reloaded(nginx, nginx.workers())
        wait_for("the library to stop", lambda: not nginx.hosts())
        equal(sorted(sockets(nginx.pid)), [8080])
        nginx.configure(configuration())
        reloaded(nginx, nginx.workers())
        wait_for("an answer", answers)


@test("reload without the module closes the socket too")
def unloaded():
    with start(configuration()) as nginx:
        wait_for("an answer", answers)
        nginx.configure(SLOW)
        reloaded(nginx, nginx.workers())
        wait_for("the library to stop", lambda: not nginx.hosts())
        equal(sorted(sockets(nginx.pid)), [8080])


@test("without an endpoint (etcd_listen off) it hosts and nobody has a socket; reload opens one and closes it again")
def off():
    silent = configuration("worker_processes 2;", listen="etcd_listen off;")
    with start(silent) as nginx:
        for _ in range(2):
            nginx.host()
            for pid in [nginx.pid, *nginx.workers()]:
                equal(2379 in sockets(pid), False)
            nginx.configure(configuration("worker_processes 2;"))
            reloaded(nginx, nginx.workers())
            wait_for("an answer", answers)
            nginx.configure(silent)
            old = nginx.workers()
            reloaded(nginx, old)
            wait_for("the old workers to end", lambda: not set(old) & set(nginx.children()))
        equal(nginx.log_lines("alert"), [])


@test("quit and terminate end cleanly: exit code 0, no alert, the port is free")
def ends():
    for how in (signal.SIGQUIT, signal.SIGTERM):
        for alone in (False, True):
            with start(configuration(), single=alone) as nginx:
                wait_for("an answer", answers)
                idle(nginx)
                nginx.process.send_signal(how)
                equal(nginx.process.wait(10), 0)
                equal(nginx.log_lines("alert") + nginx.log_lines("crit") + nginx.log_lines("emerg"), [])
                socket.create_server(("127.0.0.1", 2379)).close()


@test("the library's changes of state are notices in nginx's error log, with the host's process id")
def log():
    with start(configuration()) as nginx:
        host = nginx.host()
        wait_for("a line", lambda: [line for line in nginx.log_lines("notice", "apisix_mesh: ") if " %d#" % host in line])


@test("the library does not start: one error that says why, and the worker serves")
def does_not_start():
    # A user that may have no process more has no thread more.
    limits = [(resource.RLIMIT_NPROC, 0)]
    with start(configuration(), user="nobody nogroup", limits=limits) as nginx:
        line, = wait_for("the error", lambda: nginx.log_lines("error"))
        contains(line, "apisix_mesh does not start: ")
        equal(nginx.hosts(), [])
        equal(get(8080), "ok")
        worker, = nginx.workers()
        nginx.process.send_signal(signal.SIGQUIT)
        equal(nginx.process.wait(10), 0)
        equal(nginx.log_lines("alert"), [])


@test("the socket is close-on-exec in workers: nothing that one runs inherits it")
def close_on_exec():
    with start(configuration("worker_processes 2;")) as nginx:
        wait_for("an answer", answers)
        for pid in nginx.workers():
            inode, = sockets(pid)[2379]
            for fd in os.listdir("/proc/%d/fd" % pid):
                if os.readlink("/proc/%d/fd/%s" % (pid, fd)) == inode:
                    with open("/proc/%d/fdinfo/%s" % (pid, fd)) as file:
                        flags = dict(line.split(":") for line in file if line.startswith("flags"))
                    equal(bool(int(flags["flags"], 8) & os.O_CLOEXEC), True)


def dispositions(pid, task=None):
    """Blocked, ignored and caught signals. Not 32 and 33: the C library catches those with the first thread."""
    fields = status(pid, "SigBlk", "SigIgn", "SigCgt", task=task)
    return {name: int(value, 16) & ~(3 << 31) for name, value in fields.items()}


@test("nginx's signal masks and dispositions are the same with and without the library, its threads block all")
def signals():
    seen = []
    for text in (LIFE_CYCLE + SLOW, configuration()):
        with start(text) as nginx:
            worker, = nginx.workers()
            if text != LIFE_CYCLE + SLOW:
                wait_for("an answer", answers)
            seen.append((dispositions(nginx.pid), dispositions(worker, worker)))
            for task in threads(worker):
                if task != worker:
                    blocked = dispositions(worker, task)["SigBlk"]
                    free = {number for number in range(1, 65) if not blocked >> (number - 1) & 1}
                    equal(free - {signal.SIGKILL, signal.SIGSTOP, 32, 33}, set())
    equal(seen[0], seen[1])


@test("built into nginx, not loaded: hosts, survives a reload, stops the old worker at once, and has the variable")
def static():
    source = os.environ.get("NGINX_FULL_SRC")
    if not source:
        raise Skip("NGINX_FULL_SRC is not set: a static build needs nginx's full source")
    here = os.path.dirname(os.path.abspath(__file__))
    folder = os.environ["MODULES"] + "/whole"
    flags = "--with-stream --with-debug --without-http_gzip_module"
    subprocess.run([here + "/../../nginx-module/build.sh", "static"], check=True,
                   env={**os.environ, "NGINX_SRC": source, "BUILD_DIR": folder, "NGINX_FLAGS": flags})
    text = SLOW.replace("location /slow", "location /dst { return 200 '[$connection_original_dst]'; } location /slow")
    with start(text + block("FOLDER/xds"), nginx=folder + "/nginx") as nginx:
        wait_for("an answer", answers)
        equal(get(8080, path="/dst"), "[]")
        old = nginx.host()
        with Slow():
            reloaded(nginx, [old])
            wait_for("the old worker to stop hosting", lambda: len(threads(old)) == 1, 3)
            wait_for("an answer", answers)
        equal(nginx.log_lines("alert"), [])


main()
