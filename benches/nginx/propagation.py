"""From a change to the moment each of 4 workers has it: APISIX's own way of reading xDS, and our provider, in one run.

For each size of the configuration one endpoint changes CHANGES times (default 5) while the workers take the configuration in the
one way, then as often in the other. Printed: milliseconds from the revision in the library until the last worker has it, and the
CPU time of a change in the four workers, above what as much time without a change costs: that of nginx's own threads and of the
thread that writes the dictionaries, without the library's, which does the same in both.

    CHANGES=5 propagation.py [OBJECTS...]        default 100 1000 10000
"""

import json
import os
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, TOP + "/tests/nginx")

from harness import LIFE_CYCLE, LUA, Nginx, block, cluster, get, threads, wait_for, write_resources  # noqa: E402

LIBRARY = os.path.abspath(os.environ["APISIX_MESH_LIB"])
CHANGES = int(os.environ.get("CHANGES", 5))
WORKERS = 4
PATIENCE = 60
# For a change to come through: files are looked at once a second, and so is the version in the stock way. Nobody asks
# nginx meanwhile, whose time is taken.
PAUSE = 3
WAYS = ("stock", "ours")
TEXT = LIFE_CYCLE + LUA + """
worker_processes %d;
http {
    lua_package_path "%s/lua/?.lua;%s/tests/lua/provider_stubs/?.lua;%s/?.lua;;";
    lua_package_cpath "%s/?.so;;";
    lua_shared_dict xds-config 100m;
    lua_shared_dict xds-config-version 1m;
    lua_shared_dict seen 10m;
    init_worker_by_lua_block { require("propagation").start("%s/libapisix_mesh.so") }
    server {
        listen 127.0.0.1:8080;
        location /way { content_by_lua_block { ngx.shared.seen:set("way", ngx.var.arg_is) } }
        location /seen {
            content_by_lua_block {
                local seen, all = ngx.shared.seen, {}
                for _, key in ipairs(seen:get_keys(0)) do
                    all[key] = seen:get(key)
                end
                ngx.say(require("cjson").encode(all))
            }
        }
    }
}
""" % (WORKERS, TOP, TOP, HERE, LIBRARY, LIBRARY)


class Mesh:
    """An nginx with so many objects, of which one changes."""

    def __init__(self, objects):
        self.nginx = Nginx(TEXT + block("FOLDER/xds"), log_level="warn")
        self.number = 1000
        os.mkdir(self.nginx.folder + "/xds")
        base = [cluster("base-%d" % number) for number in range(objects - 1)]
        write_resources(self.nginx.folder + "/xds/base.json", base)
        self.change()

    def change(self):
        self.number += 1
        changing = cluster("changing", "10.9.9.9", self.number)
        write_resources(self.nginx.folder + "/xds/changing.json", [changing])

    def seen(self, way, number):
        """When each worker had a change, once all of them have it."""
        seen = json.loads(get(8080, path="/seen"))
        times = [seen.get("%s %d %d" % (way, worker, number)) for worker in range(WORKERS)]
        return None if None in times else (times, seen)

    def wait(self, way):
        return wait_for("all workers to have it", lambda: self.seen(way, self.number), PATIENCE)

    def cpu(self):
        """Seconds that the workers have used, without the library's own thread."""
        total = 0
        for pid in self.nginx.workers():
            for task in threads(pid):
                with open("/proc/%d/task/%d/comm" % (pid, task)) as file:
                    name = file.read().rstrip()
                if name in ("nginx", "mesh-libxds"):
                    with open("/proc/%d/task/%d/schedstat" % (pid, task)) as file:
                        total += int(file.read().split()[0]) / 1e9
        return total


def measure(mesh, way):
    """Milliseconds to the last worker for each change, and CPU milliseconds of one."""
    get(8080, path="/way?is=" + way)
    mesh.change()
    mesh.wait(way)
    delays, began, before = [], time.monotonic(), mesh.cpu()
    for _ in range(CHANGES):
        mesh.change()
        time.sleep(PAUSE)
        times, seen = mesh.wait(way)
        # Revisions are further apart than any of the two ways takes.
        revisions = [at for key, at in seen.items() if key.startswith("revision ")]
        came = min(revisions, key=lambda at: abs(min(times) - at))
        delays.append(1000 * (max(times) - came))
    used, lasted = mesh.cpu() - before, time.monotonic() - began
    before = mesh.cpu()
    time.sleep(lasted)
    idle = mesh.cpu() - before
    return delays, 1000 * (used - idle) / CHANGES


def main():
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    print("%8s  %-6s %14s %14s %16s" % ("objects", "way", "median, ms", "longest, ms", "CPU a change, ms"))
    for objects in [int(word) for word in sys.argv[1:]] or [100, 1000, 10000]:
        mesh = Mesh(objects)
        with mesh.nginx:
            wait_for("the first configuration", lambda: mesh.seen("stock", 0) or True, PATIENCE)
            for way in WAYS:
                delays, cpu = measure(mesh, way)
                print("%8d  %-6s %14.1f %14.1f %16.2f" % (
                    objects, way, statistics.median(delays), max(delays), cpu), flush=True)


main()
