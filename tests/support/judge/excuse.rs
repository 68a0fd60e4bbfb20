//! Which reported issues explain that a request ends differently.
//!
//! An issue counts if it stands on the route that Envoy took, its virtual host, its configuration, its chain or
//! listener, or a cluster of the route; and an issue on the match of a route that stands before it, or anywhere in the
//! virtual host where Envoy found no route, since such a route may take what it should not. What only touches time,
//! load or copies of requests explains nothing.

use apisix_mesh::{
    translate::{Issue, Severity},
    xds::ResourceType,
};
use serde_json::Value;

use super::prepare::{Chain, list};
use crate::support::exchange::Request;

/// What an issue can explain, by a part of the name of its field; nothing where the list is empty, everything where no
/// part fits. The first that fits decides.
const EXPLAINS: &[(&str, &[&str])] = &[
    ("timeout", &[]),
    ("retry_policy", &[]),
    ("hash_policy", &[]),
    ("request_mirror_policies", &[]),
    ("max_stream_duration", &[]),
    ("rate_limits", &[]),
    ("upgrade_configs", &[]),
    ("http_protocol_options", &[]),
    ("http2_protocol_options", &[]),
    ("early_header_mutation_extensions", &["request header", "authority"]),
    ("forward_client_cert_details", &["request header"]),
    ("normalize_path", PATHS),
    ("merge_slashes", PATHS),
    ("path_with_escaped_slashes_action", PATHS),
    ("most_specific_header_mutations_wins", &["request header", "response header", "authority"]),
    ("request_headers_to_", &["request header", "authority"]),
    ("response_headers_to_", &["response header"]),
    ("host_rewrite", &["authority"]),
    ("auto_host_rewrite", &["authority"]),
    ("append_x_forwarded_host", &["request header"]),
    ("redirect", &["location", "status"]),
    ("prefix_rewrite", &["target", "kind"]),
    ("regex_rewrite", &["target", "kind"]),
    ("path_rewrite", &["target", "kind"]),
    ("direct_response", &["status", "body"]),
];
/// Another route does all otherwise.
const PATHS: &[&str] = &[
    "authority",
    "body",
    "cluster",
    "kind",
    "location",
    "request header",
    "response header",
    "status",
    "target",
];
/// Of a cluster, its kind alone matters: whether there is an upstream at all.
const OF_CLUSTERS: &[&str] = &["type", "cluster_type"];

/// The one exception that is of no resource: nginx shows several lines of a header as one text, joined by `, `.
pub const GENERAL: &str = "general | a header in several lines: Envoy looks at each, APISIX at all joined";

/// Whether the exception of no resource explains what becomes of this request.
pub fn is_general(request: &Request) -> bool {
    let lines_of = |name: &str| request.headers.iter().filter(|(n, _)| n == name).count();
    request.headers.iter().any(|(name, _)| lines_of(name) > 1)
}

/// Where Envoy sent a request.
#[derive(Debug, Clone, Copy)]
pub struct Taken {
    pub virtual_host: Option<usize>,
    pub route: Option<usize>,
}

/// The first issue that explains this difference there.
pub fn excuse<'a>(
    issues: &'a [Issue],
    chain: &Chain,
    taken: Taken,
    request: &Request,
    difference: &str,
) -> Option<&'a Issue> {
    let grave = issues.iter().filter(|issue| {
        issue.severity >= Severity::Approximated
            && explains(&issue.path, difference)
            && !(is_of_paths(&issue.path) && is_plain(&request.target))
    });
    grave.into_iter().find(|issue| match issue.kind {
        ResourceType::Listener => {
            *issue.resource == *chain.listener && of_listener(&issue.path, chain, taken)
        }
        ResourceType::RouteConfiguration => {
            chain.rds.as_deref() == Some(&*issue.resource) && of_config(&issue.path, taken)
        }
        ResourceType::Cluster => {
            OF_CLUSTERS.contains(&issue.path.as_str()) && clusters(chain, taken).contains(&&*issue.resource)
        }
        ResourceType::ClusterLoadAssignment => false,
    })
}

/// How paths are normalised matters to nothing but paths that are not normal.
fn is_of_paths(field: &str) -> bool {
    ["normalize_path", "merge_slashes", "path_with_escaped_slashes_action"].iter().any(|f| field.contains(f))
}

fn is_plain(target: &str) -> bool {
    let path = target.split('?').next().unwrap_or_default();
    !["//", "/.", "%"].iter().any(|part| path.contains(part))
}

fn explains(path: &str, difference: &str) -> bool {
    let found = EXPLAINS.iter().find(|(part, _)| path.contains(part));
    found.is_none_or(|(_, explained)| explained.iter().any(|e| difference.starts_with(e)))
}

fn of_listener(path: &str, chain: &Chain, taken: Taken) -> bool {
    // Of several chains with one configuration the first is named.
    if let Some((_, inner)) = path.split_once("route_config.") {
        return chain.rds.is_none() && of_config(inner, taken);
    }
    let of_some_chain = path.starts_with("filter_chains[") || path.starts_with("default_filter_chain");
    !of_some_chain
        || path.strip_prefix(&chain.path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn of_config(path: &str, taken: Taken) -> bool {
    let Some(((host, rest), known)) = numbered(path, "virtual_hosts[").zip(taken.virtual_host) else {
        return !path.starts_with("virtual_hosts[");
    };
    if host != known {
        return false;
    }
    match (numbered(rest, "routes["), taken.route) {
        (None, _) => true,
        (Some((at, inner)), Some(route)) => at == route || (at < route && inner.starts_with("match")),
        (Some((_, inner)), None) => inner.starts_with("match"),
    }
}

/// The number and the rest of `name[number].rest`.
fn numbered<'a>(path: &'a str, name: &str) -> Option<(usize, &'a str)> {
    let (number, rest) = path.strip_prefix(name)?.split_once(']')?;
    Some((number.parse().ok()?, rest.trim_start_matches('.')))
}

fn clusters(chain: &Chain, taken: Taken) -> Vec<&str> {
    let Some((host, route)) = taken.virtual_host.zip(taken.route) else { return Vec::new() };
    let action = &chain.config["virtual_hosts"][host]["routes"][route]["route"];
    let split = list(&action["weighted_clusters"]["clusters"]).iter().map(|c| &c["name"]);
    split.chain([&action["cluster"]]).filter_map(Value::as_str).collect()
}

/// Envoy's virtual host for a host: an exact domain, else the longest suffix, else the longest prefix, else `*`.
pub fn virtual_host(config: &Value, authority: &str) -> Option<usize> {
    let mut host = authority.to_ascii_lowercase();
    if config["ignore_port_in_host_matching"] == true
        && let Some((bare, port)) = host.rsplit_once(':')
        && port.chars().all(|c| c.is_ascii_digit())
    {
        host = bare.to_owned();
    }
    let rank = |domain: &str| match (domain, domain.strip_prefix('*'), domain.strip_suffix('*')) {
        ("*", _, _) => Some((0, 0)),
        (_, Some(suffix), _) => {
            (host.len() > suffix.len() && host.ends_with(suffix)).then_some((2, suffix.len()))
        }
        (_, _, Some(prefix)) => {
            (host.len() > prefix.len() && host.starts_with(prefix)).then_some((1, prefix.len()))
        }
        _ => (domain == host).then_some((3, 0)),
    };
    let hosts = list(&config["virtual_hosts"]).iter().enumerate();
    let ranked = hosts.filter_map(|(at, h)| {
        let best =
            list(&h["domains"]).iter().filter_map(|d| rank(&d.as_str()?.to_ascii_lowercase())).max()?;
        Some((best, at))
    });
    ranked.max().map(|(_, at)| at)
}

/// Whether chance decides something on this route: a share that is neither none nor all, or weights.
pub fn is_chance(chain: &Chain, taken: Taken) -> bool {
    let host = taken.virtual_host.map(|at| &chain.config["virtual_hosts"][at]);
    let route = host.zip(taken.route).map(|(host, at)| &host["routes"][at]);
    let on_host = host.is_some_and(|h| has_share(&h["typed_per_filter_config"]));
    // Where no route is known, or one before it was left to chance, any of the virtual host may be meant.
    let on_matches = host.is_some_and(|h| list(&h["routes"]).iter().any(|r| has_share(&r["match"])));
    on_host || on_matches || route.is_some_and(has_share) || has_share(&chain.hcm["http_filters"])
}

fn has_share(value: &Value) -> bool {
    match value {
        Value::Object(members) => {
            let whole = match value["denominator"].as_str() {
                Some("TEN_THOUSAND") => 10_000,
                Some("MILLION") => 1_000_000,
                _ => 100,
            };
            value["numerator"].as_u64().is_some_and(|n| n > 0 && n < whole)
                || value["weighted_clusters"].is_object()
                || members.iter().any(|(name, v)| name != "request_mirror_policies" && has_share(v))
        }
        Value::Array(items) => items.iter().any(has_share),
        _ => false,
    }
}
