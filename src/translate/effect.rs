//! What becomes of the requests that match a route: cases, each with the parts of one APISIX route.
//!
//! Most routes have one case. A route has more where Envoy decides for each request anew what happens: whether a
//! guard lets it pass, which of several clusters it goes to. Each case becomes an APISIX route of its own, tried in
//! this order, so that the first whose conditions hold is taken.

use std::{collections::BTreeSet, sync::Arc};

use crate::apisix::{Abort, Condition, FaultInjection, InlineUpstream, Plugins, Timeout};

use super::{
    cluster::{Target, Variant},
    filter::Overrides,
    header::Level,
    id,
};

/// The upstreams that routes refer to: of which cluster, and which of its variants.
pub(super) type Uses = BTreeSet<(Arc<str>, Variant)>;

/// One way that a request may go.
#[derive(Debug, Clone, Default)]
pub(super) struct Case {
    /// Tells the cases of a route apart, in ids; empty for the last, which every request takes that is left.
    pub label: String,
    /// Besides those of the route; none for the last case.
    pub when: Vec<Condition>,
    pub effect: Effect,
}

/// The parts of an APISIX route that say what it does.
#[derive(Debug, Clone, Default)]
pub(super) struct Effect {
    pub upstream_id: Option<String>,
    pub upstream: Option<InlineUpstream>,
    /// Some of its upstreams are spoken to in gRPC.
    pub grpc: bool,
    /// What `upstream_id` and the plugins refer to.
    pub uses: Uses,
    /// The clusters that get copies, if they can.
    pub mirrors: BTreeSet<Arc<str>>,
    pub timeout: Option<Timeout>,
    pub plugins: Plugins,
    pub websocket: bool,
    /// The one that requests go to; without a name where they go to several.
    pub cluster: Cluster,
    /// The route itself answers, without a cluster: filters that allow something for a cluster stay out of it.
    pub direct: bool,
    /// Something that guards the route is not honoured: the policy decides whether it is served.
    pub unguarded: bool,
    /// The case is there only to be closed: where unguarded routes are served, it is not.
    pub stand_in: bool,
}

/// What is said of a cluster where it is chosen.
#[derive(Debug, Clone, Default)]
pub(super) struct Cluster {
    pub name: String,
    pub headers: Level,
    pub filters: Option<Arc<Overrides>>,
}

impl Cluster {
    /// Filters do something else to its requests, or their answers are changed otherwise, than those of others.
    pub fn is_apart(&self) -> bool {
        self.filters.is_some() || self.headers.changes_answers()
    }
}

impl Case {
    /// The case of every request that is left.
    pub fn always(effect: Effect) -> Self {
        Self { label: String::new(), when: Vec::new(), effect }
    }

    /// A case tried before this one, which answers some of its requests. What is done to any answer stays.
    pub fn answered(&self, when: Vec<Condition>, abort: Abort) -> Self {
        let plugins = Plugins {
            fault_injection: Some(FaultInjection { abort: Some(abort), ..FaultInjection::default() }),
            response_rewrite: self.effect.plugins.response_rewrite.clone(),
            ..Plugins::default()
        };
        let effect = Effect {
            plugins,
            direct: self.effect.direct,
            unguarded: self.effect.unguarded,
            ..Effect::default()
        };
        Self { label: String::new(), when, effect }
    }

    /// Puts this case before the others, under a label that none of them has.
    pub fn go_before(mut self, cases: &mut Vec<Case>, label: &str) {
        self.label = label.to_owned();
        for number in 2.. {
            if cases.iter().all(|case| case.label != self.label) {
                break;
            }
            self.label = format!("{label} {number}");
        }
        cases.insert(0, self);
    }
}

impl Effect {
    /// Every request is answered with this status.
    pub fn answer(status: u32) -> Self {
        Self { plugins: Plugins::answer(status, None), ..Self::default() }
    }

    /// Whether requests go on to an upstream.
    pub fn forwards(&self) -> bool {
        self.upstream_id.is_some() || self.upstream.is_some() || self.plugins.traffic_split.is_some()
    }

    /// The id of the upstream of a cluster that has one, for what is asked of it.
    pub fn use_upstream(&mut self, cluster: &str, target: &Target, asked: Variant) -> String {
        // What endpoints expect over TLS does not go to them in the clear.
        self.unguarded |= matches!(target, Target::Published { encrypted: true, .. });
        self.grpc |= matches!(target, Target::Published { grpc: true, .. });
        let variant = target.settle(asked);
        let id = id::variant(cluster, &variant);
        self.uses.insert((cluster.into(), variant));
        id
    }

    /// Every request is answered in APISIX's rewrite phase, before plugins of later phases see it.
    pub fn answers(&self) -> bool {
        self.plugins.fault_injection.as_ref().is_some_and(|fault| fault.abort.is_some())
    }
}
