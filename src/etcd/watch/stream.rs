//! Runs one stream of watches: requests in, responses out, until the client is gone.
//!
//! In: a stream of requests, gRPC's or the gateway's. Out: a stream of responses, each made when the connection has room
//! for it: a reader that stopped is not asked, and holds neither events nor an old state. Never here: what is answered,
//! that is [`Watches`]; or a task: what the connection drops is gone.
//!
//! In a burst of commits most of the time would go into writing each to each connection alone. Whoever has just had a
//! response hears of new commits a moment later, and gets what came meanwhile in one write.

use std::{
    future::Future as _,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Instant, Interval, MissedTickBehavior, Sleep, interval_at, sleep};
use tokio_stream::{Stream, StreamExt as _, wrappers::WatchStream};
use tonic::{Request, Response, Status, Streaming};

use super::{Messages, Watches};
use crate::{
    etcd::{
        endpoint::{Endpoint, Shared},
        status::Refusal,
    },
    pb::etcdserverpb::{WatchRequest, WatchResponse, watch_server::Watch},
    store::Revision,
};

/// From a response to the next, in a burst: nothing beside what APISIX takes to make something of it.
const REST: Duration = Duration::from_millis(1);

/// The responses to the requests of one client. Dropping it ends the watches.
pub(in crate::etcd) struct Responses<R> {
    endpoint: Arc<Endpoint>,
    watches: Watches,
    /// Nothing after their end, which does not end the watches.
    requests: Option<R>,
    revisions: WatchStream<Revision>,
    progress: Interval,
    /// Until then new commits are left alone, if there are any.
    rest: Option<Pin<Box<Sleep>>>,
    last_response: Instant,
    refused: bool,
}

impl Endpoint {
    /// Starts a stream of watches. A request is read when those before it are answered; a bad one ends the stream.
    pub(in crate::etcd) fn watch<R>(self: &Arc<Self>, messages: Messages, requests: R) -> Responses<R> {
        let every = self.options.progress_interval;
        let mut progress = interval_at(Instant::now() + every, every);
        progress.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Responses {
            endpoint: self.clone(),
            watches: Watches::new(self.keyspace.clone(), messages),
            requests: Some(requests),
            revisions: WatchStream::from_changes(self.store.revisions()),
            progress,
            rest: None,
            last_response: Instant::now(),
            refused: false,
        }
    }
}

impl<R: Stream<Item = Result<WatchRequest, Refusal>> + Unpin> Responses<R> {
    /// Waits until the watches may have something to say.
    fn poll_news(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Refusal>> {
        // Before the first commit there is nothing to answer with.
        if self.endpoint.store.snapshot().is_ready()
            && let Some(requests) = &mut self.requests
            && let Poll::Ready(request) = Pin::new(requests).poll_next(context)
        {
            match request {
                Some(request) => self.watches.request(request?, &self.endpoint.store.snapshot()),
                None => self.requests = None,
            }
            return Poll::Ready(Ok(()));
        }
        if self.progress.poll_tick(context).is_ready() {
            self.watches.interval_passed();
            return Poll::Ready(Ok(()));
        }
        self.poll_commits(context).map(Ok)
    }

    fn poll_commits(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.rest.is_none() {
            ready!(Pin::new(&mut self.revisions).poll_next(context));
            let left = REST.saturating_sub(self.last_response.elapsed());
            self.rest = (!left.is_zero()).then(|| Box::pin(sleep(left)));
        }
        if let Some(rest) = &mut self.rest {
            ready!(rest.as_mut().poll(context));
            self.rest = None;
        }
        Poll::Ready(())
    }
}

impl<R: Stream<Item = Result<WatchRequest, Refusal>> + Unpin> Stream for Responses<R> {
    type Item = Result<WatchResponse, Refusal>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.refused {
            return Poll::Ready(None);
        }
        loop {
            let snapshot = self.endpoint.store.snapshot();
            if let Some(response) = self.watches.next(&snapshot) {
                self.last_response = Instant::now();
                return Poll::Ready(Some(Ok(response)));
            }
            // A waiting stream must not keep an old state alive.
            drop(snapshot);
            if let Err(refusal) = ready!(self.poll_news(context)) {
                self.refused = true;
                return Poll::Ready(Some(Err(refusal)));
            }
        }
    }
}

#[tonic::async_trait]
impl Watch for Shared {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<WatchResponse, Status>> + Send>>;

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
