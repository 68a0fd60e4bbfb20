"""The apisix_mesh block: mistakes are one line that says what and where, and checking leaves nothing behind."""

import re
import socket
import subprocess

from harness import LIFE_CYCLE, Nginx, block, contains, equal, main, sockets, test, threads

XDS = "xds file:///nowhere;"


def rejected(text, *parts):
    """nginx -t fails with one line about it, which holds these parts."""
    code, output = Nginx(LIFE_CYCLE + "\n" + text).check()
    equal(code, 1)
    lines = [line for line in output.splitlines() if "[emerg]" in line]
    equal(len(lines), 1)
    for part in parts:
        contains(lines[0], part)


@test("an unknown setting fails the check, with its name, the file and the line")
def unknown():
    rejected("apisix_mesh { %s\n no_such_setting 1;\n}" % XDS, "no_such_setting", "nginx.conf:4")


@test("a bad value fails the check, with the setting's name, the value, the file and the line")
def bad():
    rejected("apisix_mesh { %s log_level loud; }" % XDS, "log_level", "loud", "nginx.conf:2")


@test("a missing setting fails the check with its name")
def missing():
    rejected("apisix_mesh { log_level info; }", "xds", "nginx.conf:2")


@test("a repeated setting is an error at the second one's line")
def repeated():
    rejected("apisix_mesh { %s\n log_level info;\n log_level warn;\n}" % XDS, '"log_level"', "duplicate", "nginx.conf:4")


@test("a setting takes one value: none and two are errors")
def arguments():
    rejected("apisix_mesh { xds; }", "number of arguments", '"xds"', "nginx.conf:2")
    rejected("apisix_mesh { xds a b; }", "number of arguments", '"xds"', "nginx.conf:2")


@test("a block in the block, a second block, and a block in http are errors")
def misplaced():
    rejected("apisix_mesh { xds { } }", "nginx.conf:2")
    rejected("apisix_mesh { %s }\napisix_mesh { %s }" % (XDS, XDS), "duplicate", "nginx.conf:3")
    rejected("http { apisix_mesh { %s } }" % XDS, "not allowed here", "nginx.conf:2")


@test("quotes, backslashes and control characters reach the library as they are")
def escaped():
    rejected(r"""apisix_mesh { %s log_level 'a"b\\c'; }""" % XDS, "log_level", "nginx.conf:2")
    # To nginx, \t is a tab and \\ one backslash, so this is an object with a tab in it, and fails if any of it is changed.
    code, output = Nginx(LIFE_CYCLE + r"""apisix_mesh { %s node_metadata '{"a":\t"b \\\\"}'; }""" % XDS).check()
    equal((code, output), (0, ""))


@test("a good block passes the check")
def good():
    equal(Nginx(LIFE_CYCLE + block("/nowhere")).check(), (0, ""))


@test("the check opens no etcd socket, even on a port in use, and starts no thread")
def checking():
    with socket.create_server(("127.0.0.1", 2379)):
        nginx = Nginx(LIFE_CYCLE + block("/nowhere"))
        trace = nginx.folder + "/trace"
        done = subprocess.run(
            ["strace", "-f", "-qq", "-e", "trace=bind,listen,clone,clone3", "-o", trace, *nginx.command("-t", "-q")],
            capture_output=True, text=True)
        equal((done.returncode, done.stderr), (0, ""))
        with open(trace) as file:
            equal(re.findall(r"\b(?:bind|listen|clone3?)\(.*", file.read()), [])


@test("a port in use: nginx does not start, one line names the address")
def in_use():
    with socket.create_server(("127.0.0.1", 2379)):
        nginx = Nginx(LIFE_CYCLE + block("/nowhere"))
        done = subprocess.run(nginx.command(), capture_output=True, text=True, timeout=30)
    equal(done.returncode, 1)
    lines = done.stderr.splitlines()
    equal(len(lines), 1)
    contains(lines[0], "127.0.0.1:2379")
    contains(lines[0], "[emerg] ")


@test("without the block the module does nothing: no socket, no thread, no line in the log")
def nothing():
    with Nginx(LIFE_CYCLE + "worker_processes 2;") as nginx:
        for pid in [nginx.pid, *nginx.workers()]:
            equal(len(threads(pid)), 1)
            equal(sockets(pid), {})
        equal("apisix_mesh" in nginx.log(), False)


main()
