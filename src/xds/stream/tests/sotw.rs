//! State of the world.

use super::*;
use crate::pb::envoy::service::discovery::v3::DiscoveryResponse;

/// A client on its first stream.
struct Sotw {
    client: Client,
    first: Vec<DiscoveryRequest>,
}

impl std::ops::Deref for Sotw {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Sotw {
    fn new() -> Self {
        let mut sotw = Self { client: Client::new(), first: Vec::new() };
        sotw.first = sotw.reconnect();
        sotw
    }

    fn reconnect(&mut self) -> Vec<DiscoveryRequest> {
        messages(self.client.stream.open(Mode::Sotw, &self.client.cache))
    }

    /// A response with a nonce of its own.
    fn get(&mut self, kind: ResourceType, version: &str, resources: Vec<Any>) -> Vec<DiscoveryRequest> {
        let nonce = self.client.next_nonce();
        self.receive(kind, version, &nonce, resources).0
    }

    /// The requests as they are sent, and what changed.
    fn receive(
        &mut self,
        kind: ResourceType,
        version: &str,
        nonce: &str,
        resources: Vec<Any>,
    ) -> (Vec<DiscoveryRequest>, Vec<Change>) {
        let (requests, changes) = self.client.receive(&response(kind, version, nonce, resources));
        (messages(requests), changes)
    }
}

pub fn response(kind: ResourceType, version: &str, nonce: &str, resources: Vec<Any>) -> Response {
    Response::Sotw(DiscoveryResponse {
        version_info: version.to_owned(),
        resources,
        type_url: kind.type_url().to_owned(),
        nonce: nonce.to_owned(),
        control_plane: None,
    })
}

pub fn messages(requests: Vec<Request>) -> Vec<DiscoveryRequest> {
    requests.into_iter().map(|request| request.sotw().unwrap()).collect()
}

/// `noun version nonce [names]`, and ` NACK`.
fn short(requests: &[DiscoveryRequest]) -> Vec<String> {
    let one = |r: &DiscoveryRequest| {
        let nack = if r.error_detail.is_some() { " NACK" } else { "" };
        let names = r.resource_names.join(",");
        format!("{} v={} n={} [{names}]{nack}", noun(&r.type_url), r.version_info, r.response_nonce)
    };
    requests.iter().map(one).collect()
}

#[test]
fn point_1_only_the_first_request_of_a_stream_carries_the_node() {
    let mut client = Sotw::new();
    let mut requests = client.first.clone();
    requests.extend(client.get(CDS, "1", vec![cluster("a", "", 1)]));
    let nodes: Vec<bool> = requests.iter().map(|r| r.node.is_some()).collect();
    assert_eq!(nodes, [true, false, false, false]);
    let again = client.reconnect();
    assert_eq!(again[0].node.as_ref().unwrap().id, "me");
    assert!(again[1..].iter().all(|r| r.node.is_none()));
}

#[test]
fn points_3_4_5_10_a_good_response_is_acked_once_with_its_nonce_and_version_and_wildcards_name_nothing() {
    let mut client = Sotw::new();
    assert_eq!(short(&client.first), ["cluster v= n= []", "listener v= n= []"]);
    assert_eq!(short(&client.get(LDS, "7", vec![])), ["listener v=7 n=n1 []"]);
    assert_eq!(short(&client.get(CDS, "8", vec![])), ["cluster v=8 n=n2 []"]);
    assert_eq!(short(&client.get(LDS, "9", vec![])), ["listener v=9 n=n3 []"]);
}

#[test]
fn points_4_5_a_new_stream_starts_without_nonce_and_with_the_accepted_version() {
    let mut client = Sotw::new();
    client.get(CDS, "1", vec![cluster("a", "", 1)]);
    client.get(EDS, "2", vec![endpoints("a", 0)]);
    client.get(LDS, "3", vec![listener("l", "r")]);
    let expected = ["cluster v=1 n= []", "endpoint v=2 n= [a]", "listener v=3 n= []", "route v= n= [r]"];
    assert_eq!(short(&client.reconnect()), expected);
}

#[test]
fn points_6_7_28_a_bad_resource_is_nacked_by_name_and_the_rest_applies() {
    let mut client = Sotw::new();
    client.get(CDS, "1", vec![cluster("a", "", 1), cluster("b", "", 1)]);
    let requests = client.get(CDS, "2", vec![bad_cluster("a"), cluster("b", "", 2), cluster("c", "", 1)]);
    assert_eq!(short(&requests), ["cluster v=1 n=n2 [] NACK", "endpoint v= n= [a,b,c]"]);
    let detail = requests[0].error_detail.as_ref().unwrap();
    assert_eq!(detail.code, 3);
    assert_eq!(detail.message, r#"cluster "a": connect_timeout: must be more than 0s"#);
    assert!(client.has(CDS, "a") && client.has(CDS, "c"));
}

#[test]
fn point_6_a_nack_of_named_types_carries_the_full_names() {
    let mut client = Sotw::new();
    client.get(CDS, "1", vec![cluster("a", "", 1), cluster("b", "", 1)]);
    client.get(EDS, "1", vec![endpoints("a", 0)]);
    let requests = client.get(EDS, "2", vec![endpoints("a", 999)]);
    assert_eq!(short(&requests), ["endpoint v=1 n=n3 [a,b] NACK"]);
}

#[test]
fn point_8_names_are_asked_for_in_full_with_the_last_nonce() {
    let mut client = Sotw::new();
    assert_eq!(short(&client.get(LDS, "1", vec![listener("l", "r1")]))[1], "route v= n= [r1]");
    assert_eq!(short(&client.get(RDS, "1", vec![routes("r1")])), ["route v=1 n=n2 [r1]"]);
    let requests = client.get(LDS, "2", vec![listener("l", "r1"), listener("m", "r2")]);
    assert_eq!(short(&requests), ["listener v=2 n=n3 []", "route v=1 n=n2 [r1,r2]"]);
    // An ACK of a partial response does not shrink the subscription.
    assert_eq!(short(&client.get(RDS, "2", vec![routes("r2")])), ["route v=2 n=n4 [r1,r2]"]);
    let requests = client.get(LDS, "3", vec![listener("m", "r2")]);
    assert_eq!(short(&requests), ["listener v=3 n=n5 []", "route v=2 n=n4 [r2]"]);
}

#[test]
fn point_9_no_names_are_sent_but_once_to_unsubscribe() {
    let mut client = Sotw::new();
    client.get(LDS, "1", vec![listener("l", "r")]);
    client.get(RDS, "1", vec![routes("r")]);
    let requests = client.get(LDS, "2", vec![]);
    assert_eq!(short(&requests), ["listener v=2 n=n3 []", "route v= n=n2 []"]);
    assert_eq!(short(&client.get(LDS, "3", vec![])), ["listener v=3 n=n4 []"]);
    assert_eq!(short(&client.reconnect()), ["cluster v= n= []", "listener v=3 n= []"]);
}

#[test]
fn point_9_a_new_subscription_after_that_goes_on_from_the_last_nonce() {
    let mut client = Sotw::new();
    client.get(LDS, "1", vec![listener("l", "r")]);
    client.get(LDS, "2", vec![]);
    client.receive(RDS, "9", "late", vec![routes("r")]);
    let requests = client.get(LDS, "3", vec![listener("l", "r")]);
    assert_eq!(short(&requests)[1], "route v= n=late [r]");
}

#[test]
fn point_11_resources_nobody_asked_for_are_ignored() {
    let mut client = Sotw::new();
    client.get(CDS, "1", vec![cluster("a", "", 1)]);
    let requests = client.get(EDS, "1", vec![endpoints("a", 0), endpoints("x", 0), endpoints("y", 999)]);
    assert_eq!(short(&requests), ["endpoint v=1 n=n2 [a]"]);
    assert!(client.has(EDS, "a") && !client.has(EDS, "x"));
}

#[test]
fn point_12_a_name_that_comes_twice_is_nacked() {
    let mut client = Sotw::new();
    let requests = client.get(CDS, "1", vec![cluster("a", "", 1), cluster("a", "", 2), cluster("b", "", 1)]);
    let message = &requests[0].error_detail.as_ref().unwrap().message;
    assert_eq!(message, r#"cluster "a": comes twice in one response"#);
    assert!(!client.has(CDS, "a") && client.has(CDS, "b"));
}

#[test]
fn point_13_a_wrong_type_inside_is_nacked() {
    let mut client = Sotw::new();
    let requests = client.get(CDS, "1", vec![routes("r")]);
    let message = &requests[0].error_detail.as_ref().unwrap().message;
    assert!(message.contains("type_url") && message.contains("RouteConfiguration"), "{message}");
}

#[test]
fn point_14_what_is_absent_from_a_complete_response_goes() {
    let mut client = Sotw::new();
    client.get(CDS, "1", vec![cluster("a", "", 1), cluster("b", "", 1)]);
    client.get(CDS, "2", vec![cluster("b", "", 1)]);
    assert!(!client.has(CDS, "a") && client.has(CDS, "b"));
    client.get(CDS, "3", vec![]);
    assert!(!client.has(CDS, "b"));
}

#[test]
fn point_15_a_partial_response_takes_nothing_away() {
    let mut client = Sotw::new();
    client.get(CDS, "1", vec![cluster("a", "", 1), cluster("b", "", 1)]);
    client.get(EDS, "1", vec![endpoints("a", 0)]);
    client.get(EDS, "2", vec![endpoints("b", 0)]);
    assert_eq!(short(&client.get(EDS, "3", vec![])), ["endpoint v=3 n=n4 [a,b]"]);
    assert!(client.has(EDS, "a") && client.has(EDS, "b"));
}

#[test]
fn point_16_children_go_with_their_last_parent() {
    let mut client = Sotw::new();
    client.get(CDS, "1", vec![cluster("a", "s", 1), cluster("b", "s", 1)]);
    client.get(EDS, "1", vec![endpoints("s", 0)]);
    client.get(CDS, "2", vec![cluster("b", "s", 1)]);
    assert!(client.has(EDS, "s"));
    client.get(CDS, "3", vec![]);
    assert!(!client.has(EDS, "s"));
}

#[test]
fn point_20_a_wrapped_resource_is_unwrapped_and_a_heartbeat_changes_nothing() {
    use crate::pb::envoy::service::discovery::v3::Resource as Wrapper;
    let wrap = |resource| {
        let wrapper = Wrapper { name: "a".to_owned(), resource, ..Default::default() };
        let type_url = "type.googleapis.com/envoy.service.discovery.v3.Resource".to_owned();
        Any { type_url, value: wrapper.encode_to_vec().into() }
    };
    let mut client = Sotw::new();
    client.get(CDS, "1", vec![wrap(Some(cluster("a", "", 1)))]);
    assert!(client.has(CDS, "a"));
    let (requests, changes) = client.receive(CDS, "1", "h", vec![wrap(None)]);
    assert_eq!((short(&requests), changes.len()), (vec!["cluster v=1 n=h []".to_owned()], 0));
    assert!(client.has(CDS, "a"));
}

#[test]
fn point_24_endpoints_are_asked_for_again_after_a_change_of_their_cluster() {
    let mut client = Sotw::new();
    client.get(CDS, "1", vec![cluster("a", "", 1)]);
    client.get(EDS, "1", vec![endpoints("a", 0)]);
    let requests = client.get(CDS, "2", vec![cluster("a", "", 2)]);
    assert_eq!(short(&requests), ["cluster v=2 n=n3 []", "endpoint v=1 n=n2 [a]"]);
    assert!(client.has(EDS, "a"), "endpoints survive a cluster's update");
    // The same bytes are no change.
    assert_eq!(short(&client.get(CDS, "3", vec![cluster("a", "", 2)])), ["cluster v=3 n=n4 []"]);
}

#[test]
fn point_25_the_service_name_goes_over_the_clusters_name() {
    let mut client = Sotw::new();
    assert_eq!(short(&client.get(CDS, "1", vec![cluster("a", "s", 1)]))[1], "endpoint v= n= [s]");
}

#[test]
fn point_27_fields_and_extensions_that_are_not_known_are_no_reason_to_refuse() {
    let mut client = Sotw::new();
    let unknown = |mut any: Any| {
        let mut bytes = any.value.to_vec();
        prost::encoding::string::encode(5000, &"new".to_owned(), &mut bytes);
        any.value = bytes.into();
        any
    };
    assert_eq!(short(&client.get(CDS, "1", vec![unknown(cluster("a", "", 1))]))[0], "cluster v=1 n=n1 []");
    assert_eq!(short(&client.get(LDS, "1", vec![unknown(listener("l", "r"))]))[0], "listener v=1 n=n2 []");
    let strange = Listener {
        name: "m".to_owned(),
        api_listener: Some(ApiListener {
            api_listener: Some(Any {
                type_url: "type.googleapis.com/acme.Filter".to_owned(),
                ..Any::default()
            }),
        }),
        ..Default::default()
    };
    let requests = client.get(LDS, "2", vec![listener("l", "r"), any(LDS, &strange)]);
    assert_eq!(short(&requests), ["listener v=2 n=n3 []"]);
    assert!(client.has(LDS, "m"));
}

#[test]
fn point_29_a_response_without_nonce_is_applied_and_not_answered() {
    let mut client = Sotw::new();
    let (requests, _) = client.receive(LDS, "1", "", vec![listener("l", "r")]);
    assert_eq!(short(&requests), ["route v= n= [r]"]);
    assert!(client.receive(LDS, "2", "", vec![listener("l", "r")]).0.is_empty());
}

#[test]
fn point_30_a_name_that_did_not_exist_is_taken_when_it_comes() {
    let mut client = Sotw::new();
    client.get(LDS, "1", vec![listener("l", "r")]);
    client.get(RDS, "1", vec![]);
    client.get(RDS, "2", vec![routes("r")]);
    assert!(client.has(RDS, "r"));
}

#[test]
fn point_31_an_empty_version_is_a_version() {
    let mut client = Sotw::new();
    assert_eq!(short(&client.get(CDS, "", vec![cluster("a", "", 1)]))[0], "cluster v= n=n1 []");
    assert!(client.has(CDS, "a"));
}

#[test]
fn point_33_a_type_nobody_subscribed_to_is_not_answered() {
    let mut client = Sotw::new();
    assert!(client.get(RDS, "1", vec![routes("r")]).is_empty());
    let mut response =
        DiscoveryResponse { type_url: "type.googleapis.com/acme.Thing".to_owned(), ..Default::default() };
    response.nonce = "x".to_owned();
    let Client { stream, cache, now, .. } = &mut client.client;
    let received = stream.receive(&Response::Sotw(response), cache, *now);
    assert!(received.requests.is_empty() && received.answered.is_none());
}

#[test]
fn a_rejected_resource_that_is_good_again_clears_its_error() {
    let mut client = Sotw::new();
    let good = cluster("a", "", 1);
    client.get(CDS, "1", vec![good.clone()]);
    client.get(CDS, "2", vec![bad_cluster("a")]);
    assert_eq!(client.cache.rejected(CDS).count(), 1);
    assert_eq!(short(&client.get(CDS, "3", vec![good])), ["cluster v=3 n=n3 []"]);
    assert_eq!(client.cache.rejected(CDS).count(), 0);
}

#[test]
fn a_long_nack_is_cut() {
    let mut client = Sotw::new();
    let many = (0..5000).map(|i| bad_cluster(&format!("cluster-{i}"))).collect();
    let requests = client.get(CDS, "1", many);
    let message = &requests[0].error_detail.as_ref().unwrap().message;
    assert!(message.len() < MAX_NACK_MESSAGE + 100 && message.ends_with("more"), "{}", message.len());
}

/// The server dropped the request without `r` for its old nonce, and sees no change in the next.
#[test]
fn a_name_that_was_given_up_unheard_is_asked_for_anew_when_it_is_overdue() {
    let mut client = Sotw::new();
    client.get(LDS, "1", vec![listener("l", "r"), listener("m", "s")]);
    client.get(RDS, "1", vec![routes("r"), routes("s")]);
    client.get(LDS, "2", vec![listener("m", "s")]);
    client.get(LDS, "3", vec![listener("l", "r"), listener("m", "s")]);
    assert!(!client.has(RDS, "r"));
    let Client { stream, cache, now, .. } = &mut client.client;
    let mut later = || {
        let drafts = stream.pass_time(cache, *now + PATIENCE).requests.into_iter();
        short(&messages(drafts.map(|draft| draft.with_names(cache)).collect()))
    };
    assert_eq!(later(), ["route v= n= [r,s]"]);
    assert!(later().is_empty(), "once");
}
