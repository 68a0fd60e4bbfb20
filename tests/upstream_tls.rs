//! The workload's certificate as the object that upstreams show: it is there before them, renewed in place, and its key
//! is nowhere else.

#[path = "support/authority.rs"]
mod authority;
#[path = "support/logged.rs"]
mod logged;
#[path = "support/pki.rs"]
mod pki;
#[path = "support/schema.rs"]
mod schema;

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    sync::Arc,
    time::{Duration, SystemTime},
};

use apisix_mesh::{
    agent::Agent,
    apisix::{Key, Ssl},
    config::Config,
    grpc::pem,
    instance::Instance,
    metrics,
    store::{self, Delta, Event, Store},
};
use authority::{Asked, Authority};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use logged::{logged, logged_lines};
use pki::{Ca, Clients, Folder, server};
use serde_json::{Value, json};
use tonic::Status;

const SPIFFE: &str = "spiffe://cluster.local/ns/shop/sa/web";
const SSL: &str = "/ssls/workload";
const DAY: u64 = 86400;
/// Far above what any machine needs; reached only when something is lost.
const PATIENCE: Duration = Duration::from_secs(30);

const MESH: &str = r#"
- "@type": type.googleapis.com/envoy.config.cluster.v3.Cluster
  name: a
  type: STATIC
  transport_socket: {name: tls, typed_config: {"@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext, common_tls_context: {tls_certificate_sds_secret_configs: [{name: default, sds_config: {ads: {}}}]}}}
  load_assignment: {cluster_name: a, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 10.1.0.1, port_value: 8443}}}}]}]}
- "@type": type.googleapis.com/envoy.config.listener.v3.Listener
  name: 0.0.0.0_80
  address: {socket_address: {address: "0.0.0.0", port_value: 80}}
  filter_chains:
  - filters:
    - name: hcm
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
        stat_prefix: a
        rds: {route_config_name: "80", config_source: {ads: {}}}
        http_filters: [{name: router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}]
- "@type": type.googleapis.com/envoy.config.route.v3.RouteConfiguration
  name: "80"
  virtual_hosts:
  - {name: host, domains: [a.com], routes: [{match: {prefix: /}, route: {cluster: a}}]}
"#;

/// An authority, and what it takes to ask it.
struct Mesh {
    ca: Ca,
    folder: Folder,
    authority: Authority,
}

impl Mesh {
    async fn new(test: &str) -> Self {
        logged();
        let ca = Ca::new();
        let authority = Authority::bind(server(&ca.issue("127.0.0.1"), Clients::FromIfShown(&ca))).await;
        Self { ca, folder: Folder::new(&format!("upstream-tls-{test}")), authority }
    }

    /// `more` is laid over what all tests have.
    fn config(&self, more: &Value) -> Config {
        let mut settings = json!({
            "xds": format!("file://{}", self.folder.write("mesh.yaml", MESH)),
            "xds_ca_file": self.folder.write("root-cert.pem", &self.ca.pem()),
            "xds_token_file": self.folder.write("istio-token", "t0k3n"),
            "ca_address": format!("grpcs://{}", self.authority.address),
            "workload_certificates": true,
            "upstream_tls": "unverified",
            "etcd_listen": "off",
            "log_level": "debug",
        });
        let settings = settings.as_object_mut().unwrap();
        settings.extend(more.as_object().unwrap().clone());
        Config::from_settings(settings.clone()).unwrap()
    }

    fn agent(&self, store: &Arc<Store>, more: &Value) -> Agent {
        Agent::start(self.config(more), || Ok((store.clone(), None))).unwrap()
    }

    /// The leaf that the authority gives.
    fn certify(&self, asked: Asked, seconds: u64) -> String {
        let now = SystemTime::now();
        let chain = self.ca.sign(&asked.request.csr, SPIFFE, (now, now + Duration::from_secs(seconds)));
        let leaf = chain[0].clone();
        asked.answer(Ok(chain));
        leaf
    }
}

fn fresh() -> Arc<Store> {
    Arc::new(Store::new(store::Options::default()))
}

async fn until(what: &str, reached: impl Fn() -> bool) {
    let wait = async {
        while !reached() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, wait).await.is_ok(), "not reached: {what}");
}

fn object(store: &Store) -> Option<Value> {
    store.snapshot().get(SSL).map(|kv| serde_json::from_slice(&kv.value).unwrap())
}

/// The events of each commit.
fn commits(store: &Store) -> Vec<Vec<Event>> {
    let snapshot = store.snapshot();
    let commits = snapshot.commits_from(snapshot.first_revision()).unwrap();
    commits.map(|commit| commit.events.clone()).collect()
}

/// One request to the JSON gateway of the etcd endpoint: values by key.
fn etcd(socket: &str) -> Vec<(String, Value)> {
    let mut stream = UnixStream::connect(socket).unwrap();
    let body =
        json!({"key": STANDARD.encode("/apisix/"), "range_end": STANDARD.encode("/apisix0")}).to_string();
    let head = format!(
        "POST /v3/kv/range HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let from = answer.find("\r\n\r\n").unwrap();
    let (start, end) = (answer[from..].find('{').unwrap() + from, answer.rfind('}').unwrap());
    let answer: Value = serde_json::from_str(&answer[start..=end]).unwrap();
    let text = |v: &Value| String::from_utf8(STANDARD.decode(v.as_str().unwrap()).unwrap()).unwrap();
    let pairs = answer["kvs"].as_array().unwrap().iter().map(|kv| (text(&kv["key"]), text(&kv["value"])));
    pairs.filter(|(_, v)| v != "init_dir").map(|(k, v)| (k, serde_json::from_str(&v).unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_there_before_the_upstreams_that_name_it_and_is_renewed_in_place() {
    let mut mesh = Mesh::new("renewed").await;
    let store = fresh();
    let agent = mesh.agent(&store, &json!({}));
    let asked = mesh.authority.asked().await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!store.snapshot().is_ready(), "the first configuration waits for it");
    let first = mesh.certify(asked, 4);
    until("the first configuration", || store.snapshot().is_ready()).await;

    let held = object(&store).unwrap();
    assert_eq!(
        (&held["id"], &held["type"], &held["cert"]),
        (&json!("workload"), &json!("client"), &json!(first))
    );
    let all = store.snapshot();
    let objects = all.objects_from("").map(|(key, kv)| (key.clone(), kv.value.clone())).collect();
    schema::check(&objects);
    let first_commit = &commits(&store)[0];
    let keys: Vec<&str> = first_commit.iter().map(|event| event.key.as_str()).collect();
    assert_eq!(keys[0], SSL, "{keys:?}");
    let upstream = first_commit.iter().find(|e| e.key.as_str().starts_with("/upstreams/")).unwrap();
    let upstream: Value = serde_json::from_slice(&upstream.current.as_ref().unwrap().value).unwrap();
    assert_eq!(
        (&upstream["scheme"], &upstream["tls"]),
        (&json!("https"), &json!({"client_cert_id": "workload"}))
    );

    let asked = mesh.authority.asked().await;
    let second = mesh.certify(asked, DAY);
    until("the renewal", || object(&store).unwrap()["cert"] == second.as_str()).await;
    assert_ne!(object(&store).unwrap()["key"], held["key"]);
    let commits = commits(&store);
    assert_eq!(commits.len(), 2);
    let [event] = &commits[1][..] else { panic!("one put alone: {:?}", commits[1].len()) };
    assert!(event.key.as_str() == SSL && event.current.as_ref().unwrap().version == 2);
    agent.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn etcd_and_followers_have_it_and_its_key_is_shown_nowhere() {
    let mut mesh = Mesh::new("shown").await;
    let (socket, state) = (mesh.folder.path("etcd.sock"), mesh.folder.path("state"));
    let config = mesh.config(&json!({"etcd_listen": format!("unix:{socket}"), "state_dir": state}));
    let host = Instance::start(config.clone()).unwrap();
    let asked = mesh.authority.asked().await;
    let leaf = mesh.certify(asked, DAY);
    until("the first configuration", || host.snapshot().is_ready()).await;

    let read = tokio::task::spawn_blocking(move || etcd(&socket)).await.unwrap();
    let (_, ssl) = read.iter().find(|(key, _)| key == "/apisix/ssls/workload").unwrap();
    assert_eq!(ssl["cert"], leaf);
    let follower = Instance::follow(config.clone()).unwrap();
    until("the follower", || follower.snapshot().get(SSL).is_some()).await;
    let followed = follower.snapshot().get(SSL).unwrap().value.clone();
    assert_eq!(serde_json::from_slice::<Value>(&followed).unwrap(), *ssl);

    let status = host.report(|report| report.json());
    assert_eq!(status["identity"]["published_as"], SSL);
    let told = [
        status.to_string(),
        follower.report(|report| report.json()).to_string(),
        host.report(metrics::text),
        format!("{config:?}"),
        logged().lock().unwrap().clone(),
    ]
    .concat();
    assert!(
        told.contains("the first configuration is complete") && told.contains("upstream_tls: unverified")
    );
    let key = ssl["key"].as_str().unwrap();
    assert!(key.starts_with("-----BEGIN PRIVATE KEY-----\n"), "PKCS#8");
    // The first line is the same in all keys of a kind.
    for secret in key.lines().skip(2).filter(|line| !line.starts_with('-')) {
        assert!(!told.contains(secret), "a line of the key is shown");
    }
    assert!(!told.contains("PRIVATE KEY"));
    host.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_not_waited_for_without_end() {
    let mut mesh = Mesh::new("late").await;
    let store = fresh();
    let agent = mesh.agent(&store, &json!({"initial_fetch_timeout": 0.3}));
    let asked = mesh.authority.asked().await;
    until("the first configuration", || store.snapshot().is_ready()).await;
    assert!(object(&store).is_none() && store.snapshot().len() > 1);
    let published = || agent.report(|report| report.json()["identity"]["published_as"].clone());
    assert_eq!(published(), Value::Null);
    let words = ["has not come within 0.3 s", "answer with 5xx", SSL];
    assert_eq!(logged_lines(&words), 1);
    let leaf = mesh.certify(asked, DAY);
    until("the certificate", || object(&store).is_some()).await;
    assert_eq!((object(&store).unwrap()["cert"].as_str(), published()), (Some(leaf.as_str()), json!(SSL)));
    agent.stop();
}

/// A store as a former process left it.
fn left() -> (Arc<Store>, Value) {
    let store = fresh();
    let ssl = Ssl::workload(pem::encode("CERTIFICATE", &[1; 200]), pem::encode("PRIVATE KEY", &[2; 138]));
    store.commit(&Delta { puts: vec![(Ssl::workload_key(), ssl.to_bytes())], deletes: Vec::new() });
    let held = object(&store).unwrap();
    (store, held)
}

#[tokio::test(flavor = "multi_thread")]
async fn that_of_a_former_process_stays_until_another_comes() {
    let mut mesh = Mesh::new("left").await;
    let (store, held) = left();
    let agent = mesh.agent(&store, &json!({"initial_fetch_timeout": 0}));
    let asked = mesh.authority.asked().await;
    until("the first configuration", || store.snapshot().len() > 1).await;
    assert_eq!(object(&store), Some(held));
    let leaf = mesh.certify(asked, DAY);
    until("the next one", || object(&store).unwrap()["cert"] == leaf.as_str()).await;
    agent.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_expires_stays_and_is_told_of() {
    let mut mesh = Mesh::new("expires").await;
    let store = fresh();
    let agent = mesh.agent(&store, &json!({}));
    let asked = mesh.authority.asked().await;
    let leaf = mesh.certify(asked, 2);
    tokio::select! {
        () = until("its end is told", || logged_lines(&[SSL, "has expired and stays published"]) == 1) => {}
        () = async {
            loop {
                mesh.authority.asked().await.answer(Err(Status::unavailable("out for lunch")));
            }
        } => {}
    }
    assert_eq!(object(&store).unwrap()["cert"], leaf);
    assert_eq!(agent.report(|report| report.json()["identity"]["in_force"].clone()), false);
    agent.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_published_unless_both_settings_ask_for_it() {
    for more in [json!({"upstream_tls": "off"}), json!({"workload_certificates": false})] {
        let mesh = Mesh::new("off").await;
        let (store, _) = left();
        let agent = mesh.agent(&store, &more);
        until("the first configuration", || store.snapshot().len() > 1).await;
        assert!(object(&store).is_none(), "{more}: what was left is gone");
        let all = store.snapshot();
        let text: String = all.objects_from("").map(|(_, kv)| String::from_utf8_lossy(&kv.value)).collect();
        assert!(!text.contains("client_cert_id") && text.contains("403"), "{text}");
        assert!(Key::parse(SSL).is_some());
        agent.stop();
    }
}
