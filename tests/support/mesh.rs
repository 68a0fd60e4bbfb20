//! A synthetic mesh of any size, in Istio's shape: EDS clusters, one listener for their port, one virtual host each.

#![allow(clippy::needless_update, reason = "messages gain fields as the library learns to read them")]
#![allow(dead_code)] // Each user includes this file and needs a part of it.

use apisix_mesh::pb::{
    TYPE_URL_PREFIX,
    envoy::{
        config::{
            cluster::v3::{
                Cluster,
                cluster::{ClusterDiscoveryType, DiscoveryType, EdsClusterConfig},
            },
            core::v3::{
                Address, AggregatedConfigSource, ConfigSource, SocketAddress, address,
                config_source::ConfigSourceSpecifier, socket_address::PortSpecifier,
            },
            endpoint::v3::{
                ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints, lb_endpoint::HostIdentifier,
            },
            listener::v3::{Filter, FilterChain, Listener, filter::ConfigType},
            route::v3::{
                Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost, route::Action,
                route_action::ClusterSpecifier, route_match::PathSpecifier,
            },
        },
        extensions::filters::network::http_connection_manager::v3::{
            HttpConnectionManager, Rds, http_connection_manager::RouteSpecifier,
        },
    },
    google::protobuf::{Any, Duration},
};
use prost::Message;

/// The port that all services share.
pub const PORT: u32 = 9080;

/// The name of cluster `i`.
pub fn cluster_name(i: usize) -> String {
    format!("outbound|{PORT}||service-{i:05}.default.svc.cluster.local")
}

/// Packs a message as xDS does.
pub fn any<M: Message>(name: &str, message: &M) -> Any {
    Any { type_url: format!("{TYPE_URL_PREFIX}{name}"), value: message.encode_to_vec().into() }
}

fn ads() -> Option<ConfigSource> {
    Some(ConfigSource {
        config_source_specifier: Some(ConfigSourceSpecifier::Ads(AggregatedConfigSource {})),
    })
}

fn socket(address: &str, port: u32) -> Option<Address> {
    let port_specifier = Some(PortSpecifier::PortValue(port));
    let socket = SocketAddress { protocol: 0, address: address.to_owned(), port_specifier };
    Some(Address { address: Some(address::Address::SocketAddress(socket)) })
}

/// Cluster `i`.
pub fn cluster(i: usize) -> Cluster {
    Cluster {
        name: cluster_name(i),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds as i32)),
        eds_cluster_config: Some(EdsClusterConfig { eds_config: ads(), service_name: String::new() }),
        connect_timeout: Some(Duration { seconds: 10, nanos: 0 }),
        ..Default::default()
    }
}

/// Cluster `i`'s endpoints: three, the last of them at `last`.
pub fn assignment(i: usize, last: u8) -> ClusterLoadAssignment {
    assignment_of(i, [1, 2, last].map(|host| (host, PORT)))
}

/// Cluster `i`'s endpoints, each by the last part of its address and its port.
pub fn assignment_of(i: usize, hosts: impl IntoIterator<Item = (u8, u32)>) -> ClusterLoadAssignment {
    let endpoint = |(host, port)| LbEndpoint {
        host_identifier: Some(HostIdentifier::Endpoint(Endpoint {
            address: socket(&format!("10.{}.{}.{host}", i / 250, i % 250), port),
            ..Default::default()
        })),
        load_balancing_weight: Some(1),
        ..Default::default()
    };
    let lb_endpoints: Vec<LbEndpoint> = hosts.into_iter().map(endpoint).collect();
    let load_balancing_weight = Some(lb_endpoints.len() as u32);
    let locality = LocalityLbEndpoints { lb_endpoints, load_balancing_weight, ..Default::default() };
    ClusterLoadAssignment { cluster_name: cluster_name(i), endpoints: vec![locality], ..Default::default() }
}

/// The listener of all services, with its routes by RDS.
pub fn listener() -> Listener {
    let manager = HttpConnectionManager {
        route_specifier: Some(RouteSpecifier::Rds(Rds {
            config_source: ads(),
            route_config_name: PORT.to_string(),
        })),
        ..Default::default()
    };
    const MANAGER: &str = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
    let filter = Filter {
        name: "envoy.filters.network.http_connection_manager".to_owned(),
        config_type: Some(ConfigType::TypedConfig(any(MANAGER, &manager))),
    };
    Listener {
        name: format!("0.0.0.0_{PORT}"),
        address: socket("0.0.0.0", PORT),
        filter_chains: vec![FilterChain { filters: vec![filter], ..Default::default() }],
        bind_to_port: Some(false),
        ..Default::default()
    }
}

/// One virtual host with one route for each cluster.
pub fn routes(clusters: usize) -> RouteConfiguration {
    let virtual_host = |i: usize| {
        let action = RouteAction {
            cluster_specifier: Some(ClusterSpecifier::Cluster(cluster_name(i))),
            ..Default::default()
        };
        let path_specifier = Some(PathSpecifier::Prefix("/".to_owned()));
        VirtualHost {
            name: format!("service-{i:05}:{PORT}"),
            domains: vec![format!("service-{i:05}.default.svc.cluster.local")],
            routes: vec![Route {
                r#match: Some(RouteMatch { path_specifier, ..Default::default() }),
                action: Some(Action::Route(action)),
                ..Default::default()
            }],
            ..Default::default()
        }
    };
    RouteConfiguration {
        name: PORT.to_string(),
        virtual_hosts: (0..clusters).map(virtual_host).collect(),
        ..Default::default()
    }
}
