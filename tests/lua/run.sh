#!/bin/sh
# Runs cases.lua inside Debian's nginx against the library that APISIX_MESH_LIB names (its folder or
# the file). Prints TAP; ends non-zero when a case fails. Needs no root.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
library=${APISIX_MESH_LIB:?give the folder of libapisix_mesh.so, such as target/release}
[ -d "$library" ] || library=$(dirname "$library")
library=$(cd "$library" && pwd)
xds=${APISIX_MESH_XDS:-file://$here/xds}

work=$(mktemp -d)
stop() {
    [ ! -f "$work/nginx.pid" ] || kill "$(cat "$work/nginx.pid")" 2>/dev/null || true
    rm -rf "$work"
}
trap stop EXIT

mkdir "$work/temp"
cat > "$work/nginx.conf" <<END
load_module /usr/lib/nginx/modules/ndk_http_module.so;
load_module /usr/lib/nginx/modules/ngx_http_lua_module.so;
worker_processes 1;
pid $work/nginx.pid;
error_log $work/error.log info;
events {}
http {
    access_log off;
    client_body_temp_path $work/temp;
    proxy_temp_path $work/temp;
    fastcgi_temp_path $work/temp;
    uwsgi_temp_path $work/temp;
    scgi_temp_path $work/temp;
    lua_package_path "$root/lua/?.lua;$here/?.lua;;";
    lua_package_cpath "$library/?.so;;";
    server {
        listen unix:$work/http.sock;
        location / {
            content_by_lua_block { require("cases").run("$xds") }
        }
    }
}
END

nginx -p "$work" -c "$work/nginx.conf" -e "$work/error.log"
result=$(curl -sS --max-time 30 --unix-socket "$work/http.sock" http://localhost/)
printf '%s\n' "$result"
case $result in
    *"not ok"* | "") failed=1 ;;
    *1..*) failed=0 ;;
    *) failed=1 ;;
esac
[ $failed -eq 0 ] || cat "$work/error.log" >&2
exit $failed
