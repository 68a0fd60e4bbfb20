# What runs in the demo's network: backends, control plane, sidecar. Sourced by run.sh.

# The user of the pod's application; the sidecar's workers run as nobody, whom interception leaves alone.
readonly APP_USER=daemon

declare -A started

# start NAME NAMESPACE COMMAND...: in the background, output to logs/NAME.log.
start() {
    local name=$1 where=$2
    shift 2
    ip netns exec "$(namespace "$where")" "$@" >>"$work/logs/$name.log" 2>&1 &
    started[$name]=$!
}

stop() {
    local pid=${started[$1]:-}
    [ -n "$pid" ] || return 0
    unset "started[$1]"
    kill "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
}

stop_all() {
    local name
    for name in "${!started[@]}"; do stop "$name"; done
}

start_backends() {
    local version
    for version in 1 2 3; do
        start "reviews-v$version" "reviews-v$version" python3 "$here/backend.py" "reviews-v$version" 0.0.0.0 9080
    done
    start ratings-a ratings python3 "$here/backend.py" ratings-a 0.0.0.0 9080
    start ratings-b ratings python3 "$here/backend.py" ratings-b 0.0.0.0 9081
    start details details python3 "$here/backend.py" details 0.0.0.0 9080
    start productpage pod python3 "$here/backend.py" productpage 127.0.0.1 19080
}

start_control_plane() {
    start control-plane hub "$CONTROL_PLANE" --listen "$HUB_ADDRESS:15010" "$work/xds"
}

intercept() {
    inside pod "$BIN" iptables --apisix-user nobody --apisix-port 15001 --apisix-inbound-capture-port 15006 \
        --inbound-ports 19080 --outbound-ports '*' --outbound-exclude-ports 15010
}

start_sidecar() {
    if [ -n "${APISIX_HOME:-}" ]; then
        start_apisix
    else
        start_nginx
    fi
}

# Stock nginx with the library inside, and the Lua example in place of APISIX.
start_nginx() {
    local prefix=$work/pod
    mkdir -p "$prefix"/{modules,lua,logs,temp}
    ln -s /usr/lib/nginx/modules/*.so "$MODULES_DIR"/*.so "$prefix/modules/"
    # Workers read these as nobody, so they are copied out of folders that only their owner may enter.
    cp -r "$here"/../../lua/resty "$here"/../openresty-sidecar/sidecar "$here"/../openresty-sidecar/sidecar.lua \
        "$prefix/lua/"
    cp "$here/../openresty-sidecar/nginx.conf" "$prefix/"
    chown nobody "$prefix/temp"
    chmod -R go+rX "$prefix/lua"
    start nginx pod nginx -p "$prefix" -c "$prefix/nginx.conf" -e "$prefix/logs/error.log" -g 'daemon off;'
    sidecar_log=$prefix/logs/error.log
}

# A real APISIX loads its configuration before nginx has workers, so the library runs in a process beside it.
start_apisix() {
    local apisix=$APISIX_HOME/bin/apisix
    [ -x "$apisix" ] || fail "APISIX_HOME is $APISIX_HOME, and there is no $apisix to run"
    # It runs as nobody, who may not enter every folder that a checkout lies in.
    cp "$BIN" "$work/apisix-mesh"
    start apisix-mesh pod setpriv --reuid nobody --regid nogroup --clear-groups \
        "$work/apisix-mesh" run --xds "grpc://$HUB_ADDRESS:15010" --etcd-listen 127.0.0.1:2379
    wait_for 20 "the etcd endpoint" etcd_answers
    inside pod env -C "$APISIX_HOME" "$apisix" start -c "$here/../apisix/config.yaml" >>"$work/logs/apisix.log" 2>&1
    apisix_runs=yes
    sidecar_log=$APISIX_HOME/logs/error.log
}

stop_apisix() {
    [ -n "${apisix_runs:-}" ] || return 0
    inside pod env -C "$APISIX_HOME" "$APISIX_HOME/bin/apisix" stop >>"$work/logs/apisix.log" 2>&1 || true
}

etcd_answers() {
    inside pod curl -s --max-time 2 -o "$work/etcd-version" http://127.0.0.1:2379/version
}
