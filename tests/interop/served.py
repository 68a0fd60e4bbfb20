"""What the etcd endpoint serves, read in both ways that APISIX reads it: all at once, and by one watch."""

import base64
import http.client
import json
import threading

from processes import ask_json

PREFIX = "/apisix"
ALL = {
    "key": base64.b64encode((PREFIX + "/").encode()).decode(),
    "range_end": base64.b64encode((PREFIX + "0").encode()).decode(),
}


def everything(port):
    """All objects by key, and their revision; nothing while the endpoint is not ready."""
    answer = ask_json(port, "/v3/kv/range", ALL)
    if answer is None:
        return None
    pairs = [pair for pair in answer.get("kvs", []) if not name(pair).endswith("/")]  # those are APISIX's folders
    return {name(pair): value(pair) for pair in pairs}, int(answer["header"]["revision"])


def name(pair):
    return base64.b64decode(pair["key"]).decode()[len(PREFIX):]


def value(pair):
    return json.loads(base64.b64decode(pair["value"]))


class Mirror:
    """A list and the events of one watch since; the watch is never opened again."""

    def __init__(self, port):
        self.objects, revision = everything(port)
        self.trouble = None
        self.connection = http.client.HTTPConnection("127.0.0.1", port)
        self.connection.request("POST", "/v3/watch", json.dumps(
            {"create_request": {**ALL, "start_revision": revision + 1}}))
        self.events = self.connection.getresponse()
        threading.Thread(target=self._follow, daemon=True).start()

    def current(self):
        """All objects, as the events tell."""
        if self.trouble:
            raise RuntimeError(self.trouble)
        return self.objects

    def _follow(self):
        try:
            while line := self.events.readline():
                self._take(json.loads(line)["result"])
            self.trouble = "the watch ended"
        except Exception as problem:  # whatever it is, the watch is over
            self.trouble = "the watch ended: %r" % problem

    def _take(self, response):
        if response.get("canceled"):
            raise ValueError(response)
        objects = dict(self.objects)
        for event in response.get("events", []):
            if event.get("type") == "DELETE":
                del objects[name(event["kv"])]
            else:
                objects[name(event["kv"])] = value(event["kv"])
        self.objects = objects
