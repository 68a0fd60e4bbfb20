//! Subsets of a cluster's endpoints, chosen by the metadata of routes and endpoints.
//!
//! Mapping row 103. In: the configuration of the subsets, the endpoints with their labels, and what a route asks for.
//! Out: the endpoints that it reaches. Never here: how load is shared among them.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    pb::{
        envoy::config::{
            cluster::v3::cluster::{
                LbSubsetConfig,
                lb_subset_config::{
                    LbSubsetFallbackPolicy, LbSubsetSelector,
                    lb_subset_selector::LbSubsetSelectorFallbackPolicy,
                },
            },
            core::v3::Metadata,
        },
        google::protobuf::{Struct, Value, value::Kind},
    },
    translate::endpoint::{Endpoints, Host},
};

/// The part of a route's or an endpoint's metadata that is for load balancing.
const METADATA: &str = "envoy.lb";

/// Keys and values, as texts that are equal when the values are.
pub(in crate::translate) type Labels = BTreeMap<String, String>;

/// The labels of a route (`metadata_match`) or an endpoint.
pub(in crate::translate) fn labels(metadata: Option<&Metadata>) -> Labels {
    metadata.and_then(|m| m.filter_metadata.get(METADATA)).map(labels_of).unwrap_or_default()
}

fn labels_of(values: &Struct) -> Labels {
    values.fields.iter().map(|(key, value)| (key.clone(), text(value))).collect()
}

fn text(value: &Value) -> String {
    match &value.kind {
        None | Some(Kind::NullValue(_)) => "null".to_owned(),
        Some(Kind::BoolValue(value)) => value.to_string(),
        Some(Kind::NumberValue(number)) => number.to_string(),
        Some(Kind::StringValue(text)) => format!("{text:?}"),
        Some(Kind::ListValue(list)) => {
            format!("[{}]", list.values.iter().map(text).collect::<Vec<_>>().join(","))
        }
        Some(Kind::StructValue(values)) => format!("{:?}", labels_of(values)),
    }
}

/// The subsets of a cluster.
#[derive(Debug)]
pub(super) struct Subsets {
    selectors: Vec<Selector>,
    otherwise: Fallback,
    default: Labels,
    by_locality: bool,
}

#[derive(Debug)]
struct Selector {
    keys: BTreeSet<String>,
    /// `None` where that of the cluster counts.
    fallback: Option<Fallback>,
}

/// Whom a route reaches whose subset nobody is in.
#[derive(Debug, Clone)]
enum Fallback {
    Nobody,
    Anybody,
    Default,
    /// Whoever has the values of these keys alone.
    Keys(BTreeSet<String>),
}

impl Subsets {
    /// As configured.
    pub fn new(config: &LbSubsetConfig) -> Self {
        let otherwise = match config.fallback_policy() {
            LbSubsetFallbackPolicy::NoFallback => Fallback::Nobody,
            LbSubsetFallbackPolicy::AnyEndpoint => Fallback::Anybody,
            LbSubsetFallbackPolicy::DefaultSubset => Fallback::Default,
        };
        Self {
            selectors: config.subset_selectors.iter().map(Selector::new).collect(),
            otherwise,
            default: config.default_subset.as_ref().map(labels_of).unwrap_or_default(),
            by_locality: config.locality_weight_aware,
        }
    }

    /// The endpoints that a route with these labels reaches.
    pub fn choose(&self, endpoints: &Endpoints, labels: &Labels) -> Endpoints {
        let wanted = self.wanted(endpoints, labels.clone());
        let mut chosen = endpoints.clone();
        for locality in &mut chosen.localities {
            locality.hosts.retain(|host| wanted.as_ref().is_some_and(|wanted| has(host, wanted)));
            locality.weight = locality.weight.filter(|_| self.by_locality);
        }
        chosen
    }

    /// The labels that endpoints have to have; `None` for no endpoint.
    fn wanted(&self, endpoints: &Endpoints, mut labels: Labels) -> Option<Labels> {
        // Each turn has fewer labels than the one before.
        while !labels.is_empty() {
            let Some(selector) = self.selectors.iter().find(|s| s.keys.iter().eq(labels.keys())) else {
                break;
            };
            if endpoints.hosts().any(|host| has(host, &labels)) {
                return Some(labels);
            }
            match &selector.fallback {
                None => break,
                Some(Fallback::Keys(keys)) => {
                    let before = labels.len();
                    labels.retain(|key, _| keys.contains(key));
                    if labels.len() == before {
                        break;
                    }
                }
                Some(other) => return self.fallback(other),
            }
        }
        self.fallback(&self.otherwise)
    }

    fn fallback(&self, fallback: &Fallback) -> Option<Labels> {
        match fallback {
            Fallback::Nobody | Fallback::Keys(_) => None,
            Fallback::Anybody => Some(Labels::new()),
            Fallback::Default => Some(self.default.clone()),
        }
    }
}

fn has(host: &Host, wanted: &Labels) -> bool {
    wanted.iter().all(|(key, value)| host.labels.get(key) == Some(value))
}

impl Selector {
    fn new(selector: &LbSubsetSelector) -> Self {
        let fallback = match selector.fallback_policy() {
            LbSubsetSelectorFallbackPolicy::NotDefined => None,
            LbSubsetSelectorFallbackPolicy::NoFallback => Some(Fallback::Nobody),
            LbSubsetSelectorFallbackPolicy::AnyEndpoint => Some(Fallback::Anybody),
            LbSubsetSelectorFallbackPolicy::DefaultSubset => Some(Fallback::Default),
            LbSubsetSelectorFallbackPolicy::KeysSubset => {
                Some(Fallback::Keys(selector.fallback_keys_subset.iter().cloned().collect()))
            }
        };
        Self { keys: selector.keys.iter().cloned().collect(), fallback }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::translate::endpoint::{Health, Locality};

    fn labels(text: &str) -> Labels {
        let pair = |pair: &str| pair.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned()));
        text.split(',').filter_map(pair).collect()
    }

    /// Hosts named as their labels.
    fn endpoints(hosts: &[&str]) -> Endpoints {
        let host = |text: &&str| Host {
            host: (*text).to_owned(),
            port: 80,
            weight: 1,
            health: Health::Healthy,
            hostname: String::new(),
            socket: Default::default(),
            labels: labels(text),
        };
        let hosts = hosts.iter().map(host).collect();
        Endpoints { localities: vec![Locality { priority: 0, weight: None, hosts }], ..Endpoints::default() }
    }

    fn reached(otherwise: Fallback, selectors: &[(&[&str], Option<Fallback>)], asked: &str) -> Vec<String> {
        let subsets = Subsets {
            selectors: selectors
                .iter()
                .map(|(keys, fallback)| Selector {
                    keys: keys.iter().map(|k| (*k).to_owned()).collect(),
                    fallback: fallback.clone(),
                })
                .collect(),
            otherwise,
            default: labels("v=1"),
            by_locality: false,
        };
        let chosen = subsets.choose(&endpoints(&["v=1", "v=2,s=a", "v=2,s=b"]), &labels(asked));
        chosen.hosts().map(|h| h.host.clone()).collect()
    }

    #[test]
    fn a_route_reaches_its_subset() {
        let selectors: &[(&[&str], _)] = &[(&["v"], None), (&["s", "v"], None)];
        assert_eq!(reached(Fallback::Nobody, selectors, "v=2"), ["v=2,s=a", "v=2,s=b"]);
        assert_eq!(reached(Fallback::Nobody, selectors, "v=2,s=b"), ["v=2,s=b"]);
    }

    #[test]
    fn without_one_the_fallback_counts() {
        let selectors: &[(&[&str], _)] = &[(&["v"], None)];
        for asked in ["", "v=3", "s=a", "v=2,s=a"] {
            assert_eq!(reached(Fallback::Nobody, selectors, asked), [""; 0], "{asked}");
            assert_eq!(reached(Fallback::Anybody, selectors, asked).len(), 3, "{asked}");
            assert_eq!(reached(Fallback::Default, selectors, asked), ["v=1"], "{asked}");
        }
    }

    #[test]
    fn a_selector_may_have_a_fallback_of_its_own() {
        let keys = Fallback::Keys(["v".to_owned()].into());
        let selectors: &[(&[&str], _)] = &[(&["s", "v"], Some(keys)), (&["v"], Some(Fallback::Default))];
        assert_eq!(reached(Fallback::Nobody, selectors, "v=2,s=x"), ["v=2,s=a", "v=2,s=b"]);
        assert_eq!(reached(Fallback::Nobody, selectors, "v=9,s=x"), ["v=1"]);
        assert_eq!(reached(Fallback::Nobody, selectors, "x=9"), [""; 0]);
    }
}
