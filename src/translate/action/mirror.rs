//! Copies of requests for another cluster. Mapping rows 55 and 56.
//!
//! In: the policies of the most specific level that has any, and where the clusters' copies go. Out: proxy-mirror,
//! which sends them to one server. Never here: a copy in the clear for endpoints that want TLS.

use std::sync::Arc;

use super::{Mirror, Targets};
use crate::{
    apisix::{MIN_SAMPLE_RATIO, Meta, ProxyMirror},
    pb::{envoy::config::route::v3::route_action::RequestMirrorPolicy, path::Path},
    translate::{effect::Effect, note::Notes, random},
};

/// Behind proxy-rewrite (1008): the copy has the path that the upstream gets.
const BEHIND_PROXY_REWRITE: i64 = 1007;

/// The policies of one level.
#[derive(Debug, Clone, Default)]
pub(in crate::translate) struct Mirrors(Vec<Policy>);

#[derive(Debug, Clone)]
struct Policy {
    cluster: Arc<str>,
    share: f64,
}

impl Mirrors {
    /// The policies of the level at `path`; `None` without any, where those of the level above hold.
    pub fn read(policies: &[RequestMirrorPolicy], path: &Path<'_>, notes: &mut Notes) -> Option<Self> {
        if policies.is_empty() {
            return None;
        }
        let mut read = |(at, policy)| Policy::read(policy, &path.item("request_mirror_policies", at), notes);
        Some(Self(policies.iter().enumerate().filter_map(&mut read).collect()))
    }

    /// Copies the requests of a case to the first cluster that can be: the plugin makes one copy.
    pub(super) fn apply(
        &self,
        effect: &mut Effect,
        targets: Targets<'_>,
        path: &Path<'_>,
        notes: &mut Notes,
    ) {
        for Policy { cluster, share } in &self.0 {
            effect.mirrors.insert(cluster.clone());
            let why = match targets.mirror(cluster) {
                // Envoy does not copy for a cluster that it does not know.
                Mirror::Unknown => continue,
                Mirror::Nowhere => "has no endpoint that takes copies in the clear",
                Mirror::Server { .. } if effect.plugins.proxy_mirror.is_some() => "would be a second copy",
                Mirror::Server { grpc, .. } if grpc != effect.grpc => "is spoken to in another protocol",
                Mirror::Server { server, .. } => {
                    effect.plugins.proxy_mirror = Some(ProxyMirror {
                        host: server.to_string(),
                        sample_ratio: (*share < 1.0).then_some(*share),
                        meta: Some(Meta::priority(BEHIND_PROXY_REWRITE)),
                    });
                    continue;
                }
            };
            let path = path.field("request_mirror_policies");
            notes.traffic(&path, format!("not mirrored to {cluster:?}, which {why}"));
        }
    }
}

impl Policy {
    fn read(policy: &RequestMirrorPolicy, path: &Path<'_>, notes: &mut Notes) -> Option<Self> {
        let percent = policy.runtime_fraction.as_ref().map(|f| f.default_value.as_ref());
        let share = percent.map_or(1.0, |percent| percent.map_or(0.0, random::fraction));
        if share == 0.0 || policy.cluster.is_empty() {
            return None;
        }
        let host =
            if policy.disable_shadow_host_suffix_append { "" } else { ", their Host without \"-shadow\"" };
        notes.approximated(path, format!("copies go to the first endpoint of the cluster{host}"));
        if share < MIN_SAMPLE_RATIO {
            notes.approximated(&path.field("runtime_fraction"), "one request in 100,000 is copied");
        }
        Some(Self { cluster: policy.cluster.as_str().into(), share: share.max(MIN_SAMPLE_RATIO) })
    }
}
