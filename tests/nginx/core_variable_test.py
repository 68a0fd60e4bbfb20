"""$connection_original_dst where something else defines it too."""

from harness import HTTP_VARIABLE, MODULES, Nginx, equal, get, main, test

OTHER = "load_module %s/test/ngx_http_core_variable_module.so;" % MODULES
SERVER = 'http { server { listen 127.0.0.1:8080; location / { return 200 "[$connection_original_dst]"; } } }'


def value(modules):
    with Nginx(modules + SERVER):
        return get(8080)


@test("the other definition is really there")
def other():
    equal(value(OTHER), "[the core's]")


@test("defined before this module: it loads and its value counts")
def before():
    equal(value(OTHER + HTTP_VARIABLE), "[]")


@test("defined after this module: it loads and its value counts")
def after():
    equal(value(HTTP_VARIABLE + OTHER), "[]")


main()
