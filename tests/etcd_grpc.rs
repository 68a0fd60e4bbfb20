//! gRPC as etcd's own clients speak it: codes, texts, streams, and answers of any size.

mod support;

use apisix_mesh::pb::etcdserverpb::{
    AlarmRequest, CompactionRequest, DeleteRangeRequest, HashKvRequest, HashRequest, PutRequest,
    RangeRequest, RequestOp, TxnRequest, WatchCancelRequest, WatchCreateRequest, WatchRequest, WatchResponse,
    alarm_request::AlarmAction, compare::CompareTarget, kv_client::KvClient,
    maintenance_client::MaintenanceClient, request_op::Request, response_op::Response,
    watch_client::WatchClient, watch_request::RequestUnion,
};
use support::etcd::{Endpoint, route};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Streaming, transport::Channel};

async fn channel(endpoint: &Endpoint) -> Channel {
    Channel::from_shared(format!("http://{}", endpoint.address)).unwrap().connect().await.unwrap()
}

fn range(key: &'static str) -> RangeRequest {
    RangeRequest { key: key.into(), ..RangeRequest::default() }
}

#[tokio::test]
async fn refusals_have_etcds_codes_and_texts() {
    let endpoint = Endpoint::empty();
    let mut kv = KvClient::new(channel(&endpoint).await);
    let future = RangeRequest { revision: 99_999_999_999_999, ..range("a") };
    let compacted = RangeRequest { revision: 1, ..range("a") };
    let unsorted = RangeRequest { sort_target: 9, ..range("a") };
    let written = Some(Request::RequestPut(PutRequest { key: "a".into(), ..PutRequest::default() }));
    let twice = vec![RequestOp { request: written.clone() }; 2];
    let refusals = [
        (kv.range(range("")).await.unwrap_err(), Code::InvalidArgument, "key is not provided"),
        (kv.range(unsorted).await.unwrap_err(), Code::InvalidArgument, "invalid sort option"),
        (
            kv.range(compacted).await.unwrap_err(),
            Code::OutOfRange,
            "mvcc: required revision has been compacted",
        ),
        (
            kv.range(future).await.unwrap_err(),
            Code::OutOfRange,
            "mvcc: required revision is a future revision",
        ),
        (
            kv.txn(TxnRequest { success: twice, ..TxnRequest::default() }).await.unwrap_err(),
            Code::InvalidArgument,
            "duplicate key given in txn request",
        ),
        (
            kv.txn(TxnRequest { success: vec![RequestOp::default(); 129], ..TxnRequest::default() })
                .await
                .unwrap_err(),
            Code::InvalidArgument,
            "too many operations in txn request",
        ),
        (
            kv.txn(TxnRequest { failure: vec![RequestOp { request: written }], ..TxnRequest::default() })
                .await
                .unwrap_err(),
            Code::PermissionDenied,
            "permission denied",
        ),
        (
            kv.put(PutRequest { key: "/apisix/routes/1".into(), ..PutRequest::default() }).await.unwrap_err(),
            Code::PermissionDenied,
            "permission denied",
        ),
        (
            kv.delete_range(DeleteRangeRequest { key: "a".into(), ..Default::default() }).await.unwrap_err(),
            Code::PermissionDenied,
            "permission denied",
        ),
        (
            kv.compact(CompactionRequest::default()).await.unwrap_err(),
            Code::PermissionDenied,
            "permission denied",
        ),
    ];
    for (status, code, text) in refusals {
        assert_eq!((status.code(), status.message()), (code, format!("etcdserver: {text}").as_str()));
    }
}

#[tokio::test]
async fn what_nobody_wrote_is_unimplemented() {
    let endpoint = Endpoint::empty();
    for path in ["/v3lockpb.Lock/Lock", "/etcdserverpb.KV/Nope", "/etcdserverpb.Nope/Range"] {
        let mut client = tonic::client::Grpc::new(channel(&endpoint).await);
        client.ready().await.unwrap();
        let codec = tonic_prost::ProstCodec::<RangeRequest, RangeRequest>::default();
        let request = tonic::Request::new(range("a"));
        let status =
            client.unary(request, http::uri::PathAndQuery::from_static(path), codec).await.unwrap_err();
        assert_eq!(status.code(), Code::Unimplemented, "{path}");
    }
}

#[tokio::test]
async fn a_transaction_that_only_reads_compares_first() {
    let endpoint = Endpoint::empty();
    let revision = endpoint.put(route("a"), "{}");
    let mut kv = KvClient::new(channel(&endpoint).await);
    for (number, succeeds) in [(revision, true), (revision - 1, false)] {
        let compare = apisix_mesh::pb::etcdserverpb::Compare {
            key: "/apisix/routes/a".into(),
            target: CompareTarget::Mod as i32,
            target_union: Some(apisix_mesh::pb::etcdserverpb::compare::TargetUnion::ModRevision(number)),
            ..Default::default()
        };
        let read = |key| vec![RequestOp { request: Some(Request::RequestRange(range(key))) }];
        let (success, failure) = (read("/apisix/routes/a"), read("/apisix/routes/b"));
        let answer =
            kv.txn(TxnRequest { compare: vec![compare], success, failure }).await.unwrap().into_inner();
        let Some(Response::ResponseRange(found)) = &answer.responses[0].response else {
            panic!("it is a range")
        };
        assert_eq!((answer.succeeded, found.count), (succeeds, i64::from(succeeds)));
    }
}

#[tokio::test]
async fn an_answer_may_be_larger_than_grpcs_usual_limit() {
    let endpoint = Endpoint::empty();
    for id in 0..12 {
        endpoint.put(route(&id.to_string()), "x".repeat(1 << 20));
    }
    let mut kv = KvClient::new(channel(&endpoint).await).max_decoding_message_size(usize::MAX);
    let all = RangeRequest { range_end: "/apisix/routes0".into(), ..range("/apisix/routes/") };
    assert_eq!(kv.range(all).await.unwrap().into_inner().kvs.len(), 13);
}

/// Members of a cluster are compared by it; so are two processes that serve the same.
#[tokio::test]
async fn a_hash_tells_whether_the_same_is_served() {
    let endpoint = Endpoint::empty();
    let mut maintenance = MaintenanceClient::new(channel(&endpoint).await);
    let first = endpoint.put(route("a"), "{}");
    let mut hash_at = async |revision| {
        maintenance.hash_kv(HashKvRequest { revision }).await.map(|answer| answer.into_inner())
    };
    let before = hash_at(0).await.unwrap();
    let second = endpoint.put(route("a"), "{ }");
    let after = hash_at(0).await.unwrap();
    assert_eq!((before.hash_revision, after.hash_revision), (first, second));
    assert_ne!(before.hash, after.hash);
    assert_eq!(hash_at(first).await.unwrap().hash, before.hash);
    assert_eq!(hash_at(second + 1).await.unwrap_err().code(), Code::OutOfRange);
    let mut maintenance = MaintenanceClient::new(channel(&endpoint).await);
    assert_eq!(maintenance.hash(HashRequest {}).await.unwrap().into_inner().hash, after.hash);
}

#[tokio::test]
async fn there_are_no_alarms_and_none_can_be_raised() {
    let endpoint = Endpoint::empty();
    let mut maintenance = MaintenanceClient::new(channel(&endpoint).await);
    for action in [AlarmAction::Get, AlarmAction::Deactivate] {
        let request = AlarmRequest { action: action as i32, ..AlarmRequest::default() };
        let answer = maintenance.alarm(request).await.unwrap().into_inner();
        assert!(answer.alarms.is_empty() && answer.header.unwrap().revision > 0);
    }
    let raise = AlarmRequest { action: AlarmAction::Activate as i32, ..AlarmRequest::default() };
    assert_eq!(maintenance.alarm(raise).await.unwrap_err().code(), Code::PermissionDenied);
}

struct Watcher {
    requests: mpsc::Sender<WatchRequest>,
    responses: Streaming<WatchResponse>,
}

impl Watcher {
    async fn open(endpoint: &Endpoint) -> Self {
        Self::over(channel(endpoint).await).await
    }

    async fn over(channel: Channel) -> Self {
        let (requests, receiver) = mpsc::channel(8);
        let mut client = WatchClient::new(channel);
        let responses = client.watch(ReceiverStream::new(receiver)).await.unwrap().into_inner();
        Self { requests, responses }
    }

    async fn ask(&mut self, union: RequestUnion) -> WatchResponse {
        self.requests.send(WatchRequest { request_union: Some(union) }).await.unwrap();
        self.next().await
    }

    async fn next(&mut self) -> WatchResponse {
        self.responses.message().await.unwrap().expect("the stream goes on")
    }
}

#[tokio::test]
async fn many_watches_share_a_stream_and_end_one_by_one() {
    let endpoint = Endpoint::empty();
    let mut watcher = Watcher::open(&endpoint).await;
    let create = |watch_id| {
        let (key, range_end) = ("/apisix/".into(), "/apisix0".into());
        RequestUnion::CreateRequest(WatchCreateRequest { key, range_end, watch_id, ..Default::default() })
    };
    assert_eq!(watcher.ask(create(0)).await.watch_id, 0);
    assert_eq!(watcher.ask(create(7)).await.watch_id, 7);
    let cancel = RequestUnion::CancelRequest(WatchCancelRequest { watch_id: 0 });
    assert!(watcher.ask(cancel).await.canceled);
    let revision = endpoint.put(route("a"), "{}");
    let response = watcher.next().await;
    assert_eq!((response.watch_id, response.header.unwrap().revision), (7, revision));

    drop(watcher);
    while endpoint.store.readers() > 0 {
        tokio::task::yield_now().await;
    }
}

/// Each context of the official client has a stream of its own, all of them on one connection.
#[tokio::test]
async fn a_connection_has_room_for_any_number_of_streams() {
    let endpoint = Endpoint::empty();
    let channel = channel(&endpoint).await;
    let create = || {
        let (key, range_end) = ("/apisix/".into(), "/apisix0".into());
        RequestUnion::CreateRequest(WatchCreateRequest { key, range_end, ..Default::default() })
    };
    let mut watchers = Vec::new();
    for _ in 0..1000 {
        let mut watcher = Watcher::over(channel.clone()).await;
        assert!(watcher.ask(create()).await.created);
        watchers.push(watcher);
    }
    assert_eq!(endpoint.store.readers(), 1000);
    let revision = endpoint.put(route("a"), "{}");
    for watcher in &mut watchers {
        assert_eq!(watcher.next().await.header.unwrap().revision, revision);
    }
    // Leaving them all at once ends no more than them.
    drop(watchers);
    let mut kv = KvClient::new(channel);
    while endpoint.store.readers() > 0 {
        kv.range(range("/apisix/routes/a")).await.unwrap();
    }
}

/// A client that gives up again and again before it is answered is none that attacks.
#[tokio::test]
async fn calls_that_are_given_up_do_not_end_the_connection() {
    let endpoint = Endpoint::unready();
    let channel = channel(&endpoint).await;
    for _ in 0..2000 {
        let mut kv = KvClient::new(channel.clone());
        let asked = tokio::time::timeout(std::time::Duration::ZERO, kv.range(range("a")));
        assert!(asked.await.is_err(), "there is nothing to answer with yet");
    }
    endpoint.store.commit(&apisix_mesh::store::Delta::default());
    let mut kv = KvClient::new(channel);
    assert_eq!(kv.range(range("a")).await.unwrap().into_inner().count, 0);
}
