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
    action::{self, Around, Targets},
    effect::{Case, Effect},
    filter::Overrides,
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
    /// The virtual host's, for routes without one.
    pub retry_policy: Option<&'a RetryPolicy>,
    /// Routes whose guards are not honoured are answered with 403.
    pub fail_closed: bool,
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
    let around = Around { test: &matched.path, retry_policy: levels.retry_policy, targets };
    let mut cases = action::translate(route, around, &path, notes);
    let direct = matches!(route.action, Some(Action::Redirect(_) | Action::DirectResponse(_)));
    cases.iter_mut().for_each(|case| case.effect.direct = direct);
    let unguarded = unguarded
        || levels.manager.unguarded
        || notes.since(noted).iter().any(|note| note.severity == Severity::Security);
    let overrides = Overrides::read(&route.typed_per_filter_config, &path, notes);
    levels.manager.filters.apply(&[&overrides, levels.host, levels.config], &mut cases);
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
