//! `api-breaker`: after failures of the upstream, answers in its place for a while. Counts per host and path.

use serde::Serialize;

use super::{Meta, meta};
use crate::apisix::check::{
    Checked, Within, answer, demand, if_there, no_secret, not_empty, one_or_more, statuses,
};

/// `api-breaker`.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ApiBreaker {
    /// 200 to 599.
    pub break_response_code: u32,
    /// The answer's body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub break_response_body: Option<String>,
    /// The longest time it answers, 3 seconds or more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_breaker_sec: Option<u32>,
    /// What opens it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unhealthy: Option<Unhealthy>,
    /// What closes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthy: Option<Healthy>,
    /// For which requests; without it for all.
    #[serde(rename = "_meta", skip_serializing_if = "Option::is_none")]
    pub meta: Option<Meta>,
}

/// Answers that open the breaker.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Unhealthy {
    /// 500 to 599, no two the same
    pub http_statuses: Vec<u32>,
    /// In a row, 1 or more.
    pub failures: u32,
}

/// Answers that close the breaker.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Healthy {
    /// 200 to 499, no two the same
    pub http_statuses: Vec<u32>,
    /// In a row, 1 or more.
    pub successes: u32,
}

impl ApiBreaker {
    pub(super) fn check(&self) -> Checked {
        answer(self.break_response_code).within("break_response_code")?;
        if_there(&self.break_response_body, |body| no_secret(body)).within("break_response_body")?;
        let rule = "must be 3 or more";
        if_there(&self.max_breaker_sec, |n| demand(*n >= 3, n, rule)).within("max_breaker_sec")?;
        if_there(&self.unhealthy, Unhealthy::check).within("unhealthy")?;
        if_there(&self.healthy, Healthy::check).within("healthy")?;
        meta(&self.meta)
    }
}

impl Unhealthy {
    fn check(&self) -> Checked {
        not_empty(&self.http_statuses).within("http_statuses")?;
        statuses(&self.http_statuses, 500..=599).within("http_statuses")?;
        one_or_more(self.failures).within("failures")
    }
}

impl Healthy {
    fn check(&self) -> Checked {
        not_empty(&self.http_statuses).within("http_statuses")?;
        statuses(&self.http_statuses, 200..=499).within("http_statuses")?;
        one_or_more(self.successes).within("successes")
    }
}
