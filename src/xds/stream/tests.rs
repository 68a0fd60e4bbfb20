//! The state-of-the-world points of the xDS protocol document, each by its number, and random schedules.

use std::time::{Duration, Instant};

use proptest::{
    bool::ANY,
    prelude::{Just, Strategy, TestCaseError, prop, prop_assert, prop_assert_eq, prop_oneof, proptest},
};
use prost::Message;

use super::*;
use crate::pb::{
    envoy::{
        config::{
            cluster::v3::{
                Cluster,
                cluster::{ClusterDiscoveryType, DiscoveryType, EdsClusterConfig},
            },
            core::v3::{AggregatedConfigSource, ConfigSource, config_source::ConfigSourceSpecifier},
            endpoint::v3::{ClusterLoadAssignment, LocalityLbEndpoints},
            listener::v3::{ApiListener, Listener},
            route::v3::RouteConfiguration,
        },
        extensions::filters::network::http_connection_manager::v3::{
            HttpConnectionManager, Rds, http_connection_manager::RouteSpecifier,
        },
    },
    google::protobuf::{Any, Duration as PbDuration},
};
use ResourceType::{
    Cluster as CDS, ClusterLoadAssignment as EDS, Listener as LDS, RouteConfiguration as RDS,
};

fn any(kind: ResourceType, message: &impl Message) -> Any {
    Any { type_url: kind.type_url().to_owned(), value: message.encode_to_vec().into() }
}

fn ads() -> Option<ConfigSource> {
    let ads = ConfigSourceSpecifier::Ads(AggregatedConfigSource {});
    Some(ConfigSource { config_source_specifier: Some(ads) })
}

/// An EDS cluster; `seconds` makes it differ.
fn cluster(name: &str, service: &str, seconds: i64) -> Any {
    any(
        CDS,
        &Cluster {
            name: name.to_owned(),
            cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds as i32)),
            eds_cluster_config: Some(EdsClusterConfig {
                eds_config: ads(),
                service_name: service.to_owned(),
            }),
            connect_timeout: Some(PbDuration { seconds, nanos: 0 }),
            ..Default::default()
        },
    )
}

fn endpoints(name: &str, priority: u32) -> Any {
    let endpoints = vec![LocalityLbEndpoints { priority, ..Default::default() }];
    any(EDS, &ClusterLoadAssignment { cluster_name: name.to_owned(), endpoints, ..Default::default() })
}

fn listener(name: &str, routes: &str) -> Any {
    let rds = Rds { config_source: ads(), route_config_name: routes.to_owned() };
    let manager =
        HttpConnectionManager { route_specifier: Some(RouteSpecifier::Rds(rds)), ..Default::default() };
    let url = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
    let api_listener = Some(Any { type_url: url.to_owned(), value: manager.encode_to_vec().into() });
    any(
        LDS,
        &Listener {
            name: name.to_owned(),
            api_listener: Some(ApiListener { api_listener }),
            ..Default::default()
        },
    )
}

fn routes(name: &str) -> Any {
    any(RDS, &RouteConfiguration { name: name.to_owned(), ..Default::default() })
}

fn bad_cluster(name: &str) -> Any {
    cluster(name, "", -1)
}

/// A client on its first stream.
struct Client {
    stream: Stream,
    cache: Cache,
    now: Instant,
    nonce: usize,
    first: Vec<DiscoveryRequest>,
}

impl Client {
    fn new() -> Self {
        let mut stream = Stream::new(Node { id: "me".to_owned(), ..Default::default() });
        let cache = Cache::new(Duration::from_secs(15));
        let first = stream.open(&cache);
        Self { stream, cache, now: Instant::now(), nonce: 0, first }
    }

    fn reconnect(&mut self) -> Vec<DiscoveryRequest> {
        self.stream.open(&self.cache)
    }

    /// A response with a nonce of its own.
    fn get(&mut self, kind: ResourceType, version: &str, resources: Vec<Any>) -> Vec<DiscoveryRequest> {
        self.nonce += 1;
        let nonce = format!("n{}", self.nonce);
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
        let response = DiscoveryResponse {
            version_info: version.to_owned(),
            resources,
            type_url: kind.type_url().to_owned(),
            nonce: nonce.to_owned(),
            control_plane: None,
        };
        let received = self.stream.receive(&response, &mut self.cache, self.now);
        let requests = received.requests.into_iter().map(|request| request.with_names(&self.cache));
        (requests.collect(), received.changes)
    }

    fn has(&self, kind: ResourceType, name: &str) -> bool {
        self.cache.snapshot().get(kind, name).is_some()
    }
}

/// `noun version nonce [names]`, and ` NACK`.
fn short(requests: &[DiscoveryRequest]) -> Vec<String> {
    let one = |r: &DiscoveryRequest| {
        let noun = ResourceType::from_type_url(&r.type_url).unwrap().noun();
        let nack = if r.error_detail.is_some() { " NACK" } else { "" };
        format!("{noun} v={} n={} [{}]{nack}", r.version_info, r.response_nonce, r.resource_names.join(","))
    };
    requests.iter().map(one).collect()
}

#[test]
fn point_1_only_the_first_request_of_a_stream_carries_the_node() {
    let mut client = Client::new();
    let mut requests = client.first.clone();
    requests.extend(client.get(CDS, "1", vec![cluster("a", "", 1)]));
    let nodes: Vec<bool> = requests.iter().map(|r| r.node.is_some()).collect();
    assert_eq!(nodes, [true, false, false, false]);
    let again = client.reconnect();
    assert_eq!(again[0].node.as_ref().unwrap().id, "me");
    assert!(again[1..].iter().all(|r| r.node.is_none()));
}

#[test]
fn points_3_4_5_a_good_response_is_acked_once_with_its_nonce_and_version() {
    let mut client = Client::new();
    assert_eq!(short(&client.first), ["cluster v= n= []", "listener v= n= []"]);
    assert_eq!(short(&client.get(LDS, "7", vec![])), ["listener v=7 n=n1 []"]);
    assert_eq!(short(&client.get(CDS, "8", vec![])), ["cluster v=8 n=n2 []"]);
    assert_eq!(short(&client.get(LDS, "9", vec![])), ["listener v=9 n=n3 []"]);
}

#[test]
fn points_4_5_a_new_stream_starts_without_nonce_and_with_the_accepted_version() {
    let mut client = Client::new();
    client.get(CDS, "1", vec![cluster("a", "", 1)]);
    client.get(EDS, "2", vec![endpoints("a", 0)]);
    client.get(LDS, "3", vec![listener("l", "r")]);
    let expected = ["cluster v=1 n= []", "endpoint v=2 n= [a]", "listener v=3 n= []", "route v= n= [r]"];
    assert_eq!(short(&client.reconnect()), expected);
}

#[test]
fn points_6_7_28_a_bad_resource_is_nacked_by_name_and_the_rest_applies() {
    let mut client = Client::new();
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
    let mut client = Client::new();
    client.get(CDS, "1", vec![cluster("a", "", 1), cluster("b", "", 1)]);
    client.get(EDS, "1", vec![endpoints("a", 0)]);
    let requests = client.get(EDS, "2", vec![endpoints("a", 999)]);
    assert_eq!(short(&requests), ["endpoint v=1 n=n3 [a,b] NACK"]);
}

#[test]
fn point_8_names_are_asked_for_in_full_with_the_last_nonce() {
    let mut client = Client::new();
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
    let mut client = Client::new();
    client.get(LDS, "1", vec![listener("l", "r")]);
    client.get(RDS, "1", vec![routes("r")]);
    let requests = client.get(LDS, "2", vec![]);
    assert_eq!(short(&requests), ["listener v=2 n=n3 []", "route v= n=n2 []"]);
    assert_eq!(short(&client.get(LDS, "3", vec![])), ["listener v=3 n=n4 []"]);
    assert_eq!(short(&client.reconnect()), ["cluster v= n= []", "listener v=3 n= []"]);
}

#[test]
fn point_9_a_new_subscription_after_that_goes_on_from_the_last_nonce() {
    let mut client = Client::new();
    client.get(LDS, "1", vec![listener("l", "r")]);
    client.get(LDS, "2", vec![]);
    client.receive(RDS, "9", "late", vec![routes("r")]);
    let requests = client.get(LDS, "3", vec![listener("l", "r")]);
    assert_eq!(short(&requests)[1], "route v= n=late [r]");
}

#[test]
fn point_11_resources_nobody_asked_for_are_ignored() {
    let mut client = Client::new();
    client.get(CDS, "1", vec![cluster("a", "", 1)]);
    let requests = client.get(EDS, "1", vec![endpoints("a", 0), endpoints("x", 0), endpoints("y", 999)]);
    assert_eq!(short(&requests), ["endpoint v=1 n=n2 [a]"]);
    assert!(client.has(EDS, "a") && !client.has(EDS, "x"));
}

#[test]
fn point_12_a_name_that_comes_twice_is_nacked() {
    let mut client = Client::new();
    let requests = client.get(CDS, "1", vec![cluster("a", "", 1), cluster("a", "", 2), cluster("b", "", 1)]);
    let message = &requests[0].error_detail.as_ref().unwrap().message;
    assert_eq!(message, r#"cluster "a": comes twice in one response"#);
    assert!(!client.has(CDS, "a") && client.has(CDS, "b"));
}

#[test]
fn point_13_a_wrong_type_inside_is_nacked() {
    let mut client = Client::new();
    let requests = client.get(CDS, "1", vec![routes("r")]);
    let message = &requests[0].error_detail.as_ref().unwrap().message;
    assert!(message.contains("type_url") && message.contains("RouteConfiguration"), "{message}");
}

#[test]
fn point_14_what_is_absent_from_a_complete_response_goes() {
    let mut client = Client::new();
    client.get(CDS, "1", vec![cluster("a", "", 1), cluster("b", "", 1)]);
    client.get(CDS, "2", vec![cluster("b", "", 1)]);
    assert!(!client.has(CDS, "a") && client.has(CDS, "b"));
    client.get(CDS, "3", vec![]);
    assert!(!client.has(CDS, "b"));
}

#[test]
fn point_15_a_partial_response_takes_nothing_away() {
    let mut client = Client::new();
    client.get(CDS, "1", vec![cluster("a", "", 1), cluster("b", "", 1)]);
    client.get(EDS, "1", vec![endpoints("a", 0)]);
    client.get(EDS, "2", vec![endpoints("b", 0)]);
    assert_eq!(short(&client.get(EDS, "3", vec![])), ["endpoint v=3 n=n4 [a,b]"]);
    assert!(client.has(EDS, "a") && client.has(EDS, "b"));
}

#[test]
fn point_16_children_go_with_their_last_parent() {
    let mut client = Client::new();
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
    let mut client = Client::new();
    client.get(CDS, "1", vec![wrap(Some(cluster("a", "", 1)))]);
    assert!(client.has(CDS, "a"));
    let (requests, changes) = client.receive(CDS, "1", "h", vec![wrap(None)]);
    assert_eq!((short(&requests), changes.len()), (vec!["cluster v=1 n=h []".to_owned()], 0));
    assert!(client.has(CDS, "a"));
}

#[test]
fn point_24_endpoints_are_asked_for_again_after_a_change_of_their_cluster() {
    let mut client = Client::new();
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
    let mut client = Client::new();
    assert_eq!(short(&client.get(CDS, "1", vec![cluster("a", "s", 1)]))[1], "endpoint v= n= [s]");
}

#[test]
fn point_29_a_response_without_nonce_is_applied_and_not_answered() {
    let mut client = Client::new();
    let (requests, _) = client.receive(LDS, "1", "", vec![listener("l", "r")]);
    assert_eq!(short(&requests), ["route v= n= [r]"]);
    assert!(client.receive(LDS, "2", "", vec![listener("l", "r")]).0.is_empty());
}

#[test]
fn point_30_a_name_that_did_not_exist_is_taken_when_it_comes() {
    let mut client = Client::new();
    client.get(LDS, "1", vec![listener("l", "r")]);
    client.get(RDS, "1", vec![]);
    client.get(RDS, "2", vec![routes("r")]);
    assert!(client.has(RDS, "r"));
}

#[test]
fn point_31_an_empty_version_is_a_version() {
    let mut client = Client::new();
    assert_eq!(short(&client.get(CDS, "", vec![cluster("a", "", 1)]))[0], "cluster v= n=n1 []");
    assert!(client.has(CDS, "a"));
}

#[test]
fn point_33_a_type_nobody_subscribed_to_is_not_answered() {
    let mut client = Client::new();
    assert!(client.get(RDS, "1", vec![routes("r")]).is_empty());
    let mut response =
        DiscoveryResponse { type_url: "type.googleapis.com/acme.Thing".to_owned(), ..Default::default() };
    response.nonce = "x".to_owned();
    let received = client.stream.receive(&response, &mut client.cache, client.now);
    assert!(received.requests.is_empty() && received.answered.is_none());
}

#[test]
fn a_rejected_resource_that_is_good_again_clears_its_error() {
    let mut client = Client::new();
    let good = cluster("a", "", 1);
    client.get(CDS, "1", vec![good.clone()]);
    client.get(CDS, "2", vec![bad_cluster("a")]);
    assert_eq!(client.cache.rejected(CDS).count(), 1);
    assert_eq!(short(&client.get(CDS, "3", vec![good])), ["cluster v=3 n=n3 []"]);
    assert_eq!(client.cache.rejected(CDS).count(), 0);
}

#[test]
fn a_long_nack_is_cut() {
    let mut client = Client::new();
    let many = (0..5000).map(|i| bad_cluster(&format!("cluster-{i}"))).collect();
    let requests = client.get(CDS, "1", many);
    let message = &requests[0].error_detail.as_ref().unwrap().message;
    assert!(message.len() < MAX_NACK_MESSAGE + 100 && message.ends_with("more"), "{}", message.len());
}

#[derive(Debug, Clone)]
enum Step {
    Clusters(Vec<(u8, u8, bool)>),
    Endpoints(Vec<(u8, bool)>),
    Listeners(Vec<(u8, u8)>),
    Routes(Vec<u8>),
    Reconnect,
}

fn step() -> impl Strategy<Value = Step> {
    let n = || 0..4u8;
    prop_oneof![
        prop::collection::vec((n(), n(), ANY), 0..5).prop_map(Step::Clusters),
        prop::collection::vec((n(), ANY), 0..5).prop_map(Step::Endpoints),
        prop::collection::vec((n(), n()), 0..5).prop_map(Step::Listeners),
        prop::collection::vec(n(), 0..5).prop_map(Step::Routes),
        Just(Step::Reconnect),
    ]
}

proptest! {
    /// Whatever comes in whatever order: one answer per response, first and with its nonce and the right version;
    /// what a server last heard is what the graph holds; and no request but these.
    #[test]
    fn any_schedule_is_answered_in_order(steps in prop::collection::vec(step(), 1..40)) {
        let mut client = Client::new();
        let mut heard: [Option<Vec<String>>; 4] = [Some(vec![]), None, Some(vec![]), None];
        let mut accepted: [String; 4] = Default::default();
        for (i, step) in steps.into_iter().enumerate() {
            let (kind, resources) = match step {
                Step::Reconnect => {
                    heard = Default::default();
                    for (position, request) in client.reconnect().into_iter().enumerate() {
                        let kind = ResourceType::from_type_url(&request.type_url).unwrap();
                        prop_assert_eq!(request.node.is_some(), position == 0);
                        prop_assert_eq!(&request.response_nonce, "");
                        prop_assert_eq!(&request.version_info, &accepted[kind as usize]);
                        prop_assert!(heard[kind as usize].replace(request.resource_names).is_none());
                    }
                    check_heard(&client, &heard)?;
                    continue;
                }
                Step::Clusters(items) => (CDS, items.into_iter()
                    .map(|(n, s, good)| cluster(&format!("c{n}"), &format!("s{s}"), if good { 1 + i as i64 % 2 } else { -1 }))
                    .collect::<Vec<_>>()),
                Step::Endpoints(items) => (EDS, items.into_iter()
                    .map(|(s, good)| endpoints(&format!("s{s}"), if good { i as u32 % 2 } else { 999 })).collect()),
                Step::Listeners(items) => (LDS, items.into_iter()
                    .map(|(n, r)| listener(&format!("l{n}"), &format!("r{r}"))).collect()),
                Step::Routes(items) => (RDS, items.into_iter().map(|r| routes(&format!("r{r}"))).collect()),
            };
            let (nonce, version) = (format!("n{i}"), format!("v{i}"));
            let subscribed = heard[kind as usize].as_ref().is_some_and(|names| kind.is_complete() || !names.is_empty());
            let requests = client.receive(kind, &version, &nonce, resources).0;
            prop_assert_eq!(requests.iter().filter(|r| r.type_url == kind.type_url()).count(), usize::from(subscribed));
            if subscribed {
                let answer = &requests[0];
                prop_assert_eq!(&answer.type_url, kind.type_url());
                prop_assert_eq!(&answer.response_nonce, &nonce);
                if answer.error_detail.is_none() {
                    accepted[kind as usize] = version;
                }
            }
            prop_assert!(requests.len() <= 2);
            for request in requests {
                let kind = ResourceType::from_type_url(&request.type_url).unwrap();
                let unsubscribes = request.resource_names.is_empty() && !kind.is_complete();
                if unsubscribes {
                    prop_assert!(heard[kind as usize].as_ref().is_some_and(|n| !n.is_empty()), "unsubscribed twice");
                    accepted[kind as usize].clear();
                }
                prop_assert_eq!(&request.version_info, &accepted[kind as usize]);
                heard[kind as usize] = Some(request.resource_names);
            }
            check_heard(&client, &heard)?;
        }
    }
}

fn check_heard(client: &Client, heard: &[Option<Vec<String>>; 4]) -> Result<(), TestCaseError> {
    for kind in ResourceType::ALL {
        let names = client.cache.names(kind);
        prop_assert_eq!(heard[kind as usize].clone().unwrap_or_default(), names);
    }
    Ok(())
}
