//! A Route to what APISIX tries, in order.
//!
//! In: the route, what its virtual host and configuration say of all routes, and the connection manager that serves
//! them. Out: entries, each of which becomes one APISIX route for each group of domains. Never here: where an entry's
//! path is native, and which priority it has.

use crate::pb::{
    envoy::config::route::v3::{RetryPolicy, Route, route::Action},
    path::Path,
};

use super::{
    Severity,
    action::{self, Around, Mirrors, Targets},
    effect::{Case, Effect},
    filter::Overrides,
    header::{self, ConfigHeaders, HostHeaders, Level},
    manager::Manager,
    matcher::{self, Match},
    note::Notes,
};

/// The answer in place of a route whose guards are not honoured.
const FORBIDDEN: u32 = 403;

/// One case of a route that can be expressed.
#[derive(Debug)]
pub(super) struct Entry {
    /// The route's place in its virtual host.
    pub position: usize,
    /// The route's name.
    pub name: String,
    pub matched: Match,
    pub case: Case,
}

/// What surrounds a route.
pub(super) struct Levels<'a> {
    pub manager: &'a Manager,
    /// The virtual host's own name, unlike that of any other.
    pub unit: &'a str,
    /// Of the configuration, and of the virtual host.
    pub config: &'a Overrides,
    pub host: &'a Overrides,
    pub config_headers: &'a ConfigHeaders,
    pub host_headers: &'a HostHeaders,
    /// The virtual host's, for routes without one.
    pub retry_policy: Option<&'a RetryPolicy>,
    /// The virtual host's or the configuration's, for routes without any.
    pub mirrors: &'a Mirrors,
    /// Routes whose guards are not honoured are answered with 403.
    pub fail_closed: bool,
}

impl Levels<'_> {
    /// What may become a websocket does so only where the connection manager or the route allows it.
    fn websockets(
        &self,
        route: &Route,
        mut cases: Vec<Case>,
        path: &Path<'_>,
        notes: &mut Notes,
    ) -> Vec<Case> {
        if let Some(Action::Route(action)) = &route.action {
            let allowed = self.manager.allows_websocket(&action.upgrade_configs, &path.field("route"), notes);
            cases.iter_mut().for_each(|case| case.effect.websocket &= allowed);
        }
        cases
    }

    /// What all levels do to headers.
    fn headers(&self, route: &Route, cases: Vec<Case>, path: &Path<'_>, notes: &mut Notes) -> Vec<Case> {
        let levels = header::Levels {
            name: &route.name,
            route: &Level::read(route, path, notes),
            host: self.host_headers,
            config: self.config_headers,
            manager: &self.manager.headers,
        };
        levels.apply(cases, path, notes)
    }

    /// Applies the filters, with what the route says of them.
    fn filters(&self, route: &Overrides, cases: &mut Vec<Case>) {
        let levels = [route, self.host, self.config];
        if !cases.iter().any(|case| case.effect.cluster.is_apart()) {
            return self.manager.filters.apply(&levels, cases);
        }
        let each = std::mem::take(cases).into_iter().flat_map(|case| self.filters_of_cluster(levels, case));
        *cases = each.collect();
    }

    /// What the filters add stays among the requests of this cluster.
    fn filters_of_cluster(&self, levels: [&Overrides; 3], mut case: Case) -> Vec<Case> {
        let (label, when) = (std::mem::take(&mut case.label), std::mem::take(&mut case.when));
        let of_cluster = case.effect.cluster.filters.clone();
        let levels: Vec<&Overrides> = of_cluster.as_deref().into_iter().chain(levels).collect();
        let mut cases = vec![case];
        self.manager.filters.apply(&levels, &mut cases);
        for case in &mut cases {
            case.label = format!("{label} {}", case.label).trim().to_owned();
            case.when.splice(0..0, when.iter().cloned());
        }
        cases
    }
}

impl Entry {
    /// Every request ends here: no later route is ever reached.
    pub fn is_everything(&self) -> bool {
        self.case.when.is_empty() && self.matched.is_everything()
    }
}

/// The entries of the route at `path`; none when it has been noted that it cannot be expressed.
///
/// `unguarded`: something that guards this route has been noted as not honoured.
pub(super) fn entries(
    position: usize,
    route: &Route,
    unguarded: bool,
    levels: &Levels<'_>,
    targets: Targets<'_>,
    notes: &mut Notes,
) -> Vec<Entry> {
    let root = Path::root(levels.unit);
    let path = root.item("routes", position);
    let Some(matched) = route.r#match.as_ref() else {
        notes.traffic(&path.field("match"), "missing: route left out");
        return Vec::new();
    };
    let Some(matched) = matcher::translate(matched, &path.field("match"), notes) else { return Vec::new() };
    let noted = notes.len();
    let Levels { retry_policy, mirrors, .. } = *levels;
    let around = Around { test: &matched.path, retry_policy, mirrors, targets };
    let mut cases = action::translate(route, around, &path, notes);
    let direct = matches!(route.action, Some(Action::Redirect(_) | Action::DirectResponse(_)));
    cases.iter_mut().for_each(|case| case.effect.direct = direct);
    let cases = levels.websockets(route, cases, &path, notes);
    let mut cases = levels.headers(route, cases, &path, notes);
    let unguarded = unguarded
        || levels.manager.unguarded
        || notes.since(noted).iter().any(|note| note.severity == Severity::Security);
    let overrides = Overrides::read(&route.typed_per_filter_config, &path, notes);
    levels.filters(&overrides, &mut cases);
    levels.manager.client.resolve(&mut cases, &path, notes);

    if levels.fail_closed {
        close(unguarded, &mut cases);
    } else {
        cases.retain(|case| !case.effect.stand_in);
    }
    let entry = |case| Entry { position, name: route.name.clone(), matched: matched.clone(), case };
    cases.into_iter().map(entry).collect()
}

/// Every case that something guards which is not honoured answers 403.
fn close(all: bool, cases: &mut Vec<Case>) {
    let is_open = |case: &Case| !all && !case.effect.unguarded;
    if cases.iter().any(is_open) {
        cases
            .iter_mut()
            .filter(|case| case.effect.unguarded)
            .for_each(|case| case.effect = Effect::answer(FORBIDDEN));
    } else {
        *cases = vec![Case::always(Effect::answer(FORBIDDEN))];
    }
}
