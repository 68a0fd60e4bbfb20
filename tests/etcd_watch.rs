//! What a watch promises whatever the network and the reader do: nothing lost, nothing leaked, nobody delayed.

mod support;

use std::collections::BTreeMap;

use proptest::{prelude::*, test_runner::TestRunner};
use serde_json::{Value, json};
use support::etcd::{Endpoint, Http, b64, int, route, unb64};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

fn watch(start_revision: i64) -> Value {
    json!({"key": b64("/apisix/"), "range_end": b64("/apisix0"), "start_revision": start_revision.to_string()})
}

fn fold(state: &mut BTreeMap<Vec<u8>, Vec<u8>>, message: &Value) -> i64 {
    for event in message["result"]["events"].as_array().expect("the message has events") {
        let key = unb64(&event["kv"]["key"]);
        match event["type"].as_str() {
            Some("DELETE") => state.remove(&key),
            _ => state.insert(key, unb64(&event["kv"]["value"])),
        };
    }
    int(&message["result"]["header"]["revision"])
}

/// A watch cut anywhere and taken up again at the next revision ends up with what the store holds (apisix#13067).
#[test]
fn a_watch_that_is_cut_goes_on_where_it_was() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let history = prop::collection::vec((0..5u8, prop::bool::weighted(0.3)), 1..40);
    let cuts = prop::collection::vec(0..8usize, 1..8);
    let mut runner =
        TestRunner::new(ProptestConfig { cases: 24, failure_persistence: None, ..Default::default() });
    // A cut right after `created` must not be the only kind, or the end never comes.
    let cuts = cuts.prop_map(|cuts| [cuts, vec![3]].concat());
    let run = |(history, cuts): (Vec<(u8, bool)>, Vec<usize>)| {
        runtime.block_on(async {
            let endpoint = Endpoint::empty();
            let mut seen = endpoint.store.snapshot().revision();
            let mut state = BTreeMap::new();
            let (mut history, mut cuts) = (history.into_iter().enumerate(), cuts.into_iter().cycle());
            while history.len() > 0 || seen < endpoint.store.snapshot().revision() {
                let mut stream = Http::watch(&endpoint.address, &watch(seen + 1)).await;
                for (number, (id, delete)) in history.by_ref().take(5) {
                    let key = route(&id.to_string());
                    if delete && endpoint.store.snapshot().get(key.as_str()).is_some() {
                        endpoint.delete(key);
                    } else {
                        endpoint.put(key, number.to_string());
                    }
                }
                for _ in 0..cuts.next().unwrap() {
                    if seen == endpoint.store.snapshot().revision() {
                        break;
                    }
                    let revision = fold(&mut state, &stream.object().await);
                    assert!(revision > seen);
                    seen = revision;
                }
            }
            let expected: BTreeMap<Vec<u8>, Vec<u8>> = endpoint
                .store
                .snapshot()
                .objects_from("")
                .map(|(key, kv)| (format!("/apisix{key}").into_bytes(), kv.value.to_vec()))
                .collect();
            assert_eq!(state, expected);
        });
        Ok(())
    };
    runner.run(&(history, cuts), run).unwrap();
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_watches_along() {
    let endpoint = Endpoint::empty();
    let mut streams = Vec::new();
    for _ in 0..50 {
        streams.push(Http::watch(&endpoint.address, &watch(0)).await);
    }
    assert_eq!(endpoint.store.readers(), 50);
    let stays = streams.pop();
    drop(streams);
    while endpoint.store.readers() != 1 {
        tokio::task::yield_now().await;
    }
    let revision = endpoint.put(route("a"), "{}");
    let message = stays.expect("fifty were made").object().await;
    assert_eq!(int(&message["result"]["header"]["revision"]), revision);
}

#[tokio::test]
async fn a_held_request_is_forgotten_when_its_client_leaves() {
    let endpoint = Endpoint::unready();
    let mut clients = Vec::new();
    for (path, body) in [
        ("/v3/kv/range", json!({"key": b64("/apisix/")})),
        ("/v3/watch", json!({ "create_request": watch(0) })),
    ] {
        let body = body.to_string();
        let request =
            format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let mut client = TcpStream::connect(&endpoint.address).await.unwrap();
        client.write_all(request.as_bytes()).await.unwrap();
        clients.push(client);
    }
    while endpoint.store.readers() != 2 {
        tokio::task::yield_now().await;
    }
    drop(clients);
    while endpoint.store.readers() != 0 {
        tokio::task::yield_now().await;
    }
}

/// The reader takes nothing while far more is written than sockets and history hold; every commit goes through, and
/// the reader is told to reload.
#[tokio::test]
async fn a_reader_that_stopped_delays_no_writer() {
    let endpoint = Endpoint::empty();
    let mut stream = Http::watch(&endpoint.address, &watch(0)).await;
    let large = "x".repeat(100_000);
    for number in 0..1000 {
        endpoint.put(route("a"), format!("{number}{large}"));
        tokio::task::yield_now().await;
    }
    let now = endpoint.store.snapshot().revision();
    let mut last = stream.object().await;
    while last["result"]["canceled"] != true {
        last = stream.object().await;
    }
    assert_eq!(int(&last["result"]["compact_revision"]), now);
    let mut stream = Http::watch(&endpoint.address, &watch(now)).await;
    let next = stream.object().await;
    assert_eq!(int(&next["result"]["header"]["revision"]), now);
}

/// Watches made while the writer is busy see every commit after their first one (etcd#20655).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_made_under_writes_has_no_gap() {
    let endpoint = Endpoint::empty();
    let store = endpoint.store.clone();
    let writer = tokio::task::spawn_blocking(move || {
        for number in 0..2000 {
            let puts = vec![(route("a"), number.to_string().into())];
            store.commit(&apisix_mesh::store::Delta { puts, deletes: vec![] });
        }
    });
    for _ in 0..20 {
        let (_, range) =
            support::etcd::post(&endpoint.address, "/v3/kv/range", &json!({"key": b64("/apisix/x")})).await;
        let mut seen = int(&range["header"]["revision"]);
        let mut stream = Http::watch(&endpoint.address, &watch(seen + 1)).await;
        for _ in 0..10 {
            if seen == endpoint.store.snapshot().revision() {
                break;
            }
            let snapshot = endpoint.store.snapshot();
            let expected = snapshot.commits_since(seen).unwrap().next().expect("the store is ahead").revision;
            seen = fold(&mut BTreeMap::new(), &stream.object().await);
            assert_eq!(seen, expected);
        }
    }
    writer.await.unwrap();
}

/// One large answer, over gRPC's usual limit.
#[tokio::test]
async fn a_large_listing_comes_whole() {
    let endpoint = Endpoint::empty();
    for id in 0..12 {
        endpoint.put(route(&id.to_string()), "x".repeat(1 << 20));
    }
    let request = json!({"key": b64("/apisix/routes/"), "range_end": b64("/apisix/routes0")});
    let (_, answer) = support::etcd::post(&endpoint.address, "/v3/kv/range", &request).await;
    assert_eq!(answer["count"], "13");
}
