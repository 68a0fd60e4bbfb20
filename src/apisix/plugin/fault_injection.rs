//! `fault-injection`: it runs before authentication and everything else that a route may carry.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Meta, meta};
use crate::apisix::{
    Condition,
    check::{
        Checked, Within, answer, demand, each, if_there, line, no_secret, not_empty, token, zero_or_more,
    },
};

/// The most entries of `vars`.
pub const MAX_FAULT_VARS: usize = 20;

/// `fault-injection`.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct FaultInjection {
    /// The answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub abort: Option<Abort>,
    /// The pause before it, or before the request goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay: Option<Delay>,
    /// For which requests; without it for all.
    #[serde(rename = "_meta", skip_serializing_if = "Option::is_none")]
    pub meta: Option<Meta>,
}

/// The answer of [`FaultInjection`].
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Abort {
    /// 200 or more.
    pub http_status: u32,
    /// `$name` in it is replaced by a variable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// `$name` in values is replaced by a variable.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// 0 to 100; without it all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percentage: Option<u32>,
    /// Any of them; each holds when all its conditions do. At most [`MAX_FAULT_VARS`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub vars: Vec<Vec<Condition>>,
}

/// The pause of [`FaultInjection`].
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Delay {
    /// Seconds, 0 or more.
    pub duration: f64,
    /// As in [`Abort`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percentage: Option<u32>,
    /// As in [`Abort`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub vars: Vec<Vec<Condition>>,
}

impl Abort {
    /// An answer as Envoy sends it: a body is plain text.
    pub fn plain(http_status: u32, body: Option<String>) -> Self {
        let headers = body.iter().map(|_| ("Content-Type".to_owned(), "text/plain".to_owned())).collect();
        Self { http_status, body, headers, ..Self::default() }
    }
}

impl FaultInjection {
    pub(super) fn check(&self) -> Checked {
        demand(self.abort.is_some() || self.delay.is_some(), "", "must have abort or delay")?;
        if_there(&self.abort, Abort::check).within("abort")?;
        if_there(&self.delay, Delay::check).within("delay")?;
        meta(&self.meta)
    }
}

impl Abort {
    fn check(&self) -> Checked {
        answer(self.http_status).within("http_status")?;
        if_there(&self.body, |body| no_secret(body)).within("body")?;
        for (name, value) in &self.headers {
            token(name).and_then(|()| line(value)).key(name).within("headers")?;
        }
        percentage(&self.percentage)?;
        vars(&self.vars)
    }
}

impl Delay {
    fn check(&self) -> Checked {
        zero_or_more(self.duration).within("duration")?;
        percentage(&self.percentage)?;
        vars(&self.vars)
    }
}

fn percentage(percentage: &Option<u32>) -> Checked {
    if_there(percentage, |n| demand(*n <= 100, n, "must be from 0 to 100")).within("percentage")
}

fn vars(vars: &[Vec<Condition>]) -> Checked {
    let few = demand(vars.len() <= MAX_FAULT_VARS, vars.len(), "must be 20 at most: put them into one");
    few.and_then(|()| {
        each(vars, |conditions| {
            not_empty(conditions)?;
            each(conditions, Condition::check_in_plugin)
        })
    })
    .within("vars")
}
