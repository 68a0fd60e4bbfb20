//! Runs one stream of watches: requests in, responses out, until the client is gone.
//!
//! In: a stream of requests, gRPC's or the gateway's. Out: a channel with room for one response. Never here: what is
//! answered, that is [`Watches`]; or a wait for a client that left: the task ends as soon as its receiver is dropped.

use std::sync::Arc;

use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval_at},
};
use tokio_stream::{Stream, StreamExt as _, wrappers::ReceiverStream};
use tonic::{Request, Response, Status, Streaming};

use super::{Messages, Watches};
use crate::{
    etcd::{
        endpoint::{Endpoint, Shared},
        status::Refusal,
    },
    pb::etcdserverpb::{WatchRequest, WatchResponse, watch_server::Watch},
};

/// Responses to the requests of one client. Dropping it ends the watches.
pub(in crate::etcd) type Responses = ReceiverStream<Result<WatchResponse, Refusal>>;

impl Endpoint {
    /// Starts a stream of watches. The end of the requests does not end it, a bad request does.
    pub(in crate::etcd) fn watch(
        self: &Arc<Self>,
        messages: Messages,
        requests: impl Stream<Item = Result<WatchRequest, Refusal>> + Send + Unpin + 'static,
    ) -> Responses {
        let (responses, receiver) = mpsc::channel(1);
        let endpoint = self.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = responses.closed() => {}
                () = run(&endpoint, Watches::new(endpoint.keyspace.clone(), messages), requests, &responses) => {}
            }
        });
        ReceiverStream::new(receiver)
    }
}

async fn run(
    endpoint: &Endpoint,
    mut watches: Watches,
    mut requests: impl Stream<Item = Result<WatchRequest, Refusal>> + Unpin,
    responses: &mpsc::Sender<Result<WatchResponse, Refusal>>,
) {
    endpoint.store.ready().await;
    let mut revisions = endpoint.store.revisions();
    let every = endpoint.options.progress_interval;
    let mut progress = interval_at(Instant::now() + every, every);
    progress.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut open = true;
    loop {
        revisions.mark_unchanged();
        // A fresh snapshot for each response: a slow reader must not keep an old state alive.
        while let Some(response) = watches.next(&endpoint.store.snapshot()) {
            if responses.send(Ok(response)).await.is_err() {
                return;
            }
        }
        tokio::select! {
            request = requests.next(), if open => match request {
                Some(Ok(request)) => watches.request(request, &endpoint.store.snapshot()),
                Some(Err(refusal)) => {
                    let _ = responses.send(Err(refusal)).await;
                    return;
                }
                None => open = false,
            },
            changed = revisions.changed() => if changed.is_err() { return },
            _ = progress.tick() => watches.interval_passed(),
        }
    }
}

#[tonic::async_trait]
impl Watch for Shared {
    type WatchStream = std::pin::Pin<Box<dyn Stream<Item = Result<WatchResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<Streaming<WatchRequest>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let requests = request.into_inner().map_while(|request| request.ok().map(Ok));
        let responses =
            self.0.watch(Messages::Merged, requests).map(|response| response.map_err(Status::from));
        Ok(Response::new(Box::pin(responses)))
    }
}
