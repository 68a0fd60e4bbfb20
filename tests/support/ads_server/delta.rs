//! Answers a delta stream as a control plane should: what the client has is not sent again.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use apisix_mesh::{
    pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource as Wrapper},
    xds::{Resource, ResourceType},
};
use tokio::sync::watch;

use super::{DeltaSession, Resources};

/// What a stream's client asked for and has of one type.
#[derive(Default)]
struct Watch {
    /// `None`: not subscribed; of the wildcard types everything is meant.
    names: Option<BTreeSet<String>>,
    /// The version of each resource that the client has.
    held: BTreeMap<String, String>,
}

/// Answers one stream until it ends. `nacked` hears what the client refuses.
pub async fn serve(
    mut session: DeltaSession,
    mut resources: watch::Receiver<Arc<Resources>>,
    nacked: impl Fn(ResourceType, &str),
) {
    let mut watches: [Watch; ResourceType::ALL.len()] = Default::default();
    let mut counter = 0;
    loop {
        let asked = tokio::select! {
            message = session.requests.message() => match message {
                Ok(Some(request)) => on_request(request, &mut watches, &nacked),
                Ok(None) | Err(_) => return,
            },
            changed = resources.changed() => match changed {
                Ok(()) => None,
                Err(_) => return,
            },
        };
        let present = resources.borrow_and_update().clone();
        for kind in ResourceType::ALL {
            let Some((resources, removed_resources)) =
                difference(kind, &present, &mut watches[kind as usize])
            else {
                continue;
            };
            // Whoever asks for the first time is answered, if only to say that there is nothing.
            if resources.is_empty() && removed_resources.is_empty() && asked != Some(kind) {
                continue;
            }
            counter += 1;
            let response = DeltaDiscoveryResponse {
                system_version_info: counter.to_string(),
                resources,
                type_url: kind.type_url().to_owned(),
                nonce: format!("{}-{counter}", kind.noun()),
                removed_resources,
                control_plane: None,
            };
            if session.responses.send(Ok(response)).await.is_err() {
                return;
            }
        }
    }
}

/// The type that was asked for, if one was.
fn on_request(
    request: DeltaDiscoveryRequest,
    watches: &mut [Watch; ResourceType::ALL.len()],
    nacked: &impl Fn(ResourceType, &str),
) -> Option<ResourceType> {
    let kind = ResourceType::from_type_url(&request.type_url)?;
    if let Some(detail) = &request.error_detail {
        nacked(kind, &detail.message);
    }
    if !request.response_nonce.is_empty() {
        return None;
    }
    let watch = &mut watches[kind as usize];
    let names = watch.names.get_or_insert_default();
    for name in &request.resource_names_unsubscribe {
        names.remove(name);
        watch.held.remove(name);
    }
    for name in request.resource_names_subscribe {
        watch.held.remove(&name);
        names.insert(name);
    }
    watch.held.extend(request.initial_resource_versions);
    Some(kind)
}

/// What a client does not have, and what it has and is no more; `None` if it did not ask for the type.
fn difference(
    kind: ResourceType,
    present: &Resources,
    watch: &mut Watch,
) -> Option<(Vec<Wrapper>, Vec<String>)> {
    let names = watch.names.as_ref()?;
    let mut changed = Vec::new();
    for (name, any) in present.of(kind) {
        let version = format!("{:x}", Resource::hash_of(&any.value));
        let wanted = kind.is_complete() || names.contains(name);
        if wanted && watch.held.get(name) != Some(&version) {
            watch.held.insert(name.clone(), version.clone());
            let resource = Some(any.clone());
            changed.push(Wrapper { name: name.clone(), version, resource, ..Wrapper::default() });
        }
    }
    let gone: Vec<String> =
        watch.held.keys().filter(|name| !present.of(kind).contains_key(*name)).cloned().collect();
    for name in &gone {
        watch.held.remove(name);
    }
    Some((changed, gone))
}
