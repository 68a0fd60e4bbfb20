//! A message in pieces, for clients that cannot take a large one whole.
//!
//! In: a response with events. Out: the same events in several responses, each but the last marked as a fragment, an event
//! never in two. Never here: a response to a client that did not ask for it.

use prost::Message as _;

use crate::pb::{etcdserverpb::WatchResponse, mvccpb::Event};

/// etcd's own bound: the largest request, 1.5 MiB, and 512 KiB besides.
const MAX_FRAGMENT: usize = 2 << 20;

pub(super) fn fragments(mut whole: WatchResponse) -> Vec<WatchResponse> {
    let events = std::mem::take(&mut whole.events);
    let mut pieces = vec![Vec::new()];
    let mut size = 0;
    for event in events {
        let bytes = event.encoded_len();
        if size > 0 && size + bytes > MAX_FRAGMENT {
            pieces.push(Vec::new());
            size = 0;
        }
        size += bytes;
        pieces.last_mut().expect("there is one from the start").push(event);
    }
    let last = pieces.len() - 1;
    let response = |(place, events): (usize, Vec<Event>)| WatchResponse {
        fragment: place < last,
        events,
        ..whole.clone()
    };
    pieces.into_iter().enumerate().map(response).collect()
}
