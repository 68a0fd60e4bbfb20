//! `proxy-mirror`: sends a copy elsewhere, and forgets the answer.

use serde::Serialize;

use super::{Meta, meta};
use crate::apisix::check::{Checked, Within, demand, if_there, is_dns_name, line};

/// `proxy-mirror`.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ProxyMirror {
    /// `scheme://host:port`, with http, https, grpc or grpcs.
    pub host: String,
    /// Instead of the request's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Before the request's path instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_concat_mode: Option<PathConcat>,
    /// 0.00001 to 1; without it all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample_ratio: Option<f64>,
    /// For which requests; without it for all.
    #[serde(rename = "_meta", skip_serializing_if = "Option::is_none")]
    pub meta: Option<Meta>,
}

/// What a mirror's path does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PathConcat {
    /// It stands instead of the request's.
    Replace,
    /// It stands before it.
    Prefix,
}

impl ProxyMirror {
    pub(super) fn check(&self) -> Checked {
        mirror_host(&self.host).within("host")?;
        if_there(&self.path, |path| mirror_path(path)).within("path")?;
        let rule = "must be from 0.00001 to 1";
        if_there(&self.sample_ratio, |n| demand((0.00001..=1.0).contains(n), n, rule))
            .within("sample_ratio")?;
        meta(&self.meta)
    }
}

/// `scheme://name`, or an IPv6 address in brackets, and a port.
fn mirror_host(text: &str) -> Checked {
    let rest = ["http://", "https://", "grpc://", "grpcs://"].iter().find_map(|s| text.strip_prefix(s));
    let holds = rest.is_some_and(|rest| {
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (rest, None),
        };
        let v6 = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        let host = match v6 {
            Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok() && !v6.contains('.'),
            None => is_dns_name(host),
        };
        host && port.is_none_or(|p| !p.starts_with('0') && p.parse::<u16>().is_ok())
    });
    demand(holds, text, "must be http, https, grpc or grpcs, :// and host:port")
}

fn mirror_path(text: &str) -> Checked {
    line(text)?;
    let holds = text.len() > 1 && text.starts_with('/') && !text[1..].contains(['?', '&']);
    demand(holds, text, "must begin with / and have no ? and no &")
}
