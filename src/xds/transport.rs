//! The gRPC connection to the control plane: the only socket of the xDS client.
//!
//! In: an address and the first requests. Out: responses in order, or the status that ended the stream. Never here:
//! what a message means, or when to try again.

use std::{error::Error as _, time::Duration};

use tokio::sync::mpsc;
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use tonic::{
    Code, Status, Streaming,
    transport::{Endpoint, Error as TransportError},
};

use super::{
    Mode,
    message::{Request, Response},
};
use crate::{
    error::Error,
    pb::envoy::service::discovery::v3::{
        DeltaDiscoveryResponse, DiscoveryResponse,
        aggregated_discovery_service_client::AggregatedDiscoveryServiceClient,
    },
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A peer that went away without a word is noticed after the sum of these.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// Requests on their way.
const REQUESTS_IN_FLIGHT: usize = 64;

/// A response is answered, and may change the subscription to what it refers to.
const REQUESTS_PER_RESPONSE: usize = 2;

/// Where to connect to and within which limits.
#[derive(Debug, Clone)]
pub struct Target {
    endpoint: Endpoint,
    max_response_bytes: usize,
}

impl Target {
    /// Reads `grpc://host:port`. `max_response_bytes` 0 is no limit.
    pub fn new(uri: &str, max_response_bytes: usize) -> Result<Self, Error> {
        let refuse = |problem: String| Error::config("xds", problem);
        if uri.starts_with("grpcs://") {
            return Err(refuse(format!("{uri:?}: TLS is not supported yet; use grpc://host:port")));
        }
        let authority = uri
            .strip_prefix("grpc://")
            .ok_or_else(|| refuse(format!("{uri:?} is not grpc://host:port or file:///path")))?;
        let authority: http::uri::Authority =
            authority.trim_end_matches('/').parse().map_err(|e| refuse(format!("{uri:?}: {e}")))?;
        if authority.port_u16().is_none_or(|port| port == 0) {
            return Err(refuse(format!("{uri:?} has no port; grpc://host:port is expected")));
        }
        let endpoint = Endpoint::from_shared(format!("http://{authority}"))
            .map_err(|e| refuse(format!("{uri:?}: {}", explain(&e))))?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http2_adaptive_window(true)
            .http2_keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .keep_alive_while_idle(true);
        Ok(Self { endpoint, max_response_bytes })
    }

    /// The largest message tonic may take; its own default of 4 MiB is less than a large mesh's clusters.
    fn decode_limit(&self) -> usize {
        if self.max_response_bytes == 0 { usize::MAX } else { self.max_response_bytes }
    }

    /// Connects, resolving the name anew, and opens the stream of this variant with `first` on it.
    ///
    /// Servers written in Go send their headers with the first response, so this returns no earlier than that.
    pub async fn open(self, mode: Mode, first: Vec<Request>) -> Result<Connection, Status> {
        let channel = self.endpoint.connect().await.map_err(|e| Status::unavailable(explain(&e)))?;
        let (requests, outgoing) = mpsc::channel(REQUESTS_IN_FLIGHT.max(first.len()));
        for request in first {
            requests.try_send(request).map_err(|_| Status::internal("no room for the first requests"))?;
        }
        let outgoing = ReceiverStream::new(outgoing);
        let mut client = AggregatedDiscoveryServiceClient::new(channel)
            .max_decoding_message_size(self.decode_limit())
            .max_encoding_message_size(usize::MAX);
        let responses = match mode {
            Mode::Delta => {
                let requests = outgoing.filter_map(Request::delta);
                Responses::Delta(client.delta_aggregated_resources(requests).await?.into_inner())
            }
            Mode::Sotw => {
                let requests = outgoing.filter_map(Request::sotw);
                Responses::Sotw(client.stream_aggregated_resources(requests).await?.into_inner())
            }
        };
        Ok(Connection { requests, responses })
    }

    /// What a status means for whoever has to do something about it.
    pub fn describe(&self, status: &Status) -> String {
        let text = format!("{:?}: {}", status.code(), status.message());
        if status.code() == Code::OutOfRange && self.max_response_bytes != 0 {
            return format!(
                "a response is over xds_max_message_size ({}): raise it, or set 0 for no limit ({text})",
                self.max_response_bytes
            );
        }
        text
    }
}

/// One open stream.
#[derive(Debug)]
pub struct Connection {
    requests: mpsc::Sender<Request>,
    responses: Responses,
}

#[derive(Debug)]
enum Responses {
    Delta(Streaming<DeltaDiscoveryResponse>),
    Sotw(Streaming<DiscoveryResponse>),
}

impl Connection {
    /// The next response. May be dropped and called again without loss.
    ///
    /// It is only read when there is room for the `unsent` requests and those that it leads to, so that a server that
    /// stops reading slows itself down and nothing piles up here.
    pub async fn next(&mut self, unsent: usize) -> Result<Response, Status> {
        // A closed channel shows in the responses too, with the reason.
        let _ = self.requests.reserve_many(unsent + REQUESTS_PER_RESPONSE).await;
        let response = match &mut self.responses {
            Responses::Delta(responses) => responses.message().await?.map(Response::Delta),
            Responses::Sotw(responses) => responses.message().await?.map(Response::Sotw),
        };
        response.ok_or_else(|| Status::unavailable("the server ended the stream"))
    }

    /// How many requests there is room for.
    pub fn room(&self) -> usize {
        self.requests.capacity()
    }

    /// Sends requests for which there is room.
    pub fn send(&self, requests: impl Iterator<Item = Request>) {
        for request in requests {
            if self.requests.try_send(request).is_err() {
                // The stream is over; `next` tells why.
                return;
            }
        }
    }
}

/// tonic's error and its causes: the first alone says "transport error".
fn explain(error: &TransportError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::Target;

    #[test]
    fn a_bad_source_is_told_with_its_cure() {
        for (uri, word) in [
            ("grpcs://istiod:15012", "grpc://host:port"),
            ("istiod:15010", "grpc://host:port"),
            ("grpc://istiod", "no port"),
            ("grpc://", "grpc://"),
            ("grpc://a b:1", "grpc://a b:1"),
        ] {
            let error = Target::new(uri, 0).unwrap_err().to_string();
            assert!(error.contains(word) && error.contains("xds"), "{uri}: {error}");
        }
        assert!(Target::new("grpc://[::1]:15010/", 0).is_ok());
    }
}
