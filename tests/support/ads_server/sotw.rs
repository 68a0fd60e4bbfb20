//! Answers a state-of-the-world stream as a control plane should.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use apisix_mesh::{
    pb::{
        envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse},
        google::protobuf::Any,
    },
    xds::ResourceType,
};
use tokio::sync::watch;

use super::{Resources, Session};

/// What a stream's client asked for and got of one type.
#[derive(Default)]
struct Watch {
    /// `None`: not subscribed; empty: everything, for the wildcard types.
    names: Option<BTreeSet<String>>,
    nonce: String,
    sent: BTreeMap<String, Any>,
}

/// Answers one stream until it ends. `nacked` hears what the client refuses.
pub async fn serve(
    mut session: Session,
    mut resources: watch::Receiver<Arc<Resources>>,
    nacked: impl Fn(ResourceType, &str),
) {
    let mut watches: [Watch; ResourceType::ALL.len()] = Default::default();
    let mut counter = 0;
    loop {
        let due = tokio::select! {
            message = session.requests.message() => match message {
                Ok(Some(request)) => on_request(&request, &mut watches, &nacked),
                Ok(None) | Err(_) => return,
            },
            changed = resources.changed() => match changed {
                Ok(()) => on_change(&resources.borrow(), &watches),
                Err(_) => return,
            },
        };
        let present = resources.borrow_and_update().clone();
        for (kind, names) in due {
            counter += 1;
            let watch = &mut watches[kind as usize];
            watch.nonce = format!("{}-{counter}", kind.noun());
            let of_type = present.of(kind);
            watch.sent = of_type.clone();
            let chosen = of_type.iter().filter(|(name, _)| names.as_ref().is_none_or(|n| n.contains(*name)));
            let response = DiscoveryResponse {
                version_info: counter.to_string(),
                resources: chosen.map(|(_, any)| any.clone()).collect(),
                type_url: kind.type_url().to_owned(),
                nonce: watch.nonce.clone(),
                control_plane: None,
            };
            if session.responses.send(Ok(response)).await.is_err() {
                return;
            }
        }
    }
}

/// A type, and the names to send of it; all if `None`.
type Due = (ResourceType, Option<BTreeSet<String>>);

fn on_request(
    request: &DiscoveryRequest,
    watches: &mut [Watch; ResourceType::ALL.len()],
    nacked: &impl Fn(ResourceType, &str),
) -> Vec<Due> {
    let Some(kind) = ResourceType::from_type_url(&request.type_url) else { return Vec::new() };
    if let Some(detail) = &request.error_detail {
        nacked(kind, &detail.message);
        return Vec::new();
    }
    let watch = &mut watches[kind as usize];
    if !request.response_nonce.is_empty() && request.response_nonce != watch.nonce {
        return Vec::new();
    }
    let names: BTreeSet<String> = request.resource_names.iter().cloned().collect();
    let before = watch.names.replace(names.clone());
    if kind.is_complete() {
        return if before.is_none() { vec![(kind, None)] } else { Vec::new() };
    }
    let added: BTreeSet<String> = names.difference(&before.unwrap_or_default()).cloned().collect();
    if added.is_empty() { Vec::new() } else { vec![(kind, Some(added))] }
}

fn on_change(present: &Resources, watches: &[Watch; ResourceType::ALL.len()]) -> Vec<Due> {
    let mut due = Vec::new();
    let mut clusters_changed = false;
    for kind in ResourceType::ALL {
        let watch = &watches[kind as usize];
        let Some(names) = &watch.names else { continue };
        if kind.is_complete() {
            if present.of(kind) != &watch.sent {
                clusters_changed |= kind == ResourceType::Cluster;
                due.push((kind, None));
            }
            continue;
        }
        // Envoy waits for endpoints after every change of a cluster, so they follow it.
        let all = clusters_changed && kind == ResourceType::ClusterLoadAssignment;
        let changed = |name: &&String| all || present.of(kind).get(*name) != watch.sent.get(*name);
        let names: BTreeSet<String> = names.iter().filter(changed).cloned().collect();
        if !names.is_empty() {
            due.push((kind, Some(names)));
        }
    }
    due
}
