//! What becomes of the requests that match a route: cases, each with the parts of one APISIX route.
//!
//! Most routes have one case. A route has more where Envoy decides for each request anew what happens: whether a
//! guard lets it pass, which of several clusters it goes to. Each case becomes an APISIX route of its own, tried in
//! this order, so that the first whose conditions hold is taken.

use crate::apisix::{Condition, InlineUpstream, Plugins, Timeout};

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
    pub timeout: Option<Timeout>,
    pub plugins: Plugins,
    pub websocket: bool,
    /// Something that guards the route is not honoured: the policy decides whether it is served.
    pub unguarded: bool,
}

impl Case {
    /// The case of every request that is left.
    pub fn always(effect: Effect) -> Self {
        Self { label: String::new(), when: Vec::new(), effect }
    }
}

impl Effect {
    /// Every request is answered with this status.
    pub fn answer(status: u32) -> Self {
        Self { plugins: Plugins::answer(status, None), ..Self::default() }
    }
}
