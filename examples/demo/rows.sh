# The demo's table: asks, judges, prints. Sourced by run.sh.

passed=0
failed=0

readonly LINE='%-49s %-16s %-15s %-12s %s\n'

print_head() {
    # shellcheck disable=SC2059 # the format is the constant above
    printf "\n$LINE" REQUEST DESTINATION ROUTE BACKEND VERDICT
}

# verdict TEXT DESTINATION ROUTE BACKEND PROBLEM: one line of the table; no problem is a pass.
verdict() {
    local word=ok
    if [ -n "$5" ]; then
        word="FAILED: $5"
        failed=$((failed + 1))
    else
        passed=$((passed + 1))
    fi
    # shellcheck disable=SC2059
    printf "$LINE" "$1" "${2:--}" "${3:--}" "${4:--}" "$word"
}

# Asks as the pod's application, or as a client outside of the pod; sets status, destination, route and backend.
ask_from_pod() { ask pod setpriv --reuid "$APP_USER" --regid "$APP_USER" --clear-groups curl "$@"; }
ask_from_client() { ask client curl "$@"; }

ask() {
    local answer format
    format='%{http_code}|%header{x-demo-destination}|%header{x-backend}|%header{x-demo-route}'
    answer=$(inside "$@" -s --max-time 5 -o /dev/null -w "$format") || true
    IFS='|' read -r status destination backend route <<<"$answer"
    # The name says configuration, virtual host and route; the column has room for the last.
    route=${route##*/}
}

# judge TEXT STATUS DESTINATION BACKEND: compares the last answer with Envoy's. A real APISIX does not tell the
# destination it saw.
judge() {
    local problem=
    [ "$backend" = "$4" ] || problem="the backend is ${4:-none} with Envoy"
    [ "$destination" = "$3" ] || [ -n "${APISIX_HOME:-}" ] || problem="the destination is $3"
    [ "$status" = "$2" ] || problem="status $status, with Envoy $2"
    verdict "$1" "$destination" "$route" "${backend:-$status}" "$problem"
}

# A request to reviews: TEXT STATUS BACKEND PATH [curl argument...]
reviews_row() {
    local text=$1 status_wanted=$2 backend_wanted=$3 path=$4
    shift 4
    ask_from_pod --resolve "reviews:9080:$REVIEWS_VIP" "$@" "http://reviews:9080$path"
    judge "$text" "$status_wanted" "$REVIEWS_VIP:9080" "$backend_wanted"
}

rows_of_routing() {
    reviews_row 'plain: /reviews/1' 200 reviews-v1 /reviews/1
    reviews_row 'header: /reviews/1, end-user: jason' 200 reviews-v2 /reviews/1 -H 'end-user: jason'
    reviews_row 'header: /reviews/1, end-user: jasonx' 200 reviews-v1 /reviews/1 -H 'end-user: jasonx'
    reviews_row 'exact: /reviews/health' 200 reviews-v2 /reviews/health
    reviews_row 'prefix beside it: /reviews/healthy' 200 reviews-v1 /reviews/healthy
    reviews_row 'regex: /reviews/12/stars' 200 reviews-v3 /reviews/12/stars
    reviews_row 'regex, not all of the path: /reviews/12/starsx' 200 reviews-v1 /reviews/12/starsx
    reviews_row 'query is no path: /reviews/health?a=1' 200 reviews-v2 '/reviews/health?a=1'
    reviews_row 'unknown path of a known host: /other' 404 '' /other
    ask_from_pod --resolve "unknown:9080:$REVIEWS_VIP" http://unknown:9080/reviews/1
    judge 'unknown host: registry only refuses it' 502 "$REVIEWS_VIP:9080" ''
}

row_of_split() {
    local number v1=0 v3=0 problem=
    for number in {1..100}; do
        ask_from_pod --resolve "reviews:9080:$REVIEWS_VIP" "http://reviews:9080/split/$number"
        case $status-$backend in
            200-reviews-v1) v1=$((v1 + 1)) ;;
            200-reviews-v3) v3=$((v3 + 1)) ;;
            *) problem="status $status from ${backend:-nobody}" ;;
        esac
    done
    # Far from 75 to 25 is 4 standard deviations off.
    [ "$v1" -ge 57 ] && [ "$v3" -ge 7 ] || problem=${problem:-"v1 $v1, v3 $v3; with Envoy about 75, 25"}
    verdict 'weighted 75:25, 100 requests: /split/N' "$destination" "$route" "v1 $v1 v3 $v3" "$problem"
}

# Same port, same Host, same path: only the destination tells these services apart.
rows_of_destination() {
    ask_from_pod -H 'Host: reviews' "http://$RATINGS_VIP:9080/reviews/1"
    judge 'same port, Host reviews, VIP of ratings' 200 "$RATINGS_VIP:9080" ratings-a
    ask_from_pod -H 'Host: reviews' "http://$DETAILS_VIP:9080/reviews/1"
    judge 'same port, Host reviews, VIP of details' 200 "$DETAILS_VIP:9080" details
}

row_of_inbound() {
    ask_from_client "http://$POD_ADDRESS:19080/productpage"
    judge 'inbound: client to pod, port 19080' 200 "$POD_ADDRESS:19080" productpage
}

# serve_ratings PORT...: what the control plane says of ratings from now on. The file is replaced in one step.
serve_ratings() {
    local port
    {
        sed '/lb_endpoints:/q' "$here/xds/ratings.yaml" | sed "s/load_balancing_weight: .*/load_balancing_weight: $#/"
        for port in "$@"; do
            cat <<END
    - endpoint:
        address:
          socket_address: {address: 10.77.0.21, port_value: $port}
      load_balancing_weight: 1
END
        done
    } >"$work/ratings.next"
    mv "$work/ratings.next" "$work/xds/ratings.yaml"
}

# Asks for ratings without pause until end_flow; one line of status and backend for each answer.
begin_flow() {
    touch "$work/flowing"
    : >"$work/flow"
    flow &
    flowing=$!
}

end_flow() {
    rm "$work/flowing"
    wait "$flowing" || true
}

flow() {
    inside pod setpriv --reuid "$APP_USER" --regid "$APP_USER" --clear-groups bash -c '
        while [ -e "$1" ]; do
            curl -s --max-time 5 -o /dev/null -w "%{http_code} %header{x-backend}\n" "$2"
        done' flow "$work/flowing" "http://$RATINGS_VIP:9080/" >>"$work/flow"
}

flow_has() { grep -q "200 $1\$" "$work/flow"; }
last_answers_are() { [ "$(tail -n 100 "$work/flow" | sort -u)" = "200 $1" ]; }

rows_of_endpoints() {
    local problem=
    begin_flow
    wait_for 10 'answers of ratings-a' flow_has ratings-a || problem='ratings-a never answered'
    serve_ratings 9080 9081
    wait_for 10 'answers of the added endpoint' flow_has ratings-b || problem='the added endpoint never answered'
    verdict 'endpoint added while requests flow' "$RATINGS_VIP:9080" '' ratings-a,-b "$problem"

    problem=
    serve_ratings 9081
    wait_for 10 'answers of the other endpoint only' last_answers_are ratings-b ||
        problem='the removed endpoint still answers'
    end_flow
    verdict 'endpoint removed while requests flow' "$RATINGS_VIP:9080" '' ratings-b "$problem"

    verdict "no failed request in all that time, of $(answers)" "$RATINGS_VIP:9080" '' '' "$(failures)"
}

answers() { wc -l <"$work/flow"; }
failures() { awk '$1 != 200 { n++ } END { if (n) print n " failed" }' "$work/flow"; }

# The old worker lets go of the library, the new one starts it and gets everything anew from the control plane.
row_of_reload() {
    local problem=
    [ -z "${APISIX_HOME:-}" ] || return 0
    begin_flow
    wait_for 10 'answers before the reload' last_answers_are ratings-a || problem='no answers before the reload'
    kill -HUP "${started[nginx]}"
    wait_for 20 'the end of the old worker' grep -q 'worker process .* exited' "$sidecar_log" ||
        problem='the old worker is still there'
    wait_for 10 'answers of the new worker' enough_after "$(answers)" || problem='the new worker does not answer'
    end_flow
    verdict "nginx reloaded while $(answers) requests flow" "$RATINGS_VIP:9080" '' ratings-a "${problem:-$(failures)}"
}

enough_after() { [ "$(answers)" -ge $(($1 + 100)) ]; }

ratings_answers_from() {
    ask_from_pod "http://$RATINGS_VIP:9080/"
    [ "$status $backend" = "200 $1" ]
}

rows_of_control_plane() {
    local number problem=
    stop control-plane
    for number in {1..20}; do
        ratings_answers_from ratings-b || problem="request $number: status $status from ${backend:-nobody}"
    done
    verdict 'control plane stopped, 20 requests' "$destination" "$route" "$backend" "$problem"

    problem=
    serve_ratings 9080
    start_control_plane
    wait_for 40 'the change made meanwhile' ratings_answers_from ratings-a || problem='the change has not come'
    verdict 'control plane back, with a change' "$destination" "$route" "$backend" "$problem"
}

# The keys that etcd clients see, without directory markers, are those that the same files translate to.
row_of_etcd() {
    local problem=
    inside pod env ETCDCTL_API=3 etcdctl --endpoints 127.0.0.1:2379 get --prefix --keys-only /apisix \
        2>"$work/logs/etcdctl.log" |
        sed -n 's|^/apisix\(/[^/]*/[^/]\{1,\}\)$|\1|p' | sort >"$work/keys.etcd" || true
    "$BIN" translate "$work/xds" 2>"$work/logs/translate.log" |
        python3 -c 'import json, sys; print("\n".join(sorted(json.load(sys.stdin)["objects"])))' \
            >"$work/keys.translate" || true
    cmp -s "$work/keys.etcd" "$work/keys.translate" ||
        problem="apisix-mesh translate gives $(wc -l <"$work/keys.translate")"
    [ -s "$work/keys.etcd" ] || problem="etcdctl gives nothing"
    verdict "etcdctl get --prefix /apisix: $(wc -l <"$work/keys.etcd") objects" '' '' '' "$problem"
}
