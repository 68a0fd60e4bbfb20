//! What a route does: an upstream, a split between several, or an answer.
//!
//! In: the route and what is known of its clusters. Out: the parts of an APISIX route; an action that cannot be
//! expressed becomes the answer 503 and a note. Never here: a reference to an upstream that is not there.

mod direct_response;
mod redirect;
mod rewrite;
mod split;

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    apisix::{InlineUpstream, Plugins, Timeout},
    pb::{
        envoy::config::route::v3::{
            Route, RouteAction, route::Action, route_action::ClusterNotFoundResponseCode,
            route_action::ClusterSpecifier,
        },
        path::Path,
    },
};

use super::{
    cluster::{self, NO_TIMEOUT, Target},
    effect::{Case, Effect},
    id,
    matcher::PathTest,
    note::Notes,
};

/// Envoy's default for a route's `timeout`.
const DEFAULT_TIMEOUT: f64 = 15.0;
const UNAVAILABLE: u32 = 503;
/// Where the pod's own application answers.
const LOOPBACK: &str = "127.0.0.1";

/// What is known of a cluster.
pub(super) type Targets<'a> = &'a dyn Fn(&str) -> Target;

/// The clusters that a route names, there or not.
pub(super) fn clusters(route: &Route, names: &mut BTreeSet<Arc<str>>) {
    let Some(Action::Route(action)) = &route.action else { return };
    match &action.cluster_specifier {
        Some(ClusterSpecifier::Cluster(name)) => {
            names.insert(name.as_str().into());
        }
        Some(ClusterSpecifier::WeightedClusters(split)) => {
            names.extend(split.clusters.iter().map(|c| Arc::from(c.name.as_str())));
        }
        None => {}
    }
}

/// The cases of the route at `path` by its action alone: one, or one for each way that Envoy may choose.
pub(super) fn translate(
    route: &Route,
    test: &PathTest,
    targets: Targets<'_>,
    path: &Path<'_>,
    notes: &mut Notes,
) -> Vec<Case> {
    let plugins = match &route.action {
        Some(Action::Route(action)) => {
            return vec![Case::always(forward(action, test, targets, &path.field("route"), notes))];
        }
        Some(Action::Redirect(action)) => redirect::plugin(action, &path.field("redirect"), notes),
        Some(Action::DirectResponse(action)) => {
            direct_response::plugin(action, &path.field("direct_response"), notes)
        }
        None => {
            notes.traffic(path, "no known action: answered with 503");
            None
        }
    };
    let plugins = plugins.unwrap_or_else(|| Plugins::answer(UNAVAILABLE, None));
    vec![Case::always(Effect { plugins, ..Effect::default() })]
}

fn forward(
    action: &RouteAction,
    test: &PathTest,
    targets: Targets<'_>,
    path: &Path<'_>,
    notes: &mut Notes,
) -> Effect {
    let chosen = match &action.cluster_specifier {
        Some(ClusterSpecifier::Cluster(name)) => one_cluster(name, action, targets, path, notes),
        Some(ClusterSpecifier::WeightedClusters(split)) => {
            split::effect(split, targets, &path.field("weighted_clusters"), notes)
        }
        None => {
            notes.traffic(path, "no known way to choose a cluster: answered with 503");
            None
        }
    };
    let Some((mut effect, connect)) = chosen else { return Effect::answer(UNAVAILABLE) };
    if effect.plugins.fault_injection.is_some() {
        return effect;
    }
    if !action.prefix_rewrite.is_empty() {
        match rewrite::plugin(&action.prefix_rewrite, test, &path.field("prefix_rewrite"), notes) {
            Some(plugin) => effect.plugins.proxy_rewrite = Some(plugin),
            None => return Effect::answer(UNAVAILABLE),
        }
    }
    effect.timeout = timeout(action, connect, path, notes);
    effect.websocket = true;
    effect
}

/// An effect, and the longest time its upstreams take to connect.
type Chosen = Option<(Effect, f64)>;

fn one_cluster(
    name: &str,
    action: &RouteAction,
    targets: Targets<'_>,
    path: &Path<'_>,
    notes: &mut Notes,
) -> Chosen {
    match targets(name) {
        Target::Published { connect_timeout, encrypted, .. } => {
            // What endpoints expect over TLS does not go to them in the clear.
            let upstream_id = Some(id::upstream(name));
            let effect = Effect { upstream_id, unguarded: encrypted, ..Effect::default() };
            Some((effect, connect_timeout))
        }
        Target::OwnPort { port: Some(port), connect_timeout } => {
            let timeout = Timeout { connect: connect_timeout, send: NO_TIMEOUT, read: NO_TIMEOUT };
            let upstream = Some(InlineUpstream::of_node(LOOPBACK, port, timeout));
            Some((Effect { upstream, ..Effect::default() }, connect_timeout))
        }
        Target::OwnPort { port: None, .. } | Target::Unpublished => {
            notes.traffic(&path.field("cluster"), format!("{name:?} has no upstream: answered with 503"));
            None
        }
        Target::Unknown => {
            let status = match ClusterNotFoundResponseCode::try_from(action.cluster_not_found_response_code) {
                Ok(ClusterNotFoundResponseCode::NotFound) => 404,
                Ok(ClusterNotFoundResponseCode::InternalServerError) => 500,
                _ => UNAVAILABLE,
            };
            notes.traffic(&path.field("cluster"), format!("{name:?} is not known: answered with {status}"));
            Some((Effect::answer(status), 0.0))
        }
    }
}

/// Envoy bounds the whole request, APISIX each write and read of it. No bound is what upstreams say already.
fn timeout(action: &RouteAction, connect: f64, path: &Path<'_>, notes: &mut Notes) -> Option<Timeout> {
    let seconds = match &action.timeout {
        None => DEFAULT_TIMEOUT,
        Some(duration) => cluster::seconds(duration)?,
    };
    if seconds >= NO_TIMEOUT {
        return None;
    }
    if action.timeout.is_some() {
        notes.approximated(&path.field("timeout"), "bounds each write and read, not the whole request");
    }
    Some(Timeout { connect: connect.min(seconds), send: seconds, read: seconds })
}
