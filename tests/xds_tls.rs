//! The ADS source over TLS, against real servers, trusted and not.

#[path = "support/ads_server.rs"]
mod ads_server;
#[path = "support/logged.rs"]
mod logged;
#[path = "support/pki.rs"]
mod pki;
#[path = "support/running.rs"]
mod running;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use ads_server::{Acceptor, Session, response};
use apisix_mesh::{
    grpc::Security,
    xds::{
        Mode, ResourceType::Cluster, Source, SourceOptions, SourceState, backoff::BackoffOptions,
        node::NodeConfig,
    },
};
use logged::{logged, logged_lines};
use pki::{Ca, Clients, Folder, Issued, SERVER, server};
use running::run;
use serde_json::{Map, Value};
use tokio::net::TcpListener;
use tonic::{Code, Status};

/// Longer than any test.
const FOR_EVER: Duration = Duration::from_secs(3600);

/// The client's side: its files and settings.
struct Pod {
    folder: Folder,
    security: Security,
}

impl Pod {
    fn new(test: &str, root: &Ca) -> Self {
        let folder = Folder::new(test);
        let ca_file = Some(folder.write("root-cert.pem", &root.pem()));
        let server_name = Some(SERVER.to_owned());
        Self { folder, security: Security { ca_file, server_name, ..Security::default() } }
    }

    fn with_token(mut self, token: &str) -> Self {
        self.security.token_file = Some(self.folder.write("istio-token", token));
        self
    }

    fn with_certificate(mut self, shown: &Issued) -> Self {
        self.write_certificate(shown);
        self.security.cert_file = Some(self.folder.path("cert.pem"));
        self.security.key_file = Some(self.folder.path("key.pem"));
        self
    }

    fn write_certificate(&self, shown: &Issued) {
        self.folder.write("cert.pem", &shown.cert_pem());
        self.folder.write("key.pem", &shown.key_pem());
    }

    /// A source that tries again at once, where that may help.
    fn source(&self, address: &str) -> Source {
        self.source_waiting(address, Duration::from_millis(10))
    }

    fn source_waiting(&self, address: &str, max: Duration) -> Source {
        let backoff = BackoffOptions { initial: Duration::from_millis(1).min(max), max };
        let metadata = Map::from_iter([("CLUSTER_ID".to_owned(), Value::from("Kubernetes"))]);
        let options = SourceOptions {
            backoff,
            mode: Mode::Sotw,
            security: self.security.clone(),
            node: NodeConfig { metadata, ..NodeConfig::default() },
            poll_interval: Duration::from_millis(5),
            ..SourceOptions::default()
        };
        Source::new(&format!("grpcs://{address}"), options).unwrap()
    }
}

async fn control_plane(shown: &Issued, clients: Clients<'_>) -> Acceptor {
    Acceptor::bind_tls("127.0.0.1:0", server(shown, clients)).await.unwrap()
}

/// Answers one stream; what the client accepts shows in its status.
async fn answer(session: &Session, nonce: &str) {
    session.responses.send(Ok(response(Cluster, nonce, Vec::new()))).await.unwrap();
}

/// The error in the status once it says all of these words.
async fn error_with(
    wait_for: &impl AsyncFn(&dyn Fn(&SourceState) -> bool) -> SourceState,
    words: &[&str],
) -> String {
    let says = |state: &SourceState| {
        state.last_error.as_ref().is_some_and(|error| words.iter().all(|word| error.contains(word)))
    };
    let seen = tokio::time::timeout(Duration::from_secs(20), wait_for(&says));
    match seen.await {
        Ok(state) => state.last_error.unwrap(),
        Err(_) => panic!("{words:?} is not in {:?}", wait_for(&|_| true).await.last_error),
    }
}

#[tokio::test]
async fn a_trusted_control_plane_gets_the_token_and_the_cluster() {
    let ca = Ca::new();
    let mut acceptor = control_plane(&ca.issue(SERVER), Clients::Anybody).await;
    let pod = Pod::new("good", &ca).with_token("first-token \n");
    let wait_for = run(pod.source(&acceptor.address.to_string()));
    let session = acceptor.session().await;
    assert_eq!(session.metadata.get("authorization").unwrap(), "Bearer first-token");
    assert_eq!(session.metadata.get("clusterid").unwrap(), "Kubernetes");
    answer(&session, "1").await;
    let state = wait_for(&|s| s.types["cluster"].version == "1").await;
    assert!(state.connected && state.last_error.is_none());
}

#[tokio::test]
async fn delta_comes_over_tls_too() {
    let ca = Ca::new();
    let mut acceptor = control_plane(&ca.issue(SERVER), Clients::Anybody).await;
    let pod = Pod::new("delta", &ca).with_token("token");
    let options = SourceOptions { security: pod.security.clone(), ..SourceOptions::default() };
    let _source = run(Source::new(&format!("grpcs://{}", acceptor.address), options).unwrap());
    let session = acceptor.delta_session().await;
    assert_eq!(session.metadata.get("authorization").unwrap(), "Bearer token");
}

#[tokio::test]
async fn a_certificate_may_name_the_host_or_the_address() {
    let ca = Ca::new();
    let mut acceptor = control_plane(&ca.issue("127.0.0.1"), Clients::Anybody).await;
    let mut pod = Pod::new("address", &ca);
    pod.security.server_name = None;
    let _by_address = run(pod.source(&acceptor.address.to_string()));
    acceptor.session().await;

    let mut acceptor = control_plane(&ca.issue("localhost"), Clients::Anybody).await;
    let _by_name = run(pod.source(&format!("localhost:{}", acceptor.address.port())));
    acceptor.session().await;
}

#[tokio::test]
async fn a_server_of_another_ca_is_refused_with_the_setting_that_cures_it_and_logged_once() {
    let (ca, other) = (Ca::new(), Ca::new());
    logged();
    let acceptor = control_plane(&other.issue(SERVER), Clients::Anybody).await;
    let pod = Pod::new("wrong-root", &ca).with_token("never-sent");
    let wait_for = run(pod.source(&acceptor.address.to_string()));
    let root = pod.security.ca_file.as_ref().unwrap();
    error_with(&wait_for, &["not from a CA in xds_ca_file", root, "put the root"]).await;
    // Many tries, one line.
    while logged_lines(&[root, "again in"]) < 5 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(logged_lines(&[root, "stays in force"]), 1);
}

#[tokio::test]
async fn a_certificate_for_another_name_is_told_with_both_names() {
    let ca = Ca::new();
    let mut acceptor = control_plane(&ca.issue(SERVER), Clients::Anybody).await;
    let mut pod = Pod::new("wrong-name", &ca);
    pod.security.server_name = Some("istiod.other.svc".to_owned());
    let address = acceptor.address.to_string();
    let wait_for = run(pod.source(&address));
    let wanted = format!("is for {SERVER} and not for istiod.other.svc: set xds_server_name");
    error_with(&wait_for, &[&wanted]).await;

    pod.security.server_name = None;
    let wait_for = run(pod.source(&address));
    error_with(&wait_for, &["not for 127.0.0.1", "xds_server_name"]).await;

    pod.security.server_name = Some(SERVER.to_owned());
    let _overridden = run(pod.source(&address));
    acceptor.session().await;
}

#[tokio::test]
async fn an_expired_certificate_is_told() {
    let ca = Ca::new();
    let expired = ca.issue_until(SERVER, SystemTime::now() - Duration::from_secs(60));
    let acceptor = control_plane(&expired, Clients::Anybody).await;
    let pod = Pod::new("expired", &ca);
    let wait_for = run(pod.source(&acceptor.address.to_string()));
    error_with(&wait_for, &["of the server", "has expired", "renew it"]).await;
}

#[tokio::test]
async fn a_demanded_client_certificate_opens_the_door_and_nothing_else_does() {
    let ca = Ca::new();
    let mut acceptor = control_plane(&ca.issue(SERVER), Clients::From(&ca)).await;
    let address = acceptor.address.to_string();
    let without = Pod::new("client-without", &ca);
    let wait_for = run(without.source(&address));
    error_with(&wait_for, &["client", "certificate", "xds_cert_file", "shown was no certificate"]).await;

    let wrong = Pod::new("client-wrong", &ca).with_certificate(&Ca::new().issue("client"));
    let wait_for = run(wrong.source(&address));
    let shown = format!("shown was the certificate in xds_cert_file {}", wrong.folder.path("cert.pem"));
    error_with(&wait_for, &["client", "certificate", &shown]).await;

    // Once it is there, the refused one comes in without a restart.
    wrong.write_certificate(&ca.issue("client"));
    let session = acceptor.session().await;
    answer(&session, "1").await;
    let state = wait_for(&|s| s.connected).await;
    assert_eq!(state.last_error, None);
}

#[tokio::test]
async fn a_refused_client_waits_until_its_token_changes() {
    let ca = Ca::new();
    let mut acceptor = control_plane(&ca.issue(SERVER), Clients::Anybody).await;
    let pod = Pod::new("token", &ca).with_token("first");
    let wait_for = run(pod.source_waiting(&acceptor.address.to_string(), FOR_EVER));
    for code in [Code::Unauthenticated, Code::PermissionDenied] {
        let session = acceptor.session().await;
        let refusal = Status::new(code, "authentication failure");
        session.responses.send(Err(refusal)).await.unwrap();
        let path = pod.security.token_file.as_ref().unwrap();
        let refused = format!("{code:?}: authentication failure (shown to the server: the token in");
        error_with(&wait_for, &[&refused, path]).await;
        pod.folder.write("istio-token", &format!("after {code:?}").replace(' ', "-"));
    }
    let session = acceptor.session().await;
    assert_eq!(session.metadata.get("authorization").unwrap(), "Bearer after-PermissionDenied");
}

#[tokio::test]
async fn roots_certificates_and_tokens_can_be_renewed_while_it_runs() {
    let (old, new) = (Ca::new(), Ca::new());
    let mut acceptor = control_plane(&old.issue(SERVER), Clients::From(&old)).await;
    let address = acceptor.address.to_string();
    let pod = Pod::new("rotation", &old).with_token("old").with_certificate(&old.issue("client"));
    let wait_for = run(pod.source(&address));
    let session = acceptor.session().await;
    answer(&session, "1").await;
    wait_for(&|s| s.types["cluster"].version == "1").await;
    drop((session, acceptor));
    let renewed = server(&new.issue(SERVER), Clients::From(&new));
    let mut acceptor = loop {
        if let Ok(acceptor) = Acceptor::bind_tls(&address, renewed.clone()).await {
            break acceptor;
        }
        tokio::task::yield_now().await;
    };
    error_with(&wait_for, &["xds_ca_file"]).await;
    pod.folder.write("root-cert.pem", &new.pem());
    error_with(&wait_for, &["client", "certificate"]).await;
    pod.folder.write("istio-token", "new");
    pod.write_certificate(&new.issue("client"));
    let session = acceptor.session().await;
    assert_eq!(session.metadata.get("authorization").unwrap(), "Bearer new");
    assert_eq!(wait_for(&|_| true).await.types["cluster"].version, "1", "what was accepted stays");
    answer(&session, "2").await;
    wait_for(&|s| s.connected && s.types["cluster"].version == "2").await;
}

#[tokio::test]
async fn plaintext_and_tls_that_meet_are_told_apart() {
    let ca = Ca::new();
    let plain = Acceptor::bind("127.0.0.1:0").await.unwrap();
    let pod = Pod::new("plain", &ca).with_token("never-sent");
    let wait_for = run(pod.source(&plain.address.to_string()));
    error_with(&wait_for, &["does not speak TLS", "15012"]).await;

    let tls = control_plane(&ca.issue(SERVER), Clients::Anybody).await;
    let backoff = BackoffOptions { initial: Duration::from_millis(1), max: Duration::from_millis(10) };
    let options = SourceOptions { backoff, ..SourceOptions::default() };
    let wait_for = run(Source::new(&format!("grpc://{}", tls.address), options).unwrap());
    error_with(&wait_for, &["if the server speaks TLS, give xds grpcs://"]).await;
}

#[tokio::test]
async fn a_server_without_http2_or_words_is_told() {
    let ca = Ca::new();
    let mut config = Arc::unwrap_or_clone(server(&ca.issue(SERVER), Clients::Anybody));
    config.alpn_protocols.clear();
    let acceptor = Acceptor::bind_tls("127.0.0.1:0", Arc::new(config)).await.unwrap();
    let pod = Pod::new("alpn", &ca);
    let wait_for = run(pod.source(&acceptor.address.to_string()));
    error_with(&wait_for, &["does not offer HTTP/2"]).await;

    let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let wait_for = run(pod.source(&mute.local_addr().unwrap().to_string()));
    error_with(&wait_for, &["Unavailable", "says nothing of TLS for 5 s"]).await;
}

#[tokio::test]
async fn files_that_are_missing_or_bad_are_told_and_read_again() {
    let ca = Ca::new();
    let mut acceptor = control_plane(&ca.issue(SERVER), Clients::From(&ca)).await;
    let (one, other) = (ca.issue("client"), ca.issue("client"));
    let pod = Pod::new("files", &ca).with_token("t").with_certificate(&one);
    let wait_for = run(pod.source_waiting(&acceptor.address.to_string(), Duration::from_millis(10)));
    let mut session = acceptor.session().await;
    for (name, bad, good, words) in [
        ("root-cert.pem", "", ca.pem(), "holds no certificate"),
        ("cert.pem", "nonsense", one.cert_pem(), "holds no certificate"),
        ("key.pem", &one.cert_pem(), one.key_pem(), "holds no private key"),
        ("key.pem", &other.key_pem(), one.key_pem(), "is not the key of the certificate in xds_cert_file"),
        ("istio-token", " \n", "t".to_owned(), "is empty"),
    ] {
        let path = pod.folder.write(name, bad);
        drop(session);
        error_with(&wait_for, &["xds_", &path, words]).await;
        pod.folder.write(name, &good);
        session = acceptor.session().await;
    }
    std::fs::remove_file(pod.folder.path("istio-token")).unwrap();
    drop(session);
    error_with(&wait_for, &["xds_token_file", "istio-token", "mount or write it there"]).await;
}

#[test]
fn a_token_is_refused_over_plaintext() {
    let security = Security { token_file: Some("/t".to_owned()), ..Security::default() };
    let options = SourceOptions { security, ..SourceOptions::default() };
    let error = Source::new("grpc://istiod:15010", options).err().unwrap().to_string();
    assert!(error.starts_with("setting xds_token_file: ") && error.contains("grpcs://"), "{error}");
    let error = Source::new("grpcs://istiod:15012", SourceOptions::default()).err().unwrap().to_string();
    assert!(error.starts_with("setting xds_ca_file: not set"), "{error}");
    for name in ["", "a b", "*"] {
        let security = Security { server_name: Some(name.to_owned()), ..Security::default() };
        let options = SourceOptions { security, ..SourceOptions::default() };
        let error = Source::new("grpcs://istiod:15012", options).err().unwrap().to_string();
        assert!(error.starts_with("setting xds_server_name: "), "{error}");
    }
}

/// Neither the key nor the token is in what is logged, shown by `status` or printed for debugging, whatever happens.
#[tokio::test]
async fn keys_and_tokens_are_never_shown() {
    let lines = logged();
    let ca = Ca::new();
    let mut acceptor = control_plane(&ca.issue(SERVER), Clients::From(&ca)).await;
    let shown = ca.issue("client");
    let pod = Pod::new("secrets", &ca).with_token("s3cr3t-t0k3n").with_certificate(&shown);
    let source = pod.source_waiting(&acceptor.address.to_string(), FOR_EVER);
    let status = source.status();
    let wait_for = run(source);
    let mut seen = format!("{:?}", pod.security);
    let session = acceptor.session().await;
    session.responses.send(Err(Status::unauthenticated("no"))).await.unwrap();
    seen += &error_with(&wait_for, &["Unauthenticated"]).await;
    // The key in the place of the others, and broken in the middle.
    for name in ["istio-token", "cert.pem", "root-cert.pem", "key.pem"] {
        pod.folder.write(name, &shown.key_pem().replace("END", "EMD"));
        seen += &error_with(&wait_for, &["xds_"]).await;
        seen += &serde_json::to_string(&status).unwrap();
    }
    seen += &lines.lock().unwrap();
    let key: Vec<String> = shown.key_pem().lines().skip(1).take(2).map(str::to_owned).collect();
    for secret in key.iter().map(String::as_str).chain(["s3cr3t-t0k3n"]) {
        assert!(!seen.contains(secret), "{secret} is in {seen}");
    }
}
