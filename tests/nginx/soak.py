"""What nginx does to its processes, many times over, under watches, queries and changes.

    KILLS=200 RELOADS=20 soak.py        how often the host is killed with SIGKILL, and nginx reloaded

Then one upgrade of the binary. Each round makes a change, which all must come to see. The last line is
`nginx: kills=N reloads=N requests=N failed=N lost=N`: failed are refused connections, requests without an answer (one that is
cut off by the kill of its worker does not count), revisions that went back, and memory or descriptors that grew; lost are
changes that somebody did not see. The exit code is 1 if either is not 0.
"""

import contextlib
import os
import random
import signal
import statistics
import subprocess
import sys
import time

from harness import LIFE_CYCLE, LUA, Nginx, cluster, hosts, thread_names, wait_for, write_resources
from soak_clients import PATIENCE, Client, Querier, Watcher, served

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
KILLS, RELOADS = int(os.environ.get("KILLS", 200)), int(os.environ.get("RELOADS", 20))
WORKERS = 4
PLANE = "127.0.0.1:15010"
QUERY = """
http {
    lua_package_path "%s/lua/?.lua;;";
    lua_package_cpath "%s/?.so;;";
    init_by_lua_block { require("resty.apisix_mesh"); require("cjson") }
    server {
        listen 127.0.0.1:8080 backlog=4096;
        location / {
            content_by_lua_block {
                local mesh, cjson = require("resty.apisix_mesh"), require("cjson")
                local items, revision = mesh.list("/upstreams/")
                if not items then
                    ngx.status = 503
                    ngx.say(revision)
                    return
                end
                local ports = {}
                for index, item in ipairs(items) do
                    ports[index] = cjson.decode(item.value).nodes[1].port
                end
                ngx.say(cjson.encode({pid = ngx.worker.pid(), revision = revision, ports = ports}))
            }
        }
    }
}
""" % (TOP, os.path.abspath(os.environ["APISIX_MESH_LIB"]))


class Changes:
    """A cluster whose only endpoint has another port each time."""

    def __init__(self, folder):
        self.folder, self.number = folder, 0
        self.make()

    def make(self):
        self.number += 1
        write_resources(self.folder + "/cluster.json", [cluster("soak", port=self.port())])

    def port(self):
        return self.number % 60000 + 1


class Soak:
    def __init__(self, nginx, changes, stack):
        self.nginx, self.changes, self.lost = nginx, changes, 0
        self.own, self.times = Client(), []
        self.watchers = [stack.enter_context(Watcher()) for _ in range(2)]
        self.seen_by_all()
        self.queriers = [stack.enter_context(Querier()) for _ in range(2)]

    def clients(self):
        return [*self.watchers, *self.queriers, self.own]

    def seen_by_all(self):
        """The last change is seen in time, or it is lost."""
        text = '"port":%d,' % self.changes.port()
        try:
            wait_for("the change", lambda: all(watcher.holds(text) for watcher in self.watchers), PATIENCE)
        except AssertionError:
            self.lost += 1

    def kill(self):
        self.changes.make()
        time.sleep(random.uniform(0, 0.03))  # at any moment of the change's way
        for pid in hosts(self.nginx.pid):
            os.kill(pid, signal.SIGKILL)
        seconds, refused = served()
        self.times.append(seconds)
        self.own.requests += 1
        for _ in range(refused):
            self.own.fail("connection refused after a kill")
        self.seen_by_all()

    def reload(self):
        old = set(self.nginx.workers())
        self.changes.make()
        self.nginx.reload()
        wait_for("the new workers", lambda: len(set(self.nginx.workers()) - old) == WORKERS, PATIENCE)
        wait_for("the old ones to end", lambda: not old & set(self.nginx.children()), PATIENCE)
        self.seen_by_all()

    def upgrade(self):
        old = self.nginx.pid
        os.kill(old, signal.SIGUSR2)
        wait_for("the new master", lambda: self.nginx.pid not in (None, old), PATIENCE)
        wait_for("its workers", lambda: len(self.nginx.workers()) == WORKERS, PATIENCE)
        wait_for("them to stand by", lambda: all("mesh-standby" in thread_names(pid) for pid in self.nginx.workers()), PATIENCE)
        os.kill(old, signal.SIGWINCH)
        wait_for("the new host", lambda: hosts(self.nginx.pid), PATIENCE)
        self.changes.make()
        self.seen_by_all()
        os.kill(old, signal.SIGQUIT)
        wait_for("the old master to end", lambda: not os.path.exists("/proc/%d" % old), PATIENCE)
        self.changes.make()
        self.seen_by_all()

    def weight(self):
        """Resident kilobytes of the master and of one worker that stands by, and the master's descriptors."""
        worker = next(pid for pid in self.nginx.workers() if pid not in hosts(self.nginx.pid))
        return resident(self.nginx.pid), resident(worker), len(os.listdir("/proc/%d/fd" % self.nginx.pid))

    def check_flat(self, weights):
        """The first and the last tenth: descriptors are the same, memory grew by less than a tenth."""
        tenth = max(1, len(weights) // 10)
        for what, values in zip(("master, kB", "worker, kB", "master's descriptors"), zip(*weights)):
            first, last = statistics.mean(values[:tenth]), statistics.mean(values[-tenth:])
            print("%s: %.0f at first, %.0f at last" % (what, first, last), flush=True)
            if last > first * 1.1:
                self.own.fail("%s grew from %.0f to %.0f" % (what, first, last))


def resident(pid):
    with open("/proc/%d/status" % pid) as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))


def show_times(times):
    if times:
        ordered = sorted(1000 * seconds for seconds in times)
        at = lambda part: ordered[min(len(ordered) - 1, int(part * len(ordered)))]
        print("from the kill to an answer, ms: median %.1f, 99 of 100 %.1f, longest %.1f"
              % (at(0.5), at(0.99), ordered[-1]), flush=True)


def run(soak):
    for querier in soak.queriers:
        querier.may_be_cut = True
    for _ in range(KILLS):
        soak.kill()
    wait_for("all workers", lambda: len(soak.nginx.workers()) == WORKERS, PATIENCE)
    time.sleep(0.1)  # answers of those that were killed are still on their way
    for querier in soak.queriers:
        querier.may_be_cut = False
    show_times(soak.times)
    weights = []
    for _ in range(RELOADS):
        soak.reload()
        weights.append(soak.weight())
    if weights:
        soak.check_flat(weights)
    soak.upgrade()
    print("slowest query: %.0f ms; loads by watchers: %d" % (
        1000 * max(querier.slowest for querier in soak.queriers), sum(watcher.loads for watcher in soak.watchers)))


def main():
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    text = LIFE_CYCLE + LUA + "worker_processes %d;" % WORKERS + QUERY
    nginx = Nginx(text + "apisix_mesh { xds grpc://%s; }\n" % PLANE, daemon=True, log_level="notice")
    os.mkdir(nginx.folder + "/xds")
    changes = Changes(nginx.folder + "/xds")
    plane = subprocess.Popen([os.environ["CONTROL_PLANE"], "--listen", PLANE, "--look-every", "0.01",
                              nginx.folder + "/xds"], stderr=subprocess.DEVNULL)
    try:
        with nginx, contextlib.ExitStack() as stack:
            soak = Soak(nginx, changes, stack)
            run(soak)
        alerts = [line for line in nginx.log_lines("alert") if "exited on signal 9" not in line]
        for line in alerts:
            soak.own.fail(line)
    finally:
        plane.terminate()
        plane.wait()
    failed = sum(client.failed for client in soak.clients())
    for problem in [problem for client in soak.clients() for problem in client.problems][:20]:
        print("failed: " + problem)
    print("nginx: kills=%d reloads=%d requests=%d failed=%d lost=%d" % (
        KILLS, RELOADS, sum(client.requests for client in soak.clients()), failed, soak.lost))
    sys.exit(1 if failed or soak.lost else 0)


main()
