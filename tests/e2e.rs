//! The whole street under change: what etcdctl reads and watches is the translation of what the control plane serves.

#[path = "support/ads_server.rs"]
mod ads_server;
mod support;

use std::{
    collections::BTreeMap, net::TcpListener, os::fd::AsRawFd, process::Stdio, sync::Arc, time::Duration,
};

use ads_server::{Acceptor, Resources, refused};
use apisix_mesh::{
    config::Config,
    instance::Instance,
    translate::translate,
    xds::{Resource, ResourceType, Snapshot},
};
use prost::Message;
use serde_json::{Value, json};
use support::{
    etcd::{etcdctl, etcdctl_command},
    mesh,
};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    sync::watch,
    time::timeout,
};

const SERVICES: usize = 20;
const CHANGES: usize = 1000;
/// Far above what any machine needs; reached only when something is lost.
const PATIENCE: Duration = Duration::from_secs(60);

/// A mesh that changes at random, the same way for the same seed.
struct Mesh {
    seed: u64,
    present: [bool; SERVICES],
    last_octet: [u8; SERVICES],
    /// How many services have a virtual host.
    routed: usize,
}

impl Mesh {
    fn random(&mut self, below: usize) -> usize {
        self.seed = self.seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.seed >> 33) as usize % below
    }

    fn change(&mut self) {
        let service = self.random(SERVICES);
        match self.random(10) {
            0 => self.present[service] = !self.present[service],
            1 => self.routed = self.random(SERVICES + 1),
            _ => self.last_octet[service] = 3 + self.random(200) as u8,
        }
    }

    fn messages(&self) -> Vec<(ResourceType, String, Vec<u8>)> {
        let mut messages = vec![
            (ResourceType::Listener, mesh::listener().name, mesh::listener().encode_to_vec()),
            (
                ResourceType::RouteConfiguration,
                mesh::PORT.to_string(),
                mesh::routes(self.routed).encode_to_vec(),
            ),
        ];
        for i in (0..SERVICES).filter(|&i| self.present[i]) {
            let name = mesh::cluster_name(i);
            messages.push((ResourceType::Cluster, name.clone(), mesh::cluster(i).encode_to_vec()));
            let assignment = mesh::assignment(i, self.last_octet[i]);
            messages.push((ResourceType::ClusterLoadAssignment, name, assignment.encode_to_vec()));
        }
        messages
    }

    fn resources(&self) -> Arc<Resources> {
        let mut resources = Resources::default();
        for (kind, name, message) in self.messages() {
            resources.insert(kind, &name, message);
        }
        Arc::new(resources)
    }

    /// What etcd should hold.
    fn translation(&self) -> BTreeMap<String, String> {
        let mut snapshot = Snapshot::default();
        for (kind, name, message) in self.messages() {
            snapshot.insert(kind, Resource::new(&name, &message));
        }
        let objects = translate(&snapshot).objects.into_iter();
        objects
            .map(|(key, value)| (format!("/apisix{key}"), String::from_utf8(value.to_vec()).unwrap()))
            .collect()
    }
}

/// A make-before-break watcher's view: no event may leave a route without its upstream.
fn apply(event: &str, key: String, value: String, held: &mut BTreeMap<String, String>) {
    let upstream = |route: &str| -> Option<String> {
        let route: Value = serde_json::from_str(route).unwrap();
        Some(format!("/apisix/upstreams/{}", route.get("upstream_id")?.as_str()?))
    };
    match event {
        "PUT" => {
            if key.starts_with("/apisix/routes/")
                && let Some(upstream) = upstream(&value)
            {
                assert!(held.contains_key(&upstream), "{key} names {upstream} before it is there");
            }
            held.insert(key, value);
        }
        "DELETE" => {
            held.remove(&key);
            let user = held
                .iter()
                .find(|(k, v)| k.starts_with("/apisix/routes/") && upstream(v).as_ref() == Some(&key));
            assert!(user.is_none(), "{key} is gone and {user:?} still names it");
        }
        other => panic!("{other:?} is no event"),
    }
}

async fn read(address: &str) -> BTreeMap<String, String> {
    let (well, text) = etcdctl(address, &["get", "--prefix", "/apisix"]).await;
    assert!(well, "{text}");
    let lines: Vec<&str> = text.lines().collect();
    let pairs = lines.chunks_exact(2).map(|pair| (pair[0].to_owned(), pair[1].to_owned()));
    pairs.filter(|(_, value)| value != "init_dir").collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn etcdctl_agrees_with_translate_after_a_thousand_changes_by_delta() {
    etcdctl_agrees_with_translate(Acceptor::bind("127.0.0.1:0").await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn etcdctl_agrees_with_translate_after_a_thousand_changes_by_state_of_the_world() {
    etcdctl_agrees_with_translate(Acceptor::without_delta("127.0.0.1:0").await.unwrap()).await;
}

async fn etcdctl_agrees_with_translate(acceptor: Acceptor) {
    let mut mesh =
        Mesh { seed: 20261123, present: [true; SERVICES], last_octet: [3; SERVICES], routed: SERVICES };
    // The way of the nginx master: it listens, and hands the descriptor on.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let config = json!({
        "xds": format!("grpc://{}", acceptor.address), "etcd_listen": format!("fd:{}", listener.as_raw_fd()),
        "log_level": "error", "initial_fetch_timeout": 1,
    });
    let instance = Instance::start(Config::from_text(&config.to_string()).unwrap()).unwrap();
    let (serve, served) = watch::channel(mesh.resources());
    tokio::spawn(ads_server::serve(acceptor, served, refused));

    // Held until the first configuration is complete, and never answered with nothing.
    let first = timeout(PATIENCE, read(&address)).await.expect("the first configuration comes");
    assert_eq!(first, mesh.translation());
    let revision = instance.snapshot().revision().to_string();

    let arguments = ["watch", "--prefix", "/apisix", "--rev", &revision];
    let mut watcher = etcdctl_command(&address, &arguments).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(watcher.stdout.take().unwrap()).lines();
    for _ in 0..CHANGES {
        mesh.change();
        serve.send_replace(mesh.resources());
        // A turn for the control plane, so that not all changes become one push.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // An end that no state on the way looks like.
    (mesh.present[0], mesh.last_octet[0]) = (true, 254);
    serve.send_replace(mesh.resources());
    let expected = mesh.translation();

    let mut watched = BTreeMap::new();
    while watched != expected {
        let next = timeout(PATIENCE, async {
            let mut line = async || lines.next_line().await.unwrap().expect("the watch goes on");
            (line().await, line().await, line().await)
        });
        let (event, key, value) = next.await.expect("an event that was lost does not come any more");
        apply(&event, key, value, &mut watched);
    }
    assert_eq!(read(&address).await, expected);
    instance.stop();
}
