//! The watch machine on plain values.

use bytes::Bytes;

use super::*;
use crate::{
    apisix::{Directory, Key},
    pb::{
        etcdserverpb::{WatchCancelRequest, WatchProgressRequest, watch_create_request::FilterType},
        mvccpb,
    },
    store::{Delta, Options, Store},
};

fn store() -> Store {
    let store = Store::with_clock(Options { max_commits: 3, after: 98, ..Options::default() }, || 0);
    store.commit(&Delta::default());
    store
}

fn put(store: &Store, id: &str, value: &'static str) -> Revision {
    let puts = vec![(Key::new(Directory::Routes, id), Bytes::from_static(value.as_bytes()))];
    store.commit(&Delta { puts, deletes: vec![] }).unwrap().revision
}

fn delete(store: &Store, id: &str) -> Revision {
    store.commit(&Delta { puts: vec![], deletes: vec![Key::new(Directory::Routes, id)] }).unwrap().revision
}

fn all() -> WatchCreateRequest {
    WatchCreateRequest { key: "/apisix/".into(), range_end: "/apisix0".into(), ..Default::default() }
}

struct Client {
    store: Store,
    watches: Watches,
}

impl Client {
    /// A client of the gateway.
    fn new() -> Self {
        Self::over(Messages::EachCommit)
    }

    fn over(messages: Messages) -> Self {
        Self { store: store(), watches: Watches::new(Keyspace::new("/apisix"), messages) }
    }

    fn ask(&mut self, union: RequestUnion) -> Vec<WatchResponse> {
        let request = WatchRequest { request_union: Some(union) };
        self.watches.request(request, &self.store.snapshot());
        self.read()
    }

    fn create(&mut self, request: WatchCreateRequest) -> Vec<WatchResponse> {
        self.ask(RequestUnion::CreateRequest(request))
    }

    fn cancel(&mut self, watch_id: i64) -> Vec<WatchResponse> {
        self.ask(RequestUnion::CancelRequest(WatchCancelRequest { watch_id }))
    }

    fn read(&mut self) -> Vec<WatchResponse> {
        std::iter::from_fn(|| self.watches.next(&self.store.snapshot())).collect()
    }
}

fn revisions(responses: &[WatchResponse]) -> Vec<Revision> {
    responses.iter().map(|response| response.header.as_ref().unwrap().revision).collect()
}

#[test]
fn the_gateway_replays_each_commit_and_goes_on_live() {
    let mut client = Client::new();
    let (first, second) = (put(&client.store, "a", "1"), put(&client.store, "a", "2"));
    let replies = client.create(WatchCreateRequest { start_revision: first, prev_kv: true, ..all() });
    assert!(replies[0].created && replies[0].events.is_empty());
    assert_eq!(revisions(&replies), [first - 1, first, second]);
    assert_eq!(replies[2].events[0].prev_kv.as_ref().unwrap().value, "1");

    let third = delete(&client.store, "a");
    let replies = client.read();
    assert_eq!(revisions(&replies), [third]);
    let event = &replies[0].events[0];
    assert_eq!(event.r#type(), mvccpb::event::EventType::Delete);
    assert_eq!(event.prev_kv.as_ref().unwrap().value, "2");
    let gone = mvccpb::KeyValue { key: "/apisix/routes/a".into(), mod_revision: third, ..Default::default() };
    assert_eq!(event.kv.as_ref(), Some(&gone));
    assert!(client.read().is_empty());
}

#[test]
fn grpc_gets_all_that_it_missed_in_one_message_at_the_stores_revision() {
    let mut client = Client::over(Messages::Merged);
    let (first, second) = (put(&client.store, "a", "1"), delete(&client.store, "a"));
    let replies = client.create(WatchCreateRequest { start_revision: first, ..all() });
    assert_eq!(revisions(&replies), [second, second]);
    let told: Vec<_> =
        replies[1].events.iter().map(|event| event.kv.as_ref().unwrap().mod_revision).collect();
    assert_eq!(told, [first, second]);
    let third = put(&client.store, "a", "2");
    assert_eq!(revisions(&client.read()), [third]);
}

/// A full message ends with the commit that filled it, never within one.
#[test]
fn a_commit_is_never_spread_over_messages() {
    let large = || Bytes::from(vec![b'x'; FULL_MESSAGE / 2]);
    let commit = |store: &Store, ids: [&str; 3]| {
        let puts = ids.map(|id| (Key::new(Directory::Routes, id), large())).to_vec();
        store.commit(&Delta { puts, deletes: vec![] }).unwrap()
    };
    for messages in [Messages::Merged, Messages::EachCommit] {
        let mut client = Client::over(messages);
        client.create(all());
        commit(&client.store, ["a", "b", "c"]);
        commit(&client.store, ["d", "e", "f"]);
        let sizes: Vec<_> = client.read().iter().map(|reply| reply.events.len()).collect();
        assert_eq!(sizes, [3, 3], "{messages:?}");
    }
}

#[test]
fn who_asks_for_fragments_gets_a_large_commit_in_pieces() {
    let mut client = Client::new();
    client.create(WatchCreateRequest { fragment: true, ..all() });
    let ids: Vec<String> = (0..5).map(|id| id.to_string()).collect();
    let put = |id: &String| (Key::new(Directory::Routes, id), Bytes::from(vec![b'x'; 1 << 20]));
    let revision = client
        .store
        .commit(&Delta { puts: ids.iter().map(put).collect(), deletes: vec![] })
        .unwrap()
        .revision;
    let replies = client.read();
    assert_eq!(
        replies.iter().map(|reply| reply.fragment).collect::<Vec<_>>(),
        [true, true, true, true, false]
    );
    assert_eq!(revisions(&replies), [revision; 5]);
    let keys =
        replies.iter().flat_map(|reply| &reply.events).map(|event| event.kv.as_ref().unwrap().key.clone());
    assert!(keys.eq(ids.iter().map(|id| Bytes::from(format!("/apisix/routes/{id}")))));
}

/// Whatever the other watches of the stream are at.
#[test]
fn revisions_of_a_stream_never_fall() {
    for messages in [Messages::Merged, Messages::EachCommit] {
        let mut client = Client::over(messages);
        let first = put(&client.store, "a", "1");
        put(&client.store, "a", "2");
        client.create(all());
        let mut replies = client.create(WatchCreateRequest { start_revision: first, ..all() });
        put(&client.store, "a", "3");
        replies.extend(client.cancel(0));
        assert!(revisions(&replies).is_sorted(), "{messages:?}: {replies:?}");
    }
}

/// One that has much to catch up with does not hold up the others of its stream.
#[test]
fn watches_of_a_stream_take_turns() {
    let mut client = Client::new();
    let first = put(&client.store, "a", "1");
    put(&client.store, "a", "2");
    client.create(WatchCreateRequest { start_revision: first, watch_id: i64::MAX, ..all() });
    client.create(WatchCreateRequest { watch_id: i64::MIN, ..all() });
    put(&client.store, "a", "3");
    put(&client.store, "a", "4");
    let mut turns = client.read().into_iter().map(|reply| reply.watch_id);
    assert_eq!((turns.next(), turns.next()), (Some(i64::MIN), Some(i64::MAX)));
}

#[test]
fn a_start_before_history_is_told_where_it_can_go_on() {
    let mut client = Client::new();
    let first = client.store.snapshot().revision();
    for id in ["a", "b", "c", "d"] {
        put(&client.store, id, "1");
    }
    for start_revision in [-5, first] {
        let replies = client.create(WatchCreateRequest { start_revision, ..all() });
        assert!(replies[0].created && !replies[0].canceled);
        assert!(replies[1].canceled && replies[1].compact_revision > first);
        assert_eq!(replies.len(), 2);
    }
    let start_revision = client.store.snapshot().oldest_revision();
    let replies = client.create(WatchCreateRequest { start_revision, ..all() });
    assert_eq!(replies.iter().filter(|reply| !reply.events.is_empty()).count(), 3);
}

/// APISIX loads everything anew and would be given what it has; other clients may have nothing but the watch.
#[test]
fn what_missed_something_goes_on_from_the_present_or_from_all_there_is() {
    for messages in [Messages::EachCommit, Messages::Merged] {
        let mut client = Client::over(messages);
        for value in ["1", "2", "3", "4"] {
            put(&client.store, "a", value);
        }
        let snapshot = client.store.snapshot();
        let replies = client.create(WatchCreateRequest { start_revision: 1, ..all() });
        let go_on =
            if messages == Messages::Merged { snapshot.oldest_revision() } else { snapshot.revision() };
        assert_eq!(replies[1].compact_revision, go_on);
    }
}

#[test]
fn a_watch_that_falls_behind_is_cancelled_with_a_revision_it_can_watch() {
    let mut client = Client::new();
    client.create(all());
    for id in ["a", "b", "c", "d"] {
        put(&client.store, id, "1");
    }
    let replies = client.read();
    let [cancelled] = &replies[..] else { panic!("{replies:?}") };
    assert!(cancelled.canceled);
    let again = client.create(WatchCreateRequest { start_revision: cancelled.compact_revision, ..all() });
    assert!(again.iter().all(|reply| !reply.canceled));
}

#[test]
fn a_start_in_the_future_means_a_former_life_was_ahead() {
    let mut client = Client::new();
    let now = put(&client.store, "a", "1");
    let replies = client.create(WatchCreateRequest { start_revision: now + 2, ..all() });
    assert!(replies[0].created && replies[1].canceled);
    assert_eq!(replies[1].compact_revision, now);

    let replies = client.create(WatchCreateRequest { start_revision: now + 1, ..all() });
    assert_eq!(replies.len(), 1);
    let next = put(&client.store, "a", "2");
    assert_eq!(revisions(&client.read()), [next]);
}

#[test]
fn ids_are_chosen_by_the_client_or_counted() {
    let mut client = Client::new();
    let id = |replies: Vec<WatchResponse>| replies[0].watch_id;
    assert_eq!(id(client.create(WatchCreateRequest { watch_id: 1, ..all() })), 1);
    assert_eq!(id(client.create(all())), 0);
    assert_eq!(id(client.create(all())), 2);
    let refused = client.create(WatchCreateRequest { watch_id: 1, ..all() });
    assert!(refused[0].created && refused[0].canceled && refused[0].watch_id == NO_WATCH);
    assert!(refused[0].cancel_reason.contains("duplicate watch ID"));
    let empty = client.create(WatchCreateRequest { range_end: "/a".into(), ..all() });
    assert!(empty[0].canceled && empty[0].cancel_reason.contains("range is empty"));
}

#[test]
fn cancelling_ends_one_watch_once() {
    let mut client = Client::new();
    client.create(all());
    client.create(all());
    let replies = client.cancel(0);
    assert!(replies.len() == 1 && replies[0].canceled && replies[0].compact_revision == 0);
    assert!(client.cancel(0).is_empty());
    put(&client.store, "a", "1");
    assert_eq!(client.read().iter().map(|reply| reply.watch_id).collect::<Vec<_>>(), [1]);
}

#[test]
fn filters_and_ranges_leave_out_what_is_not_asked_for() {
    let mut client = Client::new();
    client.create(WatchCreateRequest { filters: vec![FilterType::Noput as i32], ..all() });
    client.create(WatchCreateRequest { filters: vec![FilterType::Nodelete as i32, 77], ..all() });
    client.create(WatchCreateRequest { key: "/apisix/routes/b".into(), ..Default::default() });
    put(&client.store, "a", "1");
    assert_eq!(client.read().iter().map(|reply| reply.watch_id).collect::<Vec<_>>(), [1]);
    delete(&client.store, "a");
    assert_eq!(client.read().iter().map(|reply| reply.watch_id).collect::<Vec<_>>(), [0]);
}

#[test]
fn progress_comes_when_asked_for_and_after_all_events() {
    let mut client = Client::new();
    client.create(all());
    let now = put(&client.store, "a", "1");
    let replies = client.ask(RequestUnion::ProgressRequest(WatchProgressRequest {}));
    assert_eq!(revisions(&replies), [now, now]);
    assert_eq!(replies.iter().map(|reply| reply.watch_id).collect::<Vec<_>>(), [0, NO_WATCH]);
    client.watches.interval_passed();
    client.watches.interval_passed();
    assert!(client.read().is_empty(), "nobody asked for notices");
}

#[test]
fn a_quiet_watch_is_told_the_revision_if_it_wants_to_know() {
    let mut client = Client::new();
    client.create(WatchCreateRequest { progress_notify: true, ..all() });
    client.watches.interval_passed();
    assert!(client.read().is_empty());
    client.watches.interval_passed();
    let replies = client.read();
    assert!(replies.len() == 1 && replies[0].events.is_empty() && replies[0].watch_id == 0);

    let now = put(&client.store, "a", "1");
    client.watches.interval_passed();
    assert_eq!(revisions(&client.read()), [now]);
}
