"""What the tests have in common: an nginx of their own, waiting for conditions, and lines of results.

A test file runs in a network namespace of its own, so its ports and iptables rules are nobody else's, and everything it
writes is under one temporary folder. Use `@test("sentence")` on functions and `main()` at the end of the file.
"""

import atexit
import http.client
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback

# By its whole path: an upgrade executes it by the same name, without a search. Taken out of the environment, where nginx
# looks for the sockets of an upgrade under this name.
NGINX = shutil.which(os.environ.pop("NGINX", "nginx"))
MODULES = os.environ["MODULES"]
LIFE_CYCLE = "load_module %s/ngx_apisix_mesh_module.so;" % MODULES
HTTP_VARIABLE = "load_module %s/ngx_http_connection_original_dst_module.so;" % MODULES
STREAM_VARIABLE = "load_module %s/ngx_stream_connection_original_dst_module.so;" % MODULES
LUA = "load_module modules/ndk_http_module.so; load_module modules/ngx_http_lua_module.so;"
STREAM = os.environ.get("STREAM_MODULE", "load_module modules/ngx_stream_module.so;")

_tests = []


class Skip(Exception):
    """The system lacks something that a test needs; the text says what."""


def test(sentence):
    def register(function):
        _tests.append((sentence, function))
        return function
    return register


def main():
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    failed = 0
    for number, (sentence, function) in enumerate(_tests, 1):
        try:
            function()
            print("ok %d - %s" % (number, sentence), flush=True)
        except Skip as reason:
            print("ok %d - %s # SKIP %s" % (number, sentence, reason), flush=True)
        except Exception:
            failed += 1
            print("not ok %d - %s" % (number, sentence), flush=True)
            for line in traceback.format_exc().splitlines():
                print("# " + line, flush=True)
    sys.exit(1 if failed else 0)


def wait_for(what, condition, seconds=10):
    """The first true value of the condition."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError("waited %d s for %s" % (seconds, what))
        time.sleep(0.01)


def equal(got, wanted):
    if got != wanted:
        raise AssertionError("got %r, wanted %r" % (got, wanted))


def contains(text, part):
    if part not in text:
        raise AssertionError("%r is not in %r" % (part, text))


def status(pid, *names, task=None):
    """Fields of /proc/PID/status, as text."""
    path = "/proc/%d/status" % pid if task is None else "/proc/%d/task/%d/status" % (pid, task)
    with open(path) as file:
        fields = dict(line.rstrip("\n").split(":", 1) for line in file)
    return {name: fields[name].strip() for name in names}


def threads(pid):
    try:
        return [int(task) for task in os.listdir("/proc/%d/task" % pid)]
    except OSError:
        return []


def thread_names(pid):
    names = []
    for task in threads(pid):
        try:
            with open("/proc/%d/task/%d/comm" % (pid, task)) as file:
                names.append(file.read().rstrip())
        except OSError:
            pass  # ended while we looked
    return names


def children(pid):
    pids = []
    for task in threads(pid):
        with open("/proc/%d/task/%d/children" % (pid, task)) as file:
            pids += [int(pid) for pid in file.read().split()]
    return pids


def hosts(pid):
    """The process and its children that host the library: those with its thread at work, not standing by."""
    return [pid for pid in [pid, *children(pid)] if "apisix-mesh" in thread_names(pid)]


def sockets(pid):
    """The inodes of a process's listening TCP sockets, by port."""
    ports = {}
    for table in ("tcp", "tcp6"):
        with open("/proc/%d/net/%s" % (pid, table)) as file:
            for line in file.readlines()[1:]:
                field = line.split()
                if field[3] == "0A":
                    ports["socket:[%s]" % field[9]] = int(field[1].split(":")[1], 16)
    found = {}
    for fd in os.listdir("/proc/%d/fd" % pid):
        try:
            target = os.readlink("/proc/%d/fd/%s" % (pid, fd))
        except OSError:
            continue
        if target in ports:
            found.setdefault(ports[target], set()).add(target)
    return found


def get(port, host="127.0.0.1", path="/", unix=None):
    """The body of a response; the connection is closed."""
    client = http.client.HTTPConnection(host, port, timeout=10)
    if unix:
        client.sock = socket.socket(socket.AF_UNIX)
        client.sock.connect(unix)
    try:
        client.request("GET", path)
        return client.getresponse().read().decode()
    finally:
        client.close()


def ask_etcd(path, question, timeout=10):
    """What the etcd endpoint answers to a question, both as JSON; the connection is its own."""
    client = http.client.HTTPConnection("127.0.0.1", 2379, timeout=timeout)
    try:
        client.request("POST", path, json.dumps(question), {"Connection": "close"})
        return json.loads(client.getresponse().read())
    finally:
        client.close()


class Nginx:
    """One nginx in a folder of its own; use it in a `with`."""

    def __init__(self, configuration, nginx=NGINX, single=False, daemon=False, user="root", log_level="debug", limits=()):
        self.nginx = nginx
        self.single = single
        self.daemon = daemon
        self.user = user
        self.log_level = log_level
        self.limits = limits  # of setrlimit: (what, how much)
        self.folder = tempfile.mkdtemp(prefix="apisix-mesh-nginx-%d-" % os.getpid())
        atexit.register(shutil.rmtree, self.folder, ignore_errors=True)
        self.process = None
        self.configure(configuration)

    def configure(self, configuration):
        common = "daemon %s; user %s; pid %s/pid; error_log %s/error.log %s;\n" % (
            "on" if self.daemon else "off", self.user, self.folder, self.folder, self.log_level)
        if self.single:
            common += "master_process off;\n"
        text = configuration.replace("FOLDER", self.folder)
        temporary = "".join(
            "%s_temp_path %s/%s; " % (kind, self.folder, kind)
            for kind in ("client_body", "proxy", "fastcgi", "scgi", "uwsgi"))
        text = text.replace("http {", "http { access_log off; %s" % temporary)
        if "events {" not in text:
            text += "\nevents { worker_connections 128; }\n"
        # load_module must come before everything that uses the module, so the test's part is first.
        with open(self.folder + "/nginx.conf", "w") as file:
            file.write(text + common)

    def command(self, *arguments):
        return [self.nginx, "-c", self.folder + "/nginx.conf", *arguments]

    def check(self):
        """nginx -t: exit code and what it printed."""
        done = subprocess.run(self.command("-t", "-q"), capture_output=True, text=True, timeout=60)
        return done.returncode, done.stderr

    def __enter__(self):
        self.stderr = open(self.folder + "/stderr", "w")
        self.process = subprocess.Popen(self.command(), stderr=self.stderr, preexec_fn=self._limit)
        wait_for("nginx to start", self._started)
        return self

    def _limit(self):
        for what, value in self.limits:
            resource.setrlimit(what, (value, value))

    def _started(self):
        if self.process.poll() not in (None, 0):
            raise AssertionError("nginx ended: " + self.stderr_text())
        return self.pid_in_file() and (self.single or self.workers())

    def pid_in_file(self):
        """The master by its file, if there is one."""
        try:
            with open(self.folder + "/pid") as file:
                return int(file.read())
        except (OSError, ValueError):
            return None

    def __exit__(self, *_):
        if self.daemon:
            master = self.pid_in_file()
            if master:
                os.kill(master, signal.SIGTERM)
                wait_for("nginx to end", lambda: not os.path.exists("/proc/%d" % master))
        elif self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.stderr.close()

    def stderr_text(self):
        with open(self.folder + "/stderr") as file:
            return file.read()

    def log(self):
        with open(self.folder + "/error.log", errors="replace") as file:
            return file.read()

    def log_lines(self, level, part=""):
        return [line for line in self.log().splitlines() if "[%s]" % level in line and part in line]

    @property
    def pid(self):
        return self.pid_in_file() if self.daemon else self.process.pid

    def children(self):
        return children(self.pid)

    def workers(self, title="worker process"):
        """Workers by title; those that shut down have a longer one."""
        found = []
        for pid in self.children():
            try:
                with open("/proc/%d/cmdline" % pid) as file:
                    if file.read().rstrip("\0 ") == "nginx: " + title:
                        found.append(pid)
            except OSError:
                pass  # ended while we looked
        return found

    def hosts(self):
        return hosts(self.pid)

    def host(self):
        return wait_for("one process to host the library", lambda: self.hosts())[0]

    def reload(self):
        os.kill(self.pid, signal.SIGHUP)


def cluster(name, address="10.0.0.1", port=80):
    """A cluster of one endpoint, as xDS has it."""
    endpoint = {"endpoint": {"address": {"socket_address": {"address": address, "port_value": port}}}}
    return {"@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster", "name": name, "type": "STATIC",
            "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]}}


def write_resources(path, resources):
    """A file of the folder that is watched, all at once."""
    folder, name = os.path.split(path)
    beside = "%s/../%s.new" % (folder, name)
    with open(beside, "w") as file:
        json.dump({"resources": resources}, file)
    os.rename(beside, path)


def block(folder_of_xds, extra="", listen="etcd_listen 127.0.0.1:2379;"):
    """An apisix_mesh block whose source is a folder without resources."""
    return "apisix_mesh { xds file://%s; %s %s }\n" % (folder_of_xds, listen, extra)
