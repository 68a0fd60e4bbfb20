//! The points of the xDS protocol document, each by its number, and random schedules.
//!
//! Points of the connection (2, 26, 32, 34) and of what is published (22, 23) are tested where these are.

mod delta;
mod schedule;
mod sotw;

use std::time::Duration;

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

const PATIENCE: Duration = Duration::from_secs(15);

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

/// A client and the clock it is shown.
struct Client {
    stream: Stream,
    cache: Cache,
    now: Instant,
    nonce: usize,
}

impl Client {
    fn new() -> Self {
        let stream = Stream::new(Node { id: "me".to_owned(), ..Default::default() });
        Self { stream, cache: Cache::new(PATIENCE), now: Instant::now(), nonce: 0 }
    }

    fn next_nonce(&mut self) -> String {
        self.nonce += 1;
        format!("n{}", self.nonce)
    }

    /// The requests as they are sent, and what changed.
    fn receive(&mut self, response: &Response) -> (Vec<Request>, Vec<Change>) {
        let received = self.stream.receive(response, &mut self.cache, self.now);
        let requests = received.requests.into_iter().map(|request| request.with_names(&self.cache));
        (requests.collect(), received.changes)
    }

    fn has(&self, kind: ResourceType, name: &str) -> bool {
        self.cache.snapshot().get(kind, name).is_some()
    }
}

fn noun(type_url: &str) -> &'static str {
    ResourceType::from_type_url(type_url).unwrap().noun()
}
