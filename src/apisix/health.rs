//! Health checks of an upstream. Without a number, APISIX takes its own default.

use serde::Serialize;

use super::{
    METHODS,
    check::{
        Checked, STATUSES, Within, above_zero, demand, each, host, if_there, line, one_or_more, port,
        statuses, token, unique,
    },
};

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

impl Checks {
    pub(super) fn check(&self) -> Checked {
        self.active.check().within("active")?;
        if_there(&self.passive, Passive::check).within("passive")
    }
}

impl Active {
    /// Probes are written out as they stand, line by line.
    fn check(&self) -> Checked {
        if_there(&self.timeout, |n| above_zero(*n)).within("timeout")?;
        if_there(&self.concurrency, |n| one_or_more(*n)).within("concurrency")?;
        if_there(&self.host, |text| host(text)).within("host")?;
        if_there(&self.port, |n| port(*n)).within("port")?;
        let rule = "must be a method that APISIX knows";
        if_there(&self.http_method, |m| demand(METHODS.contains(&m.as_str()), m, rule))
            .within("http_method")?;
        if_there(&self.http_path, |path| {
            line(path)?;
            demand(path.starts_with('/') && !path.contains(' '), path, "must begin with / and have no spaces")
        })
        .within("http_path")?;
        each(&self.req_headers, |text| {
            line(text)?;
            let name = text.split_once(':').map_or("", |(name, _)| name);
            demand(token(name).is_ok(), text, "must be Name: value")
        })
        .and_then(|()| unique(&self.req_headers))
        .within("req_headers")?;
        if_there(&self.healthy, |healthy| {
            if_there(&healthy.interval, |n| one_or_more(*n)).within("interval")?;
            counter(&healthy.successes, 1).within("successes")?;
            statuses(&healthy.http_statuses, STATUSES).within("http_statuses")
        })
        .within("healthy")?;
        if_there(&self.unhealthy, |unhealthy| {
            if_there(&unhealthy.interval, |n| one_or_more(*n)).within("interval")?;
            counter(&unhealthy.http_failures, 1).within("http_failures")?;
            counter(&unhealthy.tcp_failures, 1).within("tcp_failures")?;
            counter(&unhealthy.timeouts, 1).within("timeouts")?;
            statuses(&unhealthy.http_statuses, STATUSES).within("http_statuses")
        })
        .within("unhealthy")
    }
}

impl Passive {
    fn check(&self) -> Checked {
        if_there(&self.healthy, |healthy| {
            counter(&healthy.successes, 0).within("successes")?;
            statuses(&healthy.http_statuses, STATUSES).within("http_statuses")
        })
        .within("healthy")?;
        if_there(&self.unhealthy, |unhealthy| {
            counter(&unhealthy.http_failures, 0).within("http_failures")?;
            counter(&unhealthy.tcp_failures, 0).within("tcp_failures")?;
            counter(&unhealthy.timeouts, 0).within("timeouts")?;
            statuses(&unhealthy.http_statuses, STATUSES).within("http_statuses")
        })
        .within("unhealthy")
    }
}

fn counter(counter: &Option<u32>, least: u32) -> Checked {
    let rule = if least == 0 { "must be from 0 to 254" } else { "must be from 1 to 254" };
    if_there(counter, |n| demand((least..=254).contains(n), n, rule))
}
