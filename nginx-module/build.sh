#!/usr/bin/env bash
# Builds the nginx modules. The source tree of nginx is only read: it may be the headers of Debian's nginx-dev.
#
#   build.sh dynamic              the modules as .so files, for the nginx of that source tree
#   build.sh static               a whole nginx with the modules inside; needs nginx's full source
#
#   NGINX_SRC         source of nginx       (default: /usr/share/nginx/src)
#   NGINX_FLAGS       flags of configure    (default: those in NGINX_SRC/conf_flags, and --with-stream=dynamic)
#   NGINX_ADDON       the add-on to build   (default: this folder)
#   BUILD_DIR         where everything goes (default: ../build/nginx-modules)
#   APISIX_MESH_LIB, APISIX_MESH_INC        see ./config
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
src=$(cd "${NGINX_SRC:-/usr/share/nginx/src}" && pwd)
addon=$(cd "${NGINX_ADDON:-$here}" && pwd)
out=${BUILD_DIR:-$here/../build/nginx-modules}
kind=${1:-dynamic}

fail() { echo "build.sh: $1" >&2; exit 1; }

case $kind in
    dynamic)
        add=--add-dynamic-module
        ;;
    static)
        add=--add-module
        [ -f "$src/src/core/nginx.c" ] || fail "a static build needs nginx's full source, $src has none; set NGINX_SRC"
        ;;
    *)
        fail "unknown kind \"$kind\"; there are dynamic and static"
        ;;
esac

# A module loads only in an nginx configured alike, so the package's own flags are taken.
if [ -n "${NGINX_FLAGS+set}" ]; then
    read -r -a flags <<<"$NGINX_FLAGS"
elif [ -f "$src/conf_flags" ]; then
    # shellcheck disable=SC1091
    . "$src/conf_flags"
    flags=("${NGX_CONF_FLAGS[@]}" --with-stream=dynamic)
else
    flags=(--with-compat --with-stream)
fi

# configure writes beside itself, so it runs in a folder of links.
mkdir -p "$out"
out=$(cd "$out" && pwd)
work=$out/$kind
mkdir -p "$work"
for name in auto configure src conf html man; do
    if [ -e "$src/$name" ]; then ln -sfn "$src/$name" "$work/$name"; fi
done
cd "$work"

stamp="$src $addon ${APISIX_MESH_LIB:-} ${APISIX_MESH_INC:-} ${flags[*]}"
if [ ! -f objs/Makefile ] || [ "$(cat stamp 2>/dev/null)" != "$stamp" ] || [ "$addon/config" -nt stamp ]; then
    rm -rf objs stamp
    # nginx's repository has it with its parts, its releases beside them.
    configure=./configure
    [ -e "$configure" ] || configure=auto/configure
    "$configure" "${flags[@]}" --with-cc-opt="${CFLAGS:--g -O2} -Wall -Wextra -Werror -Wno-unused-parameter" \
        "$add=$addon" >configure.log 2>&1 ||
        { tail -n 3 configure.log >&2; fail "configure failed; all of it is in $work/configure.log"; }
    echo "$stamp" >stamp
fi

# The library is found at run time by its soname, which cargo does not make a file of.
library=${APISIX_MESH_LIB:-$here/../target/release}/libapisix_mesh.so
if [ -f "$library" ]; then
    soname=$(objdump -p "$library" | awk '$1 == "SONAME" { print $2 }')
    if [ -n "$soname" ] && [ ! -e "$(dirname "$library")/$soname" ]; then
        ln -s libapisix_mesh.so "$(dirname "$library")/$soname"
    fi
fi

if [ "$kind" = static ]; then
    make -s -j2 -f objs/Makefile binary
    ln -f objs/nginx "$out/nginx"
    exit
fi

# Not "make modules": nginx-dev has the headers of the dynamic stream module but not its source.
modules=()
for list in objs/ngx_*_module_modules.c; do
    module=$(basename "$list" _modules.c)
    if [ "$module" != ngx_stream_module ]; then modules+=("$module"); fi
done
for module in "${modules[@]}"; do
    make -s -f objs/Makefile "objs/$module.so"
    ln -f "objs/$module.so" "$out/$module.so"
done
