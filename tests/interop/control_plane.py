"""Envoy's library for control planes, as a server that is told what to serve."""

import json
import os

from processes import Process, all_run, ask, wait_for

CONTROL_PLANE = os.environ["CONTROL_PLANE"]


class ControlPlane(Process):
    """Serves xDS on one port of loopback, and is told on the next."""

    def __init__(self, name, port, *flags):
        self.control = port + 1
        super().__init__(name, [
            CONTROL_PLANE, "-xds", "127.0.0.1:%d" % port, "-control", "127.0.0.1:%d" % self.control, *flags])
        wait_for(name, lambda: all_run() and ask(self.control, "GET", "/")[0])

    def put(self, resources):
        """Makes these the whole configuration."""
        status, answer = ask(self.control, "PUT", "/resources", json.dumps({"resources": resources}))
        if status != 200:
            raise RuntimeError("%s: %s" % (self.name, answer.decode()))
