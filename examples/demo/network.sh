# The demo's network: one namespace each for the switch, the client, the pod and every backend. The machine's own
# network is not touched. Sourced by run.sh.
#
#   hub 10.77.0.1 (control plane) -- client .2, pod .3, reviews-v1 .11, -v2 .12, -v3 .13, ratings .21, details .22
#
# Virtual IPs are in 10.96.0.0/24. Nobody holds one: without interception a connection to them goes nowhere.

readonly NETWORK_PREFIX="mesh-demo-$$"
readonly HUB_ADDRESS=10.77.0.1 POD_ADDRESS=10.77.0.3
readonly REVIEWS_VIP=10.96.0.10 RATINGS_VIP=10.96.0.20 DETAILS_VIP=10.96.0.30

namespace() { echo "$NETWORK_PREFIX-$1"; }

# Runs a command in a namespace, in place of the calling shell when that is a subshell of its own.
inside() {
    local name=$1
    shift
    ip netns exec "$(namespace "$name")" "$@"
}

make_network() {
    ip netns add "$(namespace hub)"
    inside hub ip link set lo up
    inside hub ip link add bridge type bridge
    inside hub ip address add "$HUB_ADDRESS/24" dev bridge
    inside hub ip link set bridge up
    attach client 2
    attach pod 3
    attach reviews-v1 11
    attach reviews-v2 12
    attach reviews-v3 13
    attach ratings 21
    attach details 22
}

attach() {
    local name=$1 number=$2
    ip netns add "$(namespace "$name")"
    inside hub ip link add "port$number" type veth peer name eth0 netns "$(namespace "$name")"
    inside hub ip link set "port$number" master bridge up
    inside "$name" ip link set lo up
    inside "$name" ip link set eth0 up
    inside "$name" ip address add "10.77.0.$number/24" dev eth0
    inside "$name" ip route add default via "$HUB_ADDRESS"
}

remove_network() {
    ip netns list | awk -v prefix="$NETWORK_PREFIX-" 'index($1, prefix) == 1 { print $1 }' |
        xargs -r -n1 ip netns delete
}
