//! One request to one server, by either door, and its answer as JSON.
//!
//! The answers of both doors have one form, so that whoever judges them need not know the door.

use std::{fmt, time::Duration};

use apisix_mesh::pb::json::descriptors;
use bytes::{Buf as _, BufMut as _, Bytes};
use http::{header, uri::PathAndQuery};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use prost_reflect::{
    DeserializeOptions, DynamicMessage, MessageDescriptor, SerializeOptions, prost::Message as _,
};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tonic::{
    Status, Streaming,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    transport::Channel,
};

/// A call of etcd's API.
#[derive(Debug, PartialEq, Eq)]
pub struct Method {
    pub name: &'static str,
    /// Its gRPC path.
    pub grpc: &'static str,
    /// Its path on the gateway.
    pub path: &'static str,
    /// The name of the message that it takes.
    pub request: &'static str,
    /// The name of the message that it gives.
    pub response: &'static str,
}

macro_rules! method {
    ($constant:ident, $service:literal, $name:literal, $path:literal, $message:literal) => {
        pub const $constant: Method = Method {
            name: $name,
            grpc: concat!("/etcdserverpb.", $service, "/", $name),
            path: concat!("/v3/", $path),
            request: concat!("etcdserverpb.", $message, "Request"),
            response: concat!("etcdserverpb.", $message, "Response"),
        };
    };
}

method!(RANGE, "KV", "Range", "kv/range", "Range");
method!(PUT, "KV", "Put", "kv/put", "Put");
method!(DELETE_RANGE, "KV", "DeleteRange", "kv/deleterange", "DeleteRange");
method!(TXN, "KV", "Txn", "kv/txn", "Txn");
method!(COMPACT, "KV", "Compact", "kv/compaction", "Compaction");
method!(WATCH, "Watch", "Watch", "watch", "Watch");
method!(GRANT, "Lease", "LeaseGrant", "lease/grant", "LeaseGrant");
method!(REVOKE, "Lease", "LeaseRevoke", "lease/revoke", "LeaseRevoke");
method!(KEEP_ALIVE, "Lease", "LeaseKeepAlive", "lease/keepalive", "LeaseKeepAlive");
method!(TIME_TO_LIVE, "Lease", "LeaseTimeToLive", "lease/timetolive", "LeaseTimeToLive");
method!(LEASES, "Lease", "LeaseLeases", "lease/leases", "LeaseLeases");
method!(MEMBER_LIST, "Cluster", "MemberList", "cluster/member/list", "MemberList");
method!(STATUS, "Maintenance", "Status", "maintenance/status", "Status");
method!(AUTHENTICATE, "Auth", "Authenticate", "auth/authenticate", "Authenticate");

/// What one of them is sent.
#[derive(Debug, Clone)]
pub enum Request {
    /// JSON with the names of the message's fields.
    Message(&'static Method, Value),
    Http {
        verb: &'static str,
        path: String,
        kind: Option<&'static str>,
        body: Bytes,
    },
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message(method, message) => write!(f, "{} {message}", method.name),
            Self::Http { verb, path, kind, body } => {
                write!(f, "{verb} {path} {} {:?}", kind.unwrap_or("-"), String::from_utf8_lossy(body))
            }
        }
    }
}

/// Far above what any answer takes to come.
pub const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    Grpc,
    Json,
}

/// What came back. `status` is HTTP's, or gRPC's code; `kind` is the media type, which gRPC has but one of.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub status: u16,
    pub kind: String,
    pub body: Value,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { status, kind, body } = self;
        write!(f, "{status} {kind} {body}")
    }
}

/// A server, by a connection for each door.
pub struct Client {
    address: String,
    channel: Channel,
    http: Option<SendRequest<Full<Bytes>>>,
}

impl Client {
    pub async fn connect(address: &str) -> Self {
        let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
        Self { address: address.to_owned(), channel, http: None }
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    pub async fn ask(&mut self, door: Door, request: &Request) -> Answer {
        let asking = async {
            match request {
                Request::Message(method, message) => self.call(method, door, message).await,
                Request::Http { verb, path, kind, body } => self.http(verb, path, *kind, body.clone()).await,
            }
        };
        let answer = tokio::time::timeout(PATIENCE, asking).await;
        answer.unwrap_or(Answer { status: 0, kind: String::new(), body: json!("no answer") })
    }

    /// A call whose request is JSON with the names of the message's fields.
    pub async fn call(&mut self, method: &Method, door: Door, request: &Value) -> Answer {
        match door {
            Door::Grpc => self.grpc(method, message(method.request, request)).await,
            Door::Json => self.http("POST", method.path, None, request.to_string().into()).await,
        }
    }

    pub async fn grpc(&mut self, method: &Method, request: Bytes) -> Answer {
        let mut grpc = Grpc::new(self.channel.clone()).max_decoding_message_size(usize::MAX);
        grpc.ready().await.expect("the server is there");
        let request = tonic::Request::new(request);
        let path = PathAndQuery::from_static(method.grpc);
        let answered = if *method == KEEP_ALIVE {
            let request = request.map(tokio_stream::once);
            match grpc.streaming(request, path, Raw).await {
                Ok(answers) => only_one(answers.into_inner()).await,
                Err(status) => Err(status),
            }
        } else {
            grpc.unary(request, path, Raw).await.map(tonic::Response::into_inner)
        };
        let (status, body) = match answered {
            Ok(message) => (0, value(method.response, message)),
            Err(status) => (status.code() as u16, json!({"message": status.message()})),
        };
        Answer { status, kind: String::new(), body }
    }

    async fn http(&mut self, verb: &str, path: &str, kind: Option<&str>, body: Bytes) -> Answer {
        let mut request = http::Request::builder().method(verb).uri(path).header(header::HOST, &self.address);
        if let Some(kind) = kind {
            request = request.header(header::CONTENT_TYPE, kind);
        }
        self.send(request.body(Full::new(body)).unwrap()).await
    }

    async fn send(&mut self, request: http::Request<Full<Bytes>>) -> Answer {
        let mut sender = match self.http.take() {
            Some(sender) if !sender.is_closed() => sender,
            _ => {
                let stream = TcpStream::connect(&self.address).await.expect("the server is there");
                stream.set_nodelay(true).unwrap();
                let (sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
                tokio::spawn(connection);
                sender
            }
        };
        sender.ready().await.expect("the connection is open");
        let response = sender.send_request(request).await.expect("the server answers");
        let status = response.status().as_u16();
        let kind = response.headers().get(header::CONTENT_TYPE);
        let kind = kind.map_or(String::new(), |kind| kind.to_str().unwrap().to_owned());
        let bytes = response.into_body().collect().await.expect("the answer has an end").to_bytes();
        self.http = Some(sender);
        let body = objects(&bytes).unwrap_or_else(|| json!(String::from_utf8_lossy(&bytes)));
        Answer { status, kind, body }
    }
}

/// A body of one object, or a list of several.
fn objects(bytes: &[u8]) -> Option<Value> {
    let objects = serde_json::Deserializer::from_slice(bytes).into_iter();
    let mut objects: Vec<Value> = objects.collect::<Result<_, _>>().ok()?;
    match objects.len() {
        0 => None,
        1 => objects.pop(),
        _ => Some(Value::Array(objects)),
    }
}

/// The answer of a stream that has but one.
async fn only_one(mut answers: Streaming<Bytes>) -> Result<Bytes, Status> {
    let first = answers.message().await?;
    assert!(answers.message().await?.is_none(), "one request has one answer");
    Ok(first.expect("a request has an answer"))
}

fn descriptor(name: &str) -> MessageDescriptor {
    descriptors().get_message_by_name(name).expect("the message is declared")
}

/// The bytes of a message.
pub fn message(name: &str, request: &Value) -> Bytes {
    let options = DeserializeOptions::new();
    let message = DynamicMessage::deserialize_with_options(descriptor(name), request, &options);
    message.unwrap_or_else(|error| panic!("{error}: {request}")).encode_to_vec().into()
}

/// A message as the gateway writes it.
pub fn value(name: &str, bytes: Bytes) -> Value {
    let options = SerializeOptions::new().use_proto_field_name(true).stringify_64_bit_integers(true);
    let message = DynamicMessage::decode(descriptor(name), bytes).expect("the server sends the message");
    message.serialize_with_options(serde_json::value::Serializer, &options).expect("every message has a form")
}

/// Messages as they are.
#[derive(Clone, Copy)]
pub struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}
