"""Processes with a log each in one temporary folder, and waiting for conditions.

The runner is the first process of its own PID namespace, so whatever it started ends with it, however it ends.
"""

import atexit
import http.client
import json
import os
import shutil
import subprocess
import tempfile
import time

FOLDER = tempfile.mkdtemp(prefix="apisix-mesh-interop-")
if "KEEP" not in os.environ:
    atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)

# A setting or a pod's identity in the caller's environment would be another node.
ENVIRONMENT = {"PATH": os.environ["PATH"], "HOME": FOLDER}


class TimedOut(Exception):
    """A condition did not come true in time."""


def wait_for(what, condition, seconds=30, pause=0.02):
    """The first true value of the condition."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise TimedOut("waited %d s for %s" % (seconds, what))
        time.sleep(pause)


def folder(name):
    """A new folder of one's own."""
    return tempfile.mkdtemp(prefix=name + "-", dir=FOLDER)


class Process:
    """A program that runs until `stop`; what it prints is in its log."""

    started = []

    def __init__(self, name, command, environment=()):
        self.name = name
        self.log = "%s/%s.log" % (folder(name), name)
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=os.path.dirname(self.log),
                env={**ENVIRONMENT, **dict(environment)})
        self.started.append(self)

    def stop(self):
        """Without farewell, as the kernel ends processes."""
        self.started.remove(self)
        self.process.kill()
        self.process.wait()

    def last_lines(self, count=5):
        with open(self.log, errors="replace") as log:
            return " / ".join(line.strip() for line in log.readlines()[-count:])


def stop_all():
    for process in list(Process.started):
        process.stop()


def all_run():
    """Raises if something ended by itself, so that nobody waits for it."""
    for process in Process.started:
        if process.process.poll() is not None:
            raise RuntimeError("%s ended: %s" % (process.name, process.last_lines()))
    return True


def ask(port, method, path, body=None, timeout=30):
    """Status and body of an answer on loopback; status 0 when nobody answers."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        client.request(method, path, body, {"Connection": "close"})
        response = client.getresponse()
        return response.status, response.read()
    except OSError as problem:
        return 0, str(problem).encode()
    finally:
        client.close()


def ask_json(port, path, question=None):
    """The JSON of an answer with status 200, else nothing."""
    method, body = ("GET", None) if question is None else ("POST", json.dumps(question))
    status, text = ask(port, method, path, body)
    return json.loads(text) if status == 200 else None
