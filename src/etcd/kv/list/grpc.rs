//! A list as gRPC's answer: a message whose length comes first, and the status after it.
//!
//! In: an HTTP/2 request for a range. Out: its answer. Never here: an answer to what is not a long list; that is tonic's.

use std::convert::Infallible;

use bytes::{BufMut as _, Bytes};
use http::{HeaderMap, HeaderValue, Request, Response, header};
use http_body_util::{BodyExt as _, Full, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use prost::{
    Message as _,
    encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len},
};
use tokio_stream::StreamExt as _;
use tonic::{Status, body::Body, codegen::Service as _};

use super::{Form, List};
use crate::{
    etcd::{
        endpoint::{Endpoint, Shared},
        keyspace::Pair,
    },
    pb::etcdserverpb::{RangeRequest, ResponseHeader, kv_server::KvServer},
};

/// The method.
pub(in crate::etcd) const PATH: &str = "/etcdserverpb.KV/Range";

/// Of a request; tonic's own bound.
const MAX_REQUEST: usize = 4 << 20;
/// What is before a message: whether it is compressed, and its length.
const HEAD: usize = 5;

const HEADER: u32 = 1;
const KVS: u32 = 2;
const COUNT: u32 = 4;

const KEY: u32 = 1;
const CREATE_REVISION: u32 = 2;
const MOD_REVISION: u32 = 3;
const VERSION: u32 = 4;
const VALUE: u32 = 5;

/// Answers a range.
pub(in crate::etcd) async fn answer(endpoint: Shared, request: Request<Incoming>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let body = match Limited::new(body, MAX_REQUEST).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return Status::internal(error.to_string()).into_http(),
    };
    if let Some(message) = long_list(&endpoint.0, &body).await {
        return stream(message);
    }
    let Ok(response) = KvServer::new(endpoint).call(Request::from_parts(head, Full::new(body))).await;
    response
}

async fn long_list(endpoint: &Endpoint, body: &Bytes) -> Option<Message> {
    let is_plain = *body.first()? == 0;
    let request = RangeRequest::decode(body.get(HEAD..).filter(|_| is_plain)?).ok()?;
    Message::new(endpoint.list(&request).await.ok()??)
}

fn stream(message: Message) -> Response<Body> {
    let pieces = message.list.pieces(message.form).map(Frame::data);
    let trailers = HeaderMap::from_iter([(Status::GRPC_STATUS, HeaderValue::from_static("0"))]);
    let frames = tokio_stream::iter(pieces.chain([Frame::trailers(trailers)]));
    let mut response = Response::new(Body::new(StreamBody::new(frames.map(Ok::<_, Infallible>))));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

/// A list whose size is known.
struct Message {
    list: List,
    form: Grpc,
}

impl Message {
    /// Nothing, if it is longer than a message can be.
    fn new(list: List) -> Option<Self> {
        let (mut count, mut pairs) = (0, 0);
        for pair in list.pairs() {
            let size = size(pair);
            count += 1;
            pairs += key_len(KVS) + encoded_len_varint(size as u64) + size;
        }
        u32::try_from(pairs).ok().filter(|&pairs| pairs < u32::MAX / 2)?;
        Some(Self { list, form: Grpc { count, pairs } })
    }
}

struct Grpc {
    count: u64,
    /// The bytes of all pairs.
    pairs: usize,
}

impl Form for Grpc {
    fn begin(&mut self, header: &ResponseHeader, text: &mut Vec<u8>) {
        let header = header.encode_to_vec();
        let (mut before, mut after) = (Vec::new(), Vec::new());
        bytes(&mut before, HEADER, &[&header]);
        number(&mut after, COUNT, self.count);
        text.put_u8(0);
        text.put_u32((before.len() + self.pairs + after.len()) as u32);
        text.extend_from_slice(&before);
    }

    fn pair(&mut self, pair: Pair, text: &mut Vec<u8>) {
        encode_key(KVS, WireType::LengthDelimited, text);
        encode_varint(size(pair) as u64, text);
        bytes(text, KEY, &[pair.prefix.as_bytes(), pair.key.as_bytes()]);
        number(text, CREATE_REVISION, pair.create_revision as u64);
        number(text, MOD_REVISION, pair.mod_revision as u64);
        number(text, VERSION, pair.version as u64);
        bytes(text, VALUE, &[pair.value]);
    }

    fn end(&mut self, text: &mut Vec<u8>) {
        number(text, COUNT, self.count);
    }
}

fn size(pair: Pair) -> usize {
    let number = |tag, number| if number == 0 { 0 } else { key_len(tag) + encoded_len_varint(number as u64) };
    let bytes =
        |tag, length| if length == 0 { 0 } else { key_len(tag) + encoded_len_varint(length as u64) + length };
    bytes(KEY, pair.prefix.len() + pair.key.len())
        + number(CREATE_REVISION, pair.create_revision)
        + number(MOD_REVISION, pair.mod_revision)
        + number(VERSION, pair.version)
        + bytes(VALUE, pair.value.len())
}

fn number(text: &mut Vec<u8>, tag: u32, number: u64) {
    if number != 0 {
        encode_key(tag, WireType::Varint, text);
        encode_varint(number, text);
    }
}

fn bytes(text: &mut Vec<u8>, tag: u32, parts: &[&[u8]]) {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    if length != 0 {
        encode_key(tag, WireType::LengthDelimited, text);
        encode_varint(length as u64, text);
        parts.iter().for_each(|part| text.extend_from_slice(part));
    }
}

#[cfg(test)]
impl List {
    /// The pieces of a message and its head.
    pub(super) fn grpc(self) -> impl Iterator<Item = Bytes> {
        let Message { list, form } = Message::new(self).expect("it is not that long");
        list.pieces(form)
    }
}
