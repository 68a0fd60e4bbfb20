"""`libxds.so` inside nginx: worker 0 plays APISIX's privileged agent, all workers read as APISIX does."""

import contextlib
import glob
import json
import os
import shutil
import signal
import subprocess
import threading
import time

from harness import LIFE_CYCLE, LUA, Nginx, ask_etcd, block, cluster, contains, equal, get, main, sockets, test, \
    thread_names, wait_for, write_resources

HERE = os.path.dirname(os.path.abspath(__file__))
LIBRARY = os.path.abspath(os.environ["APISIX_MESH_LIB"])
WORKERS = 3
CLUSTERS = 20
NO_CONTROL_PLANE = "grpc://127.0.0.1:1"

# What is used after it was freed is seen: nginx frees the dictionaries of a process that exits under its threads.
os.environ["MALLOC_PERTURB_"] = "165"

HTTP = """
worker_processes %d;
http {
    lua_package_path "%s/libxds/?.lua;;";
    lua_shared_dict xds-config CONFIG_SIZE;
    lua_shared_dict xds-config-version 1m;
    lua_shared_dict seen 10m;
    init_worker_by_lua_block {
        local reader = require("reader")
        if ngx.worker.id() == 0 then
            LOAD
        end
        reader.start()
    }
    server {
        listen 127.0.0.1:8080;
        location / { content_by_lua_block { require("reader").tell() } }
    }
}
""" % (WORKERS, HERE)
LOAD = 'reader.load("FOLDER/libxds.so")'


def own(xds="file://FOLDER/xds"):
    """The library takes its settings from the environment."""
    return "env APISIX_MESH_XDS=%s;" % xds


def module(_):
    """The nginx module has started the library, in each worker."""
    return block("FOLDER/xds", extra="state_dir FOLDER/state;")


class Mesh:
    """An nginx that reads its configuration from the dictionaries."""

    def __init__(self, settings=own, xds="file://FOLDER/xds", size="1m", load=LOAD):
        text = HTTP.replace("LOAD", load).replace("CONFIG_SIZE", size)
        # Lua first: the module is set up before it all the same.
        self.nginx = Nginx(LUA + LIFE_CYCLE + settings(xds) + text)
        self.folder = self.nginx.folder
        os.mkdir(self.folder + "/xds")
        os.symlink(LIBRARY + "/libapisix_mesh.so", self.folder + "/libxds.so")

    def __enter__(self):
        self.nginx.__enter__()
        return self

    def __exit__(self, *details):
        self.nginx.__exit__(*details)

    def write(self, port, clusters=CLUSTERS, name="clusters.json"):
        """Clusters whose one endpoint has this port."""
        resources = [cluster("%s-%d" % (name, number), port=port) for number in range(clusters)]
        write_resources("%s/xds/%s" % (self.folder, name), resources)

    def translated(self):
        """The objects that the files make."""
        command = [LIBRARY + "/apisix-mesh", "translate", self.folder + "/xds"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        equal((done.returncode, done.stderr), (0, ""))
        return json.loads(done.stdout)["objects"]

    def told(self):
        """What is in the dictionaries, and what each process saw; nothing while no worker answers."""
        try:
            told = json.loads(get(8080))
        except OSError:
            return None
        return told

    def holds(self, wanted=None):
        """Waits until the dictionaries hold this, or what the files make; gives the version."""
        wanted = self.translated() if wanted is None else wanted
        told = wait_for("the dictionaries to hold it", lambda: self._equal(wanted), 20)
        assert told["others"] > 0, "no key that always stays"
        return int(told["version"])

    def _equal(self, wanted):
        told = self.told()
        return told if told and told["objects"] == wanted else None

    def all_see(self, version):
        """Waits until the last version that each worker saw is this one; gives what it found."""
        def seen():
            histories = (self.told() or {}).get("histories", {})
            last = [histories[str(pid)][-1] for pid in self.nginx.workers() if str(pid) in histories]
            return [int(line["version"]) for line in last] == [version] * WORKERS and last
        return wait_for("all workers to see version %d" % version, seen)

    def agent(self):
        """The worker that writes the dictionaries."""
        def writers():
            return [pid for pid in self.nginx.workers() if "mesh-libxds" in thread_names(pid)]
        return wait_for("a worker that writes", writers)[0]

    @contextlib.contextmanager
    def another_writer(self):
        """Waits until another process writes than before what is done in the block."""
        owner = self.told()["owner"]
        yield
        wait_for("another writer", lambda: (self.told() or {}).get("owner", owner) != owner, 20)

    def check(self):
        """What must hold of all that workers saw: versions rise, there are always keys, an update is never seen in part."""
        for history in self.told()["histories"].values():
            versions = [int(line["version"]) for line in history]
            equal(versions, sorted(set(versions)))
            for line in history:
                assert line["keys"] > 0, line
        equal(self.nginx.log_lines("error"), [])
        # A worker that is killed may hold the lock of a dictionary: the master takes it away and says so.
        expected = ("signal 9", "was locked by")
        equal([line for line in self.nginx.log_lines("alert") if not any(part in line for part in expected)], [])

    def lines(self, part):
        """Lines of the library, which go to standard error where no module takes them."""
        return [line for line in self.nginx.log().splitlines() + self.nginx.stderr_text().splitlines() if part in line]


def for_both(sentence):
    """A test with settings from the environment, and one with the nginx module in the same process."""
    def register(function):
        test(sentence + ", by the environment")(lambda: function(own))
        test(sentence + ", by the nginx module")(lambda: function(module))
        return function
    return register


@for_both("the first configuration, a change, a deletion, and the deletion of all reach the readers")
def follows(settings):
    mesh = Mesh(settings)
    mesh.write(8000)
    with mesh:
        first = mesh.holds()
        equal([found["upstreams"] for found in mesh.all_see(first)], [CLUSTERS] * WORKERS)
        mesh.write(8001)
        second = mesh.holds()
        mesh.write(8001, CLUSTERS - 1)
        third = mesh.holds()
        os.remove(mesh.folder + "/xds/clusters.json")
        last = mesh.holds({})
        assert first < second < third < last
        equal([found["upstreams"] for found in mesh.all_see(last)], [0] * WORKERS)
        mesh.check()
        equal(len(mesh.lines("libxds.so:")), 1)
        equal(set(sockets(mesh.agent())), {8080} if settings == own else {8080, 2379})


@test("a version comes after all of its keys")
def keys_first():
    mesh = Mesh()
    mesh.write(8000)
    with mesh:
        mesh.all_see(mesh.holds())
        for port in range(8001, 8006):
            mesh.write(port)
            mesh.all_see(mesh.holds())
        for history in mesh.told()["histories"].values():
            complete = [line for line in history if line["upstreams"]]
            equal([(line["lowest"], line["highest"]) for line in complete], [(p, p) for p in range(8000, 8006)])
        mesh.check()


@test("no control plane at the start: workers start with an empty configuration, within the bound")
def no_control_plane():
    begun = time.monotonic()
    with Mesh(xds=NO_CONTROL_PLANE) as mesh:
        version = wait_for("the workers to start", mesh.told, 20)["version"]
        assert 4 < time.monotonic() - begun < 20
        equal(mesh.holds({}), int(version))
        equal(len(mesh.lines("APISIX starts with an empty one")), 1)


@test("no settings at all: one line names the cure, and workers start")
def no_settings():
    with Mesh(settings=lambda _: "") as mesh:
        wait_for("the workers to start", mesh.told, 20)
        line, = mesh.lines("setting xds: not set")
        contains(line, "APISIX_MESH_XDS in the environment")
        contains(line, "nginx_config.envs")


@test("the control plane comes late: the empty configuration is replaced")
def late():
    mesh = Mesh()
    os.rmdir(mesh.folder + "/xds")
    with mesh:
        empty = int(wait_for("the workers to start", mesh.told, 20)["version"])
        os.mkdir(mesh.folder + "/xds")
        mesh.write(8000)
        mesh.all_see(mesh.holds())
        assert mesh.holds() > empty


@for_both("the writer is killed or reloaded away and nothing has changed: the next one leaves the version")
def replaced(settings):
    mesh = Mesh(settings)
    mesh.write(8000)
    with mesh:
        version = mesh.holds()
        for number in range(4):
            with mesh.another_writer():
                old = mesh.nginx.workers()
                if number % 2:
                    mesh.nginx.reload()
                else:
                    old = [mesh.agent()]
                    os.kill(old[0], signal.SIGKILL)
            wait_for("the old ones to go", lambda: not set(old) & set(mesh.nginx.children()))
            equal(mesh.holds(), version)
        mesh.write(8001)
        assert mesh.holds() > version
        mesh.check()


@for_both("the writer is killed and much changes until the next one comes: stale keys go, the version rises")
def killed_and_changed(settings):
    mesh = Mesh(settings)
    mesh.write(8000)
    mesh.write(8000, 5, "gone.json")
    with mesh:
        version = mesh.holds()
        # The next process is not started before all that is done.
        os.kill(mesh.nginx.pid, signal.SIGSTOP)
        os.kill(mesh.agent(), signal.SIGKILL)
        os.remove(mesh.folder + "/xds/gone.json")
        mesh.write(8001, 5, "came.json")
        os.kill(mesh.nginx.pid, signal.SIGCONT)
        assert mesh.holds() > version
        mesh.check()


@test("the writer is killed and there is no control plane any more: all stays")
def killed_alone():
    mesh = Mesh()
    mesh.write(8000)
    with mesh:
        version, objects, owner = mesh.holds(), mesh.translated(), mesh.told()["owner"]
        shutil.move(mesh.folder + "/xds", mesh.folder + "/away")
        with mesh.another_writer():
            first = mesh.agent()
            os.kill(first, signal.SIGKILL)
            wait_for("the next one", lambda: mesh.agent() != first)
            time.sleep(6)  # nothing is to happen, for longer than workers wait for a first version
            equal((mesh.holds(objects), mesh.told()["owner"]), (version, owner))
            shutil.move(mesh.folder + "/away", mesh.folder + "/xds")
        equal(mesh.holds(), version)


@for_both("reloads while the configuration changes: at the end the dictionaries hold it, and no process crashed")
def reloads(settings):
    mesh = Mesh(settings)
    mesh.write(8000)
    done = threading.Event()

    def change():
        port = 8000
        while not done.wait(0.02):
            port += 1
            mesh.write(port, CLUSTERS - port % 7)

    with mesh:
        mesh.holds()
        churn = threading.Thread(target=change)
        churn.start()
        try:
            for _ in range(10):
                old = mesh.nginx.workers()
                with mesh.another_writer():
                    mesh.nginx.reload()
                wait_for("the old workers to go", lambda: not set(old) & set(mesh.nginx.workers()))
        finally:
            done.set()
            churn.join()
        mesh.holds()
        mesh.check()


def stored():
    """How many objects the library has, by its etcd endpoint."""
    upstreams = {"key": "L2FwaXNpeC91", "range_end": "L2FwaXNpeC92", "count_only": True}
    return int(ask_etcd("/v3/kv/range", upstreams).get("count", 0))


@test("a full dictionary: one line with the sizes, the last configuration stays, what shrinks comes through")
def full():
    mesh = Mesh(settings=lambda xds: own(xds) + "env APISIX_MESH_ETCD_LISTEN=127.0.0.1:2379;", size="100k")
    mesh.write(8000)
    with mesh:
        version, objects = mesh.holds(), mesh.translated()
        mesh.write(8001, 1000)
        line, = wait_for("the line", lambda: mesh.lines("has no room"))
        contains(line, "no memory in a dictionary of 102400 bytes with ")
        contains(line, "enlarge lua_shared_dict xds-config,")
        mesh.write(8002, 1001)
        wait_for("the next one to be there", lambda: stored() == 1001)
        equal(mesh.holds(objects), version)
        mesh.write(8003)
        assert mesh.holds() > version
        wait_for("the good news", lambda: len(mesh.lines("the dictionaries hold the configuration")) == 2)
        equal(len(mesh.lines("has no room")), 1)
        for history in mesh.told()["histories"].values():
            equal([line["lowest"] for line in history if line["upstreams"]], [8000, 8003])


@test("the very first configuration has no room: workers start with an empty one")
def full_at_once():
    mesh = Mesh(size="100k")
    mesh.write(8000, 1000)
    with mesh:
        wait_for("the workers to start", mesh.told)
        mesh.holds({})
        equal(len(mesh.lines("has no room")), 1)
        mesh.write(8001)
        mesh.all_see(mesh.holds())


@test("a second call in a process is a line, and the first goes on")
def twice():
    mesh = Mesh(load=LOAD + LOAD)
    mesh.write(8000)
    with mesh:
        mesh.holds()
        equal(len(mesh.lines("initial was called before in this process")), 1)
        names = thread_names(mesh.agent())
        equal(names.count("mesh-libxds"), 1)
        mesh.write(8001)
        mesh.holds()


@test("a call without a dictionary is a line, and the next one counts")
def without_dictionary():
    none = 'reader.initial("FOLDER/libxds.so", ngx.shared["xds-config"], nil)'
    mesh = Mesh(load=none + LOAD)
    mesh.write(8000)
    with mesh:
        mesh.holds()
        line, = mesh.lines("it was given no dictionary")
        contains(line, "declare lua_shared_dict xds-config and xds-config-version")


@test("where the runtime has APISIX's functions for dictionaries, these are called")
def apisix_functions():
    load = 'require("ffi").load("FOLDER/meta.so", true)' + LOAD
    mesh = Mesh(load=load)
    mesh.write(8000)
    subprocess.run(["cc", "-shared", "-fPIC", "-Wall", "-Werror", "-o", mesh.folder + "/meta.so",
                    HERE + "/libxds/meta.c", "-DCALLS=\"%s/calls\"" % mesh.folder], check=True)
    with mesh:
        mesh.holds()
        with open(mesh.folder + "/calls") as file:
            equal(set(file.read().split()), {"store", "get"})


@test("no signal of nginx's is taken by the threads")
def signals():
    mesh = Mesh()
    mesh.write(8000)
    with mesh:
        mesh.holds()
        agent = mesh.agent()
        for task in glob.glob("/proc/%d/task/*" % agent):
            with open(task + "/comm") as file:
                name = file.read().strip()
            with open(task + "/status") as file:
                blocked = next(line.split()[1] for line in file if line.startswith("SigBlk"))
            # All but KILL and STOP, and those that the C library keeps for itself.
            equal((name, blocked == "fffffffe7ffbfeff"), (name, name != "nginx"))


main()
