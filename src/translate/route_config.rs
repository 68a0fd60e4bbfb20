//! A RouteConfiguration to routes, virtual host by virtual host.
//!
//! In: the encoded configuration, its scope, and what is known of clusters. Out: the routes that changed. A virtual
//! host whose bytes and surroundings are what they were is not even decoded: one of ten thousand may change alone.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use prost::Message;
use xxhash_rust::xxh3::{Xxh3, xxh3_64, xxh3_64_with_seed};

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
    action::{Mirrors, Targets},
    cluster::{Mirror, Target, Variant},
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
    /// A hash of its bytes and of what surrounds them; `None` before the first time.
    input: Option<u64>,
    /// The clusters that its routes name, and what these were.
    clusters: BTreeMap<Arc<str>, Target>,
    uses: Uses,
    /// The clusters that get copies of requests, and where these went.
    mirrors: BTreeMap<Arc<str>, Mirror>,
    flat: bool,
    outputs: BTreeMap<Key, u64>,
    notes: Vec<Note>,
}

/// What the virtual hosts that changed refer to: each thing once for each of them.
#[derive(Debug, Default)]
pub(super) struct References {
    pub clusters: Vec<Arc<str>>,
    pub upstreams: Vec<(Arc<str>, Variant)>,
    pub mirrors: Vec<Arc<str>>,
}

/// The references that virtual hosts had and have no more, and those that came.
#[derive(Debug, Default)]
pub(super) struct Rereferred {
    pub gone: References,
    pub new: References,
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
    /// Brings the routes up to date; what changes goes into `delta`, and what else they refer to into `references`.
    pub fn update(
        &mut self,
        bytes: &[u8],
        served: Served<'_>,
        targets: Targets<'_>,
        delta: &mut Delta,
        references: &mut Rereferred,
    ) {
        let (rest, mut hosts) = split(bytes);
        let of_no_host;
        let unfound = virtual_host::unfound(served.manager);
        let has = |test: fn(&str) -> bool| hosts.iter().any(|host| virtual_host::domains(host).any(test));
        let (has_any, has_prefix) = (has(|domain| domain == "*"), has(domain::is_prefix));
        if !has_any && virtual_host::acts_on(&unfound) {
            of_no_host = virtual_host::of_no_host().encode_to_vec();
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
            mirrors: Mirrors::read(&config.request_mirror_policies, &Path::ROOT, &mut notes)
                .unwrap_or_default(),
            unfound,
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
            let input = input_hash(context, bytes);
            if unit.is_stale(input, targets) {
                unit.add_references(&mut references.gone);
                unit.update(&served.id, &host_key, bytes, &around, targets, delta);
                unit.input = Some(input);
                unit.add_references(&mut references.new);
            }
            self.hosts.insert(host_key, unit);
        }
        before.into_values().for_each(|unit| unit.remove(delta, references));
        self.notes = notes.into_vec();
    }

    /// Takes all routes out.
    pub fn remove(self, delta: &mut Delta, references: &mut Rereferred) {
        self.hosts.into_values().for_each(|unit| unit.remove(delta, references));
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
    /// Whether its routes come from something else now.
    fn is_stale(&self, input: u64, targets: Targets<'_>) -> bool {
        self.input != Some(input)
            || self.clusters.iter().any(|(name, was)| targets.target(name) != *was)
            || self.mirrors.iter().any(|(name, was)| targets.mirror(name) != *was)
    }

    fn update(
        &mut self,
        id: &Id,
        host_key: &HostKey,
        bytes: &[u8],
        around: &Surroundings<'_>,
        targets: Targets<'_>,
        delta: &mut Delta,
    ) {
        let mut notes = Notes::default();
        let HostRoutes { routes, clusters, uses, mirrors, flat } = match VirtualHost::decode(bytes) {
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
        self.clusters = clusters.into_iter().map(|name| (name.clone(), targets.target(&name))).collect();
        self.mirrors = mirrors.into_iter().map(|name| (name.clone(), targets.mirror(&name))).collect();
        self.uses = uses;
        self.flat = flat;
        self.notes = notes.into_vec();
    }

    fn remove(self, delta: &mut Delta, references: &mut Rereferred) {
        self.add_references(&mut references.gone);
        delta.deletes.extend(self.outputs.into_keys());
    }

    fn add_references(&self, references: &mut References) {
        references.clusters.extend(self.clusters.keys().cloned());
        references.upstreams.extend(self.uses.iter().cloned());
        references.mirrors.extend(self.mirrors.keys().cloned());
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

fn input_hash(context: u64, bytes: &[u8]) -> u64 {
    xxh3_64_with_seed(bytes, context)
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
