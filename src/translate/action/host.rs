//! The Host header that an upstream sees. Mapping rows 50 and 51.
//!
//! proxy-rewrite's `host` is for all upstreams; what it does not take, and the name of the chosen endpoint, is a
//! matter of the upstream. A Host among the headers that proxy-rewrite sets does nothing in APISIX.

use crate::{
    apisix::is_host,
    pb::{
        envoy::config::route::v3::{RouteAction, route_action::HostRewriteSpecifier},
        path::Path,
    },
    translate::{cluster::PassHost, note::Notes},
};

/// Who says what Host is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Host {
    Upstream(PassHost),
    /// proxy-rewrite.
    Plugin(String),
}

/// Reads the specifier of the action at `path`.
pub(super) fn read(action: &RouteAction, path: &Path<'_>, notes: &mut Notes) -> Host {
    match &action.host_rewrite_specifier {
        Some(HostRewriteSpecifier::HostRewriteLiteral(text)) if !text.is_empty() => {
            literal(text, &path.field("host_rewrite_literal"), notes)
        }
        // What that comes to is noted by the cluster.
        Some(HostRewriteSpecifier::AutoHostRewrite(true)) => Host::Upstream(PassHost::Node),
        Some(HostRewriteSpecifier::HostRewriteLiteral(_) | HostRewriteSpecifier::AutoHostRewrite(false))
        | None => Host::Upstream(PassHost::Pass),
    }
}

fn literal(text: &str, path: &Path<'_>, notes: &mut Notes) -> Host {
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) if (1..=5).contains(&port.len()) && port.bytes().all(|b| b.is_ascii_digit()) => {
            (name, true)
        }
        _ => (text, false),
    };
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-.".contains(&b);
    if !name.is_empty() && name.bytes().all(plain) && (port || !text.contains(':')) {
        Host::Plugin(text.to_owned())
    } else if is_host(text) {
        Host::Upstream(PassHost::Rewrite(text.to_owned()))
    } else {
        notes.traffic(path, format!("{text:?} is no host name: Host stays as it is"));
        Host::Upstream(PassHost::Pass)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_plugin_does_not_take_the_upstream_does() {
        let of = |text: &str| literal(text, &Path::ROOT, &mut Notes::default());
        for text in ["a.example", "A-1:8080"] {
            assert_eq!(of(text), Host::Plugin(text.to_owned()));
        }
        for text in ["a_b:80", "[::1]:80", "a:123456"] {
            assert_eq!(of(text), Host::Upstream(PassHost::Rewrite(text.to_owned())));
        }
        for text in ["a b", "$host", "a/b"] {
            assert_eq!(of(text), Host::Upstream(PassHost::Pass));
        }
    }
}
