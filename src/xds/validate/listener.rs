//! Listeners and the HTTP connection managers in them.

use std::collections::BTreeSet;

use prost::Message;

use super::{
    Change, Checked, ResourceType, address, cluster,
    place::{Content, FieldError, Place},
    route,
};
use crate::pb::{
    envoy::{
        config::{
            core::v3::{Address, address as kinds, socket_address::Protocol},
            listener::v3::{FilterChain, Listener, filter},
        },
        extensions::filters::network::http_connection_manager::v3::{
            HttpConnectionManager, http_connection_manager::RouteSpecifier,
        },
    },
    google::protobuf::Any,
    message_name,
};

const HTTP_CONNECTION_MANAGER: &str =
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";

pub fn check(place: &Place<'_>, listener: &Listener) -> Result<Checked, FieldError> {
    place.field("name").not_empty(&listener.name)?;
    let mut refers_to = BTreeSet::new();
    let api = listener.api_listener.as_ref().and_then(|a| a.api_listener.as_ref());
    if let Some(any) = api {
        let place = place.field("api_listener");
        check_manager(&place.field("api_listener"), any, &mut refers_to)?;
    }
    match &listener.address {
        Some(address) => address::check(&place.field("address"), address)?,
        // These two are reached from inside Envoy; everything else has to bind somewhere.
        None if listener.api_listener.is_some() || place.has_any(&["internal_listener"]) => {}
        None => return Err(place.field("address").error("is required")),
    }
    for (i, chain) in listener.filter_chains.iter().enumerate() {
        check_chain(&place.item("filter_chains", i), chain, &mut refers_to)?;
    }
    if let Some(chain) = &listener.default_filter_chain {
        check_chain(&place.field("default_filter_chain"), chain, &mut refers_to)?;
    }
    let no_chain = listener.filter_chains.is_empty() && listener.default_filter_chain.is_none();
    if no_chain && listener.api_listener.is_none() && !needs_no_chain(place, listener) {
        return Err(place.field("filter_chains").error("at least one is required"));
    }
    for (i, filter) in listener.listener_filters.iter().enumerate() {
        place.item("listener_filters", i).field("name").not_empty(&filter.name)?;
    }
    Ok(Checked { name: listener.name.clone(), refers_to })
}

fn needs_no_chain(place: &Place<'_>, listener: &Listener) -> bool {
    let udp = matches!(&listener.address, Some(Address { address: Some(kinds::Address::SocketAddress(s)) })
        if s.protocol == Protocol::Udp as i32);
    udp || place.has_any(&["udp_listener_config", "internal_listener", "fcds_config"])
}

fn check_chain(
    place: &Place<'_>,
    chain: &FilterChain,
    refers_to: &mut BTreeSet<Change>,
) -> Result<(), FieldError> {
    if let Some(matches) = &chain.filter_chain_match {
        let place = place.field("filter_chain_match");
        for (i, range) in matches.prefix_ranges.iter().enumerate() {
            address::check_cidr(&place.item("prefix_ranges", i), range)?;
        }
        if let Some(port) = matches.destination_port {
            address::check_port(&place.field("destination_port"), port)?;
        }
    }
    for (i, filter) in chain.filters.iter().enumerate() {
        let place = place.item("filters", i);
        place.field("name").not_empty(&filter.name)?;
        if let Some(filter::ConfigType::TypedConfig(any)) = &filter.config_type {
            check_manager(&place.field("typed_config"), any, refers_to)?;
        }
    }
    Ok(())
}

/// Checks an `Any` that may hold an HTTP connection manager; other filters are the translation's to judge.
fn check_manager(place: &Place<'_>, any: &Any, refers_to: &mut BTreeSet<Change>) -> Result<(), FieldError> {
    if message_name(&any.type_url) != HTTP_CONNECTION_MANAGER {
        return Ok(());
    }
    let manager = HttpConnectionManager::decode(any.value.clone()).map_err(|e| place.error(e.to_string()))?;
    let content = Content::new(HTTP_CONNECTION_MANAGER, &any.value);
    let place = place.packed(&content);
    for (i, filter) in manager.http_filters.iter().enumerate() {
        place.item("http_filters", i).field("name").not_empty(&filter.name)?;
    }
    match &manager.route_specifier {
        Some(RouteSpecifier::Rds(rds)) => {
            let place = place.field("rds");
            let source = place.field("config_source");
            cluster::check_config_source(&source, source.required(&rds.config_source)?)?;
            place.field("route_config_name").not_empty(&rds.route_config_name)?;
            let name = rds.route_config_name.as_str().into();
            refers_to.insert(Change { kind: ResourceType::RouteConfiguration, name });
            Ok(())
        }
        Some(RouteSpecifier::RouteConfig(routes)) => {
            route::check(&place.field("route_config"), routes)?;
            refers_to.extend(route::clusters(routes));
            Ok(())
        }
        None if place.has_any(&["scoped_routes"]) => Ok(()),
        None => Err(place.error("one of rds, route_config, scoped_routes is required")),
    }
}
