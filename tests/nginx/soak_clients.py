"""The clients of the soak: they know what they must never see."""

import base64
import http.client
import json
import threading
import time

from harness import ask_etcd

ETCD = ("127.0.0.1", 2379)
HTTP = ("127.0.0.1", 8080)
PATIENCE = 20
PREFIX, END = base64.b64encode(b"/apisix/").decode(), base64.b64encode(b"/apisix0").decode()


class Client:
    """A thread that goes on until the `with` ends. `requests` and `failed` are what it counted."""

    def __init__(self):
        self.requests, self.failed, self.done = 0, 0, threading.Event()
        self.problems = []
        self.thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        self.thread.join(PATIENCE)

    def _run(self):
        while not self.done.is_set():
            self.turn()

    def fail(self, problem):
        self.failed += 1
        self.problems.append(problem)


class Watcher(Client):
    """Holds what the endpoint holds, as APISIX does: one load, then a watch that goes on after the last revision seen."""

    def __init__(self):
        super().__init__()
        self.held, self.revision, self.loads = {}, 0, 0

    def turn(self):
        try:
            if self.revision == 0:
                self._load()
            self._watch()
        except ConnectionRefusedError as error:
            self.fail("watch: %s" % error)
        except (OSError, ValueError, http.client.HTTPException):
            pass  # cut off with its host; the next one goes on

    def _load(self):
        self.requests += 1
        everything = ask_etcd("/v3/kv/range", {"key": PREFIX, "range_end": END}, PATIENCE)
        self.held = {kv["key"]: kv["value"] for kv in everything.get("kvs", [])}
        self._see(int(everything["header"]["revision"]))
        self.loads += 1

    def _watch(self):
        create = {"key": PREFIX, "range_end": END, "start_revision": self.revision + 1}
        self.requests += 1
        connection = http.client.HTTPConnection(*ETCD, timeout=1)
        try:
            connection.request("POST", "/v3/watch", json.dumps({"create_request": create}))
            answer = connection.getresponse()
            while not self.done.is_set():
                line = answer.readline()
                if not line:
                    return
                result = json.loads(line)["result"]
                if result.get("canceled"):
                    self.revision = 0  # compacted: load anew
                    return
                self._apply(result)
        finally:
            connection.close()

    def _apply(self, result):
        for event in result.get("events", []):
            kv = event["kv"]
            if int(kv["mod_revision"]) <= self.revision:
                self.fail("watch: event of revision %s after %d" % (kv["mod_revision"], self.revision))
            if event.get("type") == "DELETE":
                self.held.pop(kv["key"], None)
            else:
                self.held[kv["key"]] = kv["value"]
        if result.get("events"):
            self._see(int(result["header"]["revision"]))

    def _see(self, revision):
        if revision < self.revision:
            self.fail("watch: revision %d after %d" % (revision, self.revision))
        self.revision = revision

    def holds(self, text):
        part = text.encode()
        return any(part in base64.b64decode(value) for value in list(self.held.values()))


class Querier(Client):
    """Asks whichever worker takes the connection. One that is cut off is asked once more while `may_be_cut`."""

    def __init__(self):
        super().__init__()
        self.may_be_cut, self.slowest, self.revisions = False, 0.0, {}

    def turn(self):
        self.requests += 1
        began = time.monotonic()
        try:
            self._ask()
        except (OSError, ValueError, http.client.HTTPException) as error:
            if not self.may_be_cut or isinstance(error, ConnectionRefusedError):
                self.fail("query: %r" % error)
        self.slowest = max(self.slowest, time.monotonic() - began)
        self.done.wait(0.001)

    def _ask(self):
        connection = http.client.HTTPConnection(*HTTP, timeout=PATIENCE)
        try:
            connection.request("GET", "/", headers={"Connection": "close"})
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        if answer.status != 200:
            self.fail("query: %d %r" % (answer.status, body))
            return
        seen = json.loads(body)
        if seen["revision"] < self.revisions.get(seen["pid"], 0):
            self.fail("query: revision %d after %d in one worker" % (seen["revision"], self.revisions[seen["pid"]]))
        self.revisions[seen["pid"]] = seen["revision"]


def served():
    """How long it takes from now until the endpoint has answered, and how often a connection was refused."""
    began, refused = time.monotonic(), 0
    while time.monotonic() - began < PATIENCE:
        connection = http.client.HTTPConnection(*ETCD, timeout=PATIENCE)
        try:
            connection.request("GET", "/version", headers={"Connection": "close"})
            if connection.getresponse().status == 200:
                break
        except ConnectionRefusedError:
            refused += 1
        except (OSError, http.client.HTTPException):
            pass  # taken by the host that is being killed
        finally:
            connection.close()
    return time.monotonic() - began, refused
