//! The workload's certificate, from a real gRPC server with an authority behind it, kind and not.

#[path = "support/ads_server.rs"]
mod ads_server;
#[path = "support/authority.rs"]
mod authority;
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

use ads_server::{Acceptor, response};
use apisix_mesh::{
    agent::Agent,
    config::Config,
    grpc::{Identities, Peer, Security, backoff::BackoffOptions, pem},
    identity::{IdentityState, IdentityStatus, Renewal, Workload},
    store::{self, Store},
    xds::{Mode, ResourceType::Cluster, Source, SourceOptions},
};
use authority::{Asked, Authority};
use logged::{logged, logged_lines};
use pki::{Ca, Clients, Folder, SERVER, read_csr, server};
use rcgen::SanType;
use running::run;
use tokio::sync::watch;
use tonic::{Code, Status};

const SPIFFE: &str = "spiffe://cluster.local/ns/shop/sa/web";
/// Longer than any test.
const FOR_EVER: Duration = Duration::from_secs(3600);

/// A renewal at work, and the authority that it asks.
struct Renewing {
    ca: Ca,
    folder: Folder,
    security: Security,
    authority: Authority,
    identities: Identities,
    status: IdentityStatus,
}

impl Renewing {
    async fn new(test: &str, max_wait: Duration) -> Self {
        let ca = Ca::new();
        let authority = Authority::bind(server(&ca.issue(SERVER), Clients::FromIfShown(&ca))).await;
        let folder = Folder::new(test);
        let security = Security {
            ca_file: Some(folder.write("root-cert.pem", &ca.pem())),
            server_name: Some(SERVER.to_owned()),
            token_file: Some(folder.write("istio-token", "t0k3n")),
            ..Security::default()
        };
        let uri = format!("grpcs://{}", authority.address);
        let (sender, identities) = watch::channel(None);
        let showing = Security { identity: Some(identities.clone()), ..security.clone() };
        let peer = Peer::new("xds", &uri, &showing).unwrap().polling(Duration::from_millis(5));
        let workload = Workload {
            trust_domain: "cluster.local".to_owned(),
            namespace: "shop".to_owned(),
            service_account: "web".to_owned(),
            lifetime: Duration::from_secs(86400),
        };
        let backoff = BackoffOptions { initial: Duration::from_millis(1).min(max_wait), max: max_wait };
        let renewal = Renewal::new(&uri, peer, &workload, backoff, sender).unwrap();
        let status = renewal.status();
        tokio::spawn(renewal.run());
        Self { ca, folder, security, authority, identities, status }
    }

    async fn quick(test: &str) -> Self {
        Self::new(test, Duration::from_millis(10)).await
    }

    fn certify(&self, asked: Asked, seconds: u64) {
        let now = SystemTime::now();
        let chain = self.ca.sign(&asked.request.csr, SPIFFE, (now, now + Duration::from_secs(seconds)));
        asked.answer(Ok(chain));
    }

    /// The status once it is so.
    async fn until(&self, reached: impl Fn(&IdentityState) -> bool) -> IdentityState {
        let wait = async {
            loop {
                let state = self.status.get();
                if reached(&state) {
                    return state;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let seen = tokio::time::timeout(Duration::from_secs(20), wait).await;
        seen.unwrap_or_else(|_| panic!("not reached: {:?}", self.status.get()))
    }
}

#[tokio::test]
async fn a_workload_is_certified_under_its_name() {
    let mut renewing = Renewing::quick("certified").await;
    let asked = renewing.authority.asked().await;
    assert_eq!(asked.metadata.get("authorization").unwrap(), "Bearer t0k3n");
    assert_eq!(asked.request.validity_duration, 86400);
    let csr = read_csr(&asked.request.csr);
    assert_eq!(csr.params.subject_alt_names, [SanType::URI(SPIFFE.try_into().unwrap())]);
    assert_eq!(csr.public_key.algorithm(), &rcgen::PKCS_ECDSA_P256_SHA256);
    assert_eq!(csr.params.distinguished_name.iter().count(), 0);
    renewing.certify(asked, 86400);
    let state = renewing.until(|s| s.in_force).await;
    assert_eq!((state.spiffe_id.as_deref(), state.last_error), (Some(SPIFFE), None));
    assert!(state.expires.unwrap() - state.issued.unwrap() > 86390);
    let identity = renewing.identities.borrow().clone().unwrap();
    assert_eq!((identity.spiffe_id.as_str(), identity.chain.len()), (SPIFFE, 1));
    assert_eq!(pem::encode("CERTIFICATE", &identity.root), renewing.ca.pem());
}

#[tokio::test]
async fn it_is_renewed_with_a_new_key_when_half_of_its_time_is_over() {
    let mut renewing = Renewing::quick("renewed").await;
    let first = renewing.authority.asked().await;
    assert!(!first.is_certified);
    let key = read_csr(&first.request.csr).public_key;
    let issued = SystemTime::now();
    renewing.certify(first, 6);
    renewing.until(|s| s.in_force).await;
    let old = renewing.identities.borrow_and_update().clone().unwrap();
    let second = renewing.authority.asked().await;
    let passed = issued.elapsed().unwrap();
    // Certificates count whole seconds.
    assert!((1900..3500).contains(&passed.as_millis()), "{passed:?}");
    assert!(second.is_certified, "the old one vouches for it, should the token have expired");
    assert_ne!(read_csr(&second.request.csr).public_key, key);
    assert!(
        Arc::ptr_eq(renewing.identities.borrow().as_ref().unwrap(), &old),
        "the old one until the new one is there"
    );
    renewing.certify(second, 86400);
    renewing.identities.changed().await.unwrap();
    assert!(!Arc::ptr_eq(renewing.identities.borrow().as_ref().unwrap(), &old));
}

#[tokio::test]
async fn the_old_one_stays_until_it_expires_and_then_it_is_told_once() {
    logged();
    let mut renewing = Renewing::quick("expires").await;
    let first = renewing.authority.asked().await;
    renewing.certify(first, 3);
    renewing.until(|s| s.in_force).await;
    let identity = renewing.identities.borrow_and_update().clone().unwrap();
    let mut refused = 0;
    while SystemTime::now() + Duration::from_millis(200) < identity.not_after {
        if let Some(asked) = renewing.authority.try_asked() {
            asked.answer(Err(Status::unavailable("out for lunch")));
            refused += 1;
            assert!(renewing.identities.borrow().is_some());
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(refused > 1, "{refused}");
    let state = renewing.until(|s| s.last_error.is_some()).await;
    assert!(state.in_force && state.last_error.unwrap().contains("out for lunch"));
    tokio::select! {
        changed = renewing.identities.changed() => changed.unwrap(),
        () = async {
            loop {
                renewing.authority.asked().await.answer(Err(Status::unavailable("out for lunch")));
            }
        } => {}
    }
    assert!(renewing.identities.borrow().is_none() && SystemTime::now() >= identity.not_after);
    let state = renewing.until(|s| !s.in_force).await;
    assert_eq!(state.spiffe_id.as_deref(), Some(SPIFFE));
    let words = "has expired and could not be renewed: Unavailable: out for lunch";
    assert_eq!(logged_lines(&[words, SPIFFE]), 1);
    // The next one puts all right.
    let asked = renewing.authority.asked().await;
    renewing.certify(asked, 86400);
    let state = renewing.until(|s| s.in_force).await;
    assert_eq!(state.last_error, None);
}

#[tokio::test]
async fn who_is_refused_waits_until_its_token_changes() {
    let mut renewing = Renewing::new("refused", FOR_EVER).await;
    for code in [Code::PermissionDenied, Code::Unauthenticated, Code::Unimplemented] {
        renewing.authority.asked().await.answer(Err(Status::new(code, "no")));
        let told = format!("{code:?}: no");
        let state = renewing.until(|s| s.last_error.as_ref().is_some_and(|e| e.contains(&told))).await;
        let error = state.last_error.unwrap();
        match code {
            Code::Unimplemented => assert!(error.contains("set ca_address"), "{error}"),
            _ => assert!(error.contains("the token in xds_token_file"), "{error}"),
        }
        assert!(renewing.authority.try_asked().is_none());
        renewing.folder.write("istio-token", &format!("after-{code:?}"));
    }
    let asked = renewing.authority.asked().await;
    assert_eq!(asked.metadata.get("authorization").unwrap(), "Bearer after-Unimplemented");
}

#[tokio::test]
async fn an_answer_that_is_no_certificate_for_it_is_told() {
    let mut renewing = Renewing::quick("answers").await;
    let now = SystemTime::now();
    let day = Duration::from_secs(86400);
    let other = Ca::new().issue(SERVER);
    for (bad, words) in [
        (Vec::new(), "holds no certificate"),
        (vec!["nonsense".to_owned()], "holds no certificate"),
        (vec![renewing.ca.pem()], "one certificate alone"),
        (vec![other.cert_pem(), renewing.ca.pem()], "has no SPIFFE id"),
    ] {
        renewing.authority.asked().await.answer(Ok(bad));
        renewing.until(|s| s.last_error.as_ref().is_some_and(|e| e.contains(words))).await;
    }
    let first = renewing.authority.asked().await;
    let of_first = renewing.ca.sign(&first.request.csr, SPIFFE, (now, now + day));
    first.answer(Err(Status::unavailable("")));
    renewing.authority.asked().await.answer(Ok(of_first));
    renewing.until(|s| s.last_error.as_ref().is_some_and(|e| e.contains("does not go with the key"))).await;
    let asked = renewing.authority.asked().await;
    let expired = renewing.ca.sign(&asked.request.csr, SPIFFE, (now - day, now - Duration::from_secs(1)));
    asked.answer(Ok(expired));
    renewing.until(|s| s.last_error.as_ref().is_some_and(|e| e.contains("has expired already"))).await;
    assert!(renewing.identities.borrow().is_none());
}

#[tokio::test]
async fn the_key_is_never_shown() {
    let lines = logged();
    let mut renewing = Renewing::quick("secret").await;
    let asked = renewing.authority.asked().await;
    asked.answer(Err(Status::unavailable("later")));
    let asked = renewing.authority.asked().await;
    renewing.certify(asked, 86400);
    renewing.until(|s| s.in_force).await;
    let identity = renewing.identities.borrow().clone().unwrap();
    let seen =
        format!("{identity:?} {:?} {}", renewing.security, serde_json::to_string(&renewing.status).unwrap());
    let seen = seen + &lines.lock().unwrap();
    let key = pem::encode("PRIVATE KEY", identity.key.reveal().secret_der());
    let key_bytes = format!("{:?}", identity.key.reveal().secret_der());
    let key_bytes = &key_bytes[key_bytes.len() - 40..key_bytes.len() - 1];
    for secret in key.lines().skip(1).take(2).chain([key_bytes, "t0k3n"]) {
        assert!(!seen.contains(secret), "{secret} is in {seen}");
    }
}

fn source_options(renewing: &Renewing) -> SourceOptions {
    SourceOptions {
        security: Security { identity: Some(renewing.identities.clone()), ..renewing.security.clone() },
        backoff: BackoffOptions { initial: FOR_EVER, max: FOR_EVER },
        poll_interval: Duration::from_millis(5),
        mode: Mode::Sotw,
        ..SourceOptions::default()
    }
}

#[tokio::test]
async fn it_is_shown_to_a_control_plane_that_wants_one_as_soon_as_it_is_there() {
    let mut renewing = Renewing::quick("shown").await;
    let tls = server(&renewing.ca.issue(SERVER), Clients::From(&renewing.ca));
    let mut acceptor = Acceptor::bind_tls("127.0.0.1:0", tls).await.unwrap();
    let uri = format!("grpcs://{}", acceptor.address);
    let wait_for = run(Source::new(&uri, source_options(&renewing)).unwrap());
    wait_for(&|s| {
        s.last_error.as_ref().is_some_and(|e| e.contains("client certificate") || e.contains("client's"))
    })
    .await;
    let asked = renewing.authority.asked().await;
    renewing.certify(asked, 86400);
    let session = acceptor.session().await;
    session.responses.send(Ok(response(Cluster, "1", Vec::new()))).await.unwrap();
    wait_for(&|s| s.connected).await;
}

/// The roots changed, and the certificate is still of the old ones: the token alone opens the door, and if that has
/// expired, the certificate is tried again.
#[tokio::test]
async fn one_that_is_refused_does_not_stand_in_the_tokens_way() {
    let mut renewing = Renewing::quick("fallback").await;
    let asked = renewing.authority.asked().await;
    renewing.certify(asked, 86400);
    renewing.until(|s| s.in_force).await;
    let tls = server(&renewing.ca.issue(SERVER), Clients::FromIfShown(&Ca::new()));
    let mut acceptor = Acceptor::bind_tls("127.0.0.1:0", tls).await.unwrap();
    let uri = format!("grpcs://{}", acceptor.address);
    let backoff = BackoffOptions { initial: Duration::from_millis(1), max: Duration::from_millis(10) };
    let options = SourceOptions { backoff, ..source_options(&renewing) };
    let wait_for = run(Source::new(&uri, options).unwrap());
    let shown = format!("shown was the certificate of {SPIFFE}");
    for _ in 0..3 {
        let session = acceptor.session().await;
        assert_eq!(session.metadata.get("authorization").unwrap(), "Bearer t0k3n");
        session.responses.send(Err(Status::unauthenticated("expired"))).await.unwrap();
        wait_for(&|s| {
            s.last_error.as_ref().is_some_and(|e| e.contains("expired (shown to the server: the token"))
        })
        .await;
        wait_for(&|s| s.last_error.as_ref().is_some_and(|e| e.contains(&shown))).await;
    }
}

#[tokio::test]
async fn an_agent_shows_it_in_its_status() {
    let ca = Ca::new();
    let mut authority = Authority::bind(server(&ca.issue("127.0.0.1"), Clients::Anybody)).await;
    let folder = Folder::new("agent");
    let (root, token) = (folder.write("root-cert.pem", &ca.pem()), folder.write("istio-token", "t0k3n"));
    let settings = format!(
        "{{xds: 'file://{root}', etcd_listen: off, workload_certificates: true, xds_ca_file: {root}, workload_certificate_ttl: 0, \
         xds_token_file: {token}, ca_address: 'grpcs://{}', pod_namespace: shop, \
         node_metadata: {{SERVICE_ACCOUNT: web, CLUSTER_ID: Kubernetes}}}}",
        authority.address
    );
    let store = || Ok((Arc::new(Store::new(store::Options::default())), None));
    let agent = Agent::start(Config::from_text(&settings).unwrap(), store).unwrap();
    let asked = authority.asked().await;
    assert_eq!(asked.metadata.get("clusterid").unwrap(), "Kubernetes");
    assert_eq!(asked.request.validity_duration, 0);
    let now = SystemTime::now();
    let chain = ca.sign(&asked.request.csr, SPIFFE, (now, now + Duration::from_secs(86400)));
    asked.answer(Ok(chain));
    let shown = loop {
        let shown = agent.report(|report| report.json()["identity"].clone());
        if shown["in_force"] == true {
            break shown;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    };
    assert_eq!(shown["spiffe_id"], SPIFFE);
    assert_eq!(shown["authority"], format!("grpcs://{}", authority.address));
    let metrics = agent.report(apisix_mesh::metrics::text);
    let expires = format!("apisix_mesh_identity_expires_seconds {}", shown["expires"]);
    assert!(metrics.lines().any(|line| line == expires), "{metrics}");
    agent.stop();
}
