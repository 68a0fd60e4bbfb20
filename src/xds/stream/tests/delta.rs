//! Incremental.

use super::*;
use crate::pb::envoy::service::discovery::v3::{DeltaDiscoveryResponse, Resource as Wrapper};

/// A client on its first stream.
struct Delta {
    client: Client,
    first: Vec<DeltaDiscoveryRequest>,
}

impl std::ops::Deref for Delta {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Delta {
    fn new() -> Self {
        let mut delta = Self { client: Client::new(), first: Vec::new() };
        delta.first = delta.reconnect();
        delta
    }

    fn reconnect(&mut self) -> Vec<DeltaDiscoveryRequest> {
        messages(self.client.stream.open(Mode::Delta, &self.client.cache))
    }

    /// A response with a nonce of its own, its resources in version 1.
    fn get(
        &mut self,
        kind: ResourceType,
        resources: &[(&str, Any)],
        removed: &[&str],
    ) -> Vec<DeltaDiscoveryRequest> {
        let resources = resources.iter().map(|(name, any)| wrapper(name, "1", any)).collect();
        self.get_wrapped(kind, resources, removed)
    }

    fn get_wrapped(
        &mut self,
        kind: ResourceType,
        resources: Vec<Wrapper>,
        removed: &[&str],
    ) -> Vec<DeltaDiscoveryRequest> {
        let nonce = self.client.next_nonce();
        messages(self.client.receive(&response(kind, &nonce, resources, removed)).0)
    }
}

pub fn wrapper(name: &str, version: &str, any: &Any) -> Wrapper {
    Wrapper {
        name: name.to_owned(),
        version: version.to_owned(),
        resource: Some(any.clone()),
        ..Default::default()
    }
}

pub fn response(kind: ResourceType, nonce: &str, resources: Vec<Wrapper>, removed: &[&str]) -> Response {
    Response::Delta(DeltaDiscoveryResponse {
        system_version_info: "s".to_owned(),
        resources,
        type_url: kind.type_url().to_owned(),
        nonce: nonce.to_owned(),
        removed_resources: removed.iter().map(|name| (*name).to_owned()).collect(),
        control_plane: None,
    })
}

pub fn messages(requests: Vec<Request>) -> Vec<DeltaDiscoveryRequest> {
    requests.into_iter().map(|request| request.delta().unwrap()).collect()
}

/// `noun nonce +subscribed -unsubscribed {initial}`, and ` NACK`.
fn short(requests: &[DeltaDiscoveryRequest]) -> Vec<String> {
    let one = |r: &DeltaDiscoveryRequest| {
        let mut text = format!("{} n={}", noun(&r.type_url), r.response_nonce);
        let mut held: Vec<String> =
            r.initial_resource_versions.iter().map(|(name, version)| format!("{name}={version}")).collect();
        held.sort();
        for (sign, names) in
            [(" +", &r.resource_names_subscribe), (" -", &r.resource_names_unsubscribe), (" held:", &held)]
        {
            if !names.is_empty() {
                text = format!("{text}{sign}{}", names.join(","));
            }
        }
        if r.error_detail.is_some() { text + " NACK" } else { text }
    };
    requests.iter().map(one).collect()
}

#[test]
fn point_1_only_the_first_request_of_a_stream_carries_the_node() {
    let mut client = Delta::new();
    let mut requests = client.first.clone();
    requests.extend(client.get(CDS, &[("a", cluster("a", "", 1))], &[]));
    let nodes: Vec<bool> = requests.iter().map(|r| r.node.is_some()).collect();
    assert_eq!(nodes, [true, false, false, false]);
    assert!(client.reconnect()[0].node.is_some());
}

#[test]
fn points_3_4_10_wildcards_name_nothing_and_each_response_is_acked_once() {
    let mut client = Delta::new();
    assert_eq!(short(&client.first), ["cluster n=", "listener n="]);
    assert_eq!(short(&client.get(LDS, &[], &[])), ["listener n=n1"]);
    assert_eq!(short(&client.get(CDS, &[], &[])), ["cluster n=n2"]);
}

#[test]
fn point_17_what_is_removed_goes_and_what_was_never_there_does_not_matter() {
    let mut client = Delta::new();
    client.get(CDS, &[("a", cluster("a", "", 1)), ("b", cluster("b", "", 1))], &[]);
    client.get(CDS, &[], &["a", "x"]);
    assert!(!client.has(CDS, "a") && client.has(CDS, "b"), "absence means nothing");
}

#[test]
fn point_17_what_is_brought_and_removed_at_once_is_neither() {
    let mut client = Delta::new();
    client.get(CDS, &[("a", cluster("a", "", 1))], &[]);
    let requests = client.get(CDS, &[("a", cluster("a", "", 2)), ("b", cluster("b", "", 1))], &["a"]);
    assert!(short(&requests)[0].ends_with("n=n2 NACK"));
    let message = &requests[0].error_detail.as_ref().unwrap().message;
    assert_eq!(message, r#"cluster "a": is both brought and removed by one response"#);
    assert!(client.has(CDS, "a") && client.has(CDS, "b"));
}

/// Envoy's xDS subscriptions of routes and endpoints do the same.
#[test]
fn point_17_a_removal_of_what_is_referred_to_is_not_followed() {
    let mut client = Delta::new();
    client.get(CDS, &[("a", cluster("a", "", 1))], &[]);
    client.get(EDS, &[("a", endpoints("a", 0))], &[]);
    assert_eq!(short(&client.get(EDS, &[], &["a"])), ["endpoint n=n3"]);
    assert!(client.has(EDS, "a"));
}

#[test]
fn point_18_subscriptions_change_by_requests_without_nonce() {
    let mut client = Delta::new();
    let requests = client.get(CDS, &[("a", cluster("a", "", 1)), ("b", cluster("b", "", 1))], &[]);
    assert_eq!(short(&requests), ["cluster n=n1", "endpoint n= +a,b"]);
    assert_eq!(short(&client.get(EDS, &[("a", endpoints("a", 0))], &[])), ["endpoint n=n2"]);
    let requests = client.get(CDS, &[("c", cluster("c", "", 1))], &["a"]);
    assert_eq!(short(&requests), ["cluster n=n3", "endpoint n= +c -a"]);
    let requests = client.get(CDS, &[], &["b", "c"]);
    assert_eq!(short(&requests), ["cluster n=n4", "endpoint n= -b,c"]);
    let requests = client.get(CDS, &[("a", cluster("a", "", 1))], &[]);
    assert_eq!(short(&requests), ["cluster n=n5", "endpoint n= +a"]);
}

#[test]
fn point_19_a_new_stream_subscribes_anew_and_tells_what_is_held() {
    let mut client = Delta::new();
    client.get(CDS, &[("a", cluster("a", "", 1)), ("b", cluster("b", "", 1))], &[]);
    client.get_wrapped(EDS, vec![wrapper("a", "e7", &endpoints("a", 0))], &[]);
    client.get_wrapped(LDS, vec![wrapper("l", "", &listener("l", "r"))], &[]);
    let expected =
        ["cluster n= held:a=1,b=1", "endpoint n= +a,b held:a=e7", "listener n= held:l=", "route n= +r"];
    assert_eq!(short(&client.reconnect()), expected);
}

#[test]
fn point_19_what_was_refused_is_held_in_the_version_before() {
    let mut client = Delta::new();
    client.get(CDS, &[("a", cluster("a", "", 1))], &[]);
    client.get_wrapped(CDS, vec![wrapper("a", "2", &bad_cluster("a"))], &[]);
    assert_eq!(short(&client.reconnect())[0], "cluster n= held:a=1");
    client.get_wrapped(CDS, vec![wrapper("a", "3", &cluster("a", "", 1))], &[]);
    assert_eq!(short(&client.reconnect())[0], "cluster n= held:a=3", "the same content by another name");
}

/// What state of the world brought has no version that a delta server would know.
#[test]
fn point_19_a_version_is_of_the_content_that_is_held() {
    let mut client = Delta::new();
    client.get(CDS, &[("a", cluster("a", "", 1))], &[]);
    client.client.stream.open(Mode::Sotw, &client.client.cache);
    client.client.receive(&sotw::response(CDS, "v", "n", vec![cluster("a", "", 2)]));
    assert_eq!(short(&client.reconnect())[0], "cluster n= held:a=");
}

#[test]
fn points_6_7_28_a_bad_resource_is_nacked_by_name_and_the_rest_applies() {
    let mut client = Delta::new();
    client.get(CDS, &[("a", cluster("a", "", 1))], &[]);
    let requests = client.get(CDS, &[("a", bad_cluster("a")), ("b", cluster("b", "", 1))], &[]);
    assert_eq!(short(&requests), ["cluster n=n2 NACK", "endpoint n= +b"]);
    let detail = requests[0].error_detail.as_ref().unwrap();
    assert_eq!(
        (detail.code, detail.message.as_str()),
        (3, r#"cluster "a": connect_timeout: must be more than 0s"#)
    );
    assert!(client.has(CDS, "a") && client.has(CDS, "b"));
    assert_eq!(client.cache.rejected(CDS).count(), 1);
    client.get(CDS, &[], &["a"]);
    assert_eq!(client.cache.rejected(CDS).count(), 0, "what is gone is not wrong any more");
}

#[test]
fn point_11_resources_nobody_asked_for_are_ignored_and_acked() {
    let mut client = Delta::new();
    client.get(CDS, &[("a", cluster("a", "", 1))], &[]);
    let requests = client.get(EDS, &[("x", endpoints("x", 0)), ("y", endpoints("y", 999))], &[]);
    assert_eq!(short(&requests), ["endpoint n=n2"]);
    assert!(!client.has(EDS, "x"));
}

#[test]
fn points_12_13_a_name_twice_and_a_wrong_type_are_nacked() {
    let mut client = Delta::new();
    let requests =
        client.get(CDS, &[("a", cluster("a", "", 1)), ("a", cluster("a", "", 2)), ("r", routes("r"))], &[]);
    let message = &requests[0].error_detail.as_ref().unwrap().message;
    assert!(
        message.contains(r#"cluster "a": comes twice"#) && message.contains(r#"cluster "r": type_url"#),
        "{message}"
    );
}

#[test]
fn a_resource_under_another_name_is_nacked() {
    let mut client = Delta::new();
    let requests = client.get(CDS, &[("outside", cluster("inside", "", 1))], &[]);
    let message = &requests[0].error_detail.as_ref().unwrap().message;
    assert_eq!(message, r#"cluster "outside": name: "outside" outside of the resource, "inside" in it"#);
}

#[test]
fn point_16_children_go_with_their_last_parent() {
    let mut client = Delta::new();
    client.get(CDS, &[("a", cluster("a", "s", 1)), ("b", cluster("b", "s", 1))], &[]);
    client.get(EDS, &[("s", endpoints("s", 0))], &[]);
    assert_eq!(short(&client.get(CDS, &[], &["a"])), ["cluster n=n3"]);
    assert!(client.has(EDS, "s"));
    assert_eq!(short(&client.get(CDS, &[], &["b"])), ["cluster n=n4", "endpoint n= -s"]);
    assert!(!client.has(EDS, "s"));
}

#[test]
fn point_16_a_child_that_passes_to_another_parent_stays() {
    let mut client = Delta::new();
    client.get(CDS, &[("a", cluster("a", "s", 1))], &[]);
    client.get(EDS, &[("s", endpoints("s", 0))], &[]);
    assert_eq!(short(&client.get(CDS, &[("b", cluster("b", "s", 1))], &["a"])), ["cluster n=n3"]);
    assert!(client.has(EDS, "s"));
}

#[test]
fn point_20_without_renewal_a_resource_goes_at_the_end_of_its_time() {
    let mut client = Delta::new();
    let lives = |seconds, resource| Wrapper {
        name: "a".to_owned(),
        version: "1".to_owned(),
        ttl: Some(PbDuration { seconds, nanos: 0 }),
        resource,
    };
    client.get_wrapped(CDS, vec![lives(10, Some(cluster("a", "", 1)))], &[]);
    client.get(EDS, &[("a", endpoints("a", 0))], &[]);
    client.client.now += Duration::from_secs(9);
    client.get_wrapped(CDS, vec![lives(10, None)], &[]);
    assert_eq!(client.cache.next_expiry(), Some(client.now + Duration::from_secs(10)));

    client.client.now += Duration::from_secs(10);
    let Client { stream, cache, now, .. } = &mut client.client;
    let passed = stream.pass_time(cache, *now);
    let requests = passed.requests.into_iter().map(|draft| draft.with_names(cache)).collect();
    assert_eq!(short(&messages(requests)), ["endpoint n= -a"]);
    assert_eq!(passed.expired.len(), 2);
    assert!(!client.has(CDS, "a") && !client.has(EDS, "a") && client.cache.next_expiry().is_none());
}

#[test]
fn point_20_a_time_that_no_clock_can_tell_is_for_ever() {
    let mut client = Delta::new();
    let ttl = Some(PbDuration { seconds: i64::MAX, nanos: i32::MAX });
    client.get_wrapped(CDS, vec![Wrapper { ttl, ..wrapper("a", "1", &cluster("a", "", 1)) }], &[]);
    assert!(client.has(CDS, "a") && client.cache.next_expiry().is_none());
}

#[test]
fn point_21_nobody_waits_for_what_the_server_says_does_not_exist() {
    let mut client = Delta::new();
    client.get(CDS, &[("a", cluster("a", "", 1))], &[]);
    client.get(LDS, &[], &[]);
    assert!(!client.client.cache.complete());
    client.get(EDS, &[], &["a"]);
    assert!(client.client.cache.complete());
    assert_eq!(client.cache.pending(EDS).len(), 1, "it is still missed");
}

/// As Envoy's cache of endpoints does: no fresh assignment is needed for a cluster that was only updated.
#[test]
fn point_24_endpoints_survive_an_update_of_their_cluster() {
    let mut client = Delta::new();
    client.get(CDS, &[("a", cluster("a", "", 1))], &[]);
    client.get(EDS, &[("a", endpoints("a", 0))], &[]);
    assert_eq!(short(&client.get(CDS, &[("a", cluster("a", "", 2))], &[])), ["cluster n=n3"]);
    assert!(client.has(EDS, "a"));
}

#[test]
fn point_29_a_response_without_nonce_is_applied_and_not_answered() {
    let mut client = Delta::new();
    let (requests, changes) =
        client.client.receive(&response(LDS, "", vec![wrapper("l", "1", &listener("l", "r"))], &[]));
    assert_eq!((short(&messages(requests)), changes.len()), (vec!["route n= +r".to_owned()], 1));
}

#[test]
fn point_30_a_name_that_did_not_exist_is_taken_when_it_comes() {
    let mut client = Delta::new();
    client.get(LDS, &[("l", listener("l", "r"))], &[]);
    client.get(RDS, &[], &["r"]);
    client.get(RDS, &[("r", routes("r"))], &[]);
    assert!(client.has(RDS, "r"));
}

#[test]
fn point_31_empty_versions_are_versions() {
    let mut client = Delta::new();
    client.get_wrapped(CDS, vec![wrapper("a", "", &cluster("a", "", 1))], &[]);
    client.get_wrapped(CDS, vec![wrapper("a", "", &cluster("a", "s", 1))], &[]);
    assert_eq!(client.cache.names(EDS), ["s"], "an empty version says nothing about the content");
}
