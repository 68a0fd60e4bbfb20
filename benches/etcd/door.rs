//! The two doors of an etcd, JSON and gRPC, as one: calls as bytes, answers as counts.

use apisix_mesh::pb::etcdserverpb::{
    RangeRequest, WatchCreateRequest, WatchRequest, watch_request::RequestUnion,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use prost::Message as _;
use serde_json::json;

use crate::{http1, http2};

/// How a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// HTTP/1.1, as APISIX.
    Json,
    /// HTTP/2, as etcd's own clients.
    Grpc,
}

/// Keys from one on, before another.
#[derive(Clone)]
pub struct Span {
    /// The first.
    pub from: String,
    /// Beyond the last; empty for one key.
    pub to: String,
}

impl Door {
    pub const ALL: [Self; 2] = [Self::Json, Self::Grpc];

    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "JSON",
            Self::Grpc => "gRPC",
        }
    }

    /// What a connection begins with.
    pub fn greeting(self) -> Vec<u8> {
        match self {
            Self::Json => Vec::new(),
            Self::Grpc => http2::greeting(),
        }
    }

    /// The `number`th call of a connection: a range.
    pub fn range(self, number: u32, span: &Span) -> Vec<u8> {
        match self {
            Self::Json => {
                let body =
                    json!({"key": STANDARD.encode(&span.from), "range_end": STANDARD.encode(&span.to)});
                http1::request("/v3/kv/range", body.to_string().as_bytes())
            }
            Self::Grpc => {
                let request = RangeRequest {
                    key: span.from.clone().into(),
                    range_end: span.to.clone().into(),
                    ..RangeRequest::default()
                };
                http2::request(number, "/etcdserverpb.KV/Range", &request.encode_to_vec(), false)
            }
        }
    }

    /// The `number`th call of a connection: a watch from a revision on; 0 means from now on.
    pub fn watch(self, number: u32, span: &Span, start: i64) -> Vec<u8> {
        match self {
            Self::Json => {
                let (key, range_end) = (STANDARD.encode(&span.from), STANDARD.encode(&span.to));
                let create = json!({"key": key, "range_end": range_end, "start_revision": start});
                http1::request("/v3/watch", json!({"create_request": create}).to_string().as_bytes())
            }
            Self::Grpc => {
                let create = WatchCreateRequest {
                    key: span.from.clone().into(),
                    range_end: span.to.clone().into(),
                    start_revision: start,
                    ..WatchCreateRequest::default()
                };
                let request = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
                http2::request(number, "/etcdserverpb.Watch/Watch", &request.encode_to_vec(), true)
            }
        }
    }
}

/// Cuts what comes by a door into bodies.
pub enum Wire {
    /// Of JSON.
    Json(http1::Reader),
    /// Of gRPC.
    Grpc(http2::Reader),
}

impl Wire {
    pub fn new(door: Door) -> Self {
        match door {
            Door::Json => Self::Json(http1::Reader::default()),
            Door::Grpc => Self::Grpc(http2::Reader::default()),
        }
    }

    /// Takes what came; puts what is to be sent into `reply`.
    pub fn take(&mut self, bytes: &[u8], reply: &mut Vec<u8>, body: impl FnMut(&[u8])) {
        match self {
            Self::Json(reader) => reader.take(bytes, body),
            Self::Grpc(reader) => reader.take(bytes, reply, body),
        }
    }

    /// How many answers have ended.
    pub fn ended(&self) -> usize {
        match self {
            Self::Json(reader) => reader.ended(),
            Self::Grpc(reader) => reader.ended(),
        }
    }
}
