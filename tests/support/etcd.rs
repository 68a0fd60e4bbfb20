//! An endpoint on a free port, and clients for it: raw HTTP/1.1 that sees chunk boundaries, JSON, gRPC, etcdctl.

use std::{collections::VecDeque, process::Stdio, sync::Arc};

use apisix_mesh::{
    apisix::{Directory, Key},
    etcd::{self, Listener, Reach},
    store::{self, Delta, Store},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    process::Command,
    task::JoinHandle,
};

/// A running endpoint; it ends with the test.
pub struct Endpoint {
    pub store: Arc<Store>,
    pub address: String,
    task: JoinHandle<()>,
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Endpoint {
    /// With a store that has had no commit.
    pub fn unready() -> Self {
        Self::over(Store::new(store::Options::default()))
    }

    /// With a store that is ready and empty.
    pub fn empty() -> Self {
        let endpoint = Self::unready();
        endpoint.store.commit(&Delta::default());
        endpoint
    }

    pub fn over(store: impl Into<Arc<Store>>) -> Self {
        Self::with(store, etcd::Options::default())
    }

    pub fn with(store: impl Into<Arc<Store>>, options: etcd::Options) -> Self {
        let store = store.into();
        let listener = Listener::open("127.0.0.1:0", Reach::Loopback).unwrap();
        let Listener::Tcp(tcp) = &listener else { unreachable!("a TCP address was opened") };
        let address = tcp.local_addr().unwrap().to_string();
        let serving = etcd::serve(listener, store.clone(), options, std::future::pending());
        let task = tokio::spawn(async move { serving.await.unwrap() });
        Self { store, address, task }
    }

    pub fn put(&self, key: Key, value: impl Into<Bytes>) -> i64 {
        let delta = Delta { puts: vec![(key, value.into())], deletes: vec![] };
        self.store.commit(&delta).expect("the value is new").revision
    }

    pub fn delete(&self, key: Key) -> i64 {
        let delta = Delta { puts: vec![], deletes: vec![key] };
        self.store.commit(&delta).expect("the key is there").revision
    }
}

pub fn route(id: &str) -> Key {
    Key::new(Directory::Routes, id)
}

pub fn upstream(id: &str) -> Key {
    Key::new(Directory::Upstreams, id)
}

pub fn b64(text: impl AsRef<[u8]>) -> String {
    BASE64_STANDARD.encode(text)
}

pub fn unb64(text: &Value) -> Vec<u8> {
    BASE64_STANDARD.decode(text.as_str().unwrap_or_default()).unwrap()
}

/// A 64-bit number as etcd writes it; left out means 0.
pub fn int(value: &Value) -> i64 {
    value.as_str().map_or(0, |text| text.parse().unwrap())
}

/// The whole answer to a POST: its status and its JSON.
pub async fn post(address: &str, path: &str, body: &Value) -> (u16, Value) {
    let (status, text) = exchange(address, "POST", path, body.to_string().as_bytes()).await;
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

/// One request on a connection of its own, with no more headers than APISIX sends.
pub async fn exchange(address: &str, method: &str, path: &str, body: &[u8]) -> (u16, String) {
    let mut http = Http::request(address, method, path, body).await;
    let body = http.rest().await;
    (http.status, String::from_utf8(body).unwrap())
}

/// An HTTP/1.1 exchange that shows how the bytes came.
pub struct Http {
    stream: TcpStream,
    received: VecDeque<u8>,
    pub status: u16,
    pub chunked: bool,
    length: usize,
}

impl Http {
    pub async fn request(address: &str, method: &str, path: &str, body: &[u8]) -> Self {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head =
            format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all(head.as_bytes()).await.unwrap();
        // The answer to a body that is too long comes before its end.
        let _ = stream.write_all(body).await;
        Self::answer(stream).await
    }

    /// Reads the head of an answer.
    pub async fn answer(stream: TcpStream) -> Self {
        let received = VecDeque::new();
        let mut http = Self { stream, received, status: 0, chunked: false, length: 0 };
        let status = http.line().await;
        http.status = status.split(' ').nth(1).unwrap().parse().unwrap();
        loop {
            let line = http.line().await.to_lowercase();
            if line.is_empty() {
                return http;
            }
            http.chunked |= line == "transfer-encoding: chunked";
            if let Some(length) = line.strip_prefix("content-length: ") {
                http.length = length.parse().unwrap();
            }
        }
    }

    /// Starts a watch and takes the `created` object.
    pub async fn watch(address: &str, create_request: &Value) -> Self {
        let body = json!({ "create_request": create_request }).to_string();
        let mut http = Self::request(address, "POST", "/v3/watch", body.as_bytes()).await;
        assert_eq!((http.status, http.chunked), (200, true));
        assert_eq!(http.spread_object().await["result"]["created"], true);
        http
    }

    /// The next object, which a real etcd may spread over chunks.
    pub async fn spread_object(&mut self) -> Value {
        let mut text = Vec::new();
        while !text.ends_with(b"\n") {
            text.extend(self.chunk().await.expect("the stream goes on"));
        }
        serde_json::from_slice(&text).unwrap()
    }

    /// The next chunk, which must be one object and its newline.
    pub async fn object(&mut self) -> Value {
        let chunk = self.chunk().await.expect("the stream goes on");
        let text = String::from_utf8(chunk).unwrap();
        assert!(text.ends_with('\n') && text.matches('\n').count() == 1, "{text:?}");
        serde_json::from_str(&text).unwrap()
    }

    /// The next chunk; nothing at the end or if the connection is closed.
    pub async fn chunk(&mut self) -> Option<Vec<u8>> {
        let size = self.line().await;
        let size = usize::from_str_radix(&size, 16).ok().filter(|&size| size > 0)?;
        let chunk = self.bytes(size).await;
        assert_eq!(self.bytes(2).await, b"\r\n");
        Some(chunk)
    }

    /// What is left of the body.
    pub async fn rest(&mut self) -> Vec<u8> {
        if !self.chunked {
            return self.bytes(self.length).await;
        }
        let mut all = Vec::new();
        while let Some(chunk) = self.chunk().await {
            all.extend(chunk);
        }
        all
    }

    async fn line(&mut self) -> String {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let Some(byte) = self.byte().await else { break };
            line.push(byte);
        }
        String::from_utf8(line).unwrap().trim_end().to_owned()
    }

    async fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(count);
        while bytes.len() < count {
            bytes.push(self.byte().await.expect("the connection stays open"));
        }
        bytes
    }

    async fn byte(&mut self) -> Option<u8> {
        if self.received.is_empty() {
            let mut buffer = vec![0; 65536];
            let count = self.stream.read(&mut buffer).await.unwrap_or(0);
            self.received.extend(&buffer[..count]);
        }
        self.received.pop_front()
    }
}

/// Runs etcdctl (3.4 or newer) against an endpoint; its output and whether it went well.
pub async fn etcdctl(address: &str, arguments: &[&str]) -> (bool, String) {
    let output =
        etcdctl_command(address, arguments).output().await.expect("etcdctl is installed (etcd-client)");
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

pub fn etcdctl_command(address: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("etcdctl");
    command.env("ETCDCTL_API", "3").arg("--endpoints").arg(address).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}
