//! A RouteConfiguration to routes, virtual host by virtual host.
//!
//! In: the encoded configuration, its scope, and what is known of clusters. Out: the routes that changed. A virtual
//! host whose bytes and surroundings are what they were is not even decoded: one of ten thousand may change alone.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use prost::Message;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::{
    apisix::{Directory, Key},
    pb::{
        envoy::config::route::v3::{RouteConfiguration, VirtualHost},
        path::Path,
        wire::{self, WireValue},
    },
};

use super::{
    Delta,
    action::Targets,
    domain,
    effect::Uses,
    filter::Overrides,
    header::ConfigHeaders,
    id::Id,
    manager::Manager,
    note::{Note, Notes},
    scope::Scope,
    virtual_host::{self, HostRoutes, Surroundings},
};

/// The present routes of one configuration.
#[derive(Debug, Default)]
pub(super) struct RouteUnit {
    hosts: BTreeMap<HostKey, HostUnit>,
    notes: Vec<Note>,
}

/// A virtual host's name, and which one it is among those of the same name.
type HostKey = (String, usize);

#[derive(Debug, Default)]
struct HostUnit {
    /// Its place in the list, for issues.
    position: usize,
    /// Of everything that its routes come from.
    input: u64,
    clusters: BTreeSet<Arc<str>>,
    uses: Uses,
    flat: bool,
    outputs: BTreeMap<Key, u64>,
    notes: Vec<Note>,
}

/// What surrounds a route configuration.
pub(super) struct Served<'a> {
    /// The configuration's name, for people.
    pub name: &'a str,
    /// The beginning of the ids of its routes.
    pub id: Id,
    pub scope: Scope,
    pub manager: &'a Manager,
    pub fail_closed: bool,
}

impl RouteUnit {
    /// Brings the routes up to date; what changes goes into `delta`.
    pub fn update(&mut self, bytes: &[u8], served: Served<'_>, targets: Targets<'_>, delta: &mut Delta) {
        let (rest, mut hosts) = split(bytes);
        let of_no_host = virtual_host::of_no_host().encode_to_vec();
        let has = |test: fn(&str) -> bool| hosts.iter().any(|host| virtual_host::domains(host).any(test));
        let (has_any, has_prefix) = (has(|domain| domain == "*"), has(domain::is_prefix));
        if !has_any && virtual_host::acts_on_unfound(served.manager) {
            hosts.push(&of_no_host);
        }
        let mut notes = Notes::default();
        let Ok(config) = RouteConfiguration::decode(rest.as_slice()) else {
            notes.traffic(&Path::ROOT, "not decodable");
            self.notes = notes.into_vec();
            return;
        };
        notes.unread("envoy.config.route.v3.RouteConfiguration", &rest);
        let unit = served.id.clone().finish();
        let around = Surroundings {
            config: served.name,
            scope: served.scope,
            manager: served.manager,
            overrides: Overrides::read(&config.typed_per_filter_config, &Path::root(&unit), &mut notes),
            headers: ConfigHeaders::read(&config, &mut notes),
            fail_closed: served.fail_closed,
            ignore_port: served.manager.ignores_port || config.ignore_port_in_host_matching,
            hostless_order: has_prefix,
        };
        let context = context(&rest, &around);

        let mut before = std::mem::take(&mut self.hosts);
        let mut ordinals: HashMap<String, usize> = HashMap::new();
        for (position, bytes) in hosts.into_iter().enumerate() {
            let name = name_of(bytes);
            let ordinal = ordinals.entry(name.clone()).or_default();
            let host_key = (name, *ordinal);
            *ordinal += 1;
            let mut unit = before.remove(&host_key).unwrap_or_default();
            unit.position = position;
            unit.update(&served.id, &host_key, bytes, context, &around, targets, delta);
            self.hosts.insert(host_key, unit);
        }
        delta.deletes.extend(before.into_values().flat_map(|unit| unit.outputs.into_keys()));
        self.notes = notes.into_vec();
    }

    /// Takes all routes out.
    pub fn remove(self, delta: &mut Delta) {
        delta.deletes.extend(self.hosts.into_values().flat_map(|unit| unit.outputs.into_keys()));
    }

    /// The clusters that its routes name.
    pub fn clusters(&self) -> BTreeSet<Arc<str>> {
        self.hosts.values().flat_map(|unit| unit.clusters.iter().cloned()).collect()
    }

    /// The upstreams that its routes refer to.
    pub fn uses(&self) -> Uses {
        self.hosts.values().flat_map(|unit| unit.uses.iter().cloned()).collect()
    }

    /// How many virtual hosts it has, and how many of them have routes whose paths are not native.
    pub fn hosts(&self) -> (usize, usize) {
        (self.hosts.len(), self.hosts.values().filter(|host| host.flat).count())
    }

    /// All notes, with paths from the configuration down.
    pub fn notes(&self) -> impl Iterator<Item = Note> {
        let of_hosts = self.hosts.values().flat_map(|unit| {
            unit.notes.iter().map(|note| Note {
                path: format!("virtual_hosts[{}].{}", unit.position, note.path),
                ..note.clone()
            })
        });
        self.notes.iter().cloned().chain(of_hosts)
    }
}

impl HostUnit {
    #[expect(clippy::too_many_arguments, reason = "each is another part of what the routes come from")]
    fn update(
        &mut self,
        id: &Id,
        host_key: &HostKey,
        bytes: &[u8],
        context: u64,
        around: &Surroundings<'_>,
        targets: Targets<'_>,
        delta: &mut Delta,
    ) {
        if self.input == input_hash(context, bytes, &self.clusters, targets) && self.input != 0 {
            return;
        }
        let mut notes = Notes::default();
        let HostRoutes { routes, clusters, uses, flat } = match VirtualHost::decode(bytes) {
            Ok(host) => {
                notes.unread("envoy.config.route.v3.VirtualHost", bytes);
                let id = id.clone().name(&host_key.0).position(host_key.1);
                virtual_host::translate(&host, &id, around, targets, &mut notes)
            }
            Err(error) => {
                notes.traffic(&Path::ROOT, format!("not decodable: {error}"));
                HostRoutes::default()
            }
        };
        let mut before = std::mem::take(&mut self.outputs);
        for route in routes {
            let key = Key::new(Directory::Routes, &route.id);
            let value = route.to_bytes();
            let hash = xxh3_64(&value);
            if before.remove(&key) != Some(hash) {
                delta.puts.push((key.clone(), value));
            }
            self.outputs.insert(key, hash);
        }
        delta.deletes.extend(before.into_keys());
        self.input = input_hash(context, bytes, &clusters, targets);
        self.clusters = clusters;
        self.uses = uses;
        self.flat = flat;
        self.notes = notes.into_vec();
    }
}

/// A hash of all that the routes of every virtual host come from.
fn context(rest: &[u8], around: &Surroundings<'_>) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(rest);
    hash.update(&around.manager.hash.to_le_bytes());
    hash.update(format!("{:?} {}", around.scope, around.hostless_order).as_bytes());
    hash.digest()
}

fn input_hash(context: u64, bytes: &[u8], clusters: &BTreeSet<Arc<str>>, targets: Targets<'_>) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(&context.to_le_bytes());
    hash.update(bytes);
    for cluster in clusters {
        let target = targets(cluster);
        hash.update(format!("{target:?}").as_bytes());
    }
    hash.digest().max(1)
}

const VIRTUAL_HOSTS: u32 = 2;
const VIRTUAL_HOST_NAME: u32 = 1;

/// The encoded configuration without its virtual hosts, and these, still encoded.
fn split(bytes: &[u8]) -> (Vec<u8>, Vec<&[u8]>) {
    let mut hosts = Vec::new();
    let mut rest = Vec::new();
    for field in wire::fields(bytes) {
        match (field.number, field.value) {
            (VIRTUAL_HOSTS, WireValue::Bytes(host)) => hosts.push(host),
            _ => rest.extend_from_slice(field.raw),
        }
    }
    (rest, hosts)
}

fn name_of(host: &[u8]) -> String {
    let name = wire::fields(host).filter(|f| f.number == VIRTUAL_HOST_NAME).last();
    match name.map(|f| f.value) {
        Some(WireValue::Bytes(name)) => String::from_utf8_lossy(name).into_owned(),
        _ => String::new(),
    }
}
