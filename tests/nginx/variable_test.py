"""$connection_original_dst: what it says for every kind of connection."""

import http.client
import socket
import subprocess

from harness import HTTP_VARIABLE, STREAM, STREAM_VARIABLE, Nginx, Skip, contains, equal, get, main, test

SERVER = HTTP_VARIABLE + STREAM + STREAM_VARIABLE + """
http {
    server {
        listen 0.0.0.0:8080;
        listen [::]:8081;
        listen [::]:8082 ipv6only=off;
        listen unix:FOLDER/socket;
        location / { return 200 "[$connection_original_dst]"; }
        location /if { if ($connection_original_dst) { return 200 "true"; } return 200 "false"; }
    }
}
stream {
    server { listen 0.0.0.0:8083; listen [::]:8084; return "[$connection_original_dst]"; }
    server { listen 127.0.0.1:8085 udp; return "[$connection_original_dst]"; }
}
"""


def redirect(tool, port, to):
    """A rule as those that intercept a pod's traffic."""
    done = subprocess.run(
        [tool, "-t", "nat", "-A", "OUTPUT", "-p", "tcp", "--dport", str(port), "-j", "REDIRECT", "--to-ports", str(to)],
        capture_output=True, text=True)
    if done.returncode:
        raise Skip("%s -t nat does not work here: %s" % (tool, done.stderr.strip()))


def address(text):
    subprocess.run(["ip", "address", "replace", text, "dev", "lo", "nodad"], check=True, capture_output=True)


def stream(port, host="127.0.0.1"):
    with socket.create_connection((host, port), 10) as client:
        return client.makefile().read()


# The first tests need a namespace in which nothing tracks connections yet.

@test("without connection tracking the variable is empty, for IPv4 and IPv6, http and stream")
def untracked():
    with Nginx(SERVER) as nginx:
        equal(get(8080), "[]")
        equal(get(8081, "::1"), "[]")
        equal(stream(8083), "[]")
        equal(stream(8084, "::1"), "[]")
        equal([line for level in ("warn", "error", "crit", "alert", "emerg") for line in nginx.log_lines(level)], [])


@test("an empty value is false in \"if\"")
def false():
    with Nginx(SERVER):
        equal(get(8080, path="/if"), "false")


@test("an empty value is \"\" in Lua, not nil")
def lua():
    configuration = """load_module modules/ndk_http_module.so; load_module modules/ngx_http_lua_module.so;
        http { server { listen 127.0.0.1:8080;
            location / { content_by_lua_block { ngx.print(ngx.var.connection_original_dst == "") } } } }"""
    nginx = Nginx(HTTP_VARIABLE + configuration)
    code, text = nginx.check()
    if code and "dlopen() " in text:
        raise Skip("nginx has no lua module here: " + text.strip())
    with nginx:
        equal(get(8080), "true")


@test("a unix socket has no original destination: empty, and no error is logged")
def unix():
    with Nginx(SERVER) as nginx:
        equal(get(0, unix=nginx.folder + "/socket"), "[]")
        equal(nginx.log_lines("error") + nginx.log_lines("crit") + nginx.log_lines("alert"), [])


@test("UDP has no original destination: empty")
def udp():
    with Nginx(SERVER), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(10)
        client.sendto(b"x", ("127.0.0.1", 8085))
        equal(client.recv(100), b"[]")


@test("the kernel is asked once a connection, an empty answer is kept too")
def once():
    with Nginx(SERVER) as nginx:
        client = http.client.HTTPConnection("127.0.0.1", 8080, timeout=10)
        for path in ("/", "/if", "/", "/if"):
            client.request("GET", path)
            client.getresponse().read()
        client.close()
        equal(len(nginx.log_lines("debug", "connection original dst: ")), 1)


@test("IPv4 behind REDIRECT: the address the client connected to")
def ipv4():
    address("10.99.0.1/32")
    redirect("iptables", 80, 8080)
    with Nginx(SERVER) as nginx:
        equal(get(80, "10.99.0.1"), "[10.99.0.1:80]")
        equal(get(80, "10.99.0.1", "/if"), "true")
        equal(len(nginx.log_lines("debug", "connection original dst: ")), 2)


@test("IPv6 behind REDIRECT: the address in brackets, and the port")
def ipv6():
    address("fd99::1/128")
    redirect("ip6tables", 80, 8081)
    with Nginx(SERVER):
        equal(get(80, "fd99::1"), "[[fd99::1]:80]")


@test("IPv4 on an IPv6 socket behind REDIRECT: the plain IPv4 address")
def mapped():
    address("10.99.0.1/32")
    redirect("iptables", 81, 8082)
    with Nginx(SERVER):
        equal(get(81, "10.99.0.1"), "[10.99.0.1:81]")


@test("stream behind REDIRECT, IPv4 and IPv6")
def redirected_stream():
    address("10.99.0.1/32")
    address("fd99::1/128")
    redirect("iptables", 83, 8083)
    redirect("ip6tables", 84, 8084)
    with Nginx(SERVER):
        equal(stream(83, "10.99.0.1"), "[10.99.0.1:83]")
        equal(stream(84, "fd99::1"), "[[fd99::1]:84]")


@test("tracked but not redirected: the address of the listener itself")
def tracked():
    redirect("iptables", 1, 1)
    with Nginx(SERVER):
        equal(get(8080), "[127.0.0.1:8080]")


@test("two requests of one connection say the same, two connections each their own")
def own():
    address("10.99.0.1/32")
    address("10.99.0.2/32")
    redirect("iptables", 85, 8080)
    with Nginx(SERVER):
        for host in ("10.99.0.1", "10.99.0.2"):
            client = http.client.HTTPConnection(host, 85, timeout=10)
            for _ in range(2):
                client.request("GET", "/")
                contains(client.getresponse().read().decode(), "[%s:85]" % host)
            client.close()


main()
