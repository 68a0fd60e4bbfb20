//! Which route a request finds, and what variables and conditions say of it.

use super::*;

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
