//! Clusters and load assignments.

use std::collections::BTreeSet;

use super::{
    Change, Checked, ResourceType, address,
    place::{FieldError, Place},
};
use crate::pb::envoy::config::{
    cluster::v3::{
        Cluster,
        cluster::{ClusterDiscoveryType, DiscoveryType, EdsClusterConfig, LbPolicy},
    },
    core::v3::{ConfigSource, HealthStatus},
    endpoint::v3::{ClusterLoadAssignment, LbEndpoint, LocalityLbEndpoints, lb_endpoint::HostIdentifier},
};

const MAX_PRIORITY: u32 = 128;

pub fn check(place: &Place<'_>, cluster: &Cluster) -> Result<Checked, FieldError> {
    place.field("name").not_empty(&cluster.name)?;
    check_timeout(place, cluster)?;
    let policy: LbPolicy = place.field("lb_policy").known(cluster.lb_policy)?;
    if let Some(assignment) = &cluster.load_assignment {
        check_endpoints(&place.field("load_assignment"), assignment)?;
    }
    let mut refers_to = BTreeSet::new();
    match &cluster.cluster_discovery_type {
        Some(ClusterDiscoveryType::ClusterType(custom)) => {
            place.field("cluster_type").field("name").not_empty(&custom.name)?;
        }
        Some(ClusterDiscoveryType::Type(number)) => {
            let kind: DiscoveryType = place.field("type").known(*number)?;
            check_discovery(place, cluster, kind, policy)?;
            if kind == DiscoveryType::Eds {
                let name = eds_name(place, cluster)?.into();
                refers_to.insert(Change { kind: ResourceType::ClusterLoadAssignment, name });
            }
        }
        None => check_discovery(place, cluster, DiscoveryType::Static, policy)?,
    }
    Ok(Checked { name: cluster.name.clone(), refers_to })
}

fn check_timeout(place: &Place<'_>, cluster: &Cluster) -> Result<(), FieldError> {
    match &cluster.connect_timeout {
        Some(timeout) if (timeout.seconds, timeout.nanos) <= (0, 0) => {
            Err(place.field("connect_timeout").error("must be more than 0s"))
        }
        _ => Ok(()),
    }
}

fn check_discovery(
    place: &Place<'_>,
    cluster: &Cluster,
    kind: DiscoveryType,
    policy: LbPolicy,
) -> Result<(), FieldError> {
    if kind != DiscoveryType::Eds && cluster.eds_cluster_config.is_some() {
        return Err(place
            .field("eds_cluster_config")
            .error(format!("set in a cluster of type {}", kind.as_str_name())));
    }
    if kind != DiscoveryType::OriginalDst && policy == LbPolicy::ClusterProvided {
        let problem = format!("CLUSTER_PROVIDED in a cluster of type {}", kind.as_str_name());
        return Err(place.field("lb_policy").error(problem));
    }
    let assignment = cluster.load_assignment.as_ref();
    match kind {
        DiscoveryType::OriginalDst
            if !matches!(policy, LbPolicy::ClusterProvided | LbPolicy::LoadBalancingPolicyConfig) =>
        {
            Err(place.field("lb_policy").error(format!(
                "{} in a cluster of type ORIGINAL_DST; only CLUSTER_PROVIDED or LOAD_BALANCING_POLICY_CONFIG",
                policy.as_str_name()
            )))
        }
        DiscoveryType::LogicalDns
            if !assignment
                .is_some_and(|a| a.endpoints.len() == 1 && a.endpoints[0].lb_endpoints.len() == 1) =>
        {
            Err(place.field("load_assignment").error("a LOGICAL_DNS cluster has exactly one endpoint"))
        }
        DiscoveryType::Static => match assignment {
            Some(assignment) => address::endpoints_are_ips(&place.field("load_assignment"), assignment),
            None => Ok(()),
        },
        _ => Ok(()),
    }
}

/// The key of the cluster's load assignment (3.2 point 25).
fn eds_name(place: &Place<'_>, cluster: &Cluster) -> Result<String, FieldError> {
    let place = place.field("eds_cluster_config");
    let EdsClusterConfig { eds_config, service_name } = place.required(&cluster.eds_cluster_config)?;
    let source = place.field("eds_config");
    check_config_source(&source, source.required(eds_config)?)?;
    if service_name.is_empty() {
        return Ok(cluster.name.clone());
    }
    Ok(service_name.clone())
}

/// Some source has to be chosen. Which one does not matter here: this library has a single stream for all types.
pub fn check_config_source(place: &Place<'_>, source: &ConfigSource) -> Result<(), FieldError> {
    if source.config_source_specifier.is_some() || place.has_any(&["path"]) {
        return Ok(());
    }
    Err(place.error("one of ads, api_config_source, path_config_source, self is required"))
}

pub fn check_endpoints(place: &Place<'_>, assignment: &ClusterLoadAssignment) -> Result<(), FieldError> {
    place.field("cluster_name").not_empty(&assignment.cluster_name)?;
    let mut weights = std::collections::BTreeMap::<u32, u64>::new();
    for (i, locality) in assignment.endpoints.iter().enumerate() {
        let place = place.item("endpoints", i);
        check_locality(&place, locality)?;
        let sum = weights.entry(locality.priority).or_default();
        *sum += u64::from(locality.load_balancing_weight.unwrap_or(0));
        if *sum > u64::from(u32::MAX) {
            return Err(place.field("load_balancing_weight").error(format!(
                "the weights of priority {} add up to more than {}",
                locality.priority,
                u32::MAX
            )));
        }
    }
    Ok(())
}

fn check_locality(place: &Place<'_>, locality: &LocalityLbEndpoints) -> Result<(), FieldError> {
    if locality.priority > MAX_PRIORITY {
        let problem = format!("{} is more than {MAX_PRIORITY}", locality.priority);
        return Err(place.field("priority").error(problem));
    }
    check_weight(place, locality.load_balancing_weight)?;
    let mut sum = 0;
    for (i, endpoint) in locality.lb_endpoints.iter().enumerate() {
        let place = place.item("lb_endpoints", i);
        check_endpoint(&place, endpoint)?;
        sum += u64::from(endpoint.load_balancing_weight.unwrap_or(1));
        if sum > u64::from(u32::MAX) {
            let problem = format!("the weights of the locality add up to more than {}", u32::MAX);
            return Err(place.field("load_balancing_weight").error(problem));
        }
    }
    Ok(())
}

fn check_endpoint(place: &Place<'_>, lb_endpoint: &LbEndpoint) -> Result<(), FieldError> {
    place.field("health_status").known::<HealthStatus>(lb_endpoint.health_status)?;
    check_weight(place, lb_endpoint.load_balancing_weight)?;
    match &lb_endpoint.host_identifier {
        Some(HostIdentifier::Endpoint(endpoint)) => {
            let place = place.field("endpoint");
            let place = place.field("address");
            address::check(&place, place.required(&endpoint.address)?)
        }
        None if place.has_any(&["endpoint_name"]) => Ok(()),
        None => Err(place.field("endpoint").error("is required")),
    }
}

fn check_weight(place: &Place<'_>, weight: Option<u32>) -> Result<(), FieldError> {
    if weight == Some(0) {
        return Err(place.field("load_balancing_weight").error("0 is not a weight (1 or more)"));
    }
    Ok(())
}
