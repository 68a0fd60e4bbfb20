//! One stream of watches to one server, by either door: requests in, what came back as JSON.

use std::collections::VecDeque;

use bytes::Bytes;
use http::{Request, header, uri::PathAndQuery};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{
    net::TcpStream,
    sync::mpsc::{self, UnboundedReceiver, UnboundedSender},
    task::JoinHandle,
};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{client::Grpc, transport::Channel};

use super::ask::{Door, PATIENCE, Raw, WATCH, message, value};

/// An open stream and all that it was told.
pub struct Stream {
    requests: Option<UnboundedSender<Bytes>>,
    messages: UnboundedReceiver<Value>,
    task: JoinHandle<()>,
    pub received: Vec<Value>,
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Stream {
    /// Opens a stream with its first requests; over HTTP they are the only ones, since etcd reads no further.
    pub async fn open(address: &str, door: Door, first: &[Value]) -> Self {
        let (sender, messages) = mpsc::unbounded_channel();
        let address = address.to_owned();
        match door {
            Door::Grpc => {
                let (requests, receiver) = mpsc::unbounded_channel();
                let task = tokio::spawn(read_grpc(address, UnboundedReceiverStream::new(receiver), sender));
                let stream = Self { requests: Some(requests), messages, task, received: Vec::new() };
                stream.send(first);
                stream
            }
            Door::Json => {
                let body: String = first.iter().map(Value::to_string).collect();
                let task = tokio::spawn(read_json(address, body, sender));
                Self { requests: None, messages, task, received: Vec::new() }
            }
        }
    }

    pub fn takes_more(&self) -> bool {
        self.requests.is_some()
    }

    pub fn send(&self, requests: &[Value]) {
        let sender = self.requests.as_ref().expect("the stream takes more requests");
        for request in requests {
            // A stream that has ended is noticed by what it does not answer.
            let _ = sender.send(message(WATCH.request, request));
        }
    }

    /// Reads until what was received is enough; whether it came to be.
    pub async fn read_until(&mut self, is_enough: impl Fn(&[Value]) -> bool) -> bool {
        let reading = async {
            while !is_enough(&self.received) {
                let Some(message) = self.messages.recv().await else { return false };
                self.received.push(message);
            }
            true
        };
        tokio::time::timeout(PATIENCE, reading).await.unwrap_or(false)
    }
}

async fn read_grpc(
    address: String,
    requests: UnboundedReceiverStream<Bytes>,
    messages: UnboundedSender<Value>,
) {
    let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
    let mut grpc = Grpc::new(channel).max_decoding_message_size(usize::MAX);
    grpc.ready().await.expect("the server is there");
    let path = PathAndQuery::from_static(WATCH.grpc);
    let Ok(answers) = grpc.streaming(tonic::Request::new(requests), path, Raw).await else { return };
    let mut answers = answers.into_inner();
    while let Ok(Some(answer)) = answers.message().await {
        if messages.send(value(WATCH.response, answer)).is_err() {
            return;
        }
    }
}

async fn read_json(address: String, body: String, messages: UnboundedSender<Value>) {
    let stream = TcpStream::connect(&address).await.expect("the server is there");
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::post(WATCH.path).header(header::HOST, &address).body(Full::new(Bytes::from(body)));
    let Ok(answer) = sender.send_request(request.unwrap()).await else { return };
    let mut body = answer.into_body();
    let mut bytes = VecDeque::new();
    while let Some(Ok(frame)) = body.frame().await {
        bytes.extend(frame.into_data().unwrap_or_default());
        while let Some(end) = bytes.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = bytes.drain(..=end).collect();
            let mut object: Value = serde_json::from_slice(&line).expect("a line is an object");
            let message = object.get_mut("result").map(Value::take).unwrap_or(object);
            if messages.send(message).is_err() {
                return;
            }
        }
    }
    // An error that came in place of a stream has no newline.
    let rest: Vec<u8> = bytes.into();
    if let Ok(error) = serde_json::from_slice(&rest) {
        let _ = messages.send(error);
    }
}
