//! Weighted clusters to traffic-split. Mapping rows 36 to 38.

use std::collections::BTreeMap;

use crate::{
    apisix::{
        InlineUpstream, MAX_WEIGHTED_UPSTREAMS, SplitRule, SplitTarget, TrafficSplit, WeightedUpstream,
    },
    pb::{envoy::config::route::v3::WeightedCluster, path::Path},
};

use super::{Chosen, Targets};
use crate::translate::{
    cluster::{Target, Variant, labels},
    effect::Effect,
    endpoint::small_weights,
    note::Notes,
};

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
        let target = targets(&cluster.name);
        let target = match target {
            Target::Published { connect_timeout, .. } => {
                connect = connect.max(connect_timeout);
                let mut asked = asked.clone();
                asked.subset.extend(labels(cluster.metadata_match.as_ref()));
                Some(effect.use_upstream(&cluster.name, &target, asked))
            }
            Target::OwnPort { .. } | Target::Unpublished | Target::Unknown => {
                let detail = format!("{:?} has no upstream: its share is answered with 503", cluster.name);
                notes.traffic(&path.item("clusters", at).field("name"), detail);
                None
            }
        };
        *shares.entry(target).or_default() += f64::from(cluster.weight.unwrap_or(0));
    }
    if shares.len() > MAX_WEIGHTED_UPSTREAMS {
        let detail = format!("more than {MAX_WEIGHTED_UPSTREAMS} clusters: answered with 503");
        notes.traffic(&path.field("clusters"), detail);
        return None;
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
