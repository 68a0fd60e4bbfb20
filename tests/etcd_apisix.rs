//! The requests that APISIX sends, byte for byte as its client writes them, get the answers that it can read.

mod support;

use apisix_mesh::{
    apisix::{Directory, Key},
    store::Delta,
};
use serde_json::{Value, json};
use support::etcd::{Endpoint, Http, b64, exchange, int, post, route, unb64, upstream};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

/// The body of lua-resty-etcd's `readdir`.
fn range(key: &str, range_end: &str) -> Value {
    json!({
        "key": b64(key), "range_end": b64(range_end), "limit": 0, "revision": 0, "sort_order": 0, "sort_target": 0,
        "serializable": false, "keys_only": false, "count_only": false, "min_mod_revision": 0, "max_mod_revision": 0,
        "min_create_revision": 0, "max_create_revision": 0,
    })
}

fn keys(answer: &Value) -> Vec<String> {
    let kvs = answer["kvs"].as_array().cloned().unwrap_or_default();
    kvs.iter().map(|kv| String::from_utf8(unb64(&kv["key"])).unwrap()).collect()
}

fn watch_all(start_revision: i64) -> Value {
    json!({"key": b64("/apisix/"), "range_end": b64("/apisix0"), "start_revision": start_revision})
}

#[tokio::test]
async fn a_directory_is_a_marker_and_its_items_in_order() {
    let endpoint = Endpoint::empty();
    endpoint.put(route("b"), "{}");
    let last = endpoint.put(route("a"), r#"{"id":"a"}"#);
    let (status, answer) =
        post(&endpoint.address, "/v3/kv/range", &range("/apisix/routes", "/apisix/routet")).await;
    assert_eq!(status, 200);
    assert_eq!(keys(&answer), ["/apisix/routes/", "/apisix/routes/a", "/apisix/routes/b"]);
    assert_eq!(int(&answer["header"]["revision"]), last);
    assert_eq!(answer["count"], "3");
    assert_eq!(unb64(&answer["kvs"][0]["value"]), b"init_dir");
    let item = json!({
        "key": b64("/apisix/routes/a"), "create_revision": last.to_string(), "mod_revision": last.to_string(),
        "version": "1", "value": b64(r#"{"id":"a"}"#),
    });
    assert_eq!(answer["kvs"][1], item);
}

#[tokio::test]
async fn the_start_up_load_sees_every_directory_open() {
    let endpoint = Endpoint::empty();
    endpoint.put(upstream("u"), "{}");
    let (_, answer) = post(&endpoint.address, "/v3/kv/range", &range("/apisix", "/apisiy")).await;
    let keys = keys(&answer);
    assert!(keys.is_sorted());
    assert_eq!(keys.iter().filter(|key| key.ends_with('/')).count(), 13);
    assert_eq!(&keys[keys.len() - 2..], ["/apisix/upstreams/", "/apisix/upstreams/u"]);
}

#[tokio::test]
async fn no_keys_means_no_kvs_at_all() {
    let endpoint = Endpoint::empty();
    let (status, answer) =
        post(&endpoint.address, "/v3/kv/range", &json!({"key": b64("/apisix/phantomkey")})).await;
    assert_eq!(status, 200);
    assert_eq!(answer.as_object().unwrap().keys().collect::<Vec<_>>(), ["header"]);
    assert!(int(&answer["header"]["revision"]) > 0);
}

#[tokio::test]
async fn a_watch_from_the_root_revision_misses_nothing_since_the_load() {
    let endpoint = Endpoint::empty();
    let (_, loaded) = post(&endpoint.address, "/v3/kv/range", &range("/apisix", "/apisiy")).await;
    let put = endpoint.put(route("a"), "{}");
    let deleted = endpoint.delete(route("a"));

    let (_, root) = post(&endpoint.address, "/v3/kv/range", &json!({"key": b64("/apisix/")})).await;
    let root = int(&root["header"]["revision"]);
    assert!(root <= int(&loaded["header"]["revision"]));
    let mut stream = Http::watch(&endpoint.address, &watch_all(root + 1)).await;
    for revision in [put, deleted] {
        let message = stream.object().await;
        assert_eq!(int(&message["result"]["header"]["revision"]), revision);
    }
}

/// APISIX 3.14 to 3.17 reads it before each watch, and after a watch that timed out it goes on behind the revision of the
/// answer, whatever the watch had left to tell (apisix#13067).
#[tokio::test]
async fn the_key_read_before_a_watch_gives_no_revision_to_skip_to() {
    let endpoint = Endpoint::empty();
    let revision = endpoint.put(route("a"), "{}");
    let (_, answer) =
        post(&endpoint.address, "/v3/kv/range", &range("/apisix//phantomkey", "/apisix//phantomkez")).await;
    assert_eq!(answer.as_object().unwrap().keys().collect::<Vec<_>>(), ["header"]);
    assert_eq!(int(&answer["header"]["revision"]), 1);
    // The metrics of all versions read this one.
    let key = json!({"key": b64("/apisix/phantomkey")});
    let (_, answer) = post(&endpoint.address, "/v3/kv/range", &key).await;
    assert_eq!(int(&answer["header"]["revision"]), revision);
}

#[tokio::test]
async fn one_commit_is_one_object_in_one_chunk() {
    let endpoint = Endpoint::empty();
    let mut stream = Http::watch(&endpoint.address, &watch_all(0)).await;
    let big = "x".repeat(1 << 20);
    let mut sent = vec![endpoint.put(upstream("u"), big.clone())];
    sent.extend((0..1000).map(|value| endpoint.put(route("a"), value.to_string())));
    sent.push(endpoint.delete(route("a")));

    let first = stream.object().await;
    assert_eq!(unb64(&first["result"]["events"][0]["kv"]["value"]), big.as_bytes());
    let mut seen = vec![int(&first["result"]["header"]["revision"])];
    let mut last = first;
    while seen.len() < sent.len() {
        last = stream.object().await;
        seen.push(int(&last["result"]["header"]["revision"]));
    }
    assert_eq!(seen, sent);
    let gone = json!([{"type": "DELETE", "kv": {
        "key": b64("/apisix/routes/a"), "mod_revision": sent.last().unwrap().to_string(),
    }}]);
    assert_eq!(last["result"]["events"], gone);
}

/// The directories of one update change in the same turn of APISIX's event loop.
#[tokio::test]
async fn an_update_is_never_spread_over_messages() {
    let endpoint = Endpoint::empty();
    let start = endpoint.store.snapshot().revision() + 1;
    let mut live = Http::watch(&endpoint.address, &watch_all(start)).await;
    let keys = (0..2000).flat_map(|i| [route(&i.to_string()), upstream(&i.to_string())]);
    let puts: Vec<_> = keys.map(|key| (key, "x".repeat(1000).into())).collect();
    let all = puts.len();
    let revision = endpoint.store.commit(&Delta { puts, deletes: vec![] }).unwrap().revision;

    let mut replayed = Http::watch(&endpoint.address, &watch_all(start)).await;
    for stream in [&mut live, &mut replayed] {
        let message = stream.object().await;
        assert_eq!(int(&message["result"]["header"]["revision"]), revision);
        assert_eq!(message["result"]["events"].as_array().unwrap().len(), all);
    }
}

/// Each event rebuilds something in APISIX; one for the marker of `/plugins` would remove what is marked.
#[tokio::test]
async fn neither_markers_nor_what_is_unchanged_make_events() {
    let endpoint = Endpoint::empty();
    let mut stream = Http::watch(&endpoint.address, &watch_all(0)).await;
    let first = endpoint.put(route("a"), "{}");
    for directory in ["routes", "plugins", "ssls"] {
        let marker = json!({"value": "aW5pdF9kaXI=", "key": b64(format!("/apisix/{directory}/"))});
        assert_eq!(post(&endpoint.address, "/v3/kv/put", &marker).await.0, 200);
    }
    let unchanged = Delta { puts: vec![(route("a"), "{}".into())], deletes: vec![route("gone")] };
    assert!(endpoint.store.commit(&unchanged).is_none());
    let both = Delta { puts: vec![(route("a"), "{}".into()), (upstream("u"), "{}".into())], deletes: vec![] };
    let second = endpoint.store.commit(&both).unwrap().revision;

    for (revision, key) in [(first, "/apisix/routes/a"), (second, "/apisix/upstreams/u")] {
        let message = stream.object().await;
        assert_eq!(int(&message["result"]["header"]["revision"]), revision);
        let events = message["result"]["events"].as_array().unwrap().clone();
        let keys: Vec<_> = events.iter().map(|event| unb64(&event["kv"]["key"])).collect();
        assert_eq!(keys, [key.as_bytes()]);
    }
}

/// APISIX 3.0 to 3.3 has a watch for each directory, from behind the last revision that it saw there, and takes one message
/// of each connection.
#[tokio::test]
async fn a_directory_can_be_watched_alone_one_message_at_a_time() {
    let endpoint = Endpoint::empty();
    let routes = |start: i64| json!({"key": b64("/apisix/routes"), "range_end": b64("/apisix/routet"), "start_revision": start});
    let mut start = endpoint.store.snapshot().revision() + 1;
    for value in ["1", "2", "3"] {
        endpoint.put(upstream("u"), value);
        let revision = endpoint.put(route("a"), value);
        let message = Http::watch(&endpoint.address, &routes(start)).await.object().await;
        let events = message["result"]["events"].as_array().unwrap();
        assert_eq!((events.len(), unb64(&events[0]["kv"]["value"])), (1, value.as_bytes().to_vec()));
        assert_eq!(int(&events[0]["kv"]["mod_revision"]), revision);
        start = revision + 1;
    }
}

/// APISIX 2.x says `/ssl` and `/proto`, and no slash behind them: it finds our directories, each with its marker first.
#[tokio::test]
async fn the_names_of_2_x_find_the_directories_of_today() {
    let endpoint = Endpoint::empty();
    endpoint.put(Key::new(Directory::Ssls, "s"), "{}");
    let (_, answer) = post(&endpoint.address, "/v3/kv/range", &range("/apisix/ssl", "/apisix/ssm")).await;
    assert_eq!(keys(&answer), ["/apisix/ssls/", "/apisix/ssls/s"]);
    assert_eq!(unb64(&answer["kvs"][0]["value"]), b"init_dir");
    let (_, answer) = post(&endpoint.address, "/v3/kv/range", &range("/apisix/proto", "/apisix/protp")).await;
    assert_eq!(keys(&answer), ["/apisix/protos/"]);

    let now = int(&answer["header"]["revision"]);
    let watch =
        json!({"key": b64("/apisix/ssl"), "range_end": b64("/apisix/ssm"), "start_revision": now + 1});
    let mut stream = Http::watch(&endpoint.address, &watch).await;
    endpoint.put(route("a"), "{}");
    endpoint.delete(Key::new(Directory::Ssls, "s"));
    let event = &stream.object().await["result"]["events"][0];
    assert_eq!((unb64(&event["kv"]["key"]), &event["type"]), (b"/apisix/ssls/s".to_vec(), &json!("DELETE")));
}

#[tokio::test]
async fn a_watch_request_may_come_byte_by_byte_and_stay_open() {
    let endpoint = Endpoint::empty();
    let mut stream = TcpStream::connect(&endpoint.address).await.unwrap();
    stream
        .write_all(b"POST /v3/watch HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await
        .unwrap();
    let create = json!({ "create_request": watch_all(0) }).to_string();
    for text in [create.as_str(), r#"{"progress_request":{}}"#] {
        for byte in text.bytes() {
            stream.write_all(&[b'1', b'\r', b'\n', byte, b'\r', b'\n']).await.unwrap();
            stream.flush().await.unwrap();
        }
    }
    let mut stream = Http::answer(stream).await;
    assert_eq!(stream.object().await["result"]["created"], true);
    let progress = stream.object().await;
    assert_eq!(progress["result"]["watch_id"], "-1");
    assert!(progress["result"].get("events").is_none());
    endpoint.put(route("a"), "{}");
    assert_eq!(stream.object().await["result"]["events"].as_array().unwrap().len(), 1);
}

/// A reader crashes on an error without `http_code` (lua-resty-etcd#222).
#[tokio::test]
async fn an_error_in_a_stream_says_all_that_its_reader_needs() {
    let endpoint = Endpoint::empty();
    let body =
        json!({ "create_request": watch_all(0) }).to_string() + r#"{"cancel_request":{"watch_id":"x"}}"#;
    let mut stream = Http::request(&endpoint.address, "POST", "/v3/watch", body.as_bytes()).await;
    assert_eq!(stream.object().await["result"]["created"], true);
    let error = &stream.object().await["error"];
    assert_eq!((&error["grpc_code"], &error["http_code"]), (&json!(3), &json!(400)));
    assert_eq!(error["http_status"], "Bad Request");
    assert!(error["message"].is_string());
    assert_eq!(stream.chunk().await, None);
}

#[tokio::test]
async fn a_watch_of_a_former_life_is_told_to_reload() {
    let endpoint = Endpoint::empty();
    let now = endpoint.store.snapshot().revision();
    for start in [1, now - 1, now + 2, now + 1_000_000] {
        let mut stream = Http::watch(&endpoint.address, &watch_all(start)).await;
        let end = stream.object().await;
        assert_eq!(end["result"]["canceled"], true);
        assert_eq!(int(&end["result"]["compact_revision"]), now);
        assert!(int(&end["result"]["header"]["revision"]) > 0);
    }
    let mut stream = Http::watch(&endpoint.address, &watch_all(now + 1)).await;
    endpoint.put(route("a"), "{}");
    assert!(stream.object().await["result"]["events"].is_array());
}

#[tokio::test]
async fn requests_wait_for_the_first_configuration_but_version_does_not() {
    let endpoint = Endpoint::unready();
    let address = endpoint.address.clone();
    let (status, version) = exchange(&address, "GET", "/version", b"").await;
    assert_eq!((status, version.as_str()), (200, r#"{"etcdcluster":"3.5.0","etcdserver":"3.5.0"}"#));
    assert_eq!(exchange(&address, "GET", "/health", b"").await.0, 503);
    let marker = json!({"value": "aW5pdF9kaXI=", "key": b64("/apisix/routes/")});
    assert_eq!(post(&address, "/v3/kv/put", &marker).await.0, 200);

    let request = range("/apisix/routes", "/apisix/routet");
    let mut held = tokio::spawn(async move { post(&address, "/v3/kv/range", &request).await });
    let address = endpoint.address.clone();
    let mut watching = tokio::spawn(async move { Http::watch(&address, &watch_all(0)).await });
    // Answers to later requests prove that the first two were not answered with nothing.
    for _ in 0..20 {
        assert_eq!(exchange(&endpoint.address, "GET", "/version", b"").await.0, 200);
    }
    assert!(!held.is_finished() && !watching.is_finished());
    endpoint.put(route("a"), "{}");
    assert_eq!(keys(&(&mut held).await.unwrap().1), ["/apisix/routes/", "/apisix/routes/a"]);
    (&mut watching).await.unwrap();
    assert_eq!(exchange(&endpoint.address, "GET", "/health", b"").await.0, 200);
}

#[tokio::test]
async fn writes_of_apisix_itself_are_taken_and_change_nothing() {
    let endpoint = Endpoint::empty();
    let before = endpoint.store.snapshot().revision();
    for (key, value) in
        [("/apisix/routes/", "init_dir"), ("/apisix/gen_id", "1"), ("/apisix/data_plane/server_info/x", "{}")]
    {
        let (status, answer) =
            post(&endpoint.address, "/v3/kv/put", &json!({"key": b64(key), "value": b64(value)})).await;
        assert_eq!((status, int(&answer["header"]["revision"])), (200, before), "{key}");
    }
    let request = json!({"key": b64("/apisix/routes/1"), "value": b64("{}")});
    let text = "etcdserver: permission denied";
    let refused = (403, json!({"error": text, "message": text, "code": 7}));
    assert_eq!(post(&endpoint.address, "/v3/kv/put", &request).await, refused);
    assert_eq!(post(&endpoint.address, "/v3/kv/deleterange", &request).await, refused);
    assert_eq!(post(&endpoint.address, "/v3/kv/compaction", &json!({"revision": 1})).await, refused);
    let txn = json!({
        "compare": [{"key": b64("/apisix/routes/1"), "target": "MOD", "result": "EQUAL", "mod_revision": 3}],
        "success": [{"requestPut": request}],
    });
    assert_eq!(post(&endpoint.address, "/v3/kv/txn", &txn).await, refused);
    assert_eq!(endpoint.store.snapshot().revision(), before);
}

#[tokio::test]
async fn errors_look_like_etcds() {
    let endpoint = Endpoint::empty();
    let address = &endpoint.address;
    let refused = |code: i64, text: &str| (400, json!({"error": text, "message": text, "code": code}));
    let key = b64("/apisix/routes/1");
    assert_eq!(
        post(address, "/v3/kv/range", &json!({})).await,
        refused(3, "etcdserver: key is not provided")
    );
    assert_eq!(
        post(address, "/v3/kv/range", &json!({"key": key, "revision": 1})).await,
        refused(11, "etcdserver: mvcc: required revision has been compacted")
    );
    assert_eq!(
        post(address, "/v3/kv/range", &json!({"key": key, "revision": "99999999999999"})).await,
        refused(11, "etcdserver: mvcc: required revision is a future revision")
    );
    for body in [&b"{"[..], b"[]", br#"{"key":"@"}"#] {
        let (status, text) = exchange(address, "POST", "/v3/kv/range", body).await;
        assert_eq!((status, serde_json::from_str::<Value>(&text).unwrap()["code"].clone()), (400, json!(3)));
    }
    for body in [&b"{"[..], b"[]", br#"{"create_request":{"key":"@"}}"#] {
        let (status, text) = exchange(address, "POST", "/v3/watch", body).await;
        assert_eq!((status, serde_json::from_str::<Value>(&text).unwrap()["code"].clone()), (500, json!(2)));
    }
    let large = vec![b' '; 3 << 20];
    assert_eq!(exchange(address, "POST", "/v3/kv/range", &large).await.0, 400);
    assert_eq!(exchange(address, "GET", "/nope", b"").await, (404, "404 page not found\n".to_owned()));
    assert_eq!(exchange(address, "POST", "/v3/nope", b"{}").await, (404, "Not Found\n".to_owned()));
    assert_eq!(exchange(address, "GET", "/v3/kv/range", b"").await.0, 405);
}

#[tokio::test]
async fn leases_tokens_and_members_answer() {
    let endpoint = Endpoint::empty();
    let address = &endpoint.address;
    let (status, lease) = post(address, "/v3/lease/grant", &json!({"TTL": 60, "ID": 0})).await;
    assert_eq!((status, int(&lease["TTL"])), (200, 60));
    let (_, kept) = post(address, "/v3/lease/keepalive", &json!({"ID": lease["ID"]})).await;
    assert_eq!((&kept["result"]["ID"], int(&kept["result"]["TTL"])), (&lease["ID"], 60));
    let (_, left) = post(address, "/v3/lease/timetolive", &json!({"ID": lease["ID"]})).await;
    assert_eq!(int(&left["grantedTTL"]), 60);
    let (_, leases) = post(address, "/v3/lease/leases", &json!({})).await;
    assert_eq!(leases["leases"], json!([{"ID": lease["ID"]}]));
    assert_eq!(post(address, "/v3/lease/revoke", &json!({"ID": lease["ID"]})).await.0, 200);
    assert_eq!(post(address, "/v3/lease/revoke", &json!({"ID": lease["ID"]})).await.0, 404);
    let login = json!({"name": "root", "password": "x"});
    assert!(post(address, "/v3/auth/authenticate", &login).await.1["token"].is_string());
    assert!(post(address, "/v3/cluster/member/list", &json!({})).await.1["members"][0]["ID"].is_string());
    assert_eq!(post(address, "/v3/maintenance/status", &json!({})).await.1["version"], "3.5.0");
}
