//! An aggregate cluster: the endpoints of its members, one member behind the other.
//!
//! Mapping row 97. In: the names of the members. Out: the settings of the first, and the endpoints of all. Envoy
//! goes to a later member as it goes to a later priority, so members' priorities follow each other. Never here: what
//! is wrong with a member, which its own unit reports.

use std::{collections::BTreeSet, sync::Arc};

use prost::Message;

use crate::{
    pb::{envoy::config::cluster::v3::Cluster, path::Path},
    translate::{Policy, endpoint::Endpoints, note::Notes},
    xds::{ResourceType, Snapshot},
};

use super::{Settings, discovery::Source};

/// The most clusters that one aggregate reads.
const MAX_CLUSTERS: usize = 256;

/// What the members of an aggregate come to.
#[derive(Debug, Default)]
pub(super) struct Members {
    /// `None` as long as no member is there with its endpoints.
    pub first: Option<Settings>,
    pub endpoints: Endpoints,
    /// Every cluster that was looked for.
    pub read: BTreeSet<Arc<str>>,
}

/// Reads the members of the cluster `name`, and the members of those that are aggregates too, each once: a cycle ends
/// where it began.
pub(super) fn gather(
    name: &Arc<str>,
    clusters: Vec<String>,
    snapshot: &Snapshot,
    policy: Policy,
    notes: &mut Notes,
) -> Members {
    let path = Path::ROOT.field("cluster_type");
    let path = path.field("typed_config");
    let path = path.field("clusters");
    let mut members = Members::default();
    let mut differ = false;
    let mut left: Vec<Arc<str>> = clusters.into_iter().rev().map(Arc::from).collect();
    while let Some(member) = left.pop() {
        if member == *name || members.read.contains(&member) {
            continue;
        }
        if members.read.len() == MAX_CLUSTERS {
            notes.traffic(&path, format!("{member} and what follows is left out: {MAX_CLUSTERS} are enough"));
            break;
        }
        members.read.insert(member.clone());
        let Some(cluster) = read(&member, snapshot) else { continue };
        let mut quiet = Notes::default();
        match Source::of(&cluster, &member, &mut quiet) {
            Source::Clusters(inner) => left.extend(inner.into_iter().rev().map(Arc::from)),
            Source::OriginalDestination | Source::Unsupported => {
                notes.traffic(&path, format!("{member} has no upstream: it is left out"));
            }
            source => {
                let settings = Settings::of(&cluster, &member, &source, policy, &mut quiet);
                let found =
                    settings.endpoints(&cluster, &source, snapshot, &mut quiet, &mut Notes::default());
                let Some(endpoints) = found else { continue };
                members.endpoints.append(endpoints);
                match &members.first {
                    Some(first) => differ |= !first.serves_like(&settings),
                    None => members.first = Some(settings),
                }
            }
        }
    }
    if differ {
        notes.approximated(&path, "all are served with the settings of the first that has endpoints");
    }
    members
}

fn read(name: &str, snapshot: &Snapshot) -> Option<Cluster> {
    // A cluster that cannot be decoded is reported by its own unit.
    Cluster::decode(snapshot.get(ResourceType::Cluster, name)?.bytes.clone()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        pb::{
            envoy::{
                config::cluster::v3::cluster::{ClusterDiscoveryType, CustomClusterType},
                extensions::clusters::aggregate::v3::ClusterConfig,
            },
            google::protobuf::Any,
        },
        xds::Resource,
    };

    fn aggregate(name: &str, members: &[String]) -> Resource {
        let config = ClusterConfig { clusters: members.to_vec() };
        let typed_config = Some(Any {
            type_url: "type.googleapis.com/envoy.extensions.clusters.aggregate.v3.ClusterConfig".to_owned(),
            value: config.encode_to_vec().into(),
        });
        let custom = CustomClusterType { name: "aggregate".to_owned(), typed_config };
        let cluster = Cluster {
            name: name.to_owned(),
            cluster_discovery_type: Some(ClusterDiscoveryType::ClusterType(custom)),
            ..Cluster::default()
        };
        Resource::new(name, &cluster.encode_to_vec())
    }

    #[test]
    fn everything_that_was_looked_for_is_named() {
        let mut snapshot = Snapshot::default();
        snapshot.insert(ResourceType::Cluster, aggregate("b", &["a".to_owned(), "c".to_owned()]));
        let members = ["b".to_owned(), "absent".to_owned()].into();
        let found = gather(&"a".into(), members, &snapshot, Policy::default(), &mut Notes::default());
        assert_eq!(found.read, ["absent", "b", "c"].map(Arc::from).into());
        assert!(found.first.is_none());
    }

    #[test]
    fn a_long_chain_of_aggregates_ends() {
        let mut snapshot = Snapshot::default();
        for i in 0..2000 {
            snapshot.insert(ResourceType::Cluster, aggregate(&format!("{i}"), &[format!("{}", i + 1)]));
        }
        let mut notes = Notes::default();
        let found = gather(&"0".into(), vec!["1".to_owned()], &snapshot, Policy::default(), &mut notes);
        assert_eq!(found.read.len(), MAX_CLUSTERS);
        assert_eq!(notes.into_vec().len(), 1);
    }
}
