//! Which units a change touches.
//!
//! In: the snapshot and the names of what changed in it. Out: the objects that differ from the last time. The order of
//! work is that of references: clusters first, since routes ask what is known of them; then listeners, since they say
//! which connections a route configuration is for; then route configurations. Nothing here costs more in a larger
//! mesh: every dependency is looked up from the side that changed.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use bytes::Bytes;
use serde::Serialize;
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    apisix::{Directory, Key, Upstream},
    config::OnUnsupported,
    xds::{Change, ResourceType, Snapshot},
};

use super::{
    Delta, Issue, Policy, Severity,
    action::Clusters,
    cluster::{self, Mirror, Target, Variant},
    config::ConfigKey,
    listener::{self, InlineConfig, ListenerUnit},
    manager::Manager,
    note::Note,
    route_config::{Rereferred, RouteUnit, Served},
    scope::{self, Destination, Ports},
};

/// Translates as resources change: a change re-runs only the units that read what changed.
#[derive(Debug, Default)]
pub struct Translator {
    policy: Policy,
    clusters: HashMap<Arc<str>, ClusterState>,
    /// What is published of each cluster.
    upstreams: HashMap<Arc<str>, BTreeMap<Key, u64>>,
    /// The EDS clusters that use an assignment.
    assignment_users: Index<Arc<str>, Arc<str>>,
    /// The clusters whose endpoints are those of other clusters.
    aggregates: Index<Arc<str>, Arc<str>>,
    /// The route configurations that name a cluster.
    cluster_users: Index<Arc<str>, ConfigKey>,
    /// The route configurations that send a cluster copies.
    mirror_users: Index<Arc<str>, ConfigKey>,
    /// What the route configurations ask of a cluster.
    variant_users: Index<Arc<str>, (Variant, ConfigKey)>,
    listeners: HashMap<Arc<str>, ListenerUnit>,
    /// What the listeners that use a route configuration use it for.
    config_users: Index<ConfigKey, (Arc<str>, Destination)>,
    ports: Ports,
    /// For each configuration one for each way that connection managers serve it.
    configs: HashMap<ConfigKey, Vec<RouteUnit>>,
}

/// How many virtual hosts there are, and how APISIX finds their routes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Routing {
    /// All of them, each once for every way it is served.
    pub virtual_hosts: usize,
    /// Those with routes that APISIX tries one after the other, since native paths would not keep their order.
    pub flat: usize,
}

#[derive(Debug)]
struct ClusterState {
    target: Target,
    mirror: Mirror,
    /// Those that it was translated for.
    variants: BTreeSet<Variant>,
    assignment: Option<Arc<str>>,
    depends_on: BTreeSet<Arc<str>>,
    notes: Vec<Note>,
    assignment_notes: Vec<Note>,
}

impl Translator {
    /// With nothing translated yet.
    pub fn new(policy: impl Into<Policy>) -> Self {
        Self { policy: policy.into(), ..Self::default() }
    }

    /// Re-runs the units that read what changed.
    pub fn apply(&mut self, snapshot: &Snapshot, changes: &[Change]) -> Delta {
        let mut delta = Delta::default();
        let mut configs = BTreeSet::new();
        let mut upstreams = BTreeMap::new();
        for name in self.touched_clusters(changes) {
            let of_cluster = self.update_cluster(&name, snapshot, &mut configs);
            upstreams.insert(name, of_cluster);
        }
        for change in changes {
            match change.kind {
                ResourceType::Listener => self.update_listener(&change.name, snapshot, &mut configs),
                ResourceType::RouteConfiguration => {
                    configs.insert(ConfigKey::Rds(change.name.clone()));
                }
                ResourceType::Cluster | ResourceType::ClusterLoadAssignment => {}
            }
        }
        let mut asked = BTreeSet::new();
        for key in std::mem::take(&mut configs) {
            self.update_config(key, snapshot, &mut asked, &mut delta);
        }
        // What a cluster is to its routes does not depend on what they ask of it: that ends here.
        for name in asked {
            if self.clusters.get(&name).is_some_and(|state| state.variants != self.variants(&name)) {
                let of_cluster = self.update_cluster(&name, snapshot, &mut configs);
                upstreams.insert(name, of_cluster);
            }
        }
        for (name, of_cluster) in upstreams {
            self.publish(name, of_cluster, &mut delta);
        }
        make_before_break(&mut delta);
        delta
    }

    /// How the present virtual hosts are routed.
    pub fn routing(&self) -> Routing {
        let units = self.configs.values().flatten();
        units.map(RouteUnit::hosts).fold(Routing::default(), |sum, (hosts, flat)| Routing {
            virtual_hosts: sum.virtual_hosts + hosts,
            flat: sum.flat + flat,
        })
    }

    /// All present issues, sorted.
    pub fn issues(&self) -> Vec<Issue> {
        let mut issues = Vec::new();
        let mut add = |kind, resource: &Arc<str>, prefix: &str, note: &Note| {
            issues.push(Issue {
                kind,
                resource: resource.clone(),
                path: joined(prefix, &note.path),
                severity: note.severity,
                detail: self.detail(note),
            });
        };
        for (name, state) in &self.clusters {
            state.notes.iter().for_each(|n| add(ResourceType::Cluster, name, "", n));
            let assignment = state.assignment.as_ref().unwrap_or(name);
            let kind = ResourceType::ClusterLoadAssignment;
            state.assignment_notes.iter().for_each(|n| add(kind, assignment, "", n));
        }
        for (name, unit) in &self.listeners {
            unit.notes.iter().for_each(|n| add(ResourceType::Listener, name, "", n));
        }
        for (key, units) in &self.configs {
            let (kind, name, place) = match key {
                ConfigKey::Rds(name) => (ResourceType::RouteConfiguration, name, ""),
                ConfigKey::Inline { listener, .. } => {
                    (ResourceType::Listener, listener, self.inline(key).map_or("", |c| c.path.as_str()))
                }
            };
            units.iter().flat_map(RouteUnit::notes).for_each(|n| add(kind, name, place, &n));
        }
        issues.sort();
        issues.dedup();
        issues
    }

    /// What was noted, and for a guard what the policy makes of it.
    fn detail(&self, note: &Note) -> String {
        let consequence = match (note.severity, self.policy.on_unsupported) {
            _ if note.told => "",
            (Severity::Security, OnUnsupported::Serve) => "; served all the same",
            (Severity::Security, _) => "; the routes it guards answer 403",
            _ => "",
        };
        format!("{}{consequence}", note.detail)
    }

    /// The clusters that changed, those whose assignment did, and those that are made of them.
    fn touched_clusters(&self, changes: &[Change]) -> BTreeSet<Arc<str>> {
        let mut touched: BTreeSet<Arc<str>> = BTreeSet::new();
        for change in changes {
            match change.kind {
                ResourceType::Cluster => {
                    touched.insert(change.name.clone());
                }
                ResourceType::ClusterLoadAssignment => {
                    touched.extend(self.assignment_users.get(&change.name).cloned());
                }
                ResourceType::Listener | ResourceType::RouteConfiguration => {}
            }
        }
        // An aggregate names everything it read, also through other aggregates: one step is enough.
        let aggregates: Vec<_> = touched.iter().flat_map(|name| self.aggregates.get(name)).cloned().collect();
        touched.extend(aggregates);
        touched
    }

    /// Translates a cluster, or forgets it; its upstreams are to be published.
    fn update_cluster(
        &mut self,
        name: &Arc<str>,
        snapshot: &Snapshot,
        configs: &mut BTreeSet<ConfigKey>,
    ) -> Vec<Upstream> {
        let before = self.clusters.remove(name);
        if let Some(assignment) = before.as_ref().and_then(|b| b.assignment.as_ref()) {
            self.assignment_users.remove(assignment, name);
        }
        for member in before.iter().flat_map(|b| &b.depends_on) {
            self.aggregates.remove(member, name);
        }
        let target_before = before.as_ref().map_or(Target::Unknown, |b| b.target);

        let mirror_before = before.map_or(Mirror::Unknown, |b| b.mirror);
        let mut target = Target::Unknown;
        let mut mirror = Mirror::Unknown;
        let mut upstreams = Vec::new();
        if let Some(resource) = snapshot.get(ResourceType::Cluster, name) {
            let variants = self.variants(name);
            let unit = cluster::translate(resource, snapshot, &variants, self.policy);
            if let Some(assignment) = &unit.assignment {
                self.assignment_users.add(assignment.clone(), name.clone());
            }
            for member in &unit.depends_on {
                self.aggregates.add(member.clone(), name.clone());
            }
            target = unit.target;
            mirror = unit.mirror;
            upstreams.extend(unit.upstreams.into_values());
            let state = ClusterState {
                target,
                mirror: mirror.clone(),
                variants,
                assignment: unit.assignment,
                depends_on: unit.depends_on,
                notes: unit.notes,
                assignment_notes: unit.assignment_notes,
            };
            self.clusters.insert(name.clone(), state);
        }
        if target != target_before {
            configs.extend(self.cluster_users.get(name).cloned());
        }
        if mirror != mirror_before {
            configs.extend(self.mirror_users.get(name).cloned());
        }
        upstreams
    }

    /// What routes ask of a cluster; the default where none does.
    fn variants(&self, name: &Arc<str>) -> BTreeSet<Variant> {
        let mut variants: BTreeSet<_> = self.variant_users.get(name).map(|(v, _)| v.clone()).collect();
        if variants.is_empty() {
            variants.insert(Variant::default());
        }
        variants
    }

    fn publish(&mut self, cluster: Arc<str>, upstreams: Vec<Upstream>, delta: &mut Delta) {
        let mut before = self.upstreams.remove(&cluster).unwrap_or_default();
        let mut outputs = BTreeMap::new();
        for upstream in upstreams {
            let key = Key::new(Directory::Upstreams, &upstream.id);
            let value = upstream.to_bytes();
            let hash = xxh3_64(&value);
            if before.remove(&key) != Some(hash) {
                delta.puts.push((key.clone(), value));
            }
            outputs.insert(key, hash);
        }
        delta.deletes.extend(before.into_keys());
        if !outputs.is_empty() {
            self.upstreams.insert(cluster, outputs);
        }
    }

    fn update_listener(&mut self, name: &Arc<str>, snapshot: &Snapshot, configs: &mut BTreeSet<ConfigKey>) {
        let before = self.listeners.remove(name).unwrap_or_default();
        let resource = snapshot.get(ResourceType::Listener, name);
        let unit = resource.map(listener::translate).unwrap_or_default();

        if let Some(address) = &before.address {
            self.ports.remove_address(name, address);
        }
        for (config, destination) in before.bindings.keys() {
            self.ports.remove_binding(name, config, destination);
            self.config_users.remove(config, &(name.clone(), destination.clone()));
        }
        if let Some(address) = &unit.address {
            self.ports.add_address(name, address);
        }
        for (config, destination) in unit.bindings.keys() {
            self.ports.add_binding(name, config, destination);
            self.config_users.add(config.clone(), (name.clone(), destination.clone()));
        }

        let bindings = || before.bindings.keys().chain(unit.bindings.keys());
        configs.extend(bindings().map(|(config, _)| config.clone()));
        let ports = bindings().filter_map(|(_, destination)| destination.port());
        let addresses = before.address.iter().chain(&unit.address).map(|(port, _)| *port);
        for port in ports.chain(addresses).collect::<BTreeSet<_>>() {
            configs.extend(self.ports.dependents(port).cloned());
        }
        if resource.is_some() {
            self.listeners.insert(name.clone(), unit);
        }
    }

    /// Brings the routes of a configuration up to date; clusters of which it asks something else go into `asked`.
    fn update_config(
        &mut self,
        key: ConfigKey,
        snapshot: &Snapshot,
        asked: &mut BTreeSet<Arc<str>>,
        delta: &mut Delta,
    ) {
        let mut before = self.configs.remove(&key).unwrap_or_default().into_iter();
        let users = self.users(&key);
        let bytes = self.config_bytes(&key, snapshot).filter(|_| !users.is_empty());
        let mut units = Vec::new();
        let mut references = Rereferred::default();
        for (at, (manager, destinations)) in users.iter().enumerate() {
            let Some(bytes) = &bytes else { break };
            let mut unit = before.next().unwrap_or_default();
            let inbound_port = scope::inbound_port(destinations);
            let targets = Known { clusters: &self.clusters, inbound_port };
            let served = Served {
                name: key.name(),
                id: key.id(at),
                scope: self.ports.scope(destinations),
                manager,
                fail_closed: self.policy.on_unsupported != OnUnsupported::Serve,
            };
            unit.update(bytes, served, &targets, delta, &mut references);
            units.push(unit);
        }
        before.for_each(|unit| unit.remove(delta, &mut references));
        self.note_references(&key, references, asked);
        if bytes.is_some() {
            self.configs.insert(key, units);
        }
    }

    /// The connection managers that serve a configuration, and for which connections each; those that do the same
    /// are one. In the order of their connections.
    fn users(&self, key: &ConfigKey) -> Vec<(Arc<Manager>, BTreeSet<Destination>)> {
        let mut users: Vec<(Arc<Manager>, BTreeSet<Destination>)> = Vec::new();
        let mut places: HashMap<u64, usize> = HashMap::new();
        let mut all: Vec<_> = self.config_users.get(key).collect();
        all.sort_by(|a, b| (&a.1, &a.0).cmp(&(&b.1, &b.0)));
        for (listener, destination) in all {
            let binding = (key.clone(), destination.clone());
            let Some(manager) = self.listeners.get(listener).and_then(|l| l.bindings.get(&binding)) else {
                continue;
            };
            let at = *places.entry(manager.hash).or_insert(users.len());
            match users.get_mut(at) {
                Some((_, destinations)) => drop(destinations.insert(destination.clone())),
                None => users.push((manager.clone(), [destination.clone()].into())),
            }
        }
        users
    }

    fn config_bytes(&self, key: &ConfigKey, snapshot: &Snapshot) -> Option<Bytes> {
        match key {
            ConfigKey::Rds(name) => {
                snapshot.get(ResourceType::RouteConfiguration, name).map(|r| r.bytes.clone())
            }
            ConfigKey::Inline { .. } => self.inline(key).map(|c| c.bytes.clone()),
        }
    }

    fn inline(&self, key: &ConfigKey) -> Option<&InlineConfig> {
        let ConfigKey::Inline { listener, .. } = key else { return None };
        self.listeners.get(listener)?.inline.iter().find(|c| c.key == *key)
    }

    fn note_references(&mut self, key: &ConfigKey, references: Rereferred, asked: &mut BTreeSet<Arc<str>>) {
        let Rereferred { gone, new } = references;
        let by_config = |clusters: Vec<Arc<str>>| clusters.into_iter().map(|cluster| (cluster, key.clone()));
        let by_variant = |upstreams: Vec<(Arc<str>, Variant)>| {
            upstreams.into_iter().map(|(cluster, variant)| (cluster, (variant, key.clone())))
        };
        asked.extend(new.upstreams.iter().chain(&gone.upstreams).map(|(cluster, _)| cluster.clone()));
        self.cluster_users.update(by_config(new.clusters), by_config(gone.clusters));
        self.mirror_users.update(by_config(new.mirrors), by_config(gone.mirrors));
        self.variant_users.update(by_variant(new.upstreams), by_variant(gone.upstreams));
    }
}

/// The clusters as the routes of one port see them.
struct Known<'a> {
    clusters: &'a HashMap<Arc<str>, ClusterState>,
    inbound_port: Option<u16>,
}

impl Clusters for Known<'_> {
    fn target(&self, cluster: &str) -> Target {
        self.clusters.get(cluster).map_or(Target::Unknown, |c| c.target).for_inbound(self.inbound_port)
    }

    fn mirror(&self, cluster: &str) -> Mirror {
        self.clusters.get(cluster).map_or(Mirror::Unknown, |c| c.mirror.clone())
    }
}

/// Puts by directory, then key; deletes the other way round. No key is in both: ids hold all names of their unit.
fn make_before_break(delta: &mut Delta) {
    let place = |key: &Key| (key.directory(), key.clone());
    delta.puts.sort_by_cached_key(|(key, _)| place(key));
    delta.deletes.sort_by_cached_key(|key| (std::cmp::Reverse(key.directory()), key.clone()));
}

pub(super) fn joined(prefix: &str, path: &str) -> String {
    match (prefix, path) {
        ("", path) => path.to_owned(),
        (prefix, "") => prefix.to_owned(),
        (prefix, path) => format!("{prefix}.{path}"),
    }
}

/// Who uses what, and how many times.
#[derive(Debug)]
struct Index<K, V>(HashMap<K, BTreeMap<V, usize>>);

impl<K, V> Default for Index<K, V> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: std::hash::Hash + Eq, V: Ord> Index<K, V> {
    fn add(&mut self, used: K, user: V) {
        *self.0.entry(used).or_default().entry(user).or_default() += 1;
    }

    /// Adds uses and takes others back.
    fn update(&mut self, new: impl Iterator<Item = (K, V)>, gone: impl Iterator<Item = (K, V)>) {
        new.for_each(|(used, user)| self.add(used, user));
        gone.for_each(|(used, user)| self.remove(&used, &user));
    }

    /// Takes one use back.
    fn remove(&mut self, used: &K, user: &V) {
        let Some(users) = self.0.get_mut(used) else { return };
        let Some(uses) = users.get_mut(user) else { return };
        *uses -= 1;
        if *uses == 0 {
            users.remove(user);
        }
        if users.is_empty() {
            self.0.remove(used);
        }
    }

    /// Each user once.
    fn get(&self, used: &K) -> impl Iterator<Item = &V> {
        self.0.get(used).into_iter().flat_map(BTreeMap::keys)
    }
}
