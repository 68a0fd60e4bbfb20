//! What becomes of a request behind its route: upstreams and plugins.

use super::*;

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
