//! etcd's own command line takes the endpoint for an etcd.

mod support;

use std::collections::BTreeMap;

use support::etcd::{Endpoint, etcdctl, etcdctl_command, route, upstream};
use tokio::io::{AsyncBufReadExt as _, BufReader};

/// etcdctl prints a key and its value on a line each.
fn pairs(text: &str) -> BTreeMap<String, String> {
    let lines: Vec<&str> = text.lines().collect();
    lines.chunks_exact(2).map(|pair| (pair[0].to_owned(), pair[1].to_owned())).collect()
}

#[tokio::test]
async fn get_lists_what_the_store_holds() {
    let endpoint = Endpoint::empty();
    endpoint.put(route("a"), r#"{"id":"a"}"#);
    let (well, text) = etcdctl(&endpoint.address, &["get", "--prefix", "/apisix/routes/"]).await;
    assert!(well, "{text}");
    assert_eq!(text, "/apisix/routes/\ninit_dir\n/apisix/routes/a\n{\"id\":\"a\"}\n");
    let (well, text) =
        etcdctl(&endpoint.address, &["get", "--prefix", "/apisix", "--keys-only", "--limit", "2"]).await;
    assert!(well && text == "/apisix/consumer_groups/\n\n/apisix/consumers/\n\n", "{text}");
}

#[tokio::test]
async fn writes_are_refused_in_etcds_words() {
    let endpoint = Endpoint::empty();
    for arguments in [&["put", "/apisix/routes/1", "{}"][..], &["del", "/apisix/routes/1"], &["compact", "1"]]
    {
        let (well, text) = etcdctl(&endpoint.address, arguments).await;
        assert!(!well && text.contains("etcdserver: permission denied"), "{text}");
    }
    let (well, text) = etcdctl(&endpoint.address, &["put", "/apisix/routes/", "init_dir"]).await;
    assert!(well, "{text}");
}

#[tokio::test]
async fn leases_status_and_members_answer() {
    let endpoint = Endpoint::empty();
    let (well, text) = etcdctl(&endpoint.address, &["lease", "grant", "60"]).await;
    assert!(well && text.contains("granted with TTL(60s)"), "{text}");
    let id = text.split(' ').nth(1).unwrap();
    let (well, text) = etcdctl(&endpoint.address, &["lease", "keep-alive", "--once", id]).await;
    assert!(well && text.contains("TTL(60)"), "{text}");
    let (well, text) = etcdctl(&endpoint.address, &["lease", "revoke", id]).await;
    assert!(well, "{text}");
    for arguments in [&["endpoint", "health"][..], &["endpoint", "status"], &["member", "list"]] {
        let (well, text) = etcdctl(&endpoint.address, arguments).await;
        assert!(well, "{arguments:?}: {text}");
    }
    let (well, text) = etcdctl(&endpoint.address, &["endpoint", "hashkv"]).await;
    assert!(well && text.starts_with(&endpoint.address), "{text}");
    assert_eq!(etcdctl(&endpoint.address, &["alarm", "list"]).await, (true, String::new()));
    let (well, text) = etcdctl(&endpoint.address, &["defrag"]).await;
    assert!(!well && text.contains("Unimplemented"), "{text}");
}

#[tokio::test]
async fn get_and_watch_agree_with_the_store_after_a_thousand_changes() {
    let endpoint = Endpoint::empty();
    let start = (endpoint.store.snapshot().revision()).to_string();
    let mut state = 7_u64;
    let mut random = move |below: u64| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) % below
    };
    for change in 0..1000 {
        let id = random(20).to_string();
        let key = if random(2) == 0 { route(&id) } else { upstream(&id) };
        let held = endpoint.store.snapshot().get(key.as_str()).is_some();
        if held && random(3) == 0 {
            endpoint.delete(key);
        } else {
            endpoint.put(key, format!("{{\"change\":{change}}}"));
        }
    }
    endpoint.put(route("last"), "{}");

    let snapshot = endpoint.store.snapshot();
    let expected: BTreeMap<String, String> = snapshot
        .objects_from("")
        .map(|(key, kv)| (format!("/apisix{key}"), String::from_utf8(kv.value.to_vec()).unwrap()))
        .collect();

    let (well, text) = etcdctl(&endpoint.address, &["get", "--prefix", "/apisix/"]).await;
    assert!(well);
    let mut got = pairs(&text);
    got.retain(|_, value| value != "init_dir");
    assert_eq!(got, expected);

    let arguments = ["watch", "--prefix", "/apisix/", "--rev", &start];
    let mut watch = etcdctl_command(&endpoint.address, &arguments).spawn().unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let mut folded = BTreeMap::new();
    while !folded.contains_key("/apisix/routes/last") {
        let mut line = async || lines.next_line().await.unwrap().expect("the watch goes on");
        let (kind, key, value) = (line().await, line().await, line().await);
        match kind.as_str() {
            "PUT" => folded.insert(key, value),
            "DELETE" => folded.remove(&key),
            other => panic!("{other:?} is no event"),
        };
    }
    assert_eq!(folded, expected);
}
