//! The model of Envoy: rules that Envoy's documentation states, or that the real Envoy was seen to follow.

mod support;

use serde_json::{Value, json};
use support::{
    envoy::{Decision, Envoy},
    exchange::{Answer, Forward, Outcome, Request},
    load,
};

const TYPES: &str = "type.googleapis.com/envoy";

/// One wildcard listener on port 80, and the clusters `a` and `b`.
fn envoy(config: Value) -> Envoy {
    let mut config = config;
    config["@type"] = json!(format!("{TYPES}.config.route.v3.RouteConfiguration"));
    config["name"] = json!("r");
    let manager = "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
    let manager = json!({"@type": format!("{TYPES}.{manager}"), "rds": {"routeConfigName": "r"}});
    let mut document = vec![
        config,
        json!({"@type": format!("{TYPES}.config.listener.v3.Listener"), "name": "l",
        "address": {"socketAddress": {"address": "0.0.0.0", "portValue": 80}},
        "filterChains": [{"filters": [{"name": "hcm", "typedConfig": manager}]}]}),
    ];
    for name in ["a", "b"] {
        document.push(json!({"@type": format!("{TYPES}.config.cluster.v3.Cluster"), "name": name}));
    }
    Envoy::new(&load::resources(&Value::Array(document)))
}

fn decide(config: Value, request: &Request) -> Decision {
    envoy(config).decide(request).expect("a listener")
}

fn get(authority: &str, target: &str) -> Request {
    Request::get("10.0.0.1:80", authority, target)
}

/// The domain that a Host header finds.
fn by_domain(domains: &[&str], ignore_port: bool, authority: &str) -> Option<String> {
    let host = |domain: &&str| json!({"name": domain, "domains": [domain], "routes": []});
    let hosts: Vec<Value> = domains.iter().map(host).collect();
    let config = json!({"virtualHosts": hosts, "ignorePortInHostMatching": ignore_port});
    decide(config, &get(authority, "/")).place.host.map(|at| domains[at].to_owned())
}

fn matches(matched: Value, request: &Request) -> bool {
    let route = json!({"match": matched, "route": {"cluster": "a"}});
    let config = json!({"virtualHosts": [{"name": "h", "domains": ["*"], "routes": [route]}]});
    decide(config, request).place.route.is_some()
}

fn with_header(matcher: Value, request: &Request) -> bool {
    matches(json!({"prefix": "/", "headers": [matcher]}), request)
}

fn done(route: Value, request: &Request) -> Outcome {
    let mut config = json!({"virtualHosts": [{"name": "h", "domains": ["*"]}]});
    config["virtualHosts"][0]["routes"] = json!([route]);
    decide(config, request).outcomes.remove(0).1
}

fn target(matched: Value, action: Value, target: &str) -> String {
    let mut action = action;
    action["cluster"] = json!("a");
    match done(json!({"match": matched, "route": action}), &get("h", target)) {
        Outcome::Forward(forward) => forward.target,
        Outcome::Answer(answer) => panic!("{answer:?}"),
    }
}

fn location(redirect: Value, authority: &str, target: &str) -> String {
    let route = json!({"match": {"prefix": "/a"}, "redirect": redirect});
    match done(route, &get(authority, target)) {
        Outcome::Answer(answer) => answer.headers[0].1.clone(),
        Outcome::Forward(forward) => panic!("{forward:?}"),
    }
}

#[test]
fn exact_domains_go_before_suffixes_before_prefixes_before_any() {
    let domains = ["a.com", "*.com", "*.b.com", "a.*", "*"];
    let found = |authority| by_domain(&domains, true, authority).unwrap();
    assert_eq!(found("A.com:80"), "a.com");
    assert_eq!(found("x.b.com"), "*.b.com");
    assert_eq!(found("a.b.com"), "*.b.com");
    assert_eq!(found("a.org"), "a.*");
    assert_eq!(found("b.com"), "*.com");
    assert_eq!(found(".com"), "*");
    assert_eq!(found("a.com."), "a.*");
}

#[test]
fn a_port_is_a_part_of_the_host_unless_it_is_ignored() {
    assert_eq!(by_domain(&["a.com"], false, "a.com:80"), None);
    assert_eq!(by_domain(&["a.com:80", "a.com"], false, "a.com:80").as_deref(), Some("a.com:80"));
    assert_eq!(by_domain(&["a.com:*"], false, "a.com:81").as_deref(), Some("a.com:*"));
    assert_eq!(by_domain(&["a.com:80"], true, "a.com:80"), None);
    assert_eq!(by_domain(&["[::1]"], true, "[::1]:80").as_deref(), Some("[::1]"));
}

#[test]
fn one_virtual_host_is_asked_and_its_routes_in_order() {
    let route =
        |prefix: &str, cluster: &str| json!({"match": {"prefix": prefix}, "route": {"cluster": cluster}});
    let config = json!({"virtualHosts": [
        {"name": "x", "domains": ["x"], "routes": [route("/a", "a"), route("/a/b", "b")]},
        {"name": "rest", "domains": ["*"], "routes": [route("/", "b")]}]});
    let found = decide(config.clone(), &get("x", "/a/b"));
    assert_eq!((found.place.host, found.place.route), (Some(0), Some(0)));
    let found = decide(config, &get("x", "/z"));
    assert_eq!(found.outcomes, [(1, Outcome::Answer(Answer::status(404)))]);
}

#[test]
fn paths_are_compared_as_sent_without_the_query() {
    assert!(
        matches(json!({"path": "/a"}), &get("h", "/a?x"))
            && !matches(json!({"path": "/a"}), &get("h", "/a/"))
    );
    assert!(!matches(json!({"path": "/a b"}), &get("h", "/a%20b")));
    assert!(!matches(json!({"prefix": "/a/b"}), &get("h", "/a//b")));
    let separated = || json!({"pathSeparatedPrefix": "/a"});
    assert!(matches(separated(), &get("h", "/a/b")) && !matches(separated(), &get("h", "/ab")));
    assert!(matches(json!({"prefix": "/A", "caseSensitive": false}), &get("h", "/ab")));
    let regex = |regex: &str| json!({"safeRegex": {"regex": regex}, "caseSensitive": false});
    assert!(matches(regex("/a|/b"), &get("h", "/b?x")) && !matches(regex("/a|/b"), &get("h", "/bc")));
    assert!(!matches(regex("/a"), &get("h", "/A")));
}

#[test]
fn a_missing_header_matches_no_value_unless_it_is_taken_for_an_empty_one() {
    let exact = |more: Value| {
        let mut matcher = json!({"name": "x", "stringMatch": {"exact": "1"}});
        matcher.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        matcher
    };
    let inverted = json!({"invertMatch": true});
    let both = json!({"invertMatch": true, "treatMissingHeaderAsEmpty": true});
    assert!(!with_header(exact(json!({})), &get("h", "/")));
    assert!(!with_header(exact(inverted.clone()), &get("h", "/")));
    assert!(with_header(exact(inverted), &get("h", "/").header("x", "2")));
    assert!(with_header(exact(both), &get("h", "/")));
}

#[test]
fn lines_of_a_header_are_joined_without_a_space() {
    let request = get("h", "/").header("x", "1").header("x", "2");
    assert!(with_header(json!({"name": "X", "stringMatch": {"exact": "1,2"}}), &request));
}

#[test]
fn a_range_takes_whole_numbers_from_its_start_to_before_its_end() {
    let matched = |value: &str| {
        with_header(
            json!({"name": "x", "rangeMatch": {"start": 1, "end": 3}}),
            &get("h", "/").header("x", value),
        )
    };
    assert!(matched("1") && matched("+2") && !matched("3") && !matched("1.0") && !matched("0x1"));
}

#[test]
fn the_first_query_parameter_counts_as_it_was_sent() {
    let matched = |value: Value, target: &str| {
        let mut matcher = value;
        matcher["name"] = json!("q");
        matches(json!({"prefix": "/", "queryParameters": [matcher]}), &get("h", target))
    };
    let exact = |text: &str| json!({"stringMatch": {"exact": text}});
    assert!(matched(exact("1"), "/?q=1&q=2") && !matched(exact("2"), "/?q=1&q=2"));
    assert!(matched(exact(""), "/?q") && matched(json!({}), "/?q") && !matched(json!({}), "/?Q"));
    assert!(matched(exact("a%20b"), "/?q=a%20b") && !matched(exact("a b"), "/?q=a%20b"));
}

#[test]
fn rewrites_change_the_path_as_sent_and_keep_the_query() {
    let prefix = || json!({"prefix": "/a"});
    assert_eq!(target(prefix(), json!({"prefixRewrite": "/n"}), "/a%2Fb?x=1"), "/n%2Fb?x=1");
    assert_eq!(target(json!({"path": "/a"}), json!({"prefixRewrite": "/n"}), "/a?x"), "/n?x");
    assert_eq!(
        target(json!({"safeRegex": {"regex": "/a.*"}}), json!({"prefixRewrite": "/n"}), "/abc?x"),
        "/n?x"
    );
    let regex = json!({"regexRewrite": {"pattern": {"regex": "b"}, "substitution": r"\0\0"}});
    assert_eq!(target(prefix(), regex, "/abb?b"), "/abbbb?b");
}

#[test]
fn a_redirect_keeps_what_it_does_not_change() {
    assert_eq!(location(json!({"hostRedirect": "b"}), "h:81", "/a?x=1"), "http://b/a?x=1");
    assert_eq!(location(json!({"httpsRedirect": true}), "h:80", "/a"), "https://h/a");
    assert_eq!(location(json!({"httpsRedirect": true}), "h:81", "/a"), "https://h:81/a");
    assert_eq!(location(json!({"portRedirect": 82}), "[::1]:81", "/a"), "http://[::1]:82/a");
    assert_eq!(location(json!({"pathRedirect": "/n?y"}), "h", "/a?x"), "http://h/n?y");
    assert_eq!(location(json!({"pathRedirect": "/n", "stripQuery": true}), "h", "/a?x"), "http://h/n");
    assert_eq!(location(json!({"prefixRewrite": "/n"}), "h", "/a/b?x"), "http://h/n/b?x");
}

#[test]
fn an_unknown_cluster_is_answered_as_told() {
    let status = |code: &str| {
        let action = json!({"cluster": "gone", "clusterNotFoundResponseCode": code});
        match done(json!({"match": {"prefix": "/"}, "route": action}), &get("h", "/")) {
            Outcome::Answer(answer) => answer.status,
            Outcome::Forward(forward) => panic!("{forward:?}"),
        }
    };
    assert_eq!(
        [status("SERVICE_UNAVAILABLE"), status("NOT_FOUND"), status("INTERNAL_SERVER_ERROR")],
        [503, 404, 500]
    );
}

#[test]
fn every_cluster_with_a_weight_is_an_outcome() {
    let clusters =
        json!([{"name": "a", "weight": 1}, {"name": "b", "weight": 0}, {"name": "gone", "weight": 2}]);
    let route = json!({"match": {"prefix": "/"}, "route": {"weightedClusters": {"clusters": clusters}}});
    let config = json!({"virtualHosts": [{"name": "h", "domains": ["*"], "routes": [route]}]});
    let weights: Vec<u32> =
        decide(config, &get("h", "/")).outcomes.iter().map(|(weight, _)| *weight).collect();
    assert_eq!(weights, [1, 2]);
}

/// The headers of a request after the operations of route, virtual host and configuration, each given the value of its
/// level.
fn headers(most_specific: bool, option: impl Fn(&str) -> Value, request: &Request) -> Vec<(String, String)> {
    let route = json!({"match": {"prefix": "/"}, "route": {"cluster": "a"},
        "requestHeadersToAdd": [option("route")], "requestHeadersToRemove": ["x-gone"]});
    let host =
        json!({"name": "h", "domains": ["*"], "routes": [route], "requestHeadersToAdd": [option("host")]});
    let config = json!({"virtualHosts": [host], "requestHeadersToAdd": [option("config")],
        "mostSpecificHeaderMutationsWins": most_specific});
    match decide(config, request).outcomes.remove(0).1 {
        Outcome::Forward(Forward { headers, .. }) => headers,
        Outcome::Answer(answer) => panic!("{answer:?}"),
    }
}

#[test]
fn the_last_level_wins_which_is_the_configuration_unless_told_otherwise() {
    let option = |action: &'static str| move |level: &str| json!({"header": {"key": "x", "value": level}, "appendAction": action});
    let values = |most_specific, action| -> String {
        let request = get("h", "/").header("x", "sent").header("x-gone", "1");
        let headers = headers(most_specific, option(action), &request);
        headers.into_iter().map(|(_, value)| value).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(values(false, "OVERWRITE_IF_EXISTS_OR_ADD"), "config");
    assert_eq!(values(true, "OVERWRITE_IF_EXISTS_OR_ADD"), "route");
    assert_eq!(values(false, "ADD_IF_ABSENT"), "sent");
    assert_eq!(values(false, "APPEND_IF_EXISTS_OR_ADD"), "config host route sent");
    let absent = headers(false, option("ADD_IF_ABSENT"), &get("h", "/"));
    assert_eq!(absent, [("x".to_owned(), "route".to_owned())]);
    assert_eq!(headers(false, option("OVERWRITE_IF_EXISTS"), &get("h", "/")), []);
}
