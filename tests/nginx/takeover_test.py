"""Another process takes the host's place, whatever becomes of it: killed with the master stopped, told to quit, upgraded
away. Clients wait meanwhile and are served, and revisions only rise."""

import http.client
import os
import signal
import socket
import threading

from harness import LIFE_CYCLE, Nginx, ask_etcd, block, children, contains, equal, hosts, main, sockets, test, \
    thread_names, wait_for
from mesh import one_service

SLOW = "http { server { listen 127.0.0.1:8080; location /slow { limit_rate 1; return 200 %s; } } }\n" % ("x" * 60)
WORKERS = 3
DRAINING = "worker process is shutting down"
ALL = {"key": "L2FwaXNpeA==", "range_end": "L2FwaXNpeTA=", "count_only": True}


def start(**arguments):
    nginx = Nginx(LIFE_CYCLE + SLOW + "worker_processes %d;" % WORKERS + block("FOLDER/xds"), **arguments)
    one_service(nginx)
    return nginx


def revision():
    """The endpoint's revision, on a connection of its own; `ConnectionRefusedError` when there is no socket."""
    return int(ask_etcd("/v3/kv/range", ALL)["header"]["revision"])


class Client:
    """Asks for the revision again and again. A connection that ends with its host is made anew, a refused one is not."""

    def __enter__(self):
        self.revisions, self.refused, self.done = [], [], threading.Event()
        self.thread = threading.Thread(target=self._run)
        self.thread.start()
        wait_for("an answer", lambda: self.revisions)
        return self

    def _run(self):
        while not self.done.is_set():
            try:
                self.revisions.append(revision())
            except ConnectionRefusedError as error:
                self.refused.append(error)
            except (OSError, ValueError, http.client.HTTPException):
                pass  # cut off

    def __exit__(self, *_):
        self.done.set()
        self.thread.join()

    def answered(self):
        """Waits for an answer to a question that is asked from now on."""
        before = len(self.revisions)
        wait_for("the next answers", lambda: len(self.revisions) > before + 1)

    def check(self):
        equal(self.refused, [])
        equal(self.revisions, sorted(self.revisions))


@test("the host is killed while the master is stopped: a worker that lives takes over")
def killed():
    with start() as nginx:
        with Client() as client:
            wait_for("a host", nginx.hosts)
            os.kill(nginx.pid, signal.SIGSTOP)
            try:
                for _ in range(2):
                    host = nginx.host()
                    os.kill(host, signal.SIGKILL)
                    wait_for("another host", lambda: nginx.hosts() and nginx.hosts() != [host])
                    client.answered()
            finally:
                os.kill(nginx.pid, signal.SIGCONT)
            wait_for("new workers", lambda: len(nginx.workers()) == WORKERS)
            equal(len(nginx.hosts()), 1)
        client.check()


@test("killed again and again, all workers at once too: nobody is refused, no revision goes back")
def killed_all():
    with start() as nginx:
        with Client() as client:
            for number in range(10):
                victims = nginx.workers() if number % 3 == 2 else [nginx.host()]
                for pid in victims:
                    os.kill(pid, signal.SIGKILL)
                wait_for("another host", lambda: nginx.hosts() and not set(nginx.hosts()) & set(victims))
                client.answered()
            equal(len(nginx.hosts()), 1)
        client.check()


@test("a worker that drains never hosts, whoever is killed")
def draining():
    with start() as nginx:
        with Client() as client:
            old = nginx.workers()
            slow = socket.create_connection(("127.0.0.1", 8080), 10)
            with slow:
                slow.sendall(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
                slow.recv(1)
                nginx.reload()
                wait_for("new workers", lambda: len(nginx.workers()) == WORKERS and not set(nginx.workers()) & set(old))
                wait_for("one that drains", lambda: len(nginx.workers(DRAINING)) == 1)
                drains, = nginx.workers(DRAINING)
                wait_for("it to let go", lambda: 2379 not in sockets(drains))
                for _ in range(3):
                    host = nginx.host()
                    os.kill(host, signal.SIGKILL)
                    wait_for("another host", lambda: nginx.hosts() and nginx.hosts() != [host])
                    client.answered()
                    assert drains not in nginx.hosts()
                contains(nginx.workers(DRAINING), drains)
        client.check()


def exists(pid):
    return os.path.exists("/proc/%d" % pid)


def upgrade(nginx):
    """The masters, the old one and the new one, whose workers stand by."""
    old = nginx.pid
    os.kill(old, signal.SIGUSR2)
    wait_for("the new master", lambda: nginx.pid not in (None, old))
    new = nginx.pid
    wait_for("its workers to stand by",
             lambda: sum("mesh-standby" in thread_names(pid) for pid in children(new)) == WORKERS)
    return old, new


# nginx takes USR2 only when it is not the child of who started it: as a daemon.


@test("the binary is upgraded (USR2, WINCH, QUIT): the new one's worker hosts on the same socket")
def upgraded():
    with start(daemon=True) as nginx:
        with Client() as client:
            inode = sockets(nginx.pid)[2379]
            old, new = upgrade(nginx)
            equal(sockets(new)[2379], inode)
            equal((len(hosts(old)), len(hosts(new))), (1, 0))
            os.kill(old, signal.SIGWINCH)
            wait_for("the new workers to host", lambda: hosts(new))
            client.answered()
            os.kill(old, signal.SIGQUIT)
            wait_for("the old master to end", lambda: not exists(old))
            client.answered()
            nginx.reload()
            client.answered()
        client.check()
        equal(nginx.log_lines("alert"), [])
        equal(nginx.log_lines("emerg"), [])


@test("an upgrade is taken back (QUIT to the new master): the old one hosts on, and can be upgraded again")
def taken_back():
    with start(daemon=True) as nginx:
        with Client() as client:
            for _ in range(2):
                old, new = upgrade(nginx)
                os.kill(old, signal.SIGWINCH)
                wait_for("the new workers to host", lambda: hosts(new))
                os.kill(old, signal.SIGHUP)
                wait_for("the old master's workers", lambda: len(children(old)) == WORKERS + 1)
                os.kill(new, signal.SIGQUIT)
                wait_for("the new master to end", lambda: not exists(new))
                wait_for("the old one's to host", lambda: hosts(old))
                client.answered()
        client.check()


main()
