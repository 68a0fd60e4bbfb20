//! The connections: who they come from, how they end, and that they do not disturb each other.

mod support;

use std::{sync::Arc, time::Duration};

use apisix_mesh::{
    etcd::{self, Listener, Options, Reach},
    store::{self, Delta, Store},
};
use serde_json::json;
use support::etcd::{Endpoint, Http, b64, exchange, post};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpStream, UnixStream},
    sync::oneshot,
};

fn ready_store() -> Arc<Store> {
    let store = Arc::new(Store::new(store::Options::default()));
    store.commit(&Delta::default());
    store
}

const VERSION_REQUEST: &[u8] = b"GET /version HTTP/1.1\r\nHost: x\r\n\r\n";

/// One answer of a known length, from a connection that stays open.
async fn version(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    stream.write_all(VERSION_REQUEST).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"}") {
        assert!(stream.read_buf(&mut answer).await.unwrap() > 0, "the connection stays open");
    }
    assert!(answer.starts_with(b"HTTP/1.1 200"));
}

#[tokio::test]
async fn a_unix_socket_answers_and_keeps_connections() {
    let path = std::env::temp_dir().join(format!("apisix-mesh-server-{}.sock", std::process::id()));
    let listener = Listener::open(&format!("unix:{}", path.display()), Reach::Loopback).unwrap();
    let serving = etcd::serve(listener, ready_store(), Options::default(), std::future::pending());
    let task = tokio::spawn(serving);
    let mut stream = UnixStream::connect(&path).await.unwrap();
    version(&mut stream).await;
    version(&mut stream).await;
    task.abort();
    std::fs::remove_file(path).unwrap();
}

#[tokio::test]
async fn a_client_that_came_early_is_answered_once_the_endpoint_serves() {
    let listener = Listener::open("127.0.0.1:0", Reach::Loopback).unwrap();
    let Listener::Tcp(tcp) = &listener else { unreachable!("a TCP address was opened") };
    let mut early = TcpStream::connect(tcp.local_addr().unwrap()).await.unwrap();
    let task = tokio::spawn(etcd::serve(listener, ready_store(), Options::default(), std::future::pending()));
    version(&mut early).await;
    task.abort();
}

#[tokio::test]
async fn shutdown_closes_streams_and_the_port() {
    let listener = Listener::open("127.0.0.1:0", Reach::Loopback).unwrap();
    let Listener::Tcp(tcp) = &listener else { unreachable!("a TCP address was opened") };
    let address = tcp.local_addr().unwrap().to_string();
    let store = ready_store();
    let (stop, stopped) = oneshot::channel::<()>();
    let shutdown = async move { drop(stopped.await) };
    let task = tokio::spawn(etcd::serve(listener, store.clone(), Options::default(), shutdown));
    let mut watch =
        Http::watch(&address, &json!({"key": b64("/apisix/"), "range_end": b64("/apisix0")})).await;
    stop.send(()).unwrap();
    task.await.unwrap().unwrap();
    assert_eq!(watch.chunk().await, None);
    while store.readers() > 0 {
        tokio::task::yield_now().await;
    }
    assert!(TcpStream::connect(&address).await.is_err());
}

#[tokio::test]
async fn more_connections_than_allowed_wait_their_turn() {
    let options = Options { max_connections: 1, ..Options::default() };
    let endpoint = Endpoint::with(ready_store(), options);
    let address = &endpoint.address;
    let mut first = TcpStream::connect(address).await.unwrap();
    version(&mut first).await;
    let mut second = TcpStream::connect(address).await.unwrap();
    second.write_all(VERSION_REQUEST).await.unwrap();
    version(&mut first).await;
    assert!(
        matches!(second.try_read(&mut [0; 1]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
    );
    drop(first);
    version(&mut second).await;
}

#[tokio::test]
async fn metrics_have_etcds_names() {
    let endpoint = Endpoint::empty();
    let revision = endpoint.put(support::etcd::route("a"), "{}");
    let _watch = Http::watch(&endpoint.address, &json!({"key": b64("/apisix/")})).await;
    let (status, text) = exchange(&endpoint.address, "GET", "/metrics", b"").await;
    assert_eq!(status, 200);
    for line in [
        "etcd_server_has_leader 1".to_owned(),
        "etcd_debugging_mvcc_keys_total 1".to_owned(),
        format!("etcd_debugging_mvcc_current_revision {revision}"),
        "etcd_debugging_mvcc_watch_stream_total 1".to_owned(),
        r#"etcd_server_version{server_version="3.5.0"} 1"#.to_owned(),
    ] {
        assert!(text.lines().any(|it| it == line), "{line} is not in\n{text}");
    }
}

#[tokio::test]
async fn nonsense_on_one_connection_is_nothing_to_the_others() {
    let endpoint = Endpoint::empty();
    for nonsense in [&b"\x00\x01\x02\r\n\r\n"[..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nnonsense", b"GET"] {
        let mut stream = TcpStream::connect(&endpoint.address).await.unwrap();
        stream.write_all(nonsense).await.unwrap();
    }
    assert_eq!(exchange(&endpoint.address, "GET", "/version", b"").await.0, 200);
}

/// A watch that asked for it hears the revision while nothing happens; others hear nothing unasked.
#[tokio::test]
async fn a_quiet_watch_hears_the_revision_only_if_it_asked() {
    let options = Options { progress_interval: Duration::from_millis(1), ..Options::default() };
    let endpoint = Endpoint::with(ready_store(), options);
    let (address, store) = (&endpoint.address, &endpoint.store);
    let create = |wanted: bool| json!({"key": b64("/apisix/"), "range_end": b64("/apisix0"), "progress_notify": wanted});
    let mut quiet = Http::watch(address, &create(false)).await;
    let mut told = Http::watch(address, &create(true)).await;
    for _ in 0..3 {
        let notice = told.object().await;
        assert!(notice["result"].get("events").is_none());
        assert_eq!(notice["result"]["header"]["revision"], store.snapshot().revision().to_string());
    }
    let puts = vec![(support::etcd::route("a"), "{}".into())];
    store.commit(&Delta { puts, deletes: vec![] });
    assert!(quiet.object().await["result"]["events"].is_array());
    let (status, _) = post(address, "/v3/kv/range", &json!({"key": b64("/apisix/routes/a")})).await;
    assert_eq!(status, 200);
}
