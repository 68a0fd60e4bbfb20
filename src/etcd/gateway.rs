//! The JSON side: etcd's HTTP paths onto the same services that gRPC calls.
//!
//! In: an HTTP request. Out: its answer, or a stream of objects. Never here: what is answered.
//!
//! A stream is one JSON object and its newline to each HTTP chunk. APISIX wakes up when a chunk ends in a newline, and
//! merges the objects that one chunk holds, which has lost events (contract section 1, "Reader rules").

use std::{convert::Infallible, sync::Arc};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_stream::{Stream, StreamExt as _, wrappers::ReceiverStream};
use tonic::body::Body;

use super::{
    endpoint::{Endpoint, VERSION},
    json::{self, Objects},
    metrics,
    status::Refusal,
    watch::Messages,
};
use crate::pb::etcdserverpb::{RangeRequest, WatchRequest};

/// Room for any request that etcd itself would take.
const MAX_BODY: usize = 2 << 20;

pub(super) async fn answer(endpoint: Arc<Endpoint>, request: Request<Incoming>) -> Response<Body> {
    let path = request.uri().path();
    if request.method() == Method::OPTIONS {
        return Response::default();
    }
    if let Some(clean) = cleaned(path) {
        return moved(request.method(), &clean, request.uri().query());
    }
    match (request.method(), path) {
        (&Method::GET, "/version") => {
            reply(StatusCode::OK, &json!({"etcdserver": VERSION, "etcdcluster": VERSION}))
        }
        (&Method::GET, "/health") => health(&endpoint),
        (&Method::GET, "/metrics") => with_type(
            StatusCode::OK,
            "text/plain; version=0.0.4; charset=utf-8",
            Body::new(Full::from(metrics::text(&endpoint.store))),
        ),
        (_, "/version" | "/health" | "/metrics") => not_allowed(),
        (_, path) if path.starts_with("/v3/") => call(endpoint, request)
            .await
            .unwrap_or_else(|refusal| reply(refusal.http_status(), &refusal.body())),
        _ => text(StatusCode::NOT_FOUND, "404 page not found\n"),
    }
}

/// The table of calls: path, request, response, method.
async fn call(endpoint: Arc<Endpoint>, request: Request<Incoming>) -> Result<Response<Body>, Refusal> {
    let is_post = request.method() == Method::POST;
    macro_rules! unary {
        ($request:literal, $response:literal, $method:ident) => {{
            if !is_post {
                return Ok(not_allowed());
            }
            let message = json::decode($request, &body(request).await?)?;
            Ok(ok(json::encode($response, &endpoint.$method(message).await?).into()))
        }};
    }
    let path = request.uri().path();
    if path != "/v3/auth/authenticate" {
        endpoint.admit(request.headers())?;
    }
    match path {
        "/v3/kv/range" | "/v3/watch" | "/v3/lease/keepalive" | "/v3/cluster/member/list" if !is_post => {
            Ok(not_allowed())
        }
        "/v3/kv/range" => range(&endpoint, json::decode("RangeRequest", &body(request).await?)?).await,
        "/v3/kv/put" => unary!("PutRequest", "PutResponse", put),
        "/v3/kv/deleterange" => unary!("DeleteRangeRequest", "DeleteRangeResponse", delete_range),
        "/v3/kv/txn" => unary!("TxnRequest", "TxnResponse", txn),
        "/v3/kv/compaction" => unary!("CompactionRequest", "CompactionResponse", compact),
        "/v3/watch" => watch(&endpoint, request.into_body()).await,
        "/v3/lease/grant" => unary!("LeaseGrantRequest", "LeaseGrantResponse", lease_grant),
        "/v3/lease/keepalive" => keep_alive(&endpoint, request).await,
        "/v3/lease/revoke" | "/v3/kv/lease/revoke" => {
            unary!("LeaseRevokeRequest", "LeaseRevokeResponse", lease_revoke)
        }
        "/v3/lease/timetolive" | "/v3/kv/lease/timetolive" => {
            unary!("LeaseTimeToLiveRequest", "LeaseTimeToLiveResponse", lease_time_to_live)
        }
        "/v3/lease/leases" | "/v3/kv/lease/leases" => {
            unary!("LeaseLeasesRequest", "LeaseLeasesResponse", lease_leases)
        }
        "/v3/cluster/member/list" => {
            let came_by = request.extensions().get().cloned();
            let message = json::decode("MemberListRequest", &body(request).await?)?;
            let answer = endpoint.member_list(message, came_by.as_ref()).await?;
            Ok(ok(json::encode("MemberListResponse", &answer).into()))
        }
        "/v3/maintenance/alarm" => unary!("AlarmRequest", "AlarmResponse", alarm),
        "/v3/maintenance/hash" => unary!("HashRequest", "HashResponse", hash),
        "/v3/maintenance/hashkv" => unary!("HashKVRequest", "HashKVResponse", hash_kv),
        "/v3/maintenance/status" => unary!("StatusRequest", "StatusResponse", status),
        "/v3/auth/status" => unary!("AuthStatusRequest", "AuthStatusResponse", auth_status),
        "/v3/auth/authenticate" => unary!("AuthenticateRequest", "AuthenticateResponse", authenticate),
        _ => Ok(text(StatusCode::NOT_FOUND, "Not Found\n")),
    }
}

async fn range(endpoint: &Endpoint, request: RangeRequest) -> Result<Response<Body>, Refusal> {
    match endpoint.list(&request).await? {
        Some(list) => Ok(stream(tokio_stream::iter(list.json()))),
        None => Ok(ok(json::write(&endpoint.range(request).await?).into())),
    }
}

/// etcd does not say that this is JSON.
fn health(endpoint: &Endpoint) -> Response<Body> {
    if endpoint.store.snapshot().is_ready() {
        return text(StatusCode::OK, r#"{"health":"true","reason":""}"#);
    }
    let body = r#"{"health":"false","reason":"the first configuration has not come yet"}"#;
    text(StatusCode::SERVICE_UNAVAILABLE, body)
}

async fn body(request: Request<Incoming>) -> Result<Bytes, Refusal> {
    let body = Limited::new(request.into_body(), MAX_BODY).collect().await;
    body.map(|body| body.to_bytes()).map_err(|error| Refusal::BadBody(format!("request body: {error}")))
}

/// One object for each request; the stream does not stay open, since nobody writes more into a body that has ended.
async fn keep_alive(endpoint: &Endpoint, request: Request<Incoming>) -> Result<Response<Body>, Refusal> {
    let mut requests = Objects::default();
    requests.push(&body(request).await?);
    let mut results = Vec::new();
    while let Some(request) = requests.next() {
        let message = request.and_then(|request| json::decode("LeaseKeepAliveRequest", &request));
        match message {
            Ok(message) => {
                let answer = endpoint.lease_keep_alive(message);
                results.push((json::encode_result("LeaseKeepAliveResponse", &answer) + "\n").into());
            }
            Err(refusal) if results.is_empty() => return Err(begins_no_stream(refusal)),
            Err(_) => break,
        }
    }
    match requests.end() {
        Some(refusal) if results.is_empty() => Err(begins_no_stream(refusal)),
        _ => Ok(stream(tokio_stream::iter(results))),
    }
}

/// The answer starts when the first request is read and the store is ready; until then a bad request can still be
/// refused with a status of its own.
async fn watch(endpoint: &Arc<Endpoint>, body: Incoming) -> Result<Response<Body>, Refusal> {
    let mut requests = watch_requests(body);
    let first = requests.next().await.transpose().map_err(begins_no_stream)?;
    endpoint.store.ready().await;
    let requests = tokio_stream::iter(first.map(Ok)).chain(requests);
    let responses = endpoint.watch(Messages::EachCommit, requests);
    Ok(stream(responses.map(|response| match response {
        Ok(response) => json::write_result(&response).into(),
        Err(refusal) => (refusal.stream_body().to_string() + "\n").into(),
    })))
}

/// etcd has another code for what cannot be read where a stream was to begin.
fn begins_no_stream(refusal: Refusal) -> Refusal {
    match refusal {
        Refusal::BadBody(text) => Refusal::BadStream(text),
        other => other,
    }
}

/// The objects of a request body that stays open.
fn watch_requests(mut body: Incoming) -> ReceiverStream<Result<WatchRequest, Refusal>> {
    let (requests, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        let mut objects = Objects::default();
        loop {
            let frame = tokio::select! {
                frame = body.frame() => frame,
                () = requests.closed() => return,
            };
            let Some(Ok(frame)) = frame else { break };
            objects.push(frame.data_ref().map_or(&[][..], |data| data));
            while let Some(object) = objects.next() {
                let request = object.and_then(|object| json::decode("WatchRequest", &object));
                if requests.send(request).await.is_err() {
                    return;
                }
            }
        }
        if let Some(refusal) = objects.end() {
            let _ = requests.send(Err(refusal)).await;
        }
    });
    ReceiverStream::new(receiver)
}

fn stream(chunks: impl Stream<Item = Bytes> + Send + 'static) -> Response<Body> {
    let chunks = chunks.map(|chunk| Ok::<_, Infallible>(Frame::data(chunk)));
    with_type(StatusCode::OK, "application/json", Body::new(StreamBody::new(chunks)))
}

fn ok(body: Bytes) -> Response<Body> {
    with_type(StatusCode::OK, "application/json", Body::new(Full::from(body)))
}

fn reply(status: StatusCode, body: &Value) -> Response<Body> {
    with_type(status, "application/json", Body::new(Full::from(body.to_string())))
}

fn not_allowed() -> Response<Body> {
    text(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n")
}

/// The path that a client meant who joined an endpoint and a path with one slash too many; nothing if it is clean.
fn cleaned(path: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let mut clean = format!("/{}", parts.join("/"));
    if clean == "/v3" || path.ends_with('/') && clean != "/" {
        clean.push('/');
    }
    (clean != path).then_some(clean)
}

/// A redirection, with a link for whoever reads it.
fn moved(method: &Method, path: &str, query: Option<&str>) -> Response<Body> {
    let location = query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
    let mut response = match *method {
        Method::GET | Method::HEAD => {
            let escaped = location.replace('&', "&amp;");
            let link = format!("<a href=\"{escaped}\">Moved Permanently</a>.\n\n");
            with_type(StatusCode::MOVED_PERMANENTLY, "text/html; charset=utf-8", Body::new(Full::from(link)))
        }
        _ => Response::default(),
    };
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    // A path that came in a request can go into a header.
    if let Ok(location) = header::HeaderValue::try_from(location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

fn text(status: StatusCode, body: &'static str) -> Response<Body> {
    with_type(status, "text/plain; charset=utf-8", Body::new(Full::from(body)))
}

fn with_type(status: StatusCode, media_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(media_type));
    response
}
