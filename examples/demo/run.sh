#!/usr/bin/env bash
# The demo: a client, a pod with a sidecar and some services, in network namespaces; requests to virtual IPs,
# intercepted by iptables and routed as a control plane says. Prints a table; ends non-zero when an answer is not
# Envoy's.
#
# `make demo` builds what it needs and calls it with these variables:
#   LIB_DIR        folder of libapisix_mesh.so
#   MODULES_DIR    folder of the nginx modules
#   BIN            the command apisix-mesh
#   CONTROL_PLANE  the example control plane
#   APISIX_HOME    optional: a real APISIX there is the sidecar, instead of nginx with the Lua example
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

fail() {
    echo "demo: $*" >&2
    exit 1
}

[ "$(id -u)" -eq 0 ] || fail "network namespaces and iptables need root: run it as root, or in a privileged container"
for name in LIB_DIR MODULES_DIR BIN CONTROL_PLANE; do
    [ -e "${!name:?is not set; run make demo}" ] || fail "$name: ${!name} is not there; run make demo"
    declare "$name=$(realpath "${!name}")"
done
for program in ip iptables-restore nginx curl python3 setpriv etcdctl; do
    command -v "$program" >/dev/null || fail "$program is not installed; run make demo, which installs it"
done
export LD_LIBRARY_PATH=$LIB_DIR

# shellcheck source=network.sh
. "$here/network.sh"
# shellcheck source=processes.sh
. "$here/processes.sh"
# shellcheck source=rows.sh
. "$here/rows.sh"

work=$(mktemp -d --tmpdir apisix-mesh-demo.XXXXXX)
chmod 755 "$work"
mkdir "$work/logs" "$work/xds"
sidecar_log=$work/logs/nginx.log
finished=

clean_up() {
    set +e
    rm -f "$work/flowing"
    stop_apisix
    stop_all
    remove_network
    if [ -n "$finished" ] && [ "$failed" -eq 0 ]; then
        rm -rf "$work"
    else
        show_logs
    fi
}

show_logs() {
    local log
    echo
    for log in "$sidecar_log" "$work"/logs/*.log; do
        [ -s "$log" ] || continue
        echo "--- the end of $log"
        tail -n 20 "$log"
    done
    echo "--- everything is in $work"
} >&2

trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# wait_for SECONDS WHAT COMMAND...: repeats the command until it succeeds; says so and fails when the time is over.
wait_for() {
    local end=$((SECONDS + $1)) what=$2
    shift 2
    until "$@"; do
        if [ "$SECONDS" -ge "$end" ]; then
            echo "demo: $what did not come in time" >&2
            return 1
        fi
        sleep 0.1
    done
}

reviews_answers() {
    ask_from_pod --resolve "reviews:9080:$REVIEWS_VIP" http://reviews:9080/reviews/1
    [ "$status" = 200 ]
}

backends_answer() {
    local address
    for address in 10.77.0.11 10.77.0.12 10.77.0.13 10.77.0.21 10.77.0.22; do
        inside client curl -s --max-time 2 -o /dev/null "http://$address:9080/" || return 1
    done
    inside pod curl -s --max-time 2 -o /dev/null http://127.0.0.1:19080/
}

cp "$here"/xds/*.yaml "$work/xds/"
make_network
start_backends
wait_for 20 'the backends' backends_answer
start_control_plane
intercept
start_sidecar
wait_for 30 'the first routed answer' reviews_answers

print_head
rows_of_routing
row_of_split
rows_of_destination
row_of_inbound
rows_of_endpoints
rows_of_control_plane
row_of_reload
row_of_etcd
finished=yes
printf '\n%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
