//! The ADS source against a real gRPC server, well-behaved and not: state of the world.

#[path = "support/ads_server.rs"]
mod ads_server;
#[path = "support/running.rs"]
mod running;
#[path = "support/small_mesh.rs"]
mod small_mesh;

use std::{sync::Arc, time::Duration};

use ads_server::{Acceptor, Session, refused, response, serve};
use apisix_mesh::{
    pb::{
        envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse},
        google::protobuf::Any,
    },
    xds::{
        Mode,
        ResourceType::{self, Cluster, ClusterLoadAssignment, Listener, RouteConfiguration},
        Source, SourceOptions,
        backoff::BackoffOptions,
    },
};
use running::run;
use serde_json::json;
use small_mesh::{any, cluster, endpoints, listener, mesh};
use tokio::sync::watch;
use tonic::Status;

/// A source that tries again at once.
fn source(acceptor: &Acceptor, max_response_bytes: usize) -> Source {
    source_of(acceptor, Mode::Sotw, max_response_bytes)
}

fn source_of(acceptor: &Acceptor, mode: Mode, max_response_bytes: usize) -> Source {
    let backoff = BackoffOptions { initial: Duration::from_millis(1), max: Duration::from_millis(10) };
    let options = SourceOptions { mode, max_response_bytes, backoff, ..Default::default() };
    Source::new(&format!("grpc://{}", acceptor.address), options).unwrap()
}

async fn until(source: &mut Source, mut reached: impl FnMut(&Source) -> bool) {
    while !reached(source) {
        source.next().await;
    }
}

async fn say(session: &Session, kind: ResourceType, nonce: &str, resources: Vec<Any>) {
    session.responses.send(Ok(response(kind, nonce, resources))).await.unwrap();
}

async fn hear(session: &mut Session, kind: ResourceType) -> DiscoveryRequest {
    loop {
        let request = session.requests.message().await.unwrap().unwrap();
        if request.type_url == kind.type_url() {
            return request;
        }
    }
}

#[tokio::test]
async fn a_mesh_comes_whole_and_follows_changes_by_state_of_the_world() {
    let acceptor = Acceptor::bind("127.0.0.1:0").await.unwrap();
    let source = source_of(&acceptor, Mode::Sotw, 0);
    a_mesh_comes_whole_and_follows_changes(acceptor, source).await;
}

#[tokio::test]
async fn a_mesh_comes_whole_and_follows_changes_by_delta() {
    let acceptor = Acceptor::bind("127.0.0.1:0").await.unwrap();
    let source = source_of(&acceptor, Mode::Delta, 0);
    a_mesh_comes_whole_and_follows_changes(acceptor, source).await;
}

#[tokio::test]
async fn a_server_without_delta_is_asked_for_state_of_the_world_at_once() {
    let acceptor = Acceptor::without_delta("127.0.0.1:0").await.unwrap();
    // A single wait would be longer than this test.
    let backoff = BackoffOptions { initial: Duration::from_secs(3600), max: Duration::from_secs(3600) };
    let options = SourceOptions { mode: Mode::Delta, backoff, ..Default::default() };
    let source = Source::new(&format!("grpc://{}", acceptor.address), options).unwrap();
    let status = source.status();
    a_mesh_comes_whole_and_follows_changes(acceptor, source).await;
    assert_eq!(status.get().mode, Some("sotw"));
}

async fn a_mesh_comes_whole_and_follows_changes(acceptor: Acceptor, mut source: Source) {
    let (sender, receiver) = watch::channel(Arc::new(mesh()));
    tokio::spawn(serve(acceptor, receiver, refused));
    while !source.next().await.complete {}
    assert!(ResourceType::ALL.iter().all(|kind| source.snapshot().len(*kind) == 1));

    let mut changed = mesh();
    changed.insert(ClusterLoadAssignment, "a", endpoints("a", 81).value);
    sender.send(Arc::new(changed.clone())).unwrap();
    let update = source.next().await;
    assert_eq!((update.changes.len(), update.changes[0].kind), (1, ClusterLoadAssignment));

    changed.remove(Listener, "l");
    sender.send(Arc::new(changed)).unwrap();
    until(&mut source, |s| s.snapshot().len(Listener) == 0).await;
    assert_eq!(source.snapshot().len(RouteConfiguration), 0, "routes go with their listener");
    let state = source.status().get();
    assert!(state.connected && state.last_error.is_none());
    assert_eq!(state.types["cluster"].resources, 1);
}

/// The server goes away before it is asked, after each type, and in the middle of nothing: each time everything that
/// is referred to is asked for anew, and nothing that was accepted is lost.
#[tokio::test]
async fn after_a_loss_in_any_state_everything_is_asked_for_again() {
    let mut acceptor = Acceptor::bind("127.0.0.1:0").await.unwrap();
    let wait_for = run(source(&acceptor, 0));
    drop(acceptor.session().await);

    let mut session = acceptor.session().await;
    assert!(hear(&mut session, Cluster).await.node.is_some());
    say(&session, Cluster, "c1", vec![cluster("a", "1s")]).await;
    assert_eq!(hear(&mut session, ClusterLoadAssignment).await.resource_names, ["a"]);
    drop(session);

    let mut session = acceptor.session().await;
    let request = hear(&mut session, Cluster).await;
    assert_eq!((request.version_info.as_str(), request.response_nonce.as_str()), ("c1", ""));
    assert_eq!(hear(&mut session, ClusterLoadAssignment).await.resource_names, ["a"]);
    say(&session, ClusterLoadAssignment, "e1", vec![endpoints("a", 80)]).await;
    assert_eq!(hear(&mut session, ClusterLoadAssignment).await.version_info, "e1");
    session.responses.send(Err(Status::unavailable("moving"))).await.unwrap();
    drop(session);

    let mut session = acceptor.session().await;
    hear(&mut session, Cluster).await;
    let request = hear(&mut session, ClusterLoadAssignment).await;
    assert_eq!((request.version_info.as_str(), request.response_nonce.as_str()), ("e1", ""));
    say(&session, Listener, "l1", vec![listener("l", "r")]).await;
    let first_names = hear(&mut session, RouteConfiguration).await.resource_names;
    assert_eq!(first_names, ["r"]);
    let state = wait_for(&|s| s.types["listener"].resources == 1).await;
    assert_eq!((state.types["cluster"].resources, state.types["endpoint"].resources), (1, 1));
}

#[tokio::test]
async fn a_server_that_comes_back_elsewhere_in_time_is_found() {
    let mut acceptor = Acceptor::bind("127.0.0.1:0").await.unwrap();
    let address = acceptor.address.to_string();
    let wait_for = run(source(&acceptor, 0));
    let session = acceptor.session().await;
    say(&session, Cluster, "1", vec![cluster("a", "1s")]).await;
    wait_for(&|s| s.types["cluster"].resources == 1).await;
    drop((session, acceptor));
    let state = wait_for(&|s| !s.connected).await;
    assert!(state.last_error.is_some());
    let mut acceptor = loop {
        if let Ok(acceptor) = Acceptor::bind(&address).await {
            break acceptor;
        }
        tokio::task::yield_now().await;
    };
    let mut session = acceptor.session().await;
    assert_eq!(hear(&mut session, Cluster).await.version_info, "1");
    say(&session, Cluster, "2", vec![]).await;
    let state = wait_for(&|s| s.connected && s.types["cluster"].resources == 0).await;
    assert_eq!(state.last_error, None);
}

/// It answers every NACK with the same bad resource. The client says one thing per response and no more.
#[tokio::test]
async fn a_nack_loop_is_not_driven_by_the_client() {
    const ROUNDS: usize = 30;
    let mut acceptor = Acceptor::bind("127.0.0.1:0").await.unwrap();
    let _wait_for = run(source(&acceptor, 0));
    let mut session = acceptor.session().await;
    hear(&mut session, Listener).await;
    for round in 0..ROUNDS {
        let nonce = format!("n{round}");
        say(&session, Cluster, &nonce, vec![cluster("a", "0s")]).await;
        let request = session.requests.message().await.unwrap().unwrap();
        assert_eq!((request.response_nonce, request.version_info), (nonce, String::new()));
        let detail = request.error_detail.unwrap();
        assert_eq!((detail.code, detail.message.contains("connect_timeout")), (3, true));
    }
    // The answer to this comes next, so nothing else had been sent.
    say(&session, Listener, "end", vec![]).await;
    assert_eq!(session.requests.message().await.unwrap().unwrap().response_nonce, "end");
}

#[tokio::test]
async fn each_kind_of_bad_resource_is_told_in_one_line_and_the_last_good_stays() {
    let mut acceptor = Acceptor::bind("127.0.0.1:0").await.unwrap();
    let wait_for = run(source(&acceptor, 0));
    let mut session = acceptor.session().await;
    let raw = |kind: ResourceType, bytes: &'static [u8]| Any {
        type_url: kind.type_url().to_owned(),
        value: bytes.into(),
    };
    say(&session, Cluster, "c0", vec![cluster("a", "1s")]).await;
    hear(&mut session, ClusterLoadAssignment).await;
    say(&session, ClusterLoadAssignment, "e0", vec![endpoints("a", 80)]).await;
    say(&session, Listener, "l0", vec![listener("l", "r")]).await;
    hear(&mut session, RouteConfiguration).await;
    say(&session, RouteConfiguration, "r0", vec![any(RouteConfiguration, json!({"name": "r"}))]).await;
    let regex = json!({"name": "r", "virtualHosts": [{"name": "v", "domains": ["*"], "routes":
        [{"match": {"safeRegex": {"regex": "(["}}, "route": {"cluster": "a"}}]}]});
    for (nonce, kind, bad, name, error) in [
        ("1", Cluster, raw(Cluster, b"\x0a\x01a\x22\x7f"), "a", "failed to decode"),
        ("2", Cluster, any(Listener, json!({"name": "a"})), "a", "type_url"),
        ("3", Cluster, raw(Cluster, b"\x0a\x02\xff\xfe"), "resources[0]", "Cluster.name"),
        ("4", ClusterLoadAssignment, endpoints("a", 0), "a", "port_value: 0 is not a port (1-65535)"),
        ("5", RouteConfiguration, any(RouteConfiguration, regex), "r", "match.safe_regex.regex"),
    ] {
        say(&session, kind, nonce, vec![bad]).await;
        let nack = loop {
            let request = hear(&mut session, kind).await;
            if request.response_nonce == nonce {
                break request.error_detail.unwrap().message;
            }
        };
        assert!(nack.contains(error) && nack.contains(&format!("{name:?}")), "{nack}");
        let state =
            wait_for(&|s| s.types[kind.noun()].rejected.iter().any(|r| r.error.contains(error))).await;
        assert_eq!(state.types[kind.noun()].rejected.len(), 1);
        assert!(state.types.values().all(|t| t.resources == 1), "{nonce}: the last good stays");
    }
}

fn large_response(nonce: &str, megabytes: usize) -> DiscoveryResponse {
    // Unknown fields are skipped, so this one may weigh what it likes.
    let mut value = cluster("a", nonce).value.to_vec();
    let filler = vec![b'x'; megabytes << 20];
    prost::encoding::bytes::encode(5000, &filler, &mut value);
    response(Cluster, nonce, vec![Any { type_url: Cluster.type_url().to_owned(), value: value.into() }])
}

#[tokio::test]
async fn a_hundred_megabytes_are_taken() {
    let mut acceptor = Acceptor::bind("127.0.0.1:0").await.unwrap();
    let _wait_for = run(source(&acceptor, 0));
    let mut session = acceptor.session().await;
    hear(&mut session, Cluster).await;
    session.responses.send(Ok(large_response("1s", 100))).await.unwrap();
    assert_eq!(hear(&mut session, Cluster).await.version_info, "1s");
}

#[tokio::test]
async fn a_response_over_the_limit_is_refused_by_name_and_the_last_good_stays() {
    let mut acceptor = Acceptor::bind("127.0.0.1:0").await.unwrap();
    let wait_for = run(source(&acceptor, 1 << 20));
    let session = acceptor.session().await;
    say(&session, Cluster, "1s", vec![cluster("a", "1s")]).await;
    session.responses.send(Ok(large_response("2s", 2))).await.unwrap();
    let state =
        wait_for(&|s| s.last_error.as_ref().is_some_and(|e| e.contains("xds_max_message_size"))).await;
    assert_eq!((state.types["cluster"].version.as_str(), state.types["cluster"].resources), ("1s", 1));
}

/// Time stands still but for its own timers: no test waits 15 seconds.
#[tokio::test(start_paused = true)]
async fn a_mute_server_is_reported() {
    // It takes connections in its backlog and never says a word.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let uri = format!("grpc://{}", listener.local_addr().unwrap());
    let source = Source::new(&uri, SourceOptions::default()).unwrap();
    let wait_for = run(source);
    let state = wait_for(&|s| s.last_error.is_some()).await;
    assert_eq!(state.last_error.unwrap(), format!("no first response after 15 s from {uri}"));
    assert!(!state.connected);
}

#[tokio::test]
async fn a_dropped_wait_loses_nothing() {
    for mode in [Mode::Delta, Mode::Sotw] {
        let acceptor = Acceptor::bind("127.0.0.1:0").await.unwrap();
        let mut source = source_of(&acceptor, mode, 0);
        let (_sender, receiver) = watch::channel(Arc::new(mesh()));
        tokio::spawn(serve(acceptor, receiver, refused));
        while !ResourceType::ALL.iter().all(|kind| source.snapshot().len(*kind) == 1) {
            tokio::select! {
                biased;
                _ = source.next() => {}
                () = tokio::task::yield_now() => {}
            }
        }
    }
}
