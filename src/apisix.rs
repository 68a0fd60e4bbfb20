//! APISIX's objects, as typed values with one canonical JSON form each.
//!
//! Only shapes, limits and names: what APISIX accepts (its `schema_def.lua` and plugin schemas). Never here: where an
//! object comes from or where it goes.

mod check;
mod condition;
mod health;
mod key;
mod pcre;
mod plugin;
mod route;
mod ssl;
mod template;
mod upstream;

use bytes::Bytes;
use serde::Serialize;

pub use check::{Checked, Violation};
pub use condition::{Condition, Operand, Operator, escape};
pub use health::{
    Active, ActiveHealthy, ActiveUnhealthy, CheckType, Checks, Passive, PassiveHealthy, PassiveUnhealthy,
};
pub use key::{Directory, Key};
pub use plugin::{
    Abort, ClientControl, Cors, Delay, FaultInjection, Gzip, LimitConn, LimitCount, LimitKey, LimitPolicy,
    LimitReq, MAX_FAULT_VARS, MAX_WEIGHTED_UPSTREAMS, MIN_SAMPLE_RATIO, Meta, ONE_FOR_ALL, Plugins,
    ProxyMirror, ProxyRewrite, Redirect, RedirectTo, RequestHeaders, ResponseHeaders, ResponseRewrite,
    RewriteTarget, SplitRule, SplitTarget, TrafficSplit, WeightedUpstream, is_mirror,
};
pub use route::{MAX_URI, Route};
pub use ssl::Ssl;
pub use template::literal;
pub use upstream::{
    Balancer, ClientTls, HashOn, InlineUpstream, KeepalivePool, MAX_WEIGHT, Node, PassHost, Scheme, Upstream,
};

/// The most bytes of a `name` or `desc`.
pub const MAX_NAME: usize = 256;

/// The methods that APISIX knows.
const METHODS: [&str; 10] =
    ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "CONNECT", "TRACE", "PURGE"];

/// Seconds, each above 0; APISIX wants all three or none.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Timeout {
    /// Until the connection stands.
    pub connect: f64,
    /// Between two writes.
    pub send: f64,
    /// Between two reads.
    pub read: f64,
}

/// Whether APISIX takes this as a host name in routes and nodes.
pub fn is_host(text: &str) -> bool {
    let name = text.strip_prefix('*').unwrap_or(text);
    (!name.is_empty() || text == "*")
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'[' | b']' | b':'))
}

/// Whether APISIX can connect to this: a host name without wildcard, an IPv4 address or an IPv6 address in brackets.
pub fn is_node_host(text: &str) -> bool {
    let v6 = text.strip_prefix('[').and_then(|inner| inner.strip_suffix(']'));
    match v6 {
        Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok() && is_host(text),
        None => is_host(text) && !text.contains(['*', '[', ']', ':']),
    }
}

/// As much of `text` as a `name` may hold.
pub fn cut(text: &str) -> &str {
    let mut end = text.len().min(MAX_NAME);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Compact JSON with the fields in the order of their declaration.
fn canonical(object: &impl Serialize) -> Bytes {
    let json = serde_json::to_vec(object).expect("no map keys and no failing serialisers in these types");
    // Kept for as long as the object is served: without the room that the writer left.
    json.into_boxed_slice().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_follow_the_schema_pattern() {
        for good in ["*", "*.a.com", "*-x.a.com", "a", "[::1]", "a_b"] {
            assert!(is_host(good), "{good}");
        }
        for bad in ["", "a.*", "a b", "**", "ü"] {
            assert!(!is_host(bad), "{bad}");
        }
    }

    #[test]
    fn a_long_name_is_cut_between_characters() {
        assert_eq!(cut(&"ü".repeat(200)).len(), MAX_NAME);
        assert_eq!(cut(&format!("a{}", "ü".repeat(200))).len(), MAX_NAME - 1);
    }
}
