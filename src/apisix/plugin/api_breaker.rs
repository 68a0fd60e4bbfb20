//! `api-breaker`: after failures of the upstream, answers in its place for a while. Counts per host and path.

use serde::Serialize;

use super::Meta;

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
