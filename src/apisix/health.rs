//! Health checks of an upstream. Without a number, APISIX takes its own default.

use serde::Serialize;

/// What tells whether a node is healthy. With no healthy node, all are used.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Checks {
    /// Always there: passive checks alone are refused.
    pub active: Active,
    /// Answers to real requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub passive: Option<Passive>,
}

/// Probes.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Active {
    /// What is asked.
    #[serde(rename = "type")]
    pub kind: CheckType,
    /// Seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<f64>,
    /// Probes at one time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// The probe's Host header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// 1 to 65535, instead of the node's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u32>,
    /// As in a route.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_method: Option<String>,
    /// `/` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_path: Option<String>,
    /// The probe's body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_req_body: Option<String>,
    /// Checked when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub https_verify_certificate: Option<bool>,
    /// `Name: value`, each once.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub req_headers: Vec<String>,
    /// What makes a node healthy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthy: Option<ActiveHealthy>,
    /// What makes it unhealthy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unhealthy: Option<ActiveUnhealthy>,
}

/// Good probes.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ActiveHealthy {
    /// Seconds between probes of a healthy node, 1 or more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<u32>,
    /// 200 to 599, no two the same.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub http_statuses: Vec<u32>,
    /// 1 to 254 in a row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub successes: Option<u32>,
}

/// Bad probes.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ActiveUnhealthy {
    /// Seconds between probes of an unhealthy node, 1 or more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<u32>,
    /// 200 to 599, no two the same.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub http_statuses: Vec<u32>,
    /// 1 to 254 in a row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_failures: Option<u32>,
    /// 1 to 254 in a row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp_failures: Option<u32>,
    /// 1 to 254 in a row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<u32>,
}

/// Real requests. Counters of 0 switch a test off.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Passive {
    /// What they are.
    #[serde(rename = "type")]
    pub kind: CheckType,
    /// What makes a node healthy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthy: Option<PassiveHealthy>,
    /// What makes it unhealthy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unhealthy: Option<PassiveUnhealthy>,
}

/// Good answers.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct PassiveHealthy {
    /// 200 to 599, no two the same.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub http_statuses: Vec<u32>,
    /// 0 to 254 in a row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub successes: Option<u32>,
}

/// Bad answers.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct PassiveUnhealthy {
    /// 200 to 599, no two the same.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub http_statuses: Vec<u32>,
    /// 0 to 254 in a row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_failures: Option<u32>,
    /// 0 to 254 in a row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp_failures: Option<u32>,
    /// 0 to 254 in a row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<u32>,
}

/// The protocol of a check.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckType {
    /// A request in clear text.
    #[default]
    Http,
    /// A request over TLS.
    Https,
    /// A connection.
    Tcp,
}
