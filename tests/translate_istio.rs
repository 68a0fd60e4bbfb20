//! What a real istiod sends, translated: everything is expressed or listed, and requests end where Envoy sends them.

mod support;

use apisix_mesh::{
    config::OnUnsupported,
    translate::{Delta, Severity, Translation, Translator, translate, translate_under},
    xds::ResourceType,
};
use proptest::prelude::*;
use support::{
    apisix::Apisix,
    exchange::{Outcome, Request},
    istio, load, schema,
};

const REVIEWS: &str = "reviews.default.svc.cluster.local";

/// The capture's endpoints want mutual TLS, so that its routes are closed unless the policy serves them.
fn translated(capture: &str) -> Translation {
    let translation = translate_under(OnUnsupported::Serve, &load::snapshot(istio::capture(capture)));
    schema::check(&translation.objects);
    translation
}

/// The clusters or nodes that a request may go to, or the status that answers it.
fn end(apisix: &Apisix, request: &Request) -> String {
    match apisix.answer(request) {
        Outcome::Forward(forward) => forward.clusters.into_iter().collect::<Vec<_>>().join(" "),
        Outcome::Answer(answer) => answer.status.to_string(),
    }
}

#[test]
fn every_cluster_and_listener_is_expressed_or_listed() {
    for capture in ["redirect", "no-interception"] {
        let translation = translated(capture);
        let listed = |kind, name: &str| {
            let matters = |s| s >= Severity::Approximated;
            translation.issues.iter().any(|i| i.kind == kind && &*i.resource == name && matters(i.severity))
        };
        let expressed = |field: &str, name: &str| {
            let text = format!("\"{field}\":\"{name}");
            translation.objects.values().any(|v| std::str::from_utf8(v).unwrap().contains(&text))
        };
        for (kind, resource) in istio::capture(capture) {
            let name = &*resource.name;
            let found = match kind {
                ResourceType::Cluster => expressed("name", name) || listed(kind, name),
                ResourceType::RouteConfiguration => expressed("name", &format!("{name}/")),
                ResourceType::Listener => {
                    listed(kind, name)
                        || translation.objects.values().any(|v| {
                            let port = name.rsplit('_').next().unwrap();
                            std::str::from_utf8(v).unwrap().contains(&format!(":{port}"))
                        })
                }
                ResourceType::ClusterLoadAssignment => true,
            };
            assert!(found, "{capture}: {} {name}", kind.noun());
        }
    }
}

#[test]
fn what_is_not_honoured_is_in_the_issues() {
    let issues = translated("redirect").issues;
    let has = |severity, path: &str| issues.iter().any(|i| i.severity == severity && i.path.contains(path));
    assert!(has(Severity::Security, "transport_socket"), "TLS");
    assert!(has(Severity::Security, "transport_socket_matches"), "upstream TLS");
    assert!(has(Severity::Approximated, "retry_policy"));
    assert!(has(Severity::Approximated, "hash_policy"));
    assert!(has(Severity::Traffic, "request_mirror_policies"));
    assert!(!has(Severity::Traffic, "http_filters[3]"), "fault");
    assert!(has(Severity::Approximated, "lb_policy"), "ring hash");
    assert!(!has(Severity::Traffic, "http_filters[5]"), "the router");
}

#[test]
fn nothing_goes_in_the_clear_to_endpoints_that_want_mutual_tls() {
    let translation = translate(&load::snapshot(istio::capture("redirect")));
    let request = Request::get("10.96.0.30:9080", REVIEWS, "/reviews");
    assert_eq!(end(&Apisix::new(&translation.objects), &request), "403");
    let told = translation.issues.iter().any(|i| {
        i.resource.contains("reviews") && i.severity == Severity::Security && i.detail.contains("403")
    });
    assert!(told, "an issue says why");
}

#[test]
fn outbound_requests_go_where_envoy_sends_them() {
    let apisix = Apisix::new(&translated("redirect").objects);
    let to = |dst: &str, host: &str, path: &str| Request::get(dst, host, path);
    let end = |request: &Request| end(&apisix, request);
    let vip = "10.96.0.23:9080";
    // Nine of ten go to v1; v3 adds a header to its answers, so that each is a case of its own.
    let shares = [
        ("0", "outbound|9080|v1|reviews.default.svc.cluster.local"),
        ("f", "outbound|9080|v3|reviews.default.svc.cluster.local"),
    ];
    // The digits that choose the cluster: others would have a fault strike.
    let drawn = |request: Request, digit: &str| Request {
        request_id: format!("{0:f<5}{1:f<27}", "", digit.repeat(5)),
        ..request
    };
    let jason = |r: Request| r.header("end-user", "jason");

    for host in ["reviews", "reviews:9080", REVIEWS, "reviews.default", "10.96.0.23:9080"] {
        for (digit, share) in shares {
            assert_eq!(end(&drawn(to(vip, host, "/"), digit)), share, "{host}");
        }
        let v2 = "outbound|9080|v2|reviews.default.svc.cluster.local";
        assert_eq!(end(&jason(to(vip, host, "/x"))), v2, "{host}");
    }
    for (host, path, cluster) in [
        ("details", "/details/0", "outbound|9080||details.default.svc.cluster.local"),
        ("productpage:9080", "/", "outbound|9080||productpage.default.svc.cluster.local"),
        ("ratings", "/api/v1/x?q=1", "outbound|9080||ratings.default.svc.cluster.local"),
        ("ratings", "/case/x", "outbound|9080||ratings.default.svc.cluster.local"),
        ("ratings", "/", "outbound|9080||ratings.default.svc.cluster.local"),
    ] {
        assert_eq!(end(&to("10.96.0.9:9080", host, path)), cluster, "{host}{path}");
    }
    assert_eq!(end(&to(vip, "ratings", "/redir")), "302");
    // The port of the Host header is ignored, and the pass-through cluster has no upstream.
    assert_eq!(end(&drawn(to(vip, "reviews:1234", "/"), "0")), shares[0].1);
    assert_eq!(end(&to(vip, "unknown.example", "/")), "503");
    // 80 is not found in 1080 or 9080.
    assert_eq!(end(&to("10.0.0.1:1080", "httpbin.example.org", "/")), "404");
    let httpbin = "outbound|80||httpbin.example.org";
    assert_eq!(end(&to("93.184.0.1:80", "httpbin.example.org", "/")), httpbin);
    // Port 80 routes of services that have no port 80 name clusters that do not exist.
    assert_eq!(end(&to("93.184.0.1:80", REVIEWS, "/")), "503");
    // A virtual address of its own takes every host.
    let auto = "outbound|7070||auto.default.svc.cluster.local";
    assert_eq!(end(&to("10.96.0.50:7070", "anything", "/")), auto);
    assert_eq!(end(&to("10.96.0.51:7070", "anything", "/")), "404");
}

#[test]
fn the_inbound_port_has_its_route_once() {
    let objects = translated("redirect").objects;
    let inbound = Request { outbound: false, ..Request::get("10.1.1.1:19080", "whatever", "/") };
    assert_eq!(end(&Apisix::new(&objects), &inbound), "127.0.0.1:19080");
    let named = |v: &&bytes::Bytes| std::str::from_utf8(v).unwrap().contains(r#""name":"inbound|19080||/"#);
    assert_eq!(objects.values().filter(named).count(), 1);
}

#[test]
fn the_http_proxy_port_serves_names_without_a_port() {
    let apisix = Apisix::new(&translated("no-interception").objects);
    let proxy = |host: &str| end(&apisix, &Request::get("127.0.0.1:15080", host, "/"));
    assert_eq!(proxy("httpbin.example.org"), "outbound|80||httpbin.example.org");
    // The port of the Host header is ignored, that of a domain is not: Envoy finds none of `details:9080`.
    assert_eq!(proxy("details:9080"), "503");
}

#[test]
fn the_same_push_again_changes_nothing() {
    let resources = istio::capture("redirect");
    let changes: Vec<_> = resources.iter().map(load::change).collect();
    let snapshot = load::snapshot(resources);
    let mut translator = Translator::new(OnUnsupported::Serve);
    assert!(translator.apply(&snapshot, &changes).puts.len() > 20);
    assert_eq!(translator.apply(&snapshot, &changes), Delta::default());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn order_of_arrival_never_matters(order in Just(istio::capture("redirect")).prop_shuffle()) {
        let whole = translated("redirect");
        let mut snapshot = apisix_mesh::xds::Snapshot::default();
        let mut translator = Translator::new(OnUnsupported::Serve);
        let mut objects = std::collections::BTreeMap::new();
        for (kind, resource) in order {
            let change = load::change(&(kind, resource.clone()));
            snapshot.insert(kind, resource);
            let delta = translator.apply(&snapshot, &[change]);
            objects.extend(delta.puts);
            delta.deletes.iter().for_each(|key| drop(objects.remove(key)));
        }
        prop_assert_eq!(objects, whole.objects);
        prop_assert_eq!(translator.issues(), whole.issues);
    }
}
