//! How a cluster shares its load: `lb_policy`, or the typed `load_balancing_policy`.
//!
//! Mapping rows 97 to 103. In: the cluster. Out: the balancer, and whether the weights of localities count. Never
//! here: endpoints, and the hash keys, which routes have.

use prost::Message;

use crate::{
    apisix::Balancer,
    pb::{
        envoy::{
            config::cluster::v3::{
                Cluster, LoadBalancingPolicy,
                cluster::{LbConfig, LbPolicy, common_lb_config::LocalityConfigSpecifier},
            },
            extensions::load_balancing_policies::{
                client_side_weighted_round_robin::v3::ClientSideWeightedRoundRobin,
                common::v3::{
                    LocalityLbConfig, locality_lb_config::LocalityConfigSpecifier as TypedSpecifier,
                },
                least_request::v3::LeastRequest,
                maglev::v3::Maglev,
                override_host::v3::OverrideHost,
                random::v3::Random,
                ring_hash::v3::RingHash,
                round_robin::v3::RoundRobin,
                subset::v3::Subset,
                wrr_locality::v3::WrrLocality,
            },
        },
        google::protobuf::Any,
        message_name,
        path::Path,
    },
    translate::{endpoint::Localities, note::Notes},
};

use super::{note_unread_in, subset::Subsets};

/// Policies stand in policies; Envoy's own configurations nest two or three.
const MAX_DEPTH: usize = 8;

/// What a cluster does with a request.
#[derive(Debug)]
pub(super) struct Policy {
    /// Without a hash key.
    pub balancer: Balancer,
    /// Whether a route's hash key chooses the endpoint.
    pub hashes: bool,
    pub localities: Localities,
    /// Whether endpoints stand in subsets.
    pub subsets: Option<Subsets>,
}

impl Policy {
    /// The policy of this cluster.
    pub fn of(cluster: &Cluster, notes: &mut Notes) -> Self {
        if let Some(policy) = &cluster.load_balancing_policy {
            let path = Path::ROOT.field("load_balancing_policy");
            return typed(policy, &path, MAX_DEPTH, notes).unwrap_or_else(|| {
                notes.traffic(&path, "no known policy is served as round robin");
                Self::round_robin(Localities::Alike)
            });
        }
        let subsets = cluster.lb_subset_config.as_ref();
        let subsets = subsets.map(Subsets::new);
        Self { subsets, ..untyped(cluster, notes) }
    }

    fn round_robin(localities: Localities) -> Self {
        Self { balancer: Balancer::RoundRobin, hashes: false, localities, subsets: None }
    }

    fn random(localities: Localities, path: &Path<'_>, notes: &mut Notes) -> Self {
        notes.approximated(path, "RANDOM is served as round robin");
        Self::round_robin(localities)
    }

    fn hash(name: &str, localities: Localities, path: &Path<'_>, notes: &mut Notes) -> Self {
        let detail = format!(
            "{name} is served from APISIX's ring: a key keeps its endpoint, but another one than in Envoy, and \
             without a key endpoints take turns"
        );
        notes.approximated(path, detail);
        Self { hashes: true, ..Self::round_robin(localities) }
    }
}

fn untyped(cluster: &Cluster, notes: &mut Notes) -> Policy {
    let specifier = cluster.common_lb_config.as_ref().and_then(|c| c.locality_config_specifier.as_ref());
    let weighted = matches!(specifier, Some(LocalityConfigSpecifier::LocalityWeightedLbConfig(_)));
    let localities = if weighted { Localities::Weighted } else { Localities::Alike };
    match &cluster.lb_config {
        Some(LbConfig::RoundRobinLbConfig(config)) => {
            let path = Path::ROOT.field("round_robin_lb_config");
            note_slow_start(config.slow_start_config.is_some(), &path, notes);
        }
        Some(LbConfig::LeastRequestLbConfig(config)) => {
            let path = Path::ROOT.field("least_request_lb_config");
            note_slow_start(config.slow_start_config.is_some(), &path, notes);
        }
        Some(LbConfig::RingHashLbConfig(_) | LbConfig::MaglevLbConfig(_)) | None => {}
    }
    let path = Path::ROOT.field("lb_policy");
    let policy = LbPolicy::try_from(cluster.lb_policy);
    match policy {
        Ok(LbPolicy::RoundRobin | LbPolicy::ClusterProvided) => Policy::round_robin(localities),
        Ok(LbPolicy::LeastRequest) => {
            Policy { balancer: Balancer::LeastConn, ..Policy::round_robin(localities) }
        }
        Ok(LbPolicy::Random) => Policy::random(localities, &path, notes),
        Ok(policy @ (LbPolicy::RingHash | LbPolicy::Maglev)) => {
            Policy::hash(policy.as_str_name(), localities, &path, notes)
        }
        Ok(LbPolicy::LoadBalancingPolicyConfig) | Err(_) => {
            let name = policy.map_or("unknown policy", |p| p.as_str_name());
            notes.traffic(&path, format!("{name} is served as round robin"));
            Policy::round_robin(localities)
        }
    }
}

fn note_slow_start(asked: bool, path: &Path<'_>, notes: &mut Notes) {
    if asked {
        notes.traffic(&path.field("slow_start_config"), "an endpoint that comes gets its full share at once");
    }
}

/// The first policy that is known, as in Envoy.
fn typed(policy: &LoadBalancingPolicy, path: &Path<'_>, depth: usize, notes: &mut Notes) -> Option<Policy> {
    for (at, entry) in policy.policies.iter().enumerate() {
        let Some(any) = entry.typed_extension_config.as_ref().and_then(|t| t.typed_config.as_ref()) else {
            continue;
        };
        let path = path.item("policies", at);
        let path = path.field("typed_extension_config");
        let path = path.field("typed_config");
        match known(any, &path, depth, notes) {
            Some(found) => return Some(found),
            None => notes.traffic(&path, format!("not supported: {}: the next one is taken", any.type_url)),
        }
    }
    None
}

fn known(any: &Any, path: &Path<'_>, depth: usize, notes: &mut Notes) -> Option<Policy> {
    let name = message_name(&any.type_url).strip_prefix("envoy.extensions.load_balancing_policies.")?;
    let policy = match name {
        "round_robin.v3.RoundRobin" => {
            let config: RoundRobin = decoded(any, path, notes);
            note_slow_start(config.slow_start_config.is_some(), path, notes);
            Policy::round_robin(localities(config.locality_lb_config))
        }
        "least_request.v3.LeastRequest" => {
            let config: LeastRequest = decoded(any, path, notes);
            note_slow_start(config.slow_start_config.is_some(), path, notes);
            let localities = localities(config.locality_lb_config);
            Policy { balancer: Balancer::LeastConn, ..Policy::round_robin(localities) }
        }
        "random.v3.Random" => {
            let config: Random = decoded(any, path, notes);
            Policy::random(localities(config.locality_lb_config), path, notes)
        }
        "ring_hash.v3.RingHash" => {
            let config: RingHash = decoded(any, path, notes);
            Policy::hash("RING_HASH", weighted(config.locality_weighted_lb_config.is_some()), path, notes)
        }
        "maglev.v3.Maglev" => {
            let config: Maglev = decoded(any, path, notes);
            Policy::hash("MAGLEV", weighted(config.locality_weighted_lb_config.is_some()), path, notes)
        }
        "client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin" => {
            let config: ClientSideWeightedRoundRobin = decoded(any, path, notes);
            note_slow_start(config.slow_start_config.is_some(), path, notes);
            notes.approximated(path, "weights that endpoints report are not read: they are served alike");
            Policy::round_robin(Localities::Alike)
        }
        "cluster_provided.v3.ClusterProvided" => Policy::round_robin(Localities::Alike),
        _ => return outer(name, any, path, depth, notes),
    };
    note_unread_in(any, path, notes);
    Some(policy)
}

/// Policies that hold another one.
fn outer(name: &str, any: &Any, path: &Path<'_>, depth: usize, notes: &mut Notes) -> Option<Policy> {
    let depth = depth.checked_sub(1)?;
    let mut subsets = None;
    let (field, inner, localities) = match name {
        "wrr_locality.v3.WrrLocality" => {
            let config: WrrLocality = decoded(any, path, notes);
            ("endpoint_picking_policy", config.endpoint_picking_policy, Some(Localities::Weighted))
        }
        "override_host.v3.OverrideHost" => {
            let config: OverrideHost = decoded(any, path, notes);
            notes.traffic(path, "the request does not choose its endpoint: the fallback policy does");
            ("fallback_policy", config.fallback_policy, None)
        }
        "subset.v3.Subset" => {
            let config: Subset = decoded(any, path, notes);
            // The older message has the same fields under the same numbers.
            subsets = Some(Subsets::new(&decoded(any, path, notes)));
            ("subset_lb_policy", config.subset_lb_policy, None)
        }
        _ => return None,
    };
    let path = path.field(field);
    let inner = inner.and_then(|inner| typed(&inner, &path, depth, notes)).unwrap_or_else(|| {
        notes.traffic(&path, "no known policy is served as round robin");
        Policy::round_robin(Localities::Alike)
    });
    let localities = localities.unwrap_or(inner.localities);
    Some(Policy { localities, subsets: subsets.or(inner.subsets), ..inner })
}

fn localities(config: Option<LocalityLbConfig>) -> Localities {
    let specifier = config.and_then(|c| c.locality_config_specifier);
    weighted(matches!(specifier, Some(TypedSpecifier::LocalityWeightedLbConfig(_))))
}

fn weighted(weighted: bool) -> Localities {
    if weighted { Localities::Weighted } else { Localities::Alike }
}

fn decoded<M: Message + Default>(any: &Any, path: &Path<'_>, notes: &mut Notes) -> M {
    M::decode(any.value.clone()).unwrap_or_else(|error| {
        notes.traffic(path, format!("not decodable: {error}"));
        M::default()
    })
}
