"""Every worker answers queries, also those that do not host the library, and can follow changes one by one."""

import os
import signal

import mesh as base
from harness import LIFE_CYCLE, LUA, Nginx, block, contains, equal, main, test, wait_for

WORKERS = 4

# Each worker writes down what it sees, many times a second, whoever gets the requests.
HTTP = """
http {
    lua_package_path "%s/lua/?.lua;;";
    lua_package_cpath "%s/?.so;;";
    lua_shared_dict seen 1m;
    init_worker_by_lua_block {
        local mesh, cjson = require("resty.apisix_mesh"), require("cjson")
        local held, last = {}, nil
        local function fold()
            local items, revision = mesh.changes(last or 0)
            if not items then
                held, items, revision = {}, mesh.list()
            end
            for _, item in ipairs(items or {}) do
                held[item.key] = item.value
            end
            last = revision
            local count = 0
            for _ in pairs(held) do
                count = count + 1
            end
            return count
        end
        ngx.timer.every(0.01, function()
            local status = mesh.status()
            if not status then
                return
            end
            status = cjson.decode(status)
            local items, revision = mesh.list()
            local seen = {folded = fold(), role = status.role, revision = revision or 0, objects = #(items or {})}
            ngx.shared.seen:set(ngx.worker.id(), cjson.encode(seen))
        end)
    }
    %s
}
""" % (base.TOP, os.path.abspath(os.environ["APISIX_MESH_LIB"]), base.SERVER)


class Mesh(base.Mesh):
    """With several workers."""

    def __init__(self):
        text = LIFE_CYCLE + LUA + "worker_processes %d;" % WORKERS + HTTP
        super().__init__(Nginx(text + block("FOLDER/xds", extra="state_dir FOLDER/state;")))

    def agree(self):
        """What all workers see, once they see the same and something."""
        seen = self.seen()
        states = {(one.get("revision", 0), one.get("objects", 0)) for one in seen}
        folded = {one.get("folded") for one in seen}
        if len(seen) == WORKERS and len(states) == 1 and min(states)[1] > 0 and folded == {min(states)[1]}:
            return states.pop()


@test("one worker hosts, the others follow, and all see the same")
def all_see():
    with Mesh() as mesh:
        wait_for("all workers to agree", mesh.agree)
        equal(sorted(one["role"] for one in mesh.seen()), ["follower"] * (WORKERS - 1) + ["host"])
        contains(os.listdir(mesh.nginx.folder + "/state"), "objects")


@test("a change is seen by all")
def change():
    with Mesh() as mesh:
        revision, objects = wait_for("all workers to agree", mesh.agree)
        for number in range(5):
            mesh.write("more-%d.json" % number)
            wait_for("the change", lambda: (mesh.agree() or (0, 0))[1] == objects + number + 1)
        mesh.remove("more-0.json")
        wait_for("the removal", lambda: (mesh.agree() or (0, 0))[1] == objects + 4)
        assert mesh.agree()[0] > revision


@test("while the host is killed again and again, the others answer, and nothing goes back")
def killed():
    with Mesh() as mesh:
        revision, objects = wait_for("all workers to agree", mesh.agree)
        for number in range(5):
            host = mesh.nginx.host()
            os.kill(host, signal.SIGKILL)
            wait_for("another host", lambda: mesh.nginx.hosts() and mesh.nginx.hosts() != [host])
            for one in mesh.seen():
                assert one.get("revision", revision) >= revision and one.get("objects", objects) == objects, one
            equal(wait_for("all workers to agree", mesh.agree), (revision, objects))
        mesh.write("more.json")
        wait_for("the change", lambda: (mesh.agree() or (0, 0))[1] == objects + 1)


main()
