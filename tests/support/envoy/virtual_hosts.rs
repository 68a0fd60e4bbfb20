//! The choice of a virtual host: exact domains, then the longest `*suffix`, then the longest `prefix*`, then `*`.

use std::collections::HashMap;

use envoy_types::pb::envoy::config::route::v3::RouteConfiguration;

#[derive(Debug)]
pub struct VirtualHosts {
    ignore_port: bool,
    exact: HashMap<String, usize>,
    suffixes: Vec<(String, usize)>,
    prefixes: Vec<(String, usize)>,
    any: Option<usize>,
}

impl VirtualHosts {
    /// Envoy refuses a configuration that holds a domain twice, whatever its case.
    pub fn new(config: &RouteConfiguration) -> Self {
        assert!(config.vhost_header.is_empty(), "not modelled: vhost_header");
        let mut hosts = Self {
            ignore_port: config.ignore_port_in_host_matching,
            exact: HashMap::new(),
            suffixes: Vec::new(),
            prefixes: Vec::new(),
            any: None,
        };
        for (at, host) in config.virtual_hosts.iter().enumerate() {
            for domain in &host.domains {
                let domain = domain.to_ascii_lowercase();
                if domain == "*" {
                    hosts.any = Some(at);
                } else if let Some(suffix) = domain.strip_prefix('*') {
                    hosts.suffixes.push((suffix.to_owned(), at));
                } else if let Some(prefix) = domain.strip_suffix('*') {
                    hosts.prefixes.push((prefix.to_owned(), at));
                } else {
                    hosts.exact.insert(domain, at);
                }
            }
        }
        hosts
    }

    pub fn find(&self, authority: &str) -> Option<usize> {
        let host = if self.ignore_port { without_port(authority) } else { authority };
        let host = host.to_ascii_lowercase();
        // The star stands for at least one character.
        let longest = |list: &[(String, usize)], fits: &dyn Fn(&str) -> bool| {
            let fitting = list.iter().filter(|(text, _)| text.len() < host.len() && fits(text));
            fitting.max_by_key(|(text, _)| text.len()).map(|(_, at)| *at)
        };
        let exact = self.exact.get(&host).copied();
        exact
            .or_else(|| longest(&self.suffixes, &|suffix| host.ends_with(suffix)))
            .or_else(|| longest(&self.prefixes, &|prefix| host.starts_with(prefix)))
            .or(self.any)
    }
}

/// Whatever follows the last colon that is not inside brackets.
fn without_port(authority: &str) -> &str {
    match (authority.rfind(':'), authority.rfind(']')) {
        (Some(colon), None) => &authority[..colon],
        (Some(colon), Some(bracket)) if bracket < colon => &authority[..colon],
        _ => authority,
    }
}
