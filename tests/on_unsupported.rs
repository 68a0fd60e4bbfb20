//! The policies for what APISIX cannot do: only `strict` refuses, and the last good state stays.

#[path = "support/ads_server.rs"]
mod ads_server;

use std::time::Duration;

use ads_server::{Acceptor, Session, response};
use apisix_mesh::{
    agent::objection,
    config::OnUnsupported,
    pb::{envoy::service::discovery::v3::DiscoveryRequest, google::protobuf::Any, json::any_from_json},
    xds::{Mode, ResourceType, Source, SourceOptions, backoff::BackoffOptions},
};
use serde_json::{Value, json};

fn cluster(name: &str, extra: Value) -> Any {
    let mut document = json!({"@type": ResourceType::Cluster.type_url(), "name": name, "type": "EDS", "edsClusterConfig": {"edsConfig": {"ads": {}}}});
    document.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    any_from_json(&document).unwrap()
}

/// What is not honoured, and matters.
fn unsupported() -> Value {
    json!({"connectTimeout": "2s", "upstreamBindConfig": {}, "transportSocket": {"name": "tls", "typedConfig": {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"}}})
}

async fn hear(session: &mut Session) -> DiscoveryRequest {
    loop {
        let request = session.requests.message().await.unwrap().unwrap();
        if request.type_url == ResourceType::Cluster.type_url() {
            return request;
        }
    }
}

async fn answer(session: &mut Session, nonce: &str, resources: Vec<Any>) -> DiscoveryRequest {
    let message = response(ResourceType::Cluster, nonce, resources);
    session.responses.send(Ok(message)).await.unwrap();
    loop {
        let request = hear(session).await;
        if request.response_nonce == nonce {
            return request;
        }
    }
}

async fn start(policy: OnUnsupported) -> (Acceptor, Session, Source) {
    let mut acceptor = Acceptor::bind("127.0.0.1:0").await.unwrap();
    let options = SourceOptions {
        mode: Mode::Sotw,
        objection: objection(policy),
        backoff: BackoffOptions { initial: Duration::from_millis(1), max: Duration::from_millis(10) },
        ..SourceOptions::default()
    };
    let mut source = Source::new(&format!("grpc://{}", acceptor.address), options).unwrap();
    let mut session = tokio::select! {
        session = acceptor.session() => session,
        _ = source.next() => unreachable!("nothing has been sent"),
    };
    tokio::select! {
        _ = hear(&mut session) => {}
        _ = source.next() => unreachable!("nothing has been sent"),
    }
    (acceptor, session, source)
}

/// Exchanges one response while the source runs.
async fn exchange(
    session: &mut Session,
    source: &mut Source,
    nonce: &str,
    resources: Vec<Any>,
) -> DiscoveryRequest {
    let answered = answer(session, nonce, resources);
    tokio::pin!(answered);
    loop {
        tokio::select! {
            request = &mut answered => return request,
            _ = source.next() => {}
        }
    }
}

#[tokio::test]
async fn strict_refuses_and_keeps_the_last_good_state() {
    let (_acceptor, mut session, mut source) = start(OnUnsupported::Strict).await;
    let accepted = exchange(&mut session, &mut source, "1", vec![cluster("a", json!({}))]).await;
    assert_eq!((accepted.version_info.as_str(), accepted.error_detail), ("1", None));
    let good = source.snapshot().get(ResourceType::Cluster, "a").unwrap().bytes.clone();

    let bad = vec![cluster("a", unsupported()), cluster("b", json!({}))];
    let refused = exchange(&mut session, &mut source, "2", bad).await;
    let message = refused.error_detail.unwrap().message;
    assert!(message.contains("cluster \"a\"") && message.contains("transport_socket: "), "{message}");
    assert_eq!(refused.version_info, "1");
    assert_eq!(source.snapshot().get(ResourceType::Cluster, "a").unwrap().bytes, good);
    assert!(source.snapshot().get(ResourceType::Cluster, "b").is_some(), "others are taken");

    let repaired = cluster("a", json!({"connectTimeout": "3s"}));
    let accepted = exchange(&mut session, &mut source, "3", vec![repaired.clone()]).await;
    assert_eq!((accepted.version_info.as_str(), accepted.error_detail), ("3", None));
    assert_eq!(source.snapshot().get(ResourceType::Cluster, "a").unwrap().bytes, repaired.value);
}

#[tokio::test]
async fn closed_and_serve_refuse_nothing() {
    for policy in [OnUnsupported::Closed, OnUnsupported::Serve] {
        let (_acceptor, mut session, mut source) = start(policy).await;
        let accepted = exchange(&mut session, &mut source, "1", vec![cluster("a", unsupported())]).await;
        assert_eq!((accepted.version_info.as_str(), accepted.error_detail), ("1", None), "{policy:?}");
        assert!(source.snapshot().get(ResourceType::Cluster, "a").is_some());
    }
}
