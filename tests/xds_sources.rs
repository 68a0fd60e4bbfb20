//! Several control planes, tried in order, and files laid over them.

#[path = "support/ads_server.rs"]
mod ads_server;
#[path = "support/running.rs"]
mod running;
#[path = "support/small_mesh.rs"]
mod small_mesh;

use std::{sync::Arc, time::Duration};

use ads_server::{Acceptor, refused, serve};
use apisix_mesh::xds::{
    ResourceType::{Cluster, ClusterLoadAssignment},
    Source, SourceOptions,
    backoff::BackoffOptions,
};
use running::run;
use small_mesh::{endpoints, mesh};
use tokio::{sync::watch, task::JoinHandle, time::timeout};

/// Far above what any machine needs; reached only when the client is stuck.
const PATIENCE: Duration = Duration::from_secs(60);

fn options() -> SourceOptions {
    let backoff = BackoffOptions { initial: Duration::from_millis(1), max: Duration::from_millis(10) };
    SourceOptions { backoff, poll_interval: Duration::from_millis(10), ..SourceOptions::default() }
}

async fn plane(address: &str) -> (String, JoinHandle<()>) {
    let acceptor = loop {
        // After a former one, until the kernel has let go of its port.
        if let Ok(acceptor) = Acceptor::bind(address).await {
            break acceptor;
        }
        tokio::task::yield_now().await;
    };
    let address = acceptor.address.to_string();
    let (sender, receiver) = watch::channel(Arc::new(mesh()));
    let task = tokio::spawn(async move {
        let _sender = sender;
        serve(acceptor, receiver, refused).await;
    });
    (address, task)
}

#[tokio::test]
async fn the_first_that_answers_is_heard_and_the_first_of_all_is_preferred_after_a_loss() {
    let (first, first_task) = plane("127.0.0.1:0").await;
    let (second, second_task) = plane("127.0.0.1:0").await;
    let (first_uri, second_uri) = (format!("grpc://{first}"), format!("grpc://{second}"));
    let source = Source::new(&format!("{first_uri},{second_uri}"), options()).unwrap();
    let wait_for = run(source);
    let hears = |uri: String| {
        move |state: &apisix_mesh::xds::SourceState| state.connected && state.server.as_deref() == Some(&uri)
    };
    timeout(PATIENCE, async {
        wait_for(&hears(first_uri.clone())).await;
        first_task.abort();
        wait_for(&hears(second_uri)).await;
        let (_, _first_task) = plane(&first).await;
        second_task.abort();
        let state = wait_for(&hears(first_uri.clone())).await;
        assert_eq!(state.types["cluster"].resources, 1);
    })
    .await
    .expect("each is heard in its turn");
}

/// Time stands still but for its own timers: no test waits 15 seconds.
#[tokio::test(start_paused = true)]
async fn a_mute_one_is_left_for_the_next() {
    // It takes connections in its backlog and never says a word.
    let mute = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (second, _second_task) = plane("127.0.0.1:0").await;
    let uris = format!("grpc://{},grpc://{second}", mute.local_addr().unwrap());
    let wait_for = run(Source::new(&uris, options()).unwrap());
    let state = wait_for(&|state| state.connected).await;
    assert_eq!(state.server, Some(format!("grpc://{second}")));
}

#[tokio::test]
async fn a_file_takes_the_place_of_what_the_control_plane_says() {
    let (address, _task) = plane("127.0.0.1:0").await;
    let folder = std::env::temp_dir().join(format!("apisix-mesh-overlay-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("endpoints.json");
    let text = r#"{"@type": "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
        "clusterName": "a", "endpoints": [{"lbEndpoints": [{"endpoint": {"address":
        {"socketAddress": {"address": "127.0.0.1", "portValue": 9}}}}]}]}"#;
    std::fs::write(&file, text).unwrap();
    let overlay = Some(format!("file://{}", folder.display()));
    let mut source =
        Source::new(&format!("grpc://{address}"), SourceOptions { overlay, ..options() }).unwrap();
    let below = endpoints("a", 80).value;
    timeout(PATIENCE, async {
        while !source.next().await.complete {}
        let above = source.snapshot().get(ClusterLoadAssignment, "a").unwrap().bytes.clone();
        assert_ne!(above, below, "the file's is in force");
        assert_eq!(source.snapshot().len(Cluster), 1, "the rest is the control plane's");
        let state = source.status().get();
        assert_eq!(state.types["endpoint"].resources, 1);
        assert_eq!(state.overlay.unwrap().types["endpoint"].resources, 1);

        std::fs::remove_file(&file).unwrap();
        let update = source.next().await;
        assert_eq!((update.changes.len(), update.complete), (1, true));
        assert_eq!(source.snapshot().get(ClusterLoadAssignment, "a").unwrap().bytes, below);
    })
    .await
    .expect("both sources are read");
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn what_cannot_be_a_source_is_told_by_its_setting() {
    let overlaid = |overlay: &str| SourceOptions { overlay: Some(overlay.to_owned()), ..options() };
    for (uri, options, setting) in [
        ("grpc://a:1", overlaid("/etc/mesh"), "xds_overlay"),
        ("file:///etc/mesh", overlaid("file:///etc/more"), "xds_overlay"),
        ("grpc://a:1,file:///etc/mesh", options(), "xds"),
    ] {
        let error = Source::new(uri, options).err().unwrap().to_string();
        assert!(error.starts_with(&format!("setting {setting}: ")), "{uri}: {error}");
    }
}
