//! The model of APISIX does what APISIX does. Each test names a rule, and what the rule rests on: a section of
//! `apisix-contract.md`, or the file of APISIX, of its libraries or of nginx that says so.

mod support;

use std::{collections::BTreeMap, time::Instant};

use apisix_mesh::apisix::{Directory, Key};
use serde_json::{Value, json};
use support::{
    apisix::Apisix,
    exchange::{Answer, Forward, Outcome, Request},
};

/// Routes, each given the id and name `r<n>`, priorities and the upstream `u` where they have none.
fn apisix(routes: &[Value]) -> Apisix {
    let mut objects = BTreeMap::new();
    for name in ["u", "v"] {
        let upstream = json!({"id": name, "name": name, "type": "roundrobin", "nodes":
            [{"host": "10.0.0.9", "port": 8080, "weight": 1}]});
        objects.insert(Key::new(Directory::Upstreams, name), upstream.to_string().into());
    }
    for (at, route) in routes.iter().enumerate() {
        let mut route = route.clone();
        let id = format!("r{at}");
        for (field, value) in [
            ("id", json!(id)),
            ("name", json!(id)),
            ("uris", json!(["/*"])),
            ("priority", json!(0)),
            ("upstream_id", json!("u")),
        ] {
            if route.get(field).is_none() {
                route[field] = value;
            }
        }
        objects.insert(Key::new(Directory::Routes, &id), route.to_string().into());
    }
    Apisix::new(&objects)
}

fn get(authority: &str, target: &str) -> Request {
    Request::get("10.0.0.1:80", authority, target)
}

fn matched(routes: &[Value], authority: &str, target: &str) -> Option<String> {
    apisix(routes).matched(&get(authority, target)).map(str::to_owned)
}

/// The route that a path finds.
fn by_path(uris: &[&str], target: &str) -> Option<String> {
    let routes: Vec<_> =
        uris.iter().enumerate().map(|(at, u)| json!({"uris": [u], "priority": at})).collect();
    matched(&routes, "a", target)
}

fn by_host(hosts: &[&str], authority: &str) -> Option<String> {
    let routes: Vec<_> = hosts.iter().map(|h| json!({"hosts": [h]})).collect();
    matched(&routes, authority, "/")
}

/// Whether a condition holds.
fn holds(condition: Value, request: &Request) -> bool {
    apisix(&[json!({"vars": [condition]})]).matched(request).is_some()
}

fn r(at: usize) -> Option<String> {
    Some(format!("r{at}"))
}

fn forwarded(plugins: Value, request: &Request) -> Forward {
    match apisix(&[json!({"plugins": plugins})]).answer(request) {
        Outcome::Forward(forward) => forward,
        Outcome::Answer(answer) => panic!("{answer:?}"),
    }
}

fn answered(plugins: Value, request: &Request) -> Answer {
    match apisix(&[json!({"plugins": plugins})]).answer(request) {
        Outcome::Answer(answer) => answer,
        Outcome::Forward(forward) => panic!("{forward:?}"),
    }
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
}

// Contract section 8; apisix/http/router/radixtree_host_uri.lua.

#[test]
fn an_exact_host_goes_before_suffixes_and_the_longer_suffix_before_the_shorter() {
    let hosts = ["*.com", "*.a.com", "x.a.com", "*"];
    assert_eq!(by_host(&hosts, "x.a.com"), r(2));
    assert_eq!(by_host(&hosts, "y.a.com"), r(1));
    assert_eq!(by_host(&hosts, "z.y.a.com"), r(1));
    assert_eq!(by_host(&hosts, "a.com"), r(0));
    assert_eq!(by_host(&hosts, "a.org"), r(3));
}

#[test]
fn a_suffix_also_matches_with_nothing_before_it() {
    // rax finds a key that is as long as the text.
    assert_eq!(by_host(&["*.a.com"], ".a.com"), r(0));
    assert_eq!(by_host(&["*-x.a"], "-x.a"), r(0));
}

#[test]
fn a_host_without_a_match_falls_through_to_less_special_ones() {
    let routes = [
        json!({"hosts": ["a.com"], "uris": ["/x"]}),
        json!({"hosts": ["*.com"], "uris": ["/y"]}),
        json!({"uris": ["/*"]}),
    ];
    assert_eq!(matched(&routes, "a.com", "/x"), r(0));
    assert_eq!(matched(&routes, "a.com", "/y"), r(1));
    assert_eq!(matched(&routes, "a.com", "/z"), r(2));
}

#[test]
fn priority_never_crosses_hosts() {
    let routes = [json!({"hosts": ["a.com"]}), json!({"priority": 1000})];
    assert_eq!(matched(&routes, "a.com", "/"), r(0));
}

#[test]
fn no_route_is_404_and_so_is_a_disabled_one() {
    let found = apisix(&[json!({"hosts": ["a"]}), json!({"status": 0})]);
    assert_eq!(found.answer(&get("b", "/")), Outcome::Answer(Answer::status(404)));
}

// Contract section 8; lua-resty-radixtree lib/resty/radixtree.lua.

#[test]
fn an_exact_path_goes_before_prefixes_and_the_longer_prefix_before_the_shorter() {
    let uris = ["/a/b", "/a/b*", "/a/*", "/*"];
    assert_eq!(by_path(&uris, "/a/b"), r(0));
    assert_eq!(by_path(&uris, "/a/bc"), r(1));
    assert_eq!(by_path(&uris, "/a/c"), r(2));
    assert_eq!(by_path(&uris, "/a"), r(3));
}

#[test]
fn a_prefix_matches_with_nothing_after_it() {
    assert_eq!(by_path(&["/foo*"], "/foo"), r(0));
    assert_eq!(by_path(&["/foo/*"], "/foo/"), r(0));
    assert_eq!(by_path(&["/foo/*"], "/foo"), None);
    assert_eq!(by_path(&["/*"], "/a/b"), r(0));
}

#[test]
fn priority_orders_routes_of_one_path_text() {
    assert_eq!(by_path(&["/a*", "/a*"], "/a"), r(1));
    assert_eq!(by_path(&["/a", "/a"], "/a"), r(1));
}

#[test]
fn a_candidate_that_fails_its_conditions_is_passed_over() {
    let routes = [
        json!({"uris": ["/a"], "vars": [["http_x", "==", "1"]]}),
        json!({"uris": ["/a*"], "methods": ["POST"]}),
        json!({"uris": ["/*"], "remote_addrs": ["10.0.0.0/8"]}),
        json!({"uris": ["/*"], "priority": -1}),
    ];
    assert_eq!(matched(&routes, "h", "/a"), r(3));
}

#[test]
fn a_segment_that_begins_with_a_star_makes_the_path_a_pattern() {
    assert_eq!(by_path(&["/a+b/*"], "/a+b/c"), None);
    assert_eq!(by_path(&["/f(x)/*"], "/f(x)/"), None);
    assert_eq!(by_path(&["/a+b*"], "/a+b/c"), r(0));
    // A dot matches itself, and whatever else got past the prefix.
    assert_eq!(by_path(&["/a.b/*"], "/a.b/c"), r(0));
    assert_eq!(by_path(&["/a/*/c"], "/a/b/c"), r(0));
    assert_eq!(by_path(&["/a/*/c"], "/a/b/d"), None);
}

#[test]
fn a_segment_that_begins_with_a_colon_needs_the_colon() {
    // apisix/utils/router.lua sets no_param_match: the text is an exact path.
    assert_eq!(by_path(&["/:id/x"], "/:id/x"), r(0));
    assert_eq!(by_path(&["/:id/x"], "/1/x"), None);
    // With a star behind it the pattern takes any segment, but only past the literal prefix.
    assert_eq!(by_path(&["/:id/*"], "/:id/x"), r(0));
}

// nginx src/http/ngx_http_parse.c, ngx_http_request.c.

#[test]
fn the_path_is_decoded_and_normalised() {
    for (target, uri) in [
        ("/a//b", "/a/b"),
        ("/a/./b", "/a/b"),
        ("/a/x/../b", "/a/b"),
        ("/a/x/..", "/a/"),
        ("/a/.", "/a/"),
        ("/a%2Fb", "/a/b"),
        ("/a%2F%2Fb", "/a/b"),
        ("/a/%2e%2E/b", "/b"),
        ("/a%20b", "/a b"),
        ("/a%3Fb?c", "/a?b"),
        ("/a%23b", "/a#b"),
        ("/a%25b", "/a%b"),
        ("/a+b", "/a+b"),
        ("/a;x=1/b", "/a;x=1/b"),
        ("/a#b", "/a"),
        ("/a/...", "/a/..."),
        ("/a/.b", "/a/.b"),
        ("/A", "/A"),
    ] {
        assert!(holds(json!(["uri", "==", uri]), &get("h", target)), "{target}");
        assert!(holds(json!(["real_request_uri", "==", target]), &get("h", target)), "{target}");
    }
}

#[test]
fn what_nginx_cannot_read_is_answered_with_400() {
    for target in ["/..", "/a/../..", "/%", "/%2", "/%zz", "/%00", "/a b"] {
        assert_eq!(
            apisix(&[json!({})]).answer(&get("h", target)),
            Outcome::Answer(Answer::status(400)),
            "{target}"
        );
    }
    for authority in ["", ".", "a..b", "a b", "a/b", "[::1"] {
        let found = apisix(&[json!({})]).answer(&get(authority, "/"));
        assert_eq!(found, Outcome::Answer(Answer::status(400)), "{authority:?}");
    }
}

#[test]
fn the_host_has_no_port_no_trailing_dot_and_no_upper_case() {
    for authority in ["a.com", "A.com", "a.com:80", "a.com.", "a.com.:80", "a.com:http"] {
        let request = get(authority, "/");
        assert!(holds(json!(["host", "==", "a.com"]), &request), "{authority}");
        assert!(holds(json!(["http_host", "==", authority]), &request), "{authority}");
        assert_eq!(by_host(&["a.com"], authority), r(0), "{authority}");
    }
    assert_eq!(by_host(&["[::1]"], "[::1]:80"), r(0));
}

#[test]
fn request_uri_is_the_normalised_one() {
    // apisix/init.lua http_access_phase.
    assert!(holds(json!(["request_uri", "==", "/a/b?x=%20"]), &get("h", "/a//b?x=%20")));
    assert!(holds(json!(["request_uri", "==", "/a"]), &get("h", "/a?")));
}

// Variables: apisix/core/ctx.lua, nginx src/http/ngx_http_variables.c, lua-nginx-module src/ngx_http_lua_args.c.

#[test]
fn header_variables_fold_hyphens_and_underscores_and_join_lines() {
    let request = get("h", "/").header("X-A", "1").header("x_a", "2").header("X-A", "3");
    assert!(holds(json!(["http_x_a", "==", "1, 2, 3"]), &request));
    assert!(holds(json!(["http_X-A", "==", "1, 2, 3"]), &request));
    assert!(holds(json!(["http_x_b", "==", null]), &request));
}

#[test]
fn a_header_with_another_character_in_its_name_is_dropped() {
    let request = get("h", "/").header("x.a", "1");
    assert!(holds(json!(["http_x.a", "==", null]), &request));
    assert_eq!(forwarded(json!({}), &request).headers, []);
}

#[test]
fn an_argument_is_its_first_value_decoded() {
    let request = get("h", "/?a=1&a=2&b=x%20y+z&%63=%zz&e=&=f&g==1");
    for (name, value) in [("a", "1"), ("b", "x y z"), ("c", "%zz"), ("e", ""), ("g", "=1")] {
        assert!(holds(json!([format!("arg_{name}"), "==", value]), &request), "{name}");
    }
    assert!(holds(json!(["arg_d", "==", null]), &request));
    assert!(holds(json!(["arg_A", "==", null]), &request));
}

#[test]
fn an_argument_without_a_value_is_true() {
    let request = get("h", "/?q&r=");
    assert!(holds(json!(["arg_q", "!", "==", null]), &request));
    assert!(holds(json!(["arg_q", "==", true]), &request));
    assert!(!holds(json!(["arg_q", "==", ""]), &request));
    assert!(!holds(json!(["arg_q", "==", "true"]), &request));
    assert!(!holds(json!(["arg_q", "in", ["true", ""]]), &request));
    // ngx.re.find makes text of it.
    assert!(holds(json!(["arg_q", "~~", "^true$"]), &request));
    assert!(!holds(json!(["arg_q", ">", 0]), &request));
    assert!(holds(json!(["arg_r", "==", ""]), &request));
}

#[test]
fn the_last_cookie_of_a_name_counts() {
    let request = get("h", "/").header("cookie", "a=1; b=2; a=3").header("cookie", "c=4");
    assert!(holds(json!(["cookie_a", "==", "3"]), &request));
    assert!(holds(json!(["cookie_c", "==", "4"]), &request));
    assert!(holds(json!(["cookie_d", "==", null]), &request));
    assert!(holds(json!(["cookie_a", "==", null]), &get("h", "/")));
}

#[test]
fn an_outbound_connection_ends_on_the_loopback_address() {
    let outbound = get("h", "/");
    assert!(holds(json!(["server_addr", "in", ["127.0.0.1", "::1"]]), &outbound));
    let inbound = Request { outbound: false, ..outbound };
    assert!(holds(json!(["server_addr", "==", "10.0.0.1"]), &inbound));
    assert!(holds(json!(["connection_original_dst", "==", "10.0.0.1:80"]), &inbound));
}

// Contract section 6; lua-resty-expr lib/resty/expr/v1.lua.

#[test]
fn nothing_is_equal_to_a_missing_variable_but_nil() {
    let request = get("h", "/");
    for (condition, expected) in [
        (json!(["http_x", "==", "1"]), false),
        (json!(["http_x", "~=", "1"]), true),
        (json!(["http_x", "~~", ".*"]), false),
        (json!(["http_x", "~*", ".*"]), false),
        (json!(["http_x", "!", "~~", ".*"]), true),
        (json!(["http_x", "!", "==", "1"]), true),
        (json!(["http_x", "==", null]), true),
        (json!(["http_x", "~=", null]), false),
        (json!(["http_x", "in", ["1"]]), false),
        (json!(["http_x", "!", "in", ["1"]]), true),
        (json!(["http_x", "<", 1]), false),
        (json!(["http_x", "!", "<", 1]), true),
        (json!(["http_x", "has", "1"]), false),
        (json!(["http_x", "==", 1]), false),
        (json!(["http_x", "~=", 1]), true),
    ] {
        assert_eq!(holds(condition.clone(), &request), expected, "{condition}");
    }
}

#[test]
fn patterns_are_searched_and_case_is_folded_on_demand() {
    let request = get("h", "/Path");
    assert!(holds(json!(["uri", "~~", "at"]), &request));
    assert!(!holds(json!(["uri", "~~", "^at"]), &request));
    assert!(!holds(json!(["uri", "~~", "path"]), &request));
    assert!(holds(json!(["uri", "~*", "^/pATH$"]), &request));
    assert!(holds(json!(["uri", "~~", r"^(?!/x)"]), &request));
}

#[test]
fn a_dollar_matches_before_a_last_newline_and_z_does_not() {
    let request = get("h", "/a%0a");
    assert!(holds(json!(["uri", "~~", "^/a$"]), &request));
    assert!(!holds(json!(["uri", "~~", r"^/a\z"]), &request));
}

#[test]
fn numbers_make_numbers_of_what_is_compared_with_them() {
    let with = |value: &str| get("h", "/").header("n", value);
    for (value, number) in [("10", 10.0), (" 10 ", 10.0), ("1e1", 10.0), ("0xA", 10.0), ("-2.5", -2.5)] {
        assert!(holds(json!(["http_n", "==", number]), &with(value)), "{value}");
    }
    assert!(!holds(json!(["http_n", "==", "10"]), &with("10.0")));
    assert!(
        holds(json!(["http_n", ">=", 10]), &with("10")) && !holds(json!(["http_n", ">", 10]), &with("10"))
    );
    assert!(
        holds(json!(["http_n", "<=", "10"]), &with("9")) && !holds(json!(["http_n", "<", 10]), &with("ten"))
    );
    assert!(!holds(json!(["http_n", "in", [10]]), &with("10")), "a number is never in a list for a text");
}

#[test]
fn groups_are_and_or_and_their_negations() {
    let request = get("h", "/");
    let (yes, no) = (json!(["uri", "==", "/"]), json!(["uri", "==", "/x"]));
    for (group, expected) in [("AND", false), ("OR", true), ("!AND", true), ("!OR", false), ("or", true)] {
        assert_eq!(holds(json!([group, yes, no]), &request), expected, "{group}");
    }
    assert!(holds(json!(["OR", no, ["AND", yes, ["!OR", no, no]]]), &request));
    assert!(holds(json!([yes, ["uri", "!", "==", "/x"]]), &request));
}

#[test]
fn addresses_are_matched_in_ranges() {
    let from = |ip: &str| Request { remote_addr: ip.to_owned(), ..get("h", "/") };
    let range = json!(["remote_addr", "ipmatch", ["10.0.0.0/8", "::1"]]);
    assert!(holds(range.clone(), &from("10.9.8.7")) && holds(range.clone(), &from("::1")));
    assert!(!holds(range, &from("11.0.0.1")));
}

#[test]
#[should_panic(expected = "rule too short")]
fn a_group_of_one_is_refused() {
    holds(json!(["OR", ["uri", "==", "/"]]), &get("h", "/"));
}

#[test]
#[should_panic(expected = "not modelled")]
fn an_unknown_operator_is_not_modelled() {
    holds(json!(["uri", "~=~", "/"]), &get("h", "/"));
}

#[test]
#[should_panic(expected = "not modelled")]
fn an_unknown_plugin_is_not_modelled() {
    answered(json!({"jwt-auth": {}}), &get("h", "/"));
}

#[test]
#[should_panic(expected = "no order between")]
fn two_matching_routes_without_an_order_are_reported() {
    matched(&[json!({}), json!({})], "h", "/");
}

// apisix/init.lua, apisix/upstream.lua, apisix/balancer.lua, apisix/cli/ngx_tpl.lua.

#[test]
fn without_plugins_a_request_goes_up_as_it_came() {
    let request = get("A:80", "/a//b%2F?x=%20").header("x-a", "1").header("connection", "close");
    let forward = forwarded(json!({}), &request);
    assert_eq!(forward.clusters, ["u".to_owned()].into());
    assert_eq!((forward.authority.as_str(), forward.target.as_str()), ("A:80", "/a//b%2F?x=%20"));
    assert_eq!(forward.headers, pairs(&[("x-a", "1")]));
    assert_eq!(forward.response_headers, pairs(&[("x-both", "up"), ("x-upstream", "1")]));
}

#[test]
fn a_route_may_hold_its_nodes_itself() {
    let node = json!({"host": "127.0.0.1", "port": 9080, "weight": 1});
    let route = json!({"upstream": {"type": "roundrobin", "nodes": [node]}, "upstream_id": null});
    let mut route = route;
    route.as_object_mut().unwrap().remove("upstream_id");
    let id = Key::new(Directory::Routes, "r");
    route["id"] = json!("r");
    route["uris"] = json!(["/*"]);
    let found = Apisix::new(&[(id, route.to_string().into())].into()).answer(&get("h", "/"));
    let Outcome::Forward(forward) = found else { panic!("{found:?}") };
    assert_eq!(forward.clusters, ["127.0.0.1:9080".to_owned()].into());
}

#[test]
fn an_upstream_without_nodes_is_503_and_a_missing_one_502() {
    let status = |upstream: Value| {
        let found = apisix(&[upstream]).answer(&get("h", "/"));
        let Outcome::Answer(answer) = found else { panic!("{found:?}") };
        answer.status
    };
    assert_eq!(status(json!({"upstream_id": "gone"})), 502);
    let empty = json!({"plugins": {"traffic-split": {"rules": [{"weighted_upstreams":
        [{"upstream": {"type": "roundrobin", "nodes": []}}]}]}}});
    assert_eq!(status(empty), 503);
}

#[test]
fn pass_host_is_done_after_proxy_rewrite() {
    let with = |more: Value| {
        let mut upstream = json!({"type": "roundrobin", "nodes": [{"host": "n", "port": 81, "weight": 1}]});
        upstream.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let split = json!({"rules": [{"weighted_upstreams": [{"upstream": upstream}]}]});
        forwarded(json!({"traffic-split": split, "proxy-rewrite": {"host": "p"}}), &get("h", "/")).authority
    };
    assert_eq!(with(json!({})), "p");
    assert_eq!(with(json!({"pass_host": "pass"})), "p");
    assert_eq!(with(json!({"pass_host": "rewrite", "upstream_host": "u"})), "u");
    assert_eq!(with(json!({"pass_host": "node"})), "n:81");
}

// apisix/plugin.lua.

#[test]
fn a_filter_decides_whether_a_plugin_runs() {
    let plugins = json!({"fault-injection": {"abort": {"http_status": 403},
        "_meta": {"filter": [["http_x", "==", "1"]]}}});
    assert_eq!(answered(plugins.clone(), &get("h", "/").header("x", "1")).status, 403);
    assert_eq!(forwarded(plugins, &get("h", "/")).target, "/");
}

#[test]
fn plugins_run_by_priority_and_all_rewrites_before_any_access() {
    // redirect (900) answers in the rewrite phase, before ip-restriction (3000) in the access phase.
    let plugins = json!({"redirect": {"uri": "/x"}, "ip-restriction": {"blacklist": ["0.0.0.0/0"]}});
    assert_eq!(answered(plugins, &get("h", "/")).status, 302);
    let plugins = json!({"redirect": {"uri": "/x"}, "fault-injection": {"abort": {"http_status": 500}}});
    assert_eq!(answered(plugins, &get("h", "/")).status, 500);
}

#[test]
fn header_filters_run_on_answers_too() {
    let plugins = json!({"fault-injection": {"abort": {"http_status": 418, "body": "b"}},
        "response-rewrite": {"headers": {"set": {"x": "1"}}}});
    let expected = Answer { status: 418, headers: pairs(&[("x", "1")]), body: Some("b".to_owned()) };
    assert_eq!(answered(plugins, &get("h", "/")), expected);
}

// apisix/plugins/fault-injection.lua.

#[test]
fn an_abort_resolves_variables_in_headers_and_body() {
    let plugins = json!({"fault-injection": {"abort": {"http_status": 200, "body": "at $uri$",
        "headers": {"X-A": "${http_a ?? none}", "n": 1}}}});
    let answer = answered(plugins, &get("h", "/p"));
    assert_eq!(answer.body.as_deref(), Some("at /p$"));
    assert_eq!(answer.headers, pairs(&[("n", "1"), ("x-a", "none")]));
}

#[test]
fn an_abort_has_alternatives_and_a_percentage() {
    let plugins = json!({"fault-injection": {"abort": {"http_status": 500,
        "vars": [[["http_x", "==", "1"]], [["http_y", "==", "1"]]]}}});
    assert_eq!(answered(plugins.clone(), &get("h", "/").header("y", "1")).status, 500);
    assert_eq!(forwarded(plugins, &get("h", "/")).target, "/");
    let never = json!({"fault-injection": {"abort": {"http_status": 500, "percentage": 0}, "delay": {"duration": 1}}});
    assert_eq!(forwarded(never, &get("h", "/")).target, "/");
}

// apisix/plugins/proxy-rewrite.lua.

#[test]
fn a_rewritten_path_keeps_the_query() {
    let to = |conf: Value, target: &str| forwarded(json!({"proxy-rewrite": conf}), &get("h", target)).target;
    assert_eq!(to(json!({"uri": "/b"}), "/a?x=1"), "/b?x=1");
    assert_eq!(to(json!({"uri": "/b?y=2"}), "/a?x=1"), "/b?y=2&x=1");
    assert_eq!(to(json!({"uri": "/b$uri"}), "/a%20%3Fc"), "/b/a%20%253Fc");
    assert_eq!(to(json!({"regex_uri": ["^/a(.*)", "/b$1"]}), "/a/c?x=1"), "/b/c?x=1");
    assert_eq!(to(json!({"regex_uri": ["^/z(.*)", "/b$1"]}), "/a/c"), "/a/c");
    assert_eq!(to(json!({"regex_uri": ["a", "$$"]}), "/a/a"), "/$/a");
    assert_eq!(to(json!({"regex_uri": ["^/z", "/y", "^/a", "/b", "^/b", "/c"]}), "/a"), "/b");
}

#[test]
fn every_proxy_rewrite_sends_the_path_decoded_and_encoded_anew() {
    let host = |target: &str, raw: bool| {
        let conf = json!({"host": "x", "use_real_request_uri_unsafe": raw});
        forwarded(json!({"proxy-rewrite": conf}), &get("h", target)).target
    };
    assert_eq!(host("/a%2Fb//c%41?x=%41", false), "/a/b/cA?x=%41");
    assert_eq!(host("/a%20b", false), "/a%20b");
    assert_eq!(host("/a%3Fb", false), "/a%3Fb");
    assert_eq!(host("/a%2Fb//c%41?x=%41", true), "/a%2Fb//c%41?x=%41");
}

#[test]
fn request_headers_are_added_then_set_then_removed() {
    let conf = json!({"headers": {"add": {"x-a": "2", "x-b": ["1", "2"]}, "set": {"x-c": "$http_x_a", "x-d": ["1", "2"],
        "x-f": ""}, "remove": ["x-e"]}});
    let request = get("h", "/").header("x-a", "1").header("x-d", "0").header("x-e", "0").header("x-f", "0");
    let expected =
        [("x-a", "1"), ("x-a", "2"), ("x-b", "1"), ("x-b", "2"), ("x-c", "1, 2"), ("x-d", "1"), ("x-d", "2")];
    assert_eq!(forwarded(json!({"proxy-rewrite": conf}), &request).headers, pairs(&expected));
}

#[test]
fn header_values_hold_captures_of_the_path() {
    let conf = json!({"regex_uri": ["^/(.)(.)", "/x"], "headers": {"set": {"x": "$2-${1}-$9-\\$1"}}});
    let forward = forwarded(json!({"proxy-rewrite": conf}), &get("h", "/ab"));
    // The escaped `$1` is then kept by `resolve_var` as well, backslash and all.
    assert_eq!(forward.headers, pairs(&[("x", r"b-a--\$1")]));
}

// apisix/core/utils.lua resolve_var.

#[test]
fn templates_have_defaults_and_literal_dollars() {
    let text = |template: &str| {
        let conf = json!({"headers": {"set": {"x": template}}});
        let headers = forwarded(json!({"proxy-rewrite": conf}), &get("h", "/p?q=1")).headers;
        headers.first().map_or_else(String::new, |(_, value)| value.clone())
    };
    assert_eq!(text("$host-${ uri }"), "h-/p");
    assert_eq!(text("${http_a ?? b c}"), "b c");
    assert_eq!(text("${_ ?? $}x"), "$x");
    assert_eq!(text("a$ $- ${}"), "a$ $- ${}");
    assert_eq!(text("$arg_q.$arg_z"), "");
    assert_eq!(text("100% $http_a!"), "100% !");
}

// apisix/plugins/traffic-split.lua.

#[test]
fn a_split_leaves_its_choice_open() {
    let rules = json!([{"match": [{"vars": [["http_x", "==", "1"]]}], "weighted_upstreams": [{"upstream_id": "v"}]},
        {"weighted_upstreams": [{"upstream_id": "v", "weight": 3}, {"weight": 1}, {"upstream_id": "w", "weight": 0}]}]);
    let clusters = |request| forwarded(json!({"traffic-split": {"rules": rules}}), &request).clusters;
    assert_eq!(clusters(get("h", "/")), ["u".to_owned(), "v".to_owned()].into());
    assert_eq!(clusters(get("h", "/").header("x", "1")), ["v".to_owned()].into());
}

#[test]
fn a_share_without_nodes_stands_as_503() {
    let rules = json!([{"weighted_upstreams":
        [{"upstream_id": "v"}, {"upstream": {"type": "roundrobin", "nodes": []}}]}]);
    let clusters = forwarded(json!({"traffic-split": {"rules": rules}}), &get("h", "/")).clusters;
    assert_eq!(clusters, ["503".to_owned(), "v".to_owned()].into());
}

// apisix/plugins/redirect.lua.

#[test]
fn a_redirect_has_templates_of_its_own() {
    let to = |conf: Value| {
        let answer = answered(json!({"redirect": conf}), &get("H:1", "/a%20b?x=1"));
        (answer.status, answer.headers[0].1.clone())
    };
    let uri = |text: &str| to(json!({"uri": text})).1;
    assert_eq!(to(json!({"uri": "/x", "ret_code": 301})), (301, "/x".to_owned()));
    assert_eq!(uri("https://$host$request_uri"), "https://h/a b?x=1");
    assert_eq!(uri("http://${http_host}/-$http_none-"), "http://H:1/--");
    assert_eq!(uri(r"/a\b\$host$"), r"/ab\$host$");
    assert_eq!(uri("/$ $$"), "/$ $$");
    assert_eq!(to(json!({"uri": "/x", "append_query_string": true})).1, "/x?x=1");
    assert_eq!(to(json!({"uri": "/x?y", "append_query_string": true})).1, "/x?y&x=1");
    assert_eq!(to(json!({"uri": "$uri", "encode_uri": true})).1, "/a%20b");
    assert_eq!(to(json!({"regex_uri": ["^/a(.*)", "/c$1"], "ret_code": 307})), (307, "/c b".to_owned()));
    let unmatched = json!({"redirect": {"regex_uri": ["^/z", "/c"]}});
    assert_eq!(forwarded(unmatched, &get("h", "/")).target, "/");
}

// apisix/plugins/response-rewrite.lua, lua-nginx-module src/ngx_http_lua_headers_out.c.

#[test]
fn response_headers_are_added_then_set_then_removed() {
    let headers = json!({"add": ["x-both: config", "X_New:  a"], "set": {"x-set": "http://$host/"}, "remove":
        ["x-upstream"]});
    let found = forwarded(json!({"response-rewrite": {"headers": headers}}), &get("h", "/")).response_headers;
    let expected = [("x-both", "config"), ("x-both", "up"), ("x-new", "a"), ("x-set", "http://h/")];
    assert_eq!(found, pairs(&expected));
    let set = json!({"response-rewrite": {"headers": {"set": {"x-both": "1", "x-upstream": ""}}}});
    assert_eq!(forwarded(set, &get("h", "/")).response_headers, pairs(&[("x-both", "1")]));
}

#[test]
#[should_panic(expected = "APISIX refuses the route")]
fn an_added_response_header_with_a_colon_is_refused() {
    forwarded(json!({"response-rewrite": {"headers": {"add": ["x: a:b"]}}}), &get("h", "/"));
}

// apisix/plugins/cors.lua.

#[test]
fn cors_answers_every_options_and_marks_allowed_origins() {
    let conf = json!({"cors": {"allow_origins": "http://a,http://b", "allow_methods": "GET", "allow_headers": "x",
        "max_age": 60, "allow_credential": true}});
    let request = |origin: &str| get("h", "/").header("origin", origin);
    let preflight = answered(conf.clone(), &request("http://b").method("OPTIONS"));
    assert_eq!(preflight.status, 200);
    let allowed = [
        ("access-control-allow-credentials", "true"),
        ("access-control-allow-headers", "x"),
        ("access-control-allow-methods", "GET"),
        ("access-control-allow-origin", "http://b"),
        ("access-control-max-age", "60"),
        ("vary", "Origin"),
    ];
    assert_eq!(preflight.headers, pairs(&allowed));
    let other = forwarded(conf, &request("http://c")).response_headers;
    assert_eq!(other, pairs(&[("vary", "Origin"), ("x-both", "up"), ("x-upstream", "1")]));
}

#[test]
fn cors_takes_origins_by_pattern() {
    let conf = json!({"cors": {"allow_origins_by_regex": ["^http://a", "b$"], "allow_methods": "**"}});
    let origin = |origin: &str| {
        let headers = forwarded(conf.clone(), &get("h", "/").header("origin", origin)).response_headers;
        headers.into_iter().find(|(name, _)| name == "access-control-allow-origin").map(|(_, value)| value)
    };
    assert_eq!(origin("http://abc").as_deref(), Some("http://abc"));
    assert_eq!(origin("http://bc"), None);
}

// apisix/plugins/ip-restriction/init.lua.

#[test]
fn ip_restriction_denies_by_list() {
    let denies = |conf: Value| matches!(apisix(&[json!({"plugins": {"ip-restriction": conf}})]).answer(&get("h", "/")), Outcome::Answer(a) if a.status == 403);
    assert!(denies(json!({"whitelist": ["10.0.0.0/8"]})) && !denies(json!({"whitelist": ["127.0.0.0/8"]})));
    assert!(denies(json!({"blacklist": ["127.0.0.1"]})) && !denies(json!({"blacklist": ["10.0.0.1"]})));
}

#[test]
fn limits_mirrors_and_forward_auth_change_nothing() {
    let plugins =
        json!({"limit-count": {}, "limit-req": {}, "limit-conn": {}, "proxy-mirror": {}, "forward-auth": {}});
    assert_eq!(forwarded(plugins, &get("h", "/")).target, "/");
}

/// Not a guarantee: prints what a request costs, since property tests make many.
#[test]
fn a_request_among_many_routes_is_cheap() {
    let route = |at: usize| {
        json!({"hosts": [format!("h{at}.com")], "vars": [["connection_original_dst", "~~", ":80$"],
            ["http_x", "==", "1"]]})
    };
    let apisix = apisix(&(0..500).map(route).collect::<Vec<_>>());
    let request = get("h77.com:80", "/some/path?x=1").header("x", "1").header("accept", "*/*");
    let start = Instant::now();
    for _ in 0..1000 {
        assert_eq!(apisix.matched(&request), Some("r77"));
    }
    println!("{} us per request", start.elapsed().as_micros() / 1000);
}
