//! What beside a real etcd was found to differ (`make compare-etcd`), one small case each.

mod support;

use serde_json::{Value, json};
use support::etcd::{Endpoint, b64, exchange, int, post, route, unb64};

async fn range(endpoint: &Endpoint, mut request: Value) -> Value {
    request["key"] = json!(b64("/apisix/routes/0"));
    request["range_end"] = json!(b64("/apisix/routes0"));
    let (status, answer) = post(&endpoint.address, "/v3/kv/range", &request).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

fn ids(answer: &Value) -> Vec<String> {
    let kvs = answer["kvs"].as_array().cloned().unwrap_or_default();
    let id =
        |kv: &Value| String::from_utf8(unb64(&kv["key"])).unwrap().rsplit('/').next().unwrap().to_owned();
    kvs.iter().map(id).collect()
}

/// `b` is the oldest, `c` and `a` have one value.
async fn three_routes() -> Endpoint {
    let endpoint = Endpoint::empty();
    for (id, value) in [("b", "2"), ("c", "1"), ("a", "1")] {
        endpoint.put(route(id), value);
    }
    endpoint
}

fn refusal(text: &str, code: i32) -> Value {
    let text = format!("etcdserver: {text}");
    json!({"error": text, "message": text, "code": code})
}

#[tokio::test]
async fn equals_stay_sorted_by_key_downwards_too() {
    let endpoint = three_routes().await;
    let sorted = |order| json!({"sort_target": "VALUE", "sort_order": order});
    assert_eq!(ids(&range(&endpoint, sorted("ASCEND")).await), ["a", "c", "b"]);
    assert_eq!(ids(&range(&endpoint, sorted("DESCEND")).await), ["b", "a", "c"]);
}

#[tokio::test]
async fn without_an_order_the_limit_comes_before_the_sort() {
    let endpoint = three_routes().await;
    let first = |order| json!({"sort_target": "MOD", "sort_order": order, "limit": 1});
    let unsorted = range(&endpoint, first("NONE")).await;
    assert_eq!((ids(&unsorted), &unsorted["more"]), (vec!["b".to_owned()], &json!(true)));
    assert_eq!(ids(&range(&endpoint, json!({"sort_target": "MOD", "limit": 1})).await), ["b"]);
    assert_eq!(ids(&range(&endpoint, first("DESCEND")).await), ["a"]);
}

#[tokio::test]
async fn a_transaction_within_another_has_an_empty_header() {
    let endpoint = three_routes().await;
    let read = json!({"request_range": {"key": b64("/apisix/")}});
    let request = json!({"success": [{"request_txn": {"success": [read]}}]});
    let (_, answer) = post(&endpoint.address, "/v3/kv/txn", &request).await;
    let nested = &answer["responses"][0]["response_txn"];
    assert_eq!(nested["header"], json!({}));
    // The oldest revision for `<prefix>/` is an answer to a Range alone.
    let now = endpoint.store.snapshot().revision();
    assert_eq!(int(&nested["responses"][0]["response_range"]["header"]["revision"]), now);
}

#[tokio::test]
async fn unknown_comparisons_hold() {
    let endpoint = three_routes().await;
    for compare in [json!({"result": 9, "version": 77}), json!({"target": 9, "result": "EQUAL"})] {
        let mut compare = compare;
        compare["key"] = json!(b64("/apisix/routes/a"));
        let (_, answer) = post(&endpoint.address, "/v3/kv/txn", &json!({"compare": [compare]})).await;
        assert_eq!(answer["succeeded"], true, "{compare}");
    }
}

#[tokio::test]
async fn a_negative_revision_is_compacted_in_a_transaction_only() {
    let endpoint = three_routes().await;
    let read = json!({"key": b64("/apisix/routes/a"), "revision": -1});
    assert_eq!(post(&endpoint.address, "/v3/kv/range", &read).await.0, 200);
    let request = json!({"success": [{"request_range": read}]});
    let answer = post(&endpoint.address, "/v3/kv/txn", &request).await;
    assert_eq!(answer, (400, refusal("mvcc: required revision has been compacted", 11)));
}

#[tokio::test]
async fn writes_are_checked_before_they_are_refused() {
    let endpoint = Endpoint::empty();
    let put = |key: &str| json!({"request_put": {"key": b64(key)}});
    let delete =
        |key: &str, end: &str| json!({"request_delete_range": {"key": b64(key), "range_end": b64(end)}});
    let within =
        |success: Value, failure: Value| json!({"request_txn": {"success": success, "failure": failure}});
    let (twice, denied) = (refusal("duplicate key given in txn request", 3), refusal("permission denied", 7));
    for (operations, refused) in [
        (json!([put("a"), put("b")]), (403, denied.clone())),
        (json!([put("a"), put("a")]), (400, twice.clone())),
        (json!([put("b"), delete("a", "c")]), (400, twice.clone())),
        (json!([put("c"), delete("a", "c")]), (403, denied.clone())),
        (json!([delete("a", "c"), delete("b", "")]), (403, denied.clone())),
        (json!([within(json!([put("a")]), json!([put("a")]))]), (403, denied)),
        (json!([within(json!([]), json!([put("a")])), put("a")]), (400, twice)),
        (json!([{}]), (400, refusal("key not found", 3))),
    ] {
        let request = json!({ "success": operations });
        assert_eq!(post(&endpoint.address, "/v3/kv/txn", &request).await, refused, "{request}");
    }
    for (extra, text) in [
        (json!({"ignore_value": true, "value": b64("x")}), "value is provided"),
        (json!({"ignore_lease": true, "lease": 7}), "lease is provided"),
    ] {
        let mut request = extra;
        request["key"] = json!(b64("a"));
        let answer = post(&endpoint.address, "/v3/kv/put", &request).await;
        assert_eq!(answer, (400, refusal(text, 3)));
    }
}

#[tokio::test]
async fn operations_within_share_the_room_of_the_whole() {
    let endpoint = Endpoint::empty();
    let read = json!({"request_range": {"key": b64("a")}});
    for (outer, inner, status) in [(64, 64, 200), (65, 64, 400)] {
        let mut success = vec![read.clone(); outer - 1];
        success.push(json!({"request_txn": {"success": vec![read.clone(); inner]}}));
        let (answered, _) = post(&endpoint.address, "/v3/kv/txn", &json!({ "success": success })).await;
        assert_eq!(answered, status, "{outer} and {inner}");
    }
}

#[tokio::test]
async fn paths_are_found_and_missed_as_by_etcd() {
    let endpoint = Endpoint::empty();
    for (verb, path, status) in [
        ("GET", "/v3/kv/range", 405),
        ("GET", "/v3/nope", 404),
        ("DELETE", "/v3/", 404),
        ("OPTIONS", "/v3/kv/range", 200),
        ("OPTIONS", "/nope", 200),
        ("POST", "//v3/kv/range", 301),
        ("POST", "/v3/kv/../kv/range", 301),
        ("GET", "/v3", 301),
    ] {
        assert_eq!(exchange(&endpoint.address, verb, path, b"{}").await.0, status, "{verb} {path}");
    }
    let (_, link) = exchange(&endpoint.address, "GET", "//v3//kv/range?a&b", b"").await;
    assert_eq!(link, "<a href=\"/v3/kv/range?a&amp;b\">Moved Permanently</a>.\n\n");
}
