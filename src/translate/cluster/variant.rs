//! What routes may want different of one cluster's upstream.
//!
//! APISIX keeps retries, hash key and Host header with the upstream, Envoy with the route: a cluster has one upstream
//! for each combination that its routes ask for. In: what a route asks for. Out: what of that the cluster can give.

use crate::apisix::HashOn;

use super::{Target, subset::Labels};

/// One way to use a cluster; the default one asks for nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::translate) struct Variant {
    /// Further tries.
    pub retries: u32,
    /// For all tries together, in milliseconds.
    pub retry_timeout: Option<u64>,
    /// What chooses the endpoint, in a cluster that hashes.
    pub hash: Option<HashKey>,
    /// The Host header that endpoints see.
    pub host: PassHost,
    /// What the route asks of endpoints' labels, in a cluster with subsets.
    pub subset: Labels,
}

/// What is hashed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::translate) struct HashKey {
    pub on: HashOn,
    pub key: String,
}

/// The Host header that endpoints see.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::translate) enum PassHost {
    /// The request's.
    #[default]
    Pass,
    /// The name of the endpoint: `auto_host_rewrite`.
    Node,
    /// This one.
    Rewrite(String),
}

impl Target {
    /// What a variant comes to in this cluster: two routes that get the same share an upstream.
    pub fn settle(&self, mut variant: Variant) -> Variant {
        let (hashes, hostnames, subsets) = match self {
            Self::Published { hashes, hostnames, subsets, .. } => (*hashes, *hostnames, *subsets),
            _ => (false, false, false),
        };
        if !subsets {
            variant.subset.clear();
        }
        variant.retry_timeout = variant.retry_timeout.filter(|_| variant.retries > 0);
        variant.hash = variant.hash.filter(|_| hashes);
        if variant.host == PassHost::Node && !hostnames {
            variant.host = PassHost::Pass;
        }
        variant
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_gives_what_it_can() {
        let hash = Some(HashKey { on: HashOn::Header, key: "x".to_owned() });
        let asked = Variant {
            retries: 0,
            retry_timeout: Some(5),
            hash,
            host: PassHost::Node,
            subset: Labels::from([("v".to_owned(), "1".to_owned())]),
        };
        let published = |hashes, hostnames| Target::Published {
            connect_timeout: 1.0,
            hashes,
            hostnames,
            encrypted: false,
            subsets: false,
            grpc: false,
            max_requests: None,
        };
        assert_eq!(published(false, false).settle(asked.clone()), Variant::default());
        let kept = published(true, true).settle(asked.clone());
        assert_eq!((kept.hash, kept.host, kept.retry_timeout), (asked.hash.clone(), PassHost::Node, None));
        let rewritten = Variant { host: PassHost::Rewrite("a".to_owned()), retries: 1, ..asked };
        let kept = published(false, false).settle(rewritten.clone());
        assert_eq!(kept, Variant { hash: None, subset: Labels::new(), ..rewritten });
    }
}
