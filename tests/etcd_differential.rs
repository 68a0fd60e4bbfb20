//! A real etcd and ours hold the same history and give the same answers.
//!
//! Needs `etcd` (Debian's `etcd-server`). Without it the test says so and passes, except in CI, where it fails.

mod compare_etcd;
mod support;

use std::collections::BTreeMap;

use apisix_mesh::pb::{
    etcdserverpb::{
        LeaseGrantRequest, LeaseKeepAliveRequest, LeaseLeasesRequest, LeaseRevokeRequest,
        LeaseTimeToLiveRequest, MemberListRequest, RangeRequest, StatusRequest,
        cluster_client::ClusterClient, kv_client::KvClient, lease_client::LeaseClient,
        maintenance_client::MaintenanceClient,
    },
    mvccpb::KeyValue,
};
use compare_etcd::{RealEtcd, compare, setting};
use proptest::{
    prelude::*,
    strategy::ValueTree as _,
    test_runner::{Config, TestRunner},
};
use serde_json::{Value, json};
use support::etcd::{Endpoint, Http, b64, int, post, route, unb64};
use tonic::transport::Channel;

/// The same keys, revision by revision, in both; `revisions` leads from ours to etcd's.
struct Pair {
    ours: Endpoint,
    real: RealEtcd,
    revisions: BTreeMap<i64, i64>,
}

impl Pair {
    async fn start() -> Option<Self> {
        let real = RealEtcd::start().await?;
        Some(Self { ours: Endpoint::empty(), real, revisions: BTreeMap::new() })
    }

    async fn put(&mut self, id: u8, value: u8) {
        let key = route(&id.to_string());
        if self.ours.store.snapshot().get(key.as_str()).is_some_and(|kv| kv.value == value.to_string()) {
            return;
        }
        let request = json!({"key": b64(format!("/apisix{key}")), "value": b64(value.to_string())});
        let (_, answer) = post(&self.real.address, "/v3/kv/put", &request).await;
        self.revisions.insert(self.ours.put(key, value.to_string()), int(&answer["header"]["revision"]));
    }

    async fn delete(&mut self, id: u8) {
        let key = route(&id.to_string());
        if self.ours.store.snapshot().get(key.as_str()).is_none() {
            return;
        }
        let request = json!({"key": b64(format!("/apisix{key}"))});
        let (_, answer) = post(&self.real.address, "/v3/kv/deleterange", &request).await;
        self.revisions.insert(self.ours.delete(key), int(&answer["header"]["revision"]));
    }

    /// An answer of ours with etcd's revisions, and without what says which cluster it came from.
    fn as_real(&self, mut answer: Value) -> Value {
        self.map(&mut answer);
        answer
    }

    fn map(&self, value: &mut Value) {
        match value {
            Value::Array(items) => items.iter_mut().for_each(|item| self.map(item)),
            Value::Object(members) => {
                for (name, value) in members {
                    match name.as_str() {
                        "revision" | "create_revision" | "mod_revision" => {
                            *value = json!(self.revisions[&int(value)].to_string());
                        }
                        _ => self.map(value),
                    }
                }
            }
            _ => {}
        }
    }
}

fn without_cluster(mut answer: Value) -> Value {
    if let Some(header) = answer.get_mut("header").and_then(Value::as_object_mut) {
        header.retain(|name, _| name == "revision");
    }
    answer
}

/// A Range over gRPC, asked and answered in the words of the JSON one.
async fn range_over_grpc(address: &str, request: &Value) -> Value {
    let number = |name: &str| match &request[name] {
        Value::String(text) => text.parse().unwrap(),
        number => number.as_i64().unwrap_or_default(),
    };
    let request = RangeRequest {
        key: unb64(&request["key"]).into(),
        range_end: unb64(&request["range_end"]).into(),
        limit: number("limit"),
        revision: number("revision"),
        sort_order: number("sort_order") as i32,
        keys_only: request["keys_only"] == true,
        count_only: request["count_only"] == true,
        serializable: request["serializable"] == true,
        min_mod_revision: number("min_mod_revision"),
        max_mod_revision: number("max_mod_revision"),
        min_create_revision: number("min_create_revision"),
        max_create_revision: number("max_create_revision"),
        ..RangeRequest::default()
    };
    let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
    let response = KvClient::new(channel).range(request).await.unwrap().into_inner();
    let mut answer = json!({"header": {"revision": response.header.unwrap().revision.to_string()}});
    if !response.kvs.is_empty() {
        answer["kvs"] = response.kvs.iter().map(pair_as_json).collect();
    }
    if response.more {
        answer["more"] = json!(true);
    }
    if response.count > 0 {
        answer["count"] = json!(response.count.to_string());
    }
    answer
}

fn pair_as_json(kv: &KeyValue) -> Value {
    let mut json = json!({
        "key": b64(&kv.key), "create_revision": kv.create_revision.to_string(),
        "mod_revision": kv.mod_revision.to_string(), "version": kv.version.to_string(),
    });
    if !kv.value.is_empty() {
        json["value"] = json!(b64(&kv.value));
    }
    json
}

#[derive(Debug, Clone)]
enum Step {
    Put(u8, u8),
    Delete(u8),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..8u8, 0..6u8).prop_map(|(id, value)| Step::Put(id, value)),
        1 => (0..8u8).prop_map(Step::Delete),
    ]
}

/// A Range request without revisions, which differ between the two, and the places in the history of five of them.
/// The range starts behind the marker, which a real etcd does not have.
fn any_range() -> impl Strategy<Value = (Value, [Option<prop::sample::Index>; 5])> {
    let bound =
        prop_oneof![Just(""), Just("/apisix/routes0"), Just("/apisix/routes/5"), Just("/apisix/routes/")];
    let place = || prop::option::weighted(0.25, any::<prop::sample::Index>());
    let places = [place(), place(), place(), place(), place()];
    ("/apisix/routes/[0-8]", bound, 0..6i64, 0..3i32, any::<[bool; 3]>(), places).prop_map(
        |(key, end, limit, sort_order, [keys_only, count_only, serializable], places)| {
            let request = json!({
                "key": b64(key), "range_end": b64(end), "limit": limit, "sort_order": sort_order,
                "keys_only": keys_only, "count_only": count_only, "serializable": serializable,
            });
            (request, places)
        },
    )
}

const REVISIONS: [&str; 5] =
    ["revision", "min_mod_revision", "max_mod_revision", "min_create_revision", "max_create_revision"];

/// An id after all others.
const LAST: u8 = 9;

#[tokio::test]
async fn random_histories_and_requests_get_etcds_answers() {
    let Some(mut pair) = Pair::start().await else { return };
    let mut runner = TestRunner::new(Config::default());
    for _ in 0..200 {
        match any_step().new_tree(&mut runner).unwrap().current() {
            Step::Put(id, value) => pair.put(id, value).await,
            Step::Delete(id) => pair.delete(id).await,
        }
    }
    // The last events of every replay, by which it knows its end.
    pair.put(LAST, 0).await;
    pair.delete(LAST).await;
    let known: Vec<(i64, i64)> = pair.revisions.iter().map(|(&ours, &real)| (ours, real)).collect();

    for _ in 0..400 {
        let (request, places) = any_range().new_tree(&mut runner).unwrap().current();
        let (mut for_ours, mut for_real) = (request.clone(), request);
        for (name, place) in REVISIONS.iter().zip(places) {
            let Some(place) = place else { continue };
            let (ours, real) = known[place.index(known.len())];
            for_ours[name] = json!(ours);
            for_real[name] = json!(real.to_string());
        }
        let ours = post(&pair.ours.address, "/v3/kv/range", &for_ours).await;
        let real = post(&pair.real.address, "/v3/kv/range", &for_real).await;
        assert_eq!(range_over_grpc(&pair.ours.address, &for_ours).await, without_cluster(ours.1.clone()));
        assert_eq!(range_over_grpc(&pair.real.address, &for_real).await, without_cluster(real.1.clone()));
        let ours = (ours.0, pair.as_real(without_cluster(ours.1)));
        assert_eq!(ours, (real.0, without_cluster(real.1)), "{for_ours}");
    }
    every_sort_agrees(&pair).await;
    comparisons_agree(&pair).await;
    replays_agree(&pair, &known).await;
}

/// Where several keys are equal in what they are sorted by, etcd leaves their order open.
async fn every_sort_agrees(pair: &Pair) {
    for target in ["VERSION", "CREATE", "MOD", "VALUE"] {
        for order in ["NONE", "ASCEND", "DESCEND"] {
            let request = json!({
                "key": b64("/apisix/routes/0"), "range_end": b64("/apisix/routes0"),
                "sort_order": order, "sort_target": target,
            });
            let field = match target {
                "CREATE" => "create_revision",
                "MOD" => "mod_revision",
                other => &other.to_lowercase(),
            };
            let column = |answer: Value| -> Vec<Value> {
                answer["kvs"].as_array().unwrap().iter().map(|kv| kv[field].clone()).collect()
            };
            let ours =
                pair.as_real(post(&pair.ours.address, "/v3/kv/range", &request).await.1["kvs"].clone());
            let real = post(&pair.real.address, "/v3/kv/range", &request).await.1;
            assert_eq!(column(json!({ "kvs": ours })), column(real), "{request}");
        }
    }
}

/// Read-only transactions: every target that needs no revision, every result, keys that are there and that are not.
async fn comparisons_agree(pair: &Pair) {
    let targets = [
        json!({"target": "VERSION", "version": "1"}),
        json!({"target": "VERSION", "version": 0}),
        json!({"target": "VALUE", "value": b64("3")}),
        json!({"target": "VALUE"}),
        json!({"target": "LEASE", "lease": 0}),
        json!({"target": "CREATE"}),
        json!({"target": "MOD", "mod_revision": 0}),
    ];
    for target in targets {
        for result in ["EQUAL", "GREATER", "LESS", "NOT_EQUAL"] {
            for (key, range_end) in
                [("0", ""), ("1", ""), ("9", ""), ("0", "/apisix/routes0"), ("9", "/apisix/routes0")]
            {
                let mut compare = target.clone();
                compare["result"] = json!(result);
                compare["key"] = json!(b64(format!("/apisix/routes/{key}")));
                compare["range_end"] = json!(b64(range_end));
                let read = |id: u8| json!([{"request_range": {"key": b64(format!("/apisix{}", route(&id.to_string())))}}]);
                let request = json!({"compare": [compare], "success": read(2), "failure": read(3)});
                let ours = post(&pair.ours.address, "/v3/kv/txn", &request).await;
                let real = post(&pair.real.address, "/v3/kv/txn", &request).await;
                let parts = |answer: &Value| {
                    let range = &answer["responses"][0]["response_range"];
                    (answer["succeeded"].clone(), range["count"].clone(), range["kvs"][0]["value"].clone())
                };
                assert_eq!((ours.0, parts(&ours.1)), (real.0, parts(&real.1)), "{request}");
            }
        }
    }
}

/// From any revision on, with and without filters and previous values, the same events in the same order. How they
/// are spread over messages is not compared: etcd puts many revisions into one.
async fn replays_agree(pair: &Pair, known: &[(i64, i64)]) {
    // From the last one, a deletion, a watch without deletions would have nothing to tell.
    let (_, known) = known.split_last().expect("there is a history");
    for (place, &(ours, real)) in known.iter().enumerate().step_by(7) {
        let filters = [json!([]), json!(["NOPUT"]), json!(["NODELETE"])][place % 3].clone();
        let request = |start: i64| {
            json!({
                "key": b64("/apisix/routes/"), "range_end": b64("/apisix/routes0"),
                "start_revision": start, "prev_kv": place % 2 == 0, "filters": filters,
            })
        };
        let ours = replay(&pair.ours.address, &request(ours)).await;
        let real = replay(&pair.real.address, &request(real)).await;
        assert_eq!(pair.as_real(Value::Array(ours)), Value::Array(real));
    }
}

async fn replay(address: &str, request: &Value) -> Vec<Value> {
    let last_kind = if request["filters"] == json!(["NODELETE"]) { Value::Null } else { json!("DELETE") };
    let last_key = json!(b64(format!("/apisix{}", route(&LAST.to_string()))));
    let mut stream = Http::watch(address, request).await;
    let mut events: Vec<Value> = Vec::new();
    while events.last().is_none_or(|event| event["kv"]["key"] != last_key || event["type"] != last_kind) {
        let message = stream.spread_object().await;
        events
            .extend(message["result"]["events"].as_array().expect("the message has events").iter().cloned());
    }
    events
}

/// Requests that are refused, and what a watch stream says besides events, in etcd's very words.
#[tokio::test]
async fn refusals_and_watch_control_are_etcds() {
    let Some(pair) = Pair::start().await else { return };
    let key = b64("/apisix/routes/1");
    let put = json!({"request_put": {"key": key, "value": ""}});
    for (path, body) in [
        ("/v3/kv/range", json!({})),
        ("/v3/kv/range", json!({"key": key, "revision": "99999999999999"})),
        ("/v3/kv/put", json!({})),
        ("/v3/kv/deleterange", json!({})),
        ("/v3/kv/txn", json!({"compare": [{}]})),
        ("/v3/kv/txn", json!({"success": [put, put]})),
        ("/v3/kv/txn", json!({"failure": vec![put; 129]})),
        ("/v3/lease/revoke", json!({"ID": "77"})),
        ("/v3/lease/grant", json!({"TTL": "9000000001"})),
        ("/v3/nope", json!({})),
        ("/nope", json!({})),
    ] {
        let (ours, real) = (post(&pair.ours.address, path, &body), post(&pair.real.address, path, &body));
        assert_eq!(ours.await, real.await, "{path} {body}");
    }

    let watch = |id| json!({"create_request": {"key": b64("/a"), "watch_id": id}});
    let requests = [
        watch(3),
        watch(3),
        watch(0),
        watch(1),
        watch(0),
        json!({"create_request": {"key": b64("/b"), "range_end": b64("/a")}}),
        json!({"cancel_request": {"watch_id": 3}}),
        json!({"cancel_request": {"watch_id": "3"}}),
        json!({"cancel_request": {"watch_id": 99}}),
        json!({"progress_request": {}}),
    ];
    assert_eq!(control(&pair.ours.address, &requests).await, control(&pair.real.address, &requests).await);
}

/// What a stream answers to requests of which two, the needless cancels, get no answer.
async fn control(address: &str, requests: &[Value]) -> Vec<Value> {
    let body: String = requests.iter().map(Value::to_string).collect();
    let mut stream = Http::request(address, "POST", "/v3/watch", body.as_bytes()).await;
    let mut answers = Vec::new();
    for _ in 0..requests.len() - 2 {
        let mut answer = stream.spread_object().await["result"].take();
        answer.as_object_mut().expect("a result").remove("header");
        answers.push(answer);
    }
    answers
}

/// A wrong field number would not survive a talk with a real etcd.
#[tokio::test]
async fn our_messages_are_etcds() {
    let Some(real) = RealEtcd::start().await else { return };
    let channel = Channel::from_shared(format!("http://{}", real.address)).unwrap().connect().await.unwrap();

    let member = ClusterClient::new(channel.clone())
        .member_list(MemberListRequest { linearizable: true })
        .await
        .unwrap()
        .into_inner()
        .members
        .remove(0);
    assert_eq!((member.name.as_str(), member.is_learner), ("default", false));
    assert!(member.client_ur_ls[0].contains(&real.address) && member.peer_ur_ls[0].starts_with("http://"));

    let status = MaintenanceClient::new(channel.clone()).status(StatusRequest {}).await.unwrap().into_inner();
    let header = status.header.unwrap();
    assert_eq!((status.leader, header.member_id), (member.id, member.id));
    assert!(status.version.starts_with("3.") && status.raft_term == header.raft_term && status.raft_term > 0);
    assert!(status.raft_index >= status.raft_applied_index && status.raft_applied_index > 0);
    assert!(status.db_size >= status.db_size_in_use && status.db_size_in_use > 0);

    let mut lease = LeaseClient::new(channel);
    let granted = lease.lease_grant(LeaseGrantRequest { ttl: 60, id: 7 }).await.unwrap().into_inner();
    assert_eq!((granted.id, granted.ttl), (7, 60));
    let left =
        lease.lease_time_to_live(LeaseTimeToLiveRequest { id: 7, keys: true }).await.unwrap().into_inner();
    assert_eq!((left.id, left.granted_ttl), (7, 60));
    let all = lease.lease_leases(LeaseLeasesRequest {}).await.unwrap().into_inner();
    assert_eq!(all.leases[0].id, 7);
    let requests = tokio_stream::once(LeaseKeepAliveRequest { id: 7 });
    let kept = lease.lease_keep_alive(requests).await.unwrap().into_inner().message().await.unwrap().unwrap();
    assert_eq!((kept.id, kept.ttl), (7, 60));
    lease.lease_revoke(LeaseRevokeRequest { id: 7 }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_calls_get_etcds_answers() {
    let Some(real) = RealEtcd::start().await else { return };
    let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let seed = setting("SEED", clock.as_secs());
    let tally = compare(&real, seed, setting("CALLS", 3000)).await;
    tally.print();
    assert_eq!(tally.differences(), 0, "SEED={seed}");
}
