//! A VirtualHost to routes that no other virtual host can reach into.
//!
//! In: the virtual host and what surrounds it. Out: its routes, and last the answer 404: Envoy picks one virtual host
//! and looks no further, APISIX would go on with less specific hosts (mapping row 7). Never here: a look at another
//! virtual host.

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    apisix::{Plugins, Route, cut},
    pb::{envoy::config::route::v3::VirtualHost, path::Path},
};

use super::{
    action::{self, Effect, Targets},
    domain::{self, DomainGroup},
    id::Id,
    matcher::{self, Match},
    note::Notes,
    order::{self, Layout},
    scope::Scope,
};

/// What surrounds a virtual host.
#[derive(Debug)]
pub(super) struct Surroundings {
    /// The route configuration's name, for people.
    pub config: String,
    pub scope: Scope,
    pub ignore_port: bool,
    /// Another virtual host has a domain `prefix.*`: routes without hosts are ordered among all of them.
    pub hostless_order: bool,
}

/// The routes of a virtual host, and the clusters they name.
pub(super) fn translate(
    host: &VirtualHost,
    id: &Id,
    around: &Surroundings,
    targets: Targets<'_>,
    notes: &mut Notes,
) -> (Vec<Route>, BTreeSet<Arc<str>>) {
    let mut clusters = BTreeSet::new();
    host.routes.iter().for_each(|route| action::clusters(route, &mut clusters));
    let entries = entries(host, targets, notes);
    let groups = domain::groups(&host.domains, around.ignore_port, notes);
    let routes = groups.iter().flat_map(|group| {
        let id = id.clone().name(&group.label);
        Group { host, around, group, id }.routes(&entries)
    });
    (routes.collect(), clusters)
}

/// A route that can be expressed.
struct Entry {
    position: usize,
    name: String,
    matched: Match,
    effect: Effect,
}

/// The routes that Envoy can reach: none behind one that takes everything.
fn entries(host: &VirtualHost, targets: Targets<'_>, notes: &mut Notes) -> Vec<Entry> {
    let mut entries = Vec::with_capacity(host.routes.len());
    for (position, route) in host.routes.iter().enumerate() {
        let path = Path::ROOT.item("routes", position);
        let Some(matched) = route.r#match.as_ref() else {
            notes.traffic(&path.field("match"), "missing: route left out");
            continue;
        };
        let Some(matched) = matcher::translate(matched, &path.field("match"), notes) else { continue };
        let effect = action::translate(route, &matched.path, targets, &path, notes);
        let is_last = matched.is_everything();
        entries.push(Entry { position, name: route.name.clone(), matched, effect });
        if is_last {
            break;
        }
    }
    entries
}

/// The routes of one group of domains.
struct Group<'a> {
    host: &'a VirtualHost,
    around: &'a Surroundings,
    group: &'a DomainGroup,
    id: Id,
}

impl Group<'_> {
    fn routes(&self, entries: &[Entry]) -> Vec<Route> {
        let paths = entries.iter().map(|e| &e.matched.path);
        let hostless = self.group.hosts.is_empty();
        let layouts: Vec<Layout> =
            if hostless && self.around.hostless_order { order::flat(paths) } else { order::keep(paths) };
        let count = entries.len();
        let mut routes: Vec<Route> = entries
            .iter()
            .zip(layouts)
            .enumerate()
            .map(|(at, (entry, layout))| self.route(entry, layout, (count - at) as i64))
            .collect();
        if !entries.last().is_some_and(|e| e.matched.is_everything()) {
            routes.push(self.not_found());
        }
        routes
    }

    fn route(&self, entry: &Entry, layout: Layout, rank: i64) -> Route {
        let shown = if entry.name.is_empty() { entry.position.to_string() } else { entry.name.clone() };
        let mut route = self.common(self.id.clone().position(entry.position), &shown, rank);
        route.uris = layout.uris;
        route.vars.extend(layout.condition);
        route.vars.extend(entry.matched.conditions.iter().cloned());
        route.timeout = entry.effect.timeout;
        route.upstream_id = entry.effect.upstream_id.clone();
        route.upstream = entry.effect.upstream.clone();
        route.plugins = entry.effect.plugins.clone();
        route.enable_websocket = entry.effect.websocket;
        route
    }

    fn not_found(&self) -> Route {
        let mut route = self.common(self.id.clone().name("not found"), "not found", 0);
        route.uris = vec!["/*".to_owned()];
        route.plugins = Plugins::answer(404, None);
        route
    }

    fn common(&self, id: Id, shown: &str, rank: i64) -> Route {
        let scope = &self.around.scope;
        Route {
            id: id.finish(),
            name: cut(&format!("{}/{}/{shown}", self.around.config, self.host.name)).to_owned(),
            hosts: self.group.hosts.clone(),
            priority: scope.band + self.group.base + rank,
            vars: scope.vars.iter().chain(&self.group.vars).cloned().collect(),
            ..Route::default()
        }
    }
}

/// Whether the encoded virtual host has a domain `prefix.*`.
pub(super) fn has_prefix_domain(bytes: &[u8]) -> bool {
    use crate::pb::wire::{WireValue, fields};
    const DOMAINS: u32 = 2;
    fields(bytes).any(|f| match (f.number, f.value) {
        (DOMAINS, WireValue::Bytes(text)) => std::str::from_utf8(text).is_ok_and(domain::is_prefix),
        _ => false,
    })
}
