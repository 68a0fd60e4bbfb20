//! Weighted clusters to traffic-split, or to a case for each. Mapping rows 36 to 39.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    apisix::{
        Condition, InlineUpstream, MAX_WEIGHTED_UPSTREAMS, SplitRule, SplitTarget, TrafficSplit,
        WeightedUpstream,
    },
    pb::{
        envoy::config::{
            core::v3::Metadata,
            route::v3::{
                RouteAction, WeightedCluster,
                route_action::{ClusterNotFoundResponseCode, ClusterSpecifier, HostRewriteSpecifier},
                weighted_cluster::{ClusterWeight, cluster_weight},
            },
        },
        path::Path,
    },
};

use super::{Chosen, Targets};
use crate::translate::{
    Severity,
    cluster::{Target, Variant, labels},
    effect::{Cluster, Effect},
    endpoint::small_weights,
    filter::Overrides,
    header::{Level, Lists},
    note::Notes,
    random::{self, Choice},
};

/// Requests of an action that go the same way.
pub(super) struct Share {
    pub label: String,
    /// None for the last, which takes what is left.
    pub when: Vec<Condition>,
    pub action: RouteAction,
    pub cluster: Cluster,
}

/// The shares of an action: all requests, unless its clusters ask for more than a share of requests.
///
/// A share of weighted clusters is an action with one cluster.
pub(super) fn shares(
    action: &RouteAction,
    targets: Targets<'_>,
    path: &Path<'_>,
    notes: &mut Notes,
) -> Vec<Share> {
    match &action.cluster_specifier {
        Some(ClusterSpecifier::WeightedClusters(split)) if needs_cases(action, split, targets) => {
            each(action, split, path, notes)
        }
        Some(ClusterSpecifier::Cluster(name)) => {
            vec![whole(action, Cluster { name: name.clone(), ..Cluster::default() })]
        }
        _ => vec![whole(action, Cluster::default())],
    }
}

fn whole(action: &RouteAction, cluster: Cluster) -> Share {
    Share { label: String::new(), when: Vec::new(), action: action.clone(), cluster }
}

fn weight(cluster: &ClusterWeight) -> f64 {
    f64::from(cluster.weight.unwrap_or(0))
}

/// Whether requests differ by more than where they go, or go to more clusters than traffic-split takes.
fn needs_cases(action: &RouteAction, split: &WeightedCluster, targets: Targets<'_>) -> bool {
    let status = ClusterNotFoundResponseCode::try_from(action.cluster_not_found_response_code);
    let tells = !matches!(status, Ok(ClusterNotFoundResponseCode::ServiceUnavailable) | Err(_));
    let own = |cluster: &ClusterWeight| {
        !Lists::from(cluster).is_empty()
            || cluster.host_rewrite_specifier.is_some()
            || !cluster.typed_per_filter_config.is_empty()
            || tells && matches!(targets.target(&cluster.name), Target::Unknown)
            || matches!(targets.target(&cluster.name), Target::OwnPort { port: Some(_), .. })
    };
    let mut served = split.clusters.iter().filter(|cluster| weight(cluster) > 0.0);
    let places: BTreeSet<_> =
        served.clone().map(|cluster| (&cluster.name, labels(cluster.metadata_match.as_ref()))).collect();
    places.len() > MAX_WEIGHTED_UPSTREAMS || served.any(own)
}

fn each(action: &RouteAction, split: &WeightedCluster, path: &Path<'_>, notes: &mut Notes) -> Vec<Share> {
    let total: f64 = split.clusters.iter().map(weight).sum();
    let mut below = 0.0;
    let mut shares = Vec::new();
    for (at, cluster) in split.clusters.iter().enumerate().filter(|(_, cluster)| weight(cluster) > 0.0) {
        below += weight(cluster);
        let mut share = of_cluster(action, cluster, &path.item("clusters", at), notes);
        // Weights are whole: the sum of all is the total, and takes what is left.
        if let random::Share::Some(condition) = random::Share::below(Choice::Cluster, below / total) {
            share.label = format!("cluster {at}");
            share.when.push(condition);
        }
        shares.push(share);
    }
    shares
}

fn of_cluster(action: &RouteAction, cluster: &ClusterWeight, path: &Path<'_>, notes: &mut Notes) -> Share {
    let mut action = action.clone();
    action.cluster_specifier = Some(ClusterSpecifier::Cluster(cluster.name.clone()));
    if let Some(cluster_weight::HostRewriteSpecifier::HostRewriteLiteral(host)) =
        &cluster.host_rewrite_specifier
    {
        // The route's own comes after it, and undoes it.
        let host = HostRewriteSpecifier::HostRewriteLiteral(host.clone());
        action.host_rewrite_specifier.get_or_insert(host);
    }
    if let Some(more) = &cluster.metadata_match {
        narrow(action.metadata_match.get_or_insert_default(), more);
    }
    let filters = (!cluster.typed_per_filter_config.is_empty())
        .then(|| Arc::new(Overrides::read(&cluster.typed_per_filter_config, path, notes)));
    let headers = Level::read(cluster, path, notes);
    whole(&action, Cluster { name: cluster.name.clone(), headers, filters })
}

/// Adds labels that endpoints must have; a cluster's go before the route's.
fn narrow(metadata: &mut Metadata, more: &Metadata) {
    for (filter, labels) in &more.filter_metadata {
        let of_filter = metadata.filter_metadata.entry(filter.clone()).or_default();
        of_filter.fields.extend(labels.fields.clone());
    }
}

/// The effect of a split. A share whose cluster has no upstream goes to an upstream without nodes: it is answered
/// with 503, as Envoy does, and the other shares are served.
pub(super) fn effect(
    split: &WeightedCluster,
    asked: &Variant,
    targets: Targets<'_>,
    path: &Path<'_>,
    notes: &mut Notes,
) -> Chosen {
    let mut effect = Effect::default();
    let mut shares: BTreeMap<Option<String>, f64> = BTreeMap::new();
    let mut connect = 0.0f64;
    for (at, cluster) in split.clusters.iter().enumerate().filter(|(_, c)| c.weight.unwrap_or(0) > 0) {
        let target = targets.target(&cluster.name);
        let target = match target {
            Target::Published { connect_timeout, .. } => {
                connect = connect.max(connect_timeout);
                let mut asked = asked.clone();
                asked.subset.extend(labels(cluster.metadata_match.as_ref()));
                Some(effect.use_upstream(&cluster.name, &target, asked))
            }
            Target::Unknown => {
                let detail =
                    format!("{:?} is not known: its share is answered with 503, as Envoy does", cluster.name);
                notes.add(Severity::Ignored, &path.item("clusters", at).field("name"), detail);
                None
            }
            Target::OwnPort { .. } | Target::Unpublished => {
                let detail = format!("{:?} has no upstream: its share is answered with 503", cluster.name);
                notes.traffic(&path.item("clusters", at).field("name"), detail);
                None
            }
        };
        *shares.entry(target).or_default() += f64::from(cluster.weight.unwrap_or(0));
    }
    if shares.keys().all(Option::is_none) {
        if shares.is_empty() {
            notes.traffic(&path.field("clusters"), "no cluster has a weight: answered with 503");
        }
        return None;
    }
    if shares.len() == 1 {
        effect.upstream_id = shares.into_keys().next().flatten();
        return Some((effect, connect));
    }
    let weights = small_weights(&shares.values().copied().collect::<Vec<_>>());
    let entry = |(target, weight): (Option<String>, u32)| WeightedUpstream {
        target: match target {
            Some(id) => SplitTarget::UpstreamId(id),
            None => SplitTarget::Upstream(Box::new(InlineUpstream::without_nodes())),
        },
        weight,
    };
    let weighted_upstreams = shares.into_keys().zip(weights).map(entry).collect();
    let plugin = TrafficSplit { rules: [SplitRule { weighted_upstreams }], meta: None };
    effect.plugins.traffic_split = Some(plugin);
    Some((effect, connect))
}
