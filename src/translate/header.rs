//! Header operations of all levels of a route, folded into one: what the request and the answer lose and gain.
//!
//! In: the operations of a weighted cluster, a route, its virtual host and its configuration, and what the connection
//! manager does to every request. Out: `proxy-rewrite` and `response-rewrite` of the route's cases. Mapping rows 39
//! and 59 to 63. Never here: the Host header and the path, which Envoy does not let these operations touch.
//!
//! Envoy does the levels one after the other; in each it removes first, then makes all values from the headers as they
//! are by then, then overwrites, then appends. APISIX does one plugin once: hence the fold, in which every header has
//! two fates, that of a request that carries it and that of one that does not.

mod command;
mod fold;
mod format;
mod level;
mod operation;
mod request;
mod response;

use crate::pb::path::Path;

use self::fold::Fates;
use super::{
    effect::{Case, Effect},
    note::Notes,
};

pub(super) use level::{ConfigHeaders, HostHeaders};
pub(super) use operation::{Level, Lists};

/// Who makes and reads a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Request,
    Response,
}

/// Everything that acts on the headers of one route.
pub(super) struct Levels<'a> {
    /// Its name, for `%ROUTE_NAME%`.
    pub name: &'a str,
    pub route: &'a Level,
    pub host: &'a HostHeaders,
    pub config: &'a ConfigHeaders,
    /// What the connection manager does to every request.
    pub manager: &'a Level,
}

impl Levels<'_> {
    /// The cases with what all levels do to headers; more cases where what happens depends on the client's headers.
    pub fn apply(&self, cases: Vec<Case>, path: &Path<'_>, notes: &mut Notes) -> Vec<Case> {
        let named = self.in_order().iter().any(|level| level.names_cluster());
        if named && cases.iter().any(|case| case.effect.plugins.traffic_split.is_some()) {
            notes.traffic(path, "%UPSTREAM_CLUSTER% of several: left empty");
        }
        cases
            .into_iter()
            .flat_map(|mut case| {
                self.respond(&mut case.effect, path, notes);
                self.request(case, path, notes)
            })
            .collect()
    }

    /// As Envoy takes them, after the weighted cluster's.
    fn in_order(&self) -> [&Level; 3] {
        if self.config.most_specific_wins {
            [&self.config.level, &self.host.level, self.route]
        } else {
            [self.route, &self.host.level, &self.config.level]
        }
    }

    /// A request that APISIX answers itself is seen by nobody.
    fn request(&self, case: Case, path: &Path<'_>, notes: &mut Notes) -> Vec<Case> {
        if !case.effect.forwards() {
            return vec![case];
        }
        let mut fates = Fates::new(Side::Request, self.name, &case.effect.cluster.name);
        let first = [self.manager, &self.config.internal, &self.host.attempts, &case.effect.cluster.headers];
        for level in first.into_iter().chain(self.in_order()) {
            fates.apply(&level.request);
        }
        request::apply(&fates, case.clone(), path, notes)
    }

    fn respond(&self, effect: &mut Effect, path: &Path<'_>, notes: &mut Notes) {
        let cluster = effect.cluster.clone();
        let mut fates = Fates::new(Side::Response, self.name, &cluster.name);
        for level in std::iter::once(&cluster.headers).chain(self.in_order()) {
            fates.apply(&level.response);
        }
        if effect.forwards() {
            fates.apply(&self.host.attempts.response);
        }
        response::apply(&fates, effect, path, notes);
    }
}
