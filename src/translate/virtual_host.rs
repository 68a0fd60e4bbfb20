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
    Severity,
    action::{self, Mirrors, Targets},
    domain::{self, DomainGroup},
    effect::{Case, Effect, Uses},
    filter::Overrides,
    header::{ConfigHeaders, HostHeaders},
    id::Id,
    manager::Manager,
    note::Notes,
    order::{self, Layout},
    require_tls,
    route::{self, Entry, Levels},
    scope::Scope,
};

const UNAVAILABLE: u32 = 503;
const FORBIDDEN: u32 = 403;
const NOT_FOUND: u32 = 404;

/// What surrounds a virtual host.
#[derive(Debug)]
pub(super) struct Surroundings<'a> {
    /// The route configuration's name, for people.
    pub config: &'a str,
    pub scope: Scope,
    pub manager: &'a Manager,
    /// What the configuration says of filters.
    pub overrides: Overrides,
    /// What it does to headers.
    pub headers: ConfigHeaders,
    /// Routes whose guards are not honoured are answered with 403.
    pub fail_closed: bool,
    pub ignore_port: bool,
    /// Another virtual host has a domain `prefix.*`: routes without hosts are ordered among all of them.
    pub hostless_order: bool,
    /// The copies that its routes make, if they do not say themselves.
    pub mirrors: Mirrors,
    /// The cases of requests that match no route.
    pub unfound: Vec<Case>,
}

/// The result of one virtual host.
#[derive(Debug, Default)]
pub(super) struct HostRoutes {
    pub routes: Vec<Route>,
    /// The clusters that its routes name, there or not.
    pub clusters: BTreeSet<Arc<str>>,
    /// The upstreams that they refer to.
    pub uses: Uses,
    /// The clusters that get copies of their requests, if they can.
    pub mirrors: BTreeSet<Arc<str>>,
    /// Some path could not stay native: APISIX tries these routes one after the other.
    pub flat: bool,
}

/// Translates a virtual host.
pub(super) fn translate(
    host: &VirtualHost,
    id: &Id,
    around: &Surroundings<'_>,
    targets: Targets<'_>,
    notes: &mut Notes,
) -> HostRoutes {
    let mut result = HostRoutes::default();
    host.routes.iter().for_each(|route| action::clusters(route, &mut result.clusters));
    let entries = entries(host, &id.clone().finish(), around, targets, notes);
    let unfound = match entries.last().is_some_and(Entry::is_everything) {
        true => &[],
        false => around.unfound.as_slice(),
    };
    let effects = || entries.iter().map(|entry| &entry.case.effect);
    result.uses = effects().flat_map(|effect| effect.uses.iter().cloned()).collect();
    result.mirrors = effects().flat_map(|effect| effect.mirrors.iter().cloned()).collect();
    for group in &domain::groups(&host.domains, around.ignore_port, notes) {
        let id = id.clone().name(&group.label);
        Group { host, around, group, id }.add_routes(&entries, unfound, &mut result, notes);
    }
    result
}

/// The entries that Envoy can reach: none behind one that takes everything.
///
/// Everything in the virtual host that nothing reads must have been noted.
fn entries(
    host: &VirtualHost,
    unit: &str,
    around: &Surroundings<'_>,
    targets: Targets<'_>,
    notes: &mut Notes,
) -> Vec<Entry> {
    let unguarded = Unguarded::of(notes);
    let overrides = Overrides::read(&host.typed_per_filter_config, &Path::root(unit), notes);
    let headers = HostHeaders::read(host, notes);
    let mirrors = Mirrors::read(&host.request_mirror_policies, &Path::ROOT, notes);
    let levels = Levels {
        manager: around.manager,
        unit,
        config: &around.overrides,
        host: &overrides,
        config_headers: &around.headers,
        host_headers: &headers,
        retry_policy: host.retry_policy.as_ref(),
        mirrors: mirrors.as_ref().unwrap_or(&around.mirrors),
        fail_closed: around.fail_closed,
    };
    let mut entries: Vec<Entry> = Vec::with_capacity(host.routes.len());
    entries.extend(require_tls::entry(host, notes));
    for (position, route) in host.routes.iter().enumerate() {
        let unguarded = unguarded.all || unguarded.routes.contains(&position);
        entries.extend(route::entries(position, route, unguarded, &levels, targets, notes));
        if entries.last().is_some_and(Entry::is_everything) {
            break;
        }
    }
    entries
}

/// The cases of requests that match no route: filters act on these too, as the chain has them.
pub(super) fn unfound(manager: &Manager) -> Vec<Case> {
    let mut cases = vec![Case::always(Effect::answer(NOT_FOUND))];
    manager.filters.apply(&[], &mut cases);
    cases.retain(|case| !case.effect.stand_in);
    cases
}

/// Routes of a virtual host with guards that are not honoured.
struct Unguarded {
    all: bool,
    routes: BTreeSet<usize>,
}

impl Unguarded {
    fn of(notes: &Notes) -> Self {
        let mut unguarded = Self { all: false, routes: BTreeSet::new() };
        let security = notes.since(0).iter().filter(|note| note.severity == Severity::Security);
        // What is said of a filter counts only where that filter is on, which `filter` knows.
        for note in security.filter(|note| !note.path.contains("typed_per_filter_config[")) {
            match note.path.strip_prefix("routes[").and_then(|rest| rest.split(']').next()?.parse().ok()) {
                Some(position) => drop(unguarded.routes.insert(position)),
                None => unguarded.all = true,
            }
        }
        unguarded
    }
}

/// The routes of one group of domains.
struct Group<'a> {
    host: &'a VirtualHost,
    around: &'a Surroundings<'a>,
    group: &'a DomainGroup,
    id: Id,
}

impl Group<'_> {
    fn add_routes(&self, entries: &[Entry], unfound: &[Case], result: &mut HostRoutes, notes: &mut Notes) {
        let paths = entries.iter().map(|e| &e.matched.path);
        let hostless = self.group.hosts.is_empty();
        let layouts: Vec<Layout> =
            if hostless && self.around.hostless_order { order::flat(paths) } else { order::keep(paths) };
        // What a route that is left out would have caught may have been kept from the routes behind it.
        let mut left_out = false;
        for (at, (entry, layout)) in entries.iter().zip(layouts).enumerate() {
            result.flat |= layout.flat;
            let behind = entries.len() - at + unfound.len().saturating_sub(1);
            let mut route = self.route(entry, layout, behind as i64);
            if left_out && self.around.fail_closed {
                take(&mut route, &Effect::answer(FORBIDDEN));
            }
            let accepted = accepted(route, &Path::ROOT.item("routes", entry.position), notes);
            left_out |= accepted.is_none();
            result.routes.extend(accepted);
        }
        for (at, case) in unfound.iter().enumerate() {
            let route = self.not_found(case, (unfound.len() - at - 1) as i64);
            result.routes.extend(accepted(route, &Path::ROOT, notes));
        }
    }

    fn route(&self, entry: &Entry, layout: Layout, rank: i64) -> Route {
        let case = &entry.case;
        let mut shown = if entry.name.is_empty() { entry.position.to_string() } else { entry.name.clone() };
        let mut id = self.id.clone().position(entry.position);
        if !case.label.is_empty() {
            id = id.name(&case.label);
            shown = format!("{shown}/{}", case.label);
        }
        let mut route = self.common(id, &shown, rank);
        route.uris = layout.uris;
        route.vars.extend(layout.condition);
        route.vars.extend(entry.matched.conditions.iter().cloned());
        route.vars.extend(case.when.iter().cloned());
        take(&mut route, &case.effect);
        route
    }

    fn not_found(&self, case: &Case, rank: i64) -> Route {
        let mut id = self.id.clone().name("not found");
        if !case.label.is_empty() {
            id = id.name(&case.label);
        }
        let mut route = self.common(id, "not found", rank);
        route.uris = vec!["/*".to_owned()];
        route.vars.extend(case.when.iter().cloned());
        take(&mut route, &case.effect);
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

fn take(route: &mut Route, effect: &Effect) {
    route.timeout = effect.timeout;
    route.upstream_id = effect.upstream_id.clone();
    route.upstream = effect.upstream.clone();
    route.plugins = effect.plugins.clone();
    route.enable_websocket = effect.websocket;
}

/// The route as APISIX accepts it: with an answer in place of an effect that it would refuse, and not at all when it
/// would refuse the rest.
fn accepted(mut route: Route, path: &Path<'_>, notes: &mut Notes) -> Option<Route> {
    let Err(violation) = route.check() else { return Some(route) };
    take(&mut route, &Effect::answer(UNAVAILABLE));
    match route.check() {
        Ok(()) => {
            notes.traffic(path, format!("APISIX would refuse it: {violation}: answered with 503"));
            Some(route)
        }
        Err(violation) => {
            let detail = format!("APISIX would refuse it: {violation}: left out");
            notes.add(Severity::Security, path, detail);
            None
        }
    }
}

/// Stands in a configuration for the virtual hosts that it lacks: answers 404, after the chain's filters.
pub(super) fn of_no_host() -> VirtualHost {
    let domains = vec!["*".to_owned()];
    VirtualHost { name: "no virtual host".to_owned(), domains, ..VirtualHost::default() }
}

/// Whether the chain's filters do something to requests that match no route, whose cases these are.
pub(super) fn acts_on(unfound: &[Case]) -> bool {
    unfound.len() > 1 || unfound.iter().any(|case| case.effect.plugins != Plugins::answer(NOT_FOUND, None))
}

/// The domains of an encoded virtual host.
pub(super) fn domains(bytes: &[u8]) -> impl Iterator<Item = &str> {
    use crate::pb::wire::{WireValue, fields};
    const DOMAINS: u32 = 2;
    fields(bytes).filter_map(|f| match (f.number, f.value) {
        (DOMAINS, WireValue::Bytes(text)) => std::str::from_utf8(text).ok(),
        _ => None,
    })
}
