"""Four workers of nginx, the real library, and the configuration provider, which must end with what the library holds.

APISIX_MESH_LIB is the folder of the library, MODULES that of ngx_apisix_mesh_module.so.
"""

import os
import signal
import sys
import time

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, TESTS + "/nginx")

import mesh as base  # noqa: E402
from harness import LIFE_CYCLE, LUA, Nginx, block, contains, equal, main, test, wait_for  # noqa: E402

TOP = os.path.dirname(TESTS)
LIB = os.path.abspath(os.environ["APISIX_MESH_LIB"])
WORKERS = 4

SETTINGS = '{apisix_mesh = {xds = "file://FOLDER/xds", state_dir = "FOLDER/state", etcd_listen = "127.0.0.1:2379"}}'

# Each worker writes down, a hundred times a second, what its provider holds and what its library does; whoever gets the
# request tells of all.
HTTP = """
http {
    lua_package_path "%(top)s/lua/?.lua;%(top)s/tests/lua/provider_stubs/?.lua;;";
    lua_package_cpath "%(lib)s/?.so;;";
    lua_shared_dict seen 1m;
    init_worker_by_lua_block {
        local cjson, mesh = require("cjson"), require("resty.apisix_mesh")
        require("apisix.core.config_local").conf = {deployment = SETTINGS}
        local config = require("apisix.core.config_xds")
        local function now()
            ngx.update_time()
            return ngx.now()
        end
        -- What the provider took, and when; and when the library of this worker had it.
        local taken, revision = {count = 0}, 0
        local function watch()
            local present = mesh.revision() or 0
            if present ~= revision then
                revision, taken.here = present, now()
            end
        end
        local function filter()
            watch()
            taken.count, taken.at = taken.count + 1, now()
        end
        assert(config.init_worker())
        local objects = {}
        for _, key in ipairs({"/routes", "/upstreams"}) do
            objects[key] = config.new(key, {automatic = true, filter = filter})
        end
        ngx.timer.at(0, function()
            while not ngx.worker.exiting() do
                watch()
                ngx.sleep(0.001)
            end
        end)
        ngx.timer.every(0.01, function()
            local held, wanted, versions = {}, {}, {}
            for key, object in pairs(objects) do
                for _, item in ipairs(object.values) do
                    if item then
                        held[item.key] = item.modifiedIndex .. " " .. item.value.id
                    end
                end
                for _, item in ipairs(mesh.list(key .. "/") or {}) do
                    wanted[item.key] = item.mod_revision .. " " .. cjson.decode(item.value).id
                end
                versions[key] = object.conf_version
            end
            ngx.shared.seen:set(ngx.worker.id(), cjson.encode({
                pid = ngx.worker.pid(), role = cjson.decode(mesh.status() or "{}").role,
                held = held, wanted = wanted, versions = versions, taken = taken,
            }))
        end)
    }
    %(server)s
}
""" % {"top": TOP, "lib": LIB, "server": base.SERVER}


class Mesh(base.Mesh):
    """With the provider in each worker. `modules` are loaded in that order."""

    def __init__(self, modules=LUA + LIFE_CYCLE, with_module=True, settings="{}"):
        text = modules + "worker_processes %d;" % WORKERS + HTTP.replace("SETTINGS", settings)
        if with_module:
            text += block("FOLDER/xds", extra="state_dir FOLDER/state;")
        super().__init__(Nginx(text))

    def agree(self, objects):
        """What all workers of now hold, once each holds as many objects, and they are those of its library."""
        seen = self.seen()
        if {one.get("pid") for one in seen} != set(self.nginx.workers()) or len(seen) != WORKERS:
            return None
        held = [one["held"] for one in seen]
        if len(held[0]) != objects or any(one != held[0] for one in held):
            return None
        return seen if all(one["wanted"] == one["held"] for one in seen) else None

    def wait(self, objects):
        return wait_for("all workers to hold %d objects" % objects, lambda: self.agree(objects))

    def hosts(self):
        return [one["pid"] for one in self.seen() if one["role"] == "host"]


def objects_of_the_file(mesh):
    """How many objects tests/lua/xds/mesh.yaml becomes."""
    def ready():
        seen = mesh.seen()
        return len(seen) == WORKERS and len(seen[0].get("wanted", {}))
    return wait_for("the first configuration", ready)


@test("additions, changes and removals reach every worker, and nothing is taken twice")
def changes():
    with Mesh() as mesh:
        objects = objects_of_the_file(mesh)
        before = mesh.wait(objects)
        delays = []

        def take(number, port, wanted):
            mesh.write("more-%d.json" % number, port)
            written = time.time()
            count = before[0]["taken"]["count"] + wanted
            wait_for("the change", lambda: all(one["taken"]["count"] >= count for one in mesh.seen()))
            taken = [one["taken"] for one in mesh.wait(objects + min(wanted, 5))]
            last, here = max(one["at"] for one in taken), min(one["here"] for one in taken)
            delays.append("%.0f (%.0f)" % (1000 * (last - written), 1000 * (last - here)))

        for number in range(5):
            take(number, 80, number + 1)
        for number in range(5):
            take(number, 81, number + 6)
        mesh.remove("more-0.json")
        seen = mesh.wait(objects + 4)
        for one, former in zip(seen, before):
            equal(one["taken"]["count"] - former["taken"]["count"], 11)
            equal(one["versions"]["/upstreams"] - former["versions"]["/upstreams"], 11)
            equal(one["versions"]["/routes"], former["versions"]["/routes"])
        print("# ms from the write of a file, and (from its revision in the library), until the last of %d workers "
              "took it: %s" % (WORKERS, ", ".join(delays)), flush=True)


@test("when everything goes, every worker is empty and its routers are told")
def everything_goes():
    with Mesh() as mesh:
        objects = objects_of_the_file(mesh)
        before = mesh.wait(objects)
        mesh.remove("mesh.yaml")
        for one, former in zip(mesh.wait(0), before):
            assert one["versions"]["/routes"] > former["versions"]["/routes"], one
            assert one["versions"]["/upstreams"] > former["versions"]["/upstreams"], one


@test("while the host is killed again and again, the workers keep what they hold, and go on")
def killed():
    with Mesh() as mesh:
        objects = objects_of_the_file(mesh)
        mesh.wait(objects)
        for number in range(3):
            host, = mesh.hosts()
            others = {one["pid"]: one["taken"]["count"] for one in mesh.wait(objects + number) if one["pid"] != host}
            os.kill(host, signal.SIGKILL)
            wait_for("another host", lambda: mesh.hosts() not in ([], [host]))
            for one in mesh.wait(objects + number):
                equal(one["taken"]["count"], others.get(one["pid"], one["taken"]["count"]))
            mesh.write("more-%d.json" % number)
        mesh.wait(objects + 3)


@test("after a reload the new workers hold the same, and follow")
def reload():
    with Mesh() as mesh:
        objects = objects_of_the_file(mesh)
        former = {one["pid"] for one in mesh.wait(objects)}
        mesh.nginx.reload()
        wait_for("new workers", lambda: not former & set(mesh.nginx.workers()) and mesh.nginx.workers())
        mesh.wait(objects)
        mesh.write("more.json")
        mesh.wait(objects + 1)
        wait_for("the old workers to exit", lambda: not former & set(mesh.nginx.children()))


@test("the order in which nginx sets up its modules does not matter")
def order():
    for modules in (LUA + LIFE_CYCLE, LIFE_CYCLE + LUA):
        with Mesh(modules) as mesh:
            mesh.wait(objects_of_the_file(mesh))
            equal(mesh.nginx.log_lines("error", "apisix-mesh does not run"), [])


@test("without the nginx module, the workers start the library as config.yaml says, and share it")
def without_module():
    with Mesh(LUA, with_module=False, settings=SETTINGS) as mesh:
        objects = objects_of_the_file(mesh)
        mesh.wait(objects)
        equal(len(mesh.hosts()), 1)
        os.kill(mesh.hosts()[0], signal.SIGKILL)
        mesh.write("more.json")
        former = {one["pid"] for one in mesh.wait(objects + 1)}
        mesh.nginx.reload()
        wait_for("new workers", lambda: not former & set(mesh.nginx.workers()) and mesh.nginx.workers())
        mesh.write("still-more.json")
        mesh.wait(objects + 2)
        wait_for("the old workers to exit", lambda: not former & set(mesh.nginx.children()))
        mesh.remove("more.json")
        mesh.wait(objects + 1)


@test("without the nginx module and settings in config.yaml, each worker says what is missing, once")
def missing():
    with Mesh(LUA, with_module=False) as mesh:
        def lines():
            return mesh.nginx.log_lines("error", "apisix-mesh does not run")
        wait_for("a line of each worker", lambda: len(lines()) >= WORKERS)
        contains(lines()[0], "must load ngx_apisix_mesh_module and hold an apisix_mesh block")
        equal(len(lines()), WORKERS)


main()
