//! A host that is killed and started again with the control plane gone serves what it last knew, at the revisions it
//! had; when the control plane is back, what changed meanwhile changes, and nothing else.

#[path = "support/ads_server.rs"]
mod ads_server;
mod support;

use std::{
    collections::BTreeMap,
    net::TcpListener,
    os::fd::OwnedFd,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use ads_server::{Acceptor, Resources, refused};
use apisix_mesh::xds::ResourceType;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use prost::Message;
use serde_json::Value;
use support::{etcd::etcdctl, mesh};
use tokio::{sync::watch, time::timeout};

const SERVICES: usize = 20;
/// Far above what any machine needs; reached only when something is lost.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(5);

fn resources(last_octet_of_first: u8) -> Resources {
    let mut resources = Resources::default();
    resources.insert(ResourceType::Listener, &mesh::listener().name, mesh::listener().encode_to_vec());
    let routes = mesh::routes(SERVICES).encode_to_vec();
    resources.insert(ResourceType::RouteConfiguration, &mesh::PORT.to_string(), routes);
    for i in 0..SERVICES {
        let name = mesh::cluster_name(i);
        resources.insert(ResourceType::Cluster, &name, mesh::cluster(i).encode_to_vec());
        let last = if i == 0 { last_octet_of_first } else { 3 };
        let assignment = mesh::assignment(i, last).encode_to_vec();
        resources.insert(ResourceType::ClusterLoadAssignment, &name, assignment);
    }
    resources
}

/// A process of its own on a socket that its parent keeps, as under an nginx master. It is killed when dropped.
struct Host(Child);

impl Host {
    fn start(xds: &str, listener: &TcpListener, state: &State) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_apisix-mesh"))
            .args(["run", "--xds", xds, "--etcd-listen", "fd:0", "--log-level", "error", "--state-dir"])
            .arg(&state.0)
            .stdin(OwnedFd::from(listener.try_clone().unwrap()))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// A directory that is gone at the end of the test.
struct State(PathBuf);

impl State {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("apisix-mesh-last-known-good-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Self(path)
    }

    fn len(&self) -> u64 {
        std::fs::metadata(self.0.join("objects")).map_or(0, |file| file.len())
    }
}

impl Drop for State {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// All objects with the revisions of their last changes.
async fn read(address: &str) -> BTreeMap<String, (String, i64)> {
    let read = etcdctl(address, &["get", "--prefix", "/apisix", "-w", "json"]);
    let (well, text) = timeout(PATIENCE, read).await.expect("an answer");
    assert!(well, "{text}");
    let answer: Value = serde_json::from_str(&text).unwrap();
    let text = |v: &Value| String::from_utf8(BASE64_STANDARD.decode(v.as_str().unwrap()).unwrap()).unwrap();
    let pair = |kv: &Value| (text(&kv["key"]), (text(&kv["value"]), kv["mod_revision"].as_i64().unwrap()));
    let pairs = answer["kvs"].as_array().unwrap().iter().map(pair);
    pairs.filter(|(_, (value, _))| value != "init_dir").collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_host_comes_back_with_what_it_knew() {
    let state = State::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let acceptor = Acceptor::bind("127.0.0.1:0").await.unwrap();
    let plane = acceptor.address.to_string();
    let xds = format!("grpc://{plane}");

    let (_serve, served) = watch::channel(Arc::new(resources(3)));
    let host = Host::start(&xds, &listener, &state);
    let serving = tokio::spawn(ads_server::serve(acceptor, served, refused));
    let known = read(&address).await;
    assert!(known.len() > SERVICES, "{known:?}");
    timeout(PATIENCE, async {
        while state.len() == 0 {
            tokio::time::sleep(POLL).await;
        }
    })
    .await
    .expect("it is kept");
    drop(host);
    serving.abort();

    for _ in 0..3 {
        let host = Host::start(&xds, &listener, &state);
        assert_eq!(read(&address).await, known, "without a control plane");
        drop(host);
    }

    let _host = Host::start(&xds, &listener, &state);
    let acceptor = Acceptor::bind(&plane).await.unwrap();
    let (_serve, served) = watch::channel(Arc::new(resources(4)));
    tokio::spawn(ads_server::serve(acceptor, served, refused));
    let changed = timeout(PATIENCE, async {
        loop {
            let now = read(&address).await;
            if now != known {
                return now;
            }
        }
    });
    let changed = changed.await.expect("the change that was missed");
    assert!(changed.keys().eq(known.keys()));
    let different: Vec<_> = changed.iter().filter(|(key, kv)| known[*key] != **kv).collect();
    let last = known.values().map(|(_, revision)| *revision).max().unwrap();
    let [(key, (value, revision))] = different[..] else { panic!("{different:?}") };
    assert!(key.starts_with("/apisix/upstreams/") && value.contains(".4\""), "{key} {value}");
    assert!(*revision > last);
}
