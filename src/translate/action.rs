//! What a route does: an upstream, a split between several, or an answer.
//!
//! In: the route and what is known of its clusters. Out: the parts of an APISIX route; an action that cannot be
//! expressed becomes the answer 503 and a note. Never here: a reference to an upstream that is not there.

mod direct_response;
mod hash;
mod host;
mod mirror;
mod redirect;
mod retry;
mod rewrite;
mod split;
mod timeout;

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    apisix::{
        InlineUpstream, LimitConn, ONE_FOR_ALL, PassHost as ApisixPassHost, ProxyRewrite,
        RewriteTarget as Form, Timeout,
    },
    pb::{
        envoy::config::route::v3::{
            RetryPolicy, Route, RouteAction, route::Action, route_action::ClusterNotFoundResponseCode,
            route_action::ClusterSpecifier,
        },
        path::Path,
    },
};

pub(super) use self::mirror::Mirrors;
use self::{
    host::Host,
    retry::Retries,
    rewrite::{Change, Query},
};
use super::{
    Severity,
    cluster::{Mirror, NO_TIMEOUT, PassHost, Target, Variant},
    effect::{Case, Effect},
    matcher::PathTest,
    note::Notes,
};

const UNAVAILABLE: u32 = 503;
/// Where the pod's own application answers.
const LOOPBACK: &str = "127.0.0.1";

/// What is known of clusters.
pub(super) trait Clusters {
    fn target(&self, cluster: &str) -> Target;
    /// Where copies for it go.
    fn mirror(&self, cluster: &str) -> Mirror;
}

pub(super) type Targets<'a> = &'a dyn Clusters;

/// What an action does not say itself.
#[derive(Clone, Copy)]
pub(super) struct Around<'a> {
    /// What the route matches.
    pub test: &'a PathTest,
    /// The virtual host's policy, for routes without one.
    pub retry_policy: Option<&'a RetryPolicy>,
    /// The virtual host's or the configuration's copies, for routes without any.
    pub mirrors: &'a Mirrors,
    pub targets: Targets<'a>,
}

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
pub(super) fn translate(route: &Route, around: Around<'_>, path: &Path<'_>, notes: &mut Notes) -> Vec<Case> {
    let cases = match &route.action {
        Some(Action::Route(action)) => Some(choices(action, around, &path.field("route"), notes)),
        Some(Action::Redirect(action)) => {
            redirect::cases(action, around.test, &path.field("redirect"), notes)
        }
        Some(Action::DirectResponse(action)) => {
            direct_response::plugin(action, &path.field("direct_response"), notes)
                .map(|plugins| vec![Case::always(Effect { plugins, ..Effect::default() })])
        }
        None => {
            notes.traffic(path, "no known action: answered with 503");
            None
        }
    };
    cases.unwrap_or_else(|| vec![Case::always(Effect::answer(UNAVAILABLE))])
}

/// The cases of an action that passes requests on: one, or one for each of its clusters.
fn choices(action: &RouteAction, around: Around<'_>, path: &Path<'_>, notes: &mut Notes) -> Vec<Case> {
    let start = notes.len();
    let shares = split::shares(action, around.targets, &path.field("weighted_clusters"), notes);
    let mut case = |share: split::Share| {
        let mut effect = forward(&share.action, around, path, notes).effect;
        effect.cluster = share.cluster;
        Case { label: share.label, when: share.when, effect }
    };
    let cases = shares.into_iter().map(&mut case).collect();
    if action.append_x_forwarded_host {
        let detail = "X-Forwarded-Host is always sent, and is the Host header alone";
        notes.approximated(&path.field("append_x_forwarded_host"), detail);
    }
    notes.once_since(start);
    cases
}

fn forward(action: &RouteAction, around: Around<'_>, path: &Path<'_>, notes: &mut Notes) -> Case {
    let retries = retries(action, around.retry_policy, path, notes);
    let bounds = timeout::read(action, &retries, path, notes);
    let host = host::read(action, path, notes);
    let asked = Variant {
        retries: retries.count,
        retry_timeout: bounds.total.map(|seconds| (seconds * 1000.0) as u64),
        hash: hash::key(&action.hash_policy, path, notes),
        host: match &host {
            Host::Upstream(host) => host.clone(),
            Host::Plugin(_) => PassHost::Pass,
        },
        subset: super::cluster::labels(action.metadata_match.as_ref()),
    };
    let chosen = match &action.cluster_specifier {
        Some(ClusterSpecifier::Cluster(name)) => {
            one_cluster(name, action, asked, around.targets, path, notes)
        }
        Some(ClusterSpecifier::WeightedClusters(split)) => {
            split::effect(split, &asked, around.targets, &path.field("weighted_clusters"), notes)
        }
        None => {
            notes.traffic(path, "no known way to choose a cluster: answered with 503");
            None
        }
    };
    let Some((mut effect, connect)) = chosen else { return Case::always(Effect::answer(UNAVAILABLE)) };
    if effect.plugins.fault_injection.is_some() {
        return Case::always(effect);
    }
    let Some(plugin) = proxy_rewrite(action, host, effect.grpc, around.test, path, notes) else {
        return Case::always(Effect::answer(UNAVAILABLE));
    };
    effect.plugins.proxy_rewrite = (plugin != ProxyRewrite::default()).then_some(plugin);
    effect.timeout = bounds.timeout(connect);
    effect.websocket = true;
    let own = Mirrors::read(&action.request_mirror_policies, path, notes);
    own.as_ref().unwrap_or(around.mirrors).apply(&mut effect, around.targets, path, notes);
    Case::always(effect)
}

/// The policy of the route, or else that of its virtual host.
fn retries(
    action: &RouteAction,
    of_host: Option<&RetryPolicy>,
    path: &Path<'_>,
    notes: &mut Notes,
) -> Retries {
    match (&action.retry_policy, of_host) {
        (Some(policy), _) => retry::read(policy, &path.field("retry_policy"), notes),
        (None, Some(policy)) => retry::read(policy, &Path::ROOT.field("retry_policy"), notes),
        (None, None) => Retries::default(),
    }
}

/// What becomes of the path and the Host header; `None` when it has been noted that it cannot be done.
fn proxy_rewrite(
    action: &RouteAction,
    host: Host,
    grpc: bool,
    test: &PathTest,
    path: &Path<'_>,
    notes: &mut Notes,
) -> Option<ProxyRewrite> {
    let (change, path) = match &action.regex_rewrite {
        Some(rewrite) => (Change::Pattern(rewrite), *path),
        None if action.prefix_rewrite.is_empty() => (Change::Nothing, *path),
        None => (Change::Matched(&action.prefix_rewrite), path.field("prefix_rewrite")),
    };
    // Where gRPC goes, nginx takes the path from its own, which the plugin sets in the decoded form alone.
    let target = if grpc && !matches!(change, Change::Nothing) { Form::Decoded } else { Form::Sent };
    let regex_uri = match target {
        Form::Sent => rewrite::pairs(change, Query::Keep, test, &path, notes)?,
        Form::Decoded => rewrite::decoded_pairs(change, test, &path, notes)?,
    };
    let host = match host {
        Host::Plugin(host) => Some(host),
        Host::Upstream(_) => None,
    };
    Some(ProxyRewrite { target, regex_uri, host, ..ProxyRewrite::default() })
}

/// An effect, and the longest time its upstreams take to connect.
type Chosen = Option<(Effect, f64)>;

fn one_cluster(
    name: &str,
    action: &RouteAction,
    asked: Variant,
    targets: Targets<'_>,
    path: &Path<'_>,
    notes: &mut Notes,
) -> Chosen {
    let target = targets.target(name);
    match target {
        Target::Published { max_requests: Some(0), .. } => Some((Effect::answer(UNAVAILABLE), 0.0)),
        Target::Published { connect_timeout, max_requests, .. } => {
            let mut effect = Effect::default();
            effect.upstream_id = Some(effect.use_upstream(name, &target, asked));
            effect.plugins.limit_conn = max_requests.map(at_a_time);
            Some((effect, connect_timeout))
        }
        Target::OwnPort { port: Some(port), connect_timeout } => {
            let upstream = Some(own_port(port, connect_timeout, asked));
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
            let detail = format!("{name:?} is not known: answered with {status}, as Envoy does");
            notes.add(Severity::Ignored, &path.field("cluster"), detail);
            Some((Effect::answer(status), 0.0))
        }
    }
}

/// Beyond these, requests are answered with 503, as from Envoy's circuit breakers.
fn at_a_time(requests: u32) -> LimitConn {
    LimitConn {
        conn: requests,
        // Of no effect without a burst.
        default_conn_delay: 1.0,
        key: ONE_FOR_ALL.to_owned(),
        rejected_code: UNAVAILABLE,
        ..LimitConn::default()
    }
}

fn own_port(port: u16, connect: f64, asked: Variant) -> InlineUpstream {
    let timeout = Timeout { connect, send: NO_TIMEOUT, read: NO_TIMEOUT };
    let mut upstream = InlineUpstream::of_node(LOOPBACK, port, timeout);
    upstream.retries = asked.retries;
    if let PassHost::Rewrite(host) = asked.host {
        upstream.pass_host = Some(ApisixPassHost::Rewrite);
        upstream.upstream_host = Some(host);
    }
    upstream
}
