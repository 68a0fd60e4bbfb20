//! Long lists, which are sent in pieces: each is whole, and of one revision.

mod support;

use apisix_mesh::{
    pb::etcdserverpb::{RangeRequest, kv_client::KvClient},
    store::Delta,
};
use serde_json::{Value, json};
use support::etcd::{Endpoint, Http, b64, int, post, route, unb64};
use tonic::transport::Channel;

const OBJECTS: usize = 4_000;
/// More of them than all socket buffers hold.
const VALUE: usize = 4_000;

fn endpoint() -> Endpoint {
    let endpoint = Endpoint::unready();
    let puts = (0..OBJECTS).map(|i| (route(&format!("{i:05}")), vec![b'0'; VALUE].into())).collect();
    endpoint.store.commit(&Delta { puts, deletes: vec![] });
    endpoint
}

fn request() -> Value {
    json!({"key": b64("/apisix/routes"), "range_end": b64("/apisix/routet")})
}

/// The marker and all objects, as they were before any change.
fn assert_whole(list: &Value, revision: i64) {
    let kvs = list["kvs"].as_array().unwrap();
    assert_eq!(int(&list["header"]["revision"]), revision);
    assert_eq!(int(&list["count"]), 1 + OBJECTS as i64);
    assert_eq!(kvs.len(), 1 + OBJECTS);
    assert_eq!(unb64(&kvs[0]["key"]), b"/apisix/routes/");
    for (i, kv) in kvs[1..].iter().enumerate() {
        assert_eq!(unb64(&kv["key"]), format!("/apisix/routes/{i:05}").as_bytes());
        assert_eq!((unb64(&kv["value"]), int(&kv["mod_revision"])), (vec![b'0'; VALUE], revision));
    }
}

#[tokio::test]
async fn a_long_list_is_of_one_revision_whatever_is_committed_meanwhile() {
    let endpoint = endpoint();
    let revision = endpoint.store.snapshot().revision();
    let body = request().to_string();
    let mut http = Http::request(&endpoint.address, "POST", "/v3/kv/range", body.as_bytes()).await;
    let mut text = http.chunk().await.unwrap();
    for i in [1, OBJECTS - 1] {
        endpoint.put(route(&format!("{i:05}")), "changed");
    }
    endpoint.delete(route(&format!("{:05}", OBJECTS - 2)));
    endpoint.put(route("last"), "new");
    text.extend(http.rest().await);
    assert_whole(&serde_json::from_slice(&text).unwrap(), revision);
}

#[tokio::test]
async fn both_doors_give_the_same_list() {
    let endpoint = endpoint();
    let (status, json) = post(&endpoint.address, "/v3/kv/range", &request()).await;
    assert_eq!(status, 200);
    assert_whole(&json, endpoint.store.snapshot().revision());
    let channel = Channel::from_shared(format!("http://{}", endpoint.address)).unwrap();
    let mut kv = KvClient::new(channel.connect().await.unwrap()).max_decoding_message_size(usize::MAX);
    let range = RangeRequest {
        key: "/apisix/routes".into(),
        range_end: "/apisix/routet".into(),
        ..RangeRequest::default()
    };
    let grpc = kv.range(range).await.unwrap().into_inner();
    assert_eq!(grpc.count, int(&json["count"]));
    assert_eq!(grpc.header.unwrap().revision, int(&json["header"]["revision"]));
    for (kv, pair) in grpc.kvs.iter().zip(json["kvs"].as_array().unwrap()) {
        assert_eq!((kv.key.to_vec(), kv.value.to_vec()), (unb64(&pair["key"]), unb64(&pair["value"])));
        assert_eq!(
            [kv.create_revision, kv.mod_revision, kv.version],
            ["create_revision", "mod_revision", "version"].map(|name| int(&pair[name]))
        );
    }
}

#[tokio::test]
async fn a_client_that_leaves_a_list_costs_nobody_anything() {
    let endpoint = endpoint();
    let body = request().to_string();
    for _ in 0..20 {
        let mut http = Http::request(&endpoint.address, "POST", "/v3/kv/range", body.as_bytes()).await;
        http.chunk().await.unwrap();
    }
    let one = json!({"key": b64("/apisix/routes/00001")});
    let (_, answer) = post(&endpoint.address, "/v3/kv/range", &one).await;
    assert_eq!(int(&answer["count"]), 1);
}
