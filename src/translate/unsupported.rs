//! What one resource asks for and would not get, whatever others say.
//!
//! In: a resource alone. Out: its issues of traffic or security. What depends on other resources is taken for there:
//! that a cluster is unknown or waits for its endpoints is no fault of who names it. Never here: objects.

use std::collections::BTreeSet;

use prost::Message as _;

use crate::{
    pb::envoy::config::cluster::v3::{
        Cluster,
        cluster::{ClusterDiscoveryType, DiscoveryType},
    },
    xds::{Resource, ResourceType, Snapshot},
};

use super::{
    Delta, Issue, Policy, Severity,
    action::Clusters,
    cluster::{self, ClusterUnit, Mirror, Target},
    id::Id,
    listener,
    manager::Manager,
    note::Note,
    route_config::{Rereferred, RouteUnit, Served},
    scope::Scope,
};

/// The issues of traffic or above that come from the resource itself.
pub fn unsupported(kind: ResourceType, resource: &Resource) -> Vec<Issue> {
    let notes = match kind {
        ResourceType::Cluster => cluster(resource, &Snapshot::default()).notes,
        ResourceType::ClusterLoadAssignment => assignment(resource),
        ResourceType::Listener => listener(resource),
        ResourceType::RouteConfiguration => routes(&resource.bytes, "", &Manager::default()),
    };
    let mut issues: Vec<Issue> = notes
        .into_iter()
        .filter(|note| note.severity >= Severity::Traffic)
        .map(|Note { path, severity, detail, .. }| Issue {
            kind,
            resource: resource.name.clone(),
            path,
            severity,
            detail,
        })
        .collect();
    issues.sort();
    issues.dedup();
    issues
}

/// Under the default policy: who chose to be content with less refuses nothing for it.
fn cluster(resource: &Resource, snapshot: &Snapshot) -> ClusterUnit {
    cluster::translate(resource, snapshot, &BTreeSet::new(), Policy::default())
}

/// As a plain EDS cluster would use it.
fn assignment(resource: &Resource) -> Vec<Note> {
    let user = Cluster {
        name: resource.name.to_string(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds as i32)),
        ..Cluster::default()
    };
    let mut snapshot = Snapshot::default();
    snapshot.insert(ResourceType::ClusterLoadAssignment, resource.clone());
    cluster(&Resource::new(&resource.name, &user.encode_to_vec()), &snapshot).assignment_notes
}

/// With the route configurations inside it.
fn listener(resource: &Resource) -> Vec<Note> {
    let unit = listener::translate(resource);
    let mut notes = unit.notes;
    for inline in &unit.inline {
        let managers = unit.bindings.iter().filter(|((key, _), _)| *key == inline.key);
        for (_, manager) in managers {
            notes.extend(routes(&inline.bytes, &inline.path, manager));
        }
    }
    notes
}

fn routes(bytes: &[u8], place: &str, manager: &Manager) -> Vec<Note> {
    let served =
        Served { name: "", id: Id::new("unsupported"), scope: Scope::default(), manager, fail_closed: true };
    let mut unit = RouteUnit::default();
    unit.update(bytes, served, &Able, &mut Delta::default(), &mut Rereferred::default());
    let notes = unit.notes();
    notes.map(|note| Note { path: super::translator::joined(place, &note.path), ..note }).collect()
}

/// Clusters that give all that a route may ask of one.
struct Able;

impl Clusters for Able {
    fn target(&self, _: &str) -> Target {
        Target::Published {
            connect_timeout: 1.0,
            hashes: true,
            hostnames: true,
            subsets: true,
            grpc: false,
            encrypted: false,
            max_requests: None,
        }
    }

    fn mirror(&self, _: &str) -> Mirror {
        Mirror::Server { server: "http://127.0.0.1:80".into(), grpc: false }
    }
}
