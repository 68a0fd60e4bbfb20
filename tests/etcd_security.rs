//! TLS and passwords on the endpoint: who is let in, who is not, and what either sees.

#[path = "support/pki.rs"]
mod pki;
mod support;

use std::{path::PathBuf, sync::Arc};

use apisix_mesh::{
    etcd::{Login, Options, Tls, TlsFiles},
    store::{self, Store},
};
use serde_json::{Value, json};
use support::etcd::{Endpoint, b64, etcdctl, exchange, post};
use tokio::{net::TcpStream, process::Command};

/// An endpoint with these options and one object.
fn serve(options: Options) -> Endpoint {
    let endpoint = Endpoint::with(Store::new(store::Options::default()), options);
    endpoint.put(support::etcd::route("a"), "{}");
    endpoint
}

fn with_login() -> Options {
    Options { login: Some(Login::new("apisix".to_owned(), "open sesame".to_owned())), ..Options::default() }
}

async fn post_as(address: &str, token: &str, path: &str, body: &Value) -> (u16, String) {
    let body = body.to_string();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(address).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes()).await.unwrap();
    let mut http = support::etcd::Http::answer(stream).await;
    (http.status, String::from_utf8(http.rest().await).unwrap())
}

/// APISIX sends the bare token; a scheme is taken too, as etcd does.
#[tokio::test]
async fn the_gateway_answers_whoever_logged_in() {
    let endpoint = serve(with_login());
    let address = &endpoint.address;
    let range = json!({"key": b64("/apisix/routes/a")});
    let refusal = |code: i64, text: &str| json!({"error": text, "message": text, "code": code});
    let empty = refusal(3, "etcdserver: user name is empty");
    for path in ["/v3/kv/range", "/v3/watch", "/v3/lease/grant", "/v3/maintenance/status", "/v3/kv/put"] {
        assert_eq!(post(address, path, &range).await, (400, empty.clone()), "{path}");
    }
    let failed = refusal(3, "etcdserver: authentication failed, invalid user ID or password");
    for (name, password) in [("apisix", "wrong"), ("root", "open sesame"), ("", "")] {
        let login = json!({"name": name, "password": password});
        assert_eq!(post(address, "/v3/auth/authenticate", &login).await, (400, failed.clone()));
    }
    let login = json!({"name": "apisix", "password": "open sesame"});
    let (_, answer) = post(address, "/v3/auth/authenticate", &login).await;
    let token = answer["token"].as_str().unwrap();
    for token in [token.to_owned(), format!("Bearer {token}")] {
        assert_eq!(post_as(address, &token, "/v3/kv/range", &range).await.0, 200);
    }
    let (status, body) = post_as(address, "apisix-mesh", "/v3/kv/range", &range).await;
    assert_eq!((status, body), (401, refusal(16, "etcdserver: invalid auth token").to_string()));
    for path in ["/version", "/health", "/metrics"] {
        assert_eq!(exchange(address, "GET", path, b"").await.0, 200, "{path}");
    }
    let (status, body) = post_as(address, token, "/v3/auth/status", &json!({})).await;
    assert!(status == 200 && body.contains(r#""enabled":true"#), "{body}");
    let other_life = serve(with_login());
    assert_eq!(post_as(&other_life.address, token, "/v3/kv/range", &range).await.0, 200);
}

#[tokio::test]
async fn etcdctl_logs_in() {
    let endpoint = serve(with_login());
    let address = &endpoint.address;
    let get = ["get", "/apisix/routes/a"];
    let (well, text) = etcdctl(address, &get).await;
    assert!(!well && text.contains("user name is empty"), "{text}");
    let (well, text) = etcdctl(address, &[&["--user", "apisix:wrong"], &get[..]].concat()).await;
    assert!(!well && text.contains("authentication failed"), "{text}");
    let (well, text) = etcdctl(address, &[&["--user", "apisix:open sesame"], &get[..]].concat()).await;
    assert!(well && text.ends_with("{}\n"), "{text}");
}

/// Files of a server, and what its clients need.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("apisix-mesh-tls-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir(&folder).unwrap();
        Self(folder)
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn issue(&self, ca: &pki::Ca, name: &str) -> (String, String) {
        let issued = ca.issue("127.0.0.1");
        let cert = self.write(&format!("{name}.pem"), &issued.cert_pem());
        (cert, self.write(&format!("{name}.key"), &issued.key_pem()))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What curl, which speaks TLS as OpenSSL does, gets of a Range; nothing if there was no connection.
async fn curl(address: &str, arguments: &[&str]) -> Option<String> {
    let range = json!({"key": b64("/apisix/routes/a")}).to_string();
    let url = format!("https://{address}/v3/kv/range");
    let output = Command::new("curl")
        .args(["--silent", "--max-time", "60", "--data", &range, &url])
        .args(arguments)
        .output()
        .await
        .expect("curl is installed");
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
}

#[tokio::test]
async fn over_tls_the_same_is_served_and_nothing_in_plaintext() {
    let (folder, ca) = (Folder::new("server"), pki::Ca::new());
    let roots = folder.write("ca.pem", &ca.pem());
    let (cert, key) = folder.issue(&ca, "server");
    let tls = Tls::open(TlsFiles { cert, key, trusted_ca: None }).unwrap();
    let endpoint = serve(Options { tls: Some(Arc::new(tls)), ..Options::default() });
    let address = &endpoint.address;

    let answer = curl(address, &["--cacert", &roots, "--http1.1"]).await.expect("an answer");
    assert!(answer.contains(&b64("/apisix/routes/a")), "{answer}");
    assert_eq!(curl(address, &[]).await, None, "its root is not known to all");
    let (well, text) =
        etcdctl(&format!("https://{address}"), &["--cacert", &roots, "get", "/apisix/routes/a"]).await;
    assert!(well && text.ends_with("{}\n"), "{text}");
    let mut plain = TcpStream::connect(address).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut plain, b"GET /version HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    let _ = tokio::io::AsyncReadExt::read_to_end(&mut plain, &mut answer).await;
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
}

#[tokio::test]
async fn with_roots_for_clients_only_theirs_are_let_in() {
    let (folder, ca) = (Folder::new("clients"), pki::Ca::new());
    let roots = folder.write("ca.pem", &ca.pem());
    let (cert, key) = folder.issue(&ca, "server");
    let tls = Tls::open(TlsFiles { cert, key, trusted_ca: Some(roots.clone()) }).unwrap();
    let endpoint = serve(Options { tls: Some(Arc::new(tls)), ..Options::default() });
    let address = &endpoint.address;
    let stranger = folder.issue(&pki::Ca::new(), "stranger");
    let client = folder.issue(&ca, "client");
    let with = |(cert, key): &(String, String)| {
        ["--cacert", &roots, "--cert", cert, "--key", key].map(str::to_owned)
    };
    for (who, is_let_in) in [(with(&client), true), (with(&stranger), false)] {
        let arguments: Vec<&str> = who.iter().map(String::as_str).collect();
        assert_eq!(curl(address, &arguments).await.is_some(), is_let_in);
    }
    assert_eq!(curl(address, &["--cacert", &roots]).await, None);
}

#[tokio::test]
async fn a_renewed_certificate_counts_from_the_next_connection_on() {
    let (folder, ca, next_ca) = (Folder::new("renewed"), pki::Ca::new(), pki::Ca::new());
    let roots = folder.write("ca.pem", &next_ca.pem());
    let (cert, key) = folder.issue(&ca, "server");
    let tls = Tls::open(TlsFiles { cert: cert.clone(), key, trusted_ca: None }).unwrap();
    let endpoint = serve(Options { tls: Some(Arc::new(tls)), ..Options::default() });
    let address = &endpoint.address;
    assert_eq!(curl(address, &["--cacert", &roots]).await, None);

    // The key is not written yet: what was before stays.
    let issued = next_ca.issue("127.0.0.1");
    std::fs::write(&cert, issued.cert_pem()).unwrap();
    let former = folder.write("former.pem", &ca.pem());
    assert!(curl(address, &["--cacert", &former]).await.is_some());
    folder.write("server.key", &issued.key_pem());
    assert!(curl(address, &["--cacert", &roots]).await.is_some());
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let (folder, ca) = (Folder::new("wrong"), pki::Ca::new());
    let (cert, key) = folder.issue(&ca, "server");
    let (_, other_key) = folder.issue(&ca, "other");
    let nothing = folder.write("nothing", "");
    let files = |cert: &str, key: &str, ca: Option<&str>| TlsFiles {
        cert: cert.to_owned(),
        key: key.to_owned(),
        trusted_ca: ca.map(str::to_owned),
    };
    for (files, expected) in [
        (files("/nope", &key, None), "etcd_cert_file: /nope"),
        (files(&nothing, &key, None), "etcd_cert_file"),
        (files(&cert, &nothing, None), "etcd_key_file"),
        (files(&cert, &other_key, None), "is not the key of the certificate"),
        (files(&cert, &key, Some(&nothing)), "etcd_trusted_ca_file"),
    ] {
        let text = Tls::open(files).unwrap_err().to_string();
        assert!(text.contains(expected), "{text}");
    }
}
