//! Whatever comes in whatever order: the objects are those of a translation from scratch, byte for byte, a delta
//! holds only what changed, and at no step, put by put and delete by delete, does a route name an upstream that is
//! not there.

mod support;

use std::collections::{BTreeMap, BTreeSet};

use apisix_mesh::{
    apisix::{Directory, Key},
    translate::{Delta, Translator, translate},
    xds::{Change, Resource, ResourceType, Snapshot},
};
use bytes::Bytes;
use proptest::{prelude::*, sample::Index};
use serde_json::{Value, json};
use support::{load, schema};

type Objects = BTreeMap<Key, Bytes>;

/// Sets or removes one resource.
#[derive(Debug, Clone)]
enum Step {
    Set(Value),
    Remove(ResourceType, String),
}

const PREFIX: &str = "type.googleapis.com/envoy";

fn cluster_name() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "b", "c", "d"]).prop_map(str::to_owned)
}

fn cluster() -> impl Strategy<Value = Value> {
    let kinds = prop::sample::select(vec!["STATIC", "EDS", "ORIGINAL_DST"]);
    let timeout = prop::sample::select(vec!["1s", "2.5s"]);
    (cluster_name(), kinds, timeout, any::<bool>()).prop_map(|(name, kind, timeout, shared)| {
        let service = if shared { "shared" } else { "" };
        json!({"@type": format!("{PREFIX}.config.cluster.v3.Cluster"), "name": name, "type": kind,
            "connectTimeout": timeout, "edsClusterConfig": {"serviceName": service},
            "loadAssignment": {"endpoints": [{"lbEndpoints": [endpoint(1)]}]}})
    })
}

fn endpoint(n: u8) -> Value {
    json!({"endpoint": {"address": {"socketAddress": {"address": format!("10.0.0.{n}"), "portValue": 80}}}})
}

fn assignment() -> impl Strategy<Value = Value> {
    let names = prop::sample::select(vec!["a", "b", "shared"]);
    (names, prop::collection::vec(1..5u8, 0..4)).prop_map(|(name, hosts)| {
        let endpoints: Vec<_> = hosts.into_iter().map(endpoint).collect();
        json!({"@type": format!("{PREFIX}.config.endpoint.v3.ClusterLoadAssignment"), "clusterName": name,
            "endpoints": [{"lbEndpoints": endpoints}]})
    })
}

fn action() -> impl Strategy<Value = Value> {
    prop_oneof![
        (cluster_name(), any::<bool>(), 0..3u32).prop_map(|(name, bounded, retries)| {
            json!({"cluster": name, "timeout": if bounded { "3s" } else { "0s" },
                "retryPolicy": {"retryOn": "reset", "numRetries": retries}})
        }),
        (cluster_name(), cluster_name()).prop_map(|(name, copies)| {
            json!({"cluster": name, "requestMirrorPolicies": [{"cluster": copies}]})
        }),
        prop::collection::vec((cluster_name(), 0..4u32), 1..4).prop_map(|clusters| {
            let clusters: Vec<_> =
                clusters.iter().map(|(name, w)| json!({"name": name, "weight": w})).collect();
            json!({"weightedClusters": {"clusters": clusters}})
        }),
    ]
}

fn route() -> impl Strategy<Value = Value> {
    let matches = prop::sample::select(vec![
        json!({"prefix": "/"}),
        json!({"path": "/a"}),
        json!({"prefix": "/a"}),
        json!({"safeRegex": {"regex": "/a.*"}}),
        json!({"prefix": "/", "headers": [{"name": "x", "presentMatch": true}]}),
    ]);
    (matches, action()).prop_map(|(m, route)| json!({"match": m, "route": route}))
}

fn virtual_hosts() -> impl Strategy<Value = Value> {
    let domains = prop::sample::select(vec![
        json!(["a.com", "a.com:80"]),
        json!(["*.com"]),
        json!(["a.*"]),
        json!(["*"]),
    ]);
    let host = (prop::sample::select(vec!["x", "y", ""]), domains, prop::collection::vec(route(), 0..4));
    prop::collection::vec(host, 0..4).prop_map(|hosts| {
        hosts.iter().map(|(n, d, r)| json!({"name": n, "domains": d, "routes": r})).collect()
    })
}

fn route_config() -> impl Strategy<Value = Value> {
    (prop::sample::select(vec!["r", "s"]), virtual_hosts(), any::<bool>()).prop_map(
        |(name, hosts, ignore)| {
            json!({"@type": format!("{PREFIX}.config.route.v3.RouteConfiguration"), "name": name,
            "virtualHosts": hosts, "ignorePortInHostMatching": ignore})
        },
    )
}

fn manager() -> impl Strategy<Value = Value> {
    let hcm = "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
    let url = format!("{PREFIX}.{hcm}");
    let inline_url = url.clone();
    prop_oneof![
        prop::sample::select(vec!["r", "s"])
            .prop_map(move |name| json!({"@type": url, "rds": {"routeConfigName": name}})),
        virtual_hosts().prop_map(
            move |hosts| json!({"@type": inline_url, "routeConfig": {"name": "i", "virtualHosts": hosts}})
        ),
    ]
}

fn listener() -> impl Strategy<Value = Value> {
    let names = prop::sample::select(vec!["l", "m", "n"]);
    let addresses = prop::sample::select(vec!["0.0.0.0", "10.9.0.1"]);
    let chain = (manager(), prop::sample::select(vec![80u32, 81]), any::<bool>());
    let chains = prop::collection::vec(chain, 0..3);
    (names, addresses, chains, any::<bool>()).prop_map(|(name, address, chains, inbound)| {
        let chains: Vec<_> = chains
            .iter()
            .map(|(manager, port, tls)| {
                json!({"filters": [{"name": "hcm", "typedConfig": manager}], "filterChainMatch": {
                    "destinationPort": port, "transportProtocol": if *tls { "tls" } else { "" }}})
            })
            .collect();
        json!({"@type": format!("{PREFIX}.config.listener.v3.Listener"), "name": name, "filterChains": chains,
            "useOriginalDst": inbound, "trafficDirection": if inbound { "INBOUND" } else { "OUTBOUND" },
            "address": {"socketAddress": {"address": address, "portValue": 80}}})
    })
}

fn step() -> impl Strategy<Value = Step> {
    let removal = prop_oneof![
        cluster_name().prop_map(|n| Step::Remove(ResourceType::Cluster, n)),
        prop::sample::select(vec!["a", "b", "shared"])
            .prop_map(|n| Step::Remove(ResourceType::ClusterLoadAssignment, n.to_owned())),
        prop::sample::select(vec!["l", "m", "n"])
            .prop_map(|n| Step::Remove(ResourceType::Listener, n.to_owned())),
        prop::sample::select(vec!["r", "s"])
            .prop_map(|n| Step::Remove(ResourceType::RouteConfiguration, n.to_owned())),
    ];
    prop_oneof![
        3 => cluster().prop_map(Step::Set),
        2 => assignment().prop_map(Step::Set),
        3 => listener().prop_map(Step::Set),
        4 => route_config().prop_map(Step::Set),
        2 => removal,
    ]
}

fn take(step: &Step, snapshot: &mut Snapshot) -> Change {
    match step {
        Step::Set(value) => {
            let (kind, resource) = load::resource(value);
            let change = Change { kind, name: resource.name.clone() };
            snapshot.insert(kind, resource);
            change
        }
        Step::Remove(kind, name) => {
            snapshot.remove(*kind, name);
            Change { kind: *kind, name: name.as_str().into() }
        }
    }
}

fn named_upstreams(route: &[u8]) -> BTreeSet<String> {
    fn collect(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(members) => members.iter().for_each(|(name, value)| match value.as_str() {
                Some(id) if name == "upstream_id" => drop(found.insert(id.to_owned())),
                _ => collect(value, found),
            }),
            Value::Array(items) => items.iter().for_each(|v| collect(v, found)),
            _ => {}
        }
    }
    let mut found = BTreeSet::new();
    collect(&serde_json::from_slice(route).unwrap(), &mut found);
    found
}

fn nothing_dangles(objects: &Objects) {
    for (key, route) in objects.iter().filter(|(k, _)| k.directory() == Directory::Routes) {
        for id in named_upstreams(route) {
            assert!(objects.contains_key(&Key::new(Directory::Upstreams, &id)), "{key} names upstream {id}");
        }
    }
}

/// Carries out a delta one object at a time, as a slow reader would see it.
fn carry_out(delta: Delta, objects: &mut Objects) {
    for (key, value) in delta.puts {
        assert_ne!(objects.insert(key.clone(), value.clone()), Some(value), "{key} was put unchanged");
        nothing_dangles(objects);
    }
    for key in delta.deletes {
        assert!(objects.remove(&key).is_some(), "{key} was deleted twice");
        nothing_dangles(objects);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn incremental_is_from_scratch(batches in prop::collection::vec(prop::collection::vec(step(), 1..4), 1..14)) {
        let mut snapshot = Snapshot::default();
        let mut translator = Translator::default();
        let mut objects = Objects::new();
        for batch in &batches {
            let changes: Vec<_> = batch.iter().map(|step| take(step, &mut snapshot)).collect();
            carry_out(translator.apply(&snapshot, &changes), &mut objects);
            let whole = translate(&snapshot);
            prop_assert_eq!(&objects, &whole.objects);
            prop_assert_eq!(translator.issues(), whole.issues);
            schema::check(&objects);
        }
    }

    #[test]
    fn any_order_gives_the_same(steps in prop::collection::vec(step(), 1..14), order in any::<[Index; 14]>()) {
        let mut snapshot = Snapshot::default();
        steps.iter().for_each(|step| drop(take(step, &mut snapshot)));
        let mut rest: Vec<(ResourceType, Resource)> = ResourceType::ALL
            .into_iter()
            .flat_map(|kind| snapshot.iter(kind).map(move |r| (kind, r.clone())))
            .collect();
        let mut growing = Snapshot::default();
        let mut translator = Translator::default();
        let mut objects = Objects::new();
        for at in order {
            if rest.is_empty() {
                break;
            }
            let (kind, resource) = rest.swap_remove(at.index(rest.len()));
            let change = Change { kind, name: resource.name.clone() };
            growing.insert(kind, resource);
            carry_out(translator.apply(&growing, &[change]), &mut objects);
        }
        prop_assert_eq!(objects, translate(&snapshot).objects);
    }
}

#[test]
fn one_endpoint_touches_one_upstream() {
    let cluster = |n: usize| json!({"@type": format!("{PREFIX}.config.cluster.v3.Cluster"), "name": format!("c{n}"), "type": "EDS"});
    let assignment = |n: usize, host: u8| {
        json!({"@type": format!("{PREFIX}.config.endpoint.v3.ClusterLoadAssignment"),
            "clusterName": format!("c{n}"), "endpoints": [{"lbEndpoints": [endpoint(host)]}]})
    };
    let mut resources: Vec<_> = (0..200).map(|n| load::resource(&cluster(n))).collect();
    resources.extend((0..200).map(|n| load::resource(&assignment(n, 1))));
    let changes: Vec<_> = resources.iter().map(load::change).collect();
    let mut snapshot = load::snapshot(resources);
    let mut translator = Translator::default();
    assert_eq!(translator.apply(&snapshot, &changes).puts.len(), 200);

    let change = take(&Step::Set(assignment(7, 2)), &mut snapshot);
    let delta = translator.apply(&snapshot, &[change]);
    assert_eq!((delta.puts.len(), delta.deletes.len()), (1, 0));
    assert!(std::str::from_utf8(&delta.puts[0].1).unwrap().contains(r#""name":"c7""#));
}
