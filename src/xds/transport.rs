//! The gRPC connection to the control plane: the only socket of the xDS client.
//!
//! In: an address and the first requests. Out: responses in order, or the status that ended the stream. Never here:
//! what a message means, or when to try again.

use tokio::sync::mpsc;
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use tonic::{Code, Status, Streaming};

use super::{
    Mode, SourceOptions,
    message::{Request, Response},
};
use crate::{
    error::Error,
    grpc::Peer,
    pb::envoy::service::discovery::v3::{
        DeltaDiscoveryResponse, DiscoveryResponse,
        aggregated_discovery_service_client::AggregatedDiscoveryServiceClient,
    },
};

/// Requests on their way.
const REQUESTS_IN_FLIGHT: usize = 64;

/// A response is answered, and may change the subscription to what it refers to.
const REQUESTS_PER_RESPONSE: usize = 2;

/// Where to connect to and within which limits.
#[derive(Debug, Clone)]
pub struct Target {
    /// As configured.
    pub uri: String,
    /// The control plane.
    pub peer: Peer,
    /// The largest response; zero is no limit.
    pub max_response_bytes: usize,
}

impl Target {
    /// Reads `grpcs://HOST:PORT` or `grpc://HOST:PORT`.
    pub fn new(uri: &str, options: &SourceOptions) -> Result<Self, Error> {
        if uri.starts_with("file://") {
            let problem = format!("{uri:?} is no control plane; xds_overlay lays files over one");
            return Err(Error::config("xds", problem));
        }
        let peer = options.peer(uri)?;
        Ok(Self { uri: uri.to_owned(), peer, max_response_bytes: options.max_response_bytes })
    }

    /// The largest message tonic may take; its own default of 4 MiB is less than a large mesh's clusters.
    fn decode_limit(&self) -> usize {
        if self.max_response_bytes == 0 { usize::MAX } else { self.max_response_bytes }
    }

    /// Connects, resolving the name anew, and opens the stream of this variant with `first` on it.
    ///
    /// Servers written in Go send their headers with the first response, so this returns no earlier than that.
    pub async fn open(self, mode: Mode, first: Vec<Request>) -> Result<Connection, Status> {
        let channel = self.peer.connect().await?;
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
                client.delta_aggregated_resources(requests).await.map(|r| Responses::Delta(r.into_inner()))
            }
            Mode::Sotw => {
                let requests = outgoing.filter_map(Request::sotw);
                client.stream_aggregated_resources(requests).await.map(|r| Responses::Sotw(r.into_inner()))
            }
        };
        let responses = responses.map_err(|status| self.peer.explain(status))?;
        Ok(Connection { requests, responses })
    }

    /// What a status means for whoever has to do something about it.
    pub fn describe(&self, status: &Status) -> String {
        let text = self.peer.describe(status);
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
