use std::collections::BTreeMap;

use bytes::{BufMut as _, BytesMut};
use proptest::prelude::*;
use prost::Message as _;

use super::*;
use crate::{
    apisix::{Directory, Key},
    etcd::{json, kv::range},
    pb::etcdserverpb::RangeResponse,
    store::{Delta, Options, Store},
};

fn store(objects: &BTreeMap<(usize, String), usize>) -> Store {
    let store = Store::new(Options::default());
    let object = |((directory, id), &size): (&(usize, String), &usize)| {
        (Key::new(Directory::ALL[*directory], id), Bytes::from(vec![b'v'; size]))
    };
    store.commit(&Delta { puts: objects.iter().map(object).collect(), deletes: vec![] });
    store
}

/// Some of several pieces, some with one value that is longer than a piece.
fn objects() -> impl Strategy<Value = BTreeMap<(usize, String), usize>> {
    let size = prop_oneof![50 => 0..2_000_usize, 1 => PIECE..2 * PIECE];
    proptest::collection::btree_map((0..Directory::ALL.len(), "[a-z0-9]{1,9}"), size, 0..200)
}

fn ends() -> impl Strategy<Value = (String, String)> {
    let key = prop_oneof![
        Just("/apisix".to_owned()),
        Just("/apisix/".to_owned()),
        Just("\0".to_owned()),
        Just("/apisiy".to_owned()),
        "/apisix/(routes|upstreams|ssls)(/[a-z0-9]{0,3})?",
    ];
    (key.clone(), key)
}

fn both((store, (key, range_end)): (&Store, (String, String))) -> (List, RangeResponse) {
    let request = RangeRequest { key: key.into(), range_end: range_end.into(), ..RangeRequest::default() };
    let interval = Interval::new(request.key.clone(), request.range_end.clone());
    let (keyspace, snapshot) = (Keyspace::new("/apisix"), store.snapshot());
    let whole = range::answer(&keyspace, &snapshot, request).unwrap();
    (List::new(keyspace, snapshot, &interval), whole)
}

proptest! {
    #[test]
    fn the_pieces_are_the_answer_in_json(objects in objects(), ends in ends()) {
        let store = store(&objects);
        let (list, whole) = both((&store, ends));
        prop_assume!(!whole.kvs.is_empty());
        let pieces: Vec<Bytes> = list.json().collect();
        prop_assert_eq!(pieces.concat(), json::write(&whole));
    }

    #[test]
    fn the_pieces_are_the_answer_in_grpc(objects in objects(), ends in ends()) {
        let store = store(&objects);
        let (list, whole) = both((&store, ends));
        let mut message = BytesMut::new();
        message.put_u8(0);
        message.put_u32(whole.encoded_len() as u32);
        whole.encode(&mut message).unwrap();
        let pieces: Vec<Bytes> = list.grpc().collect();
        prop_assert_eq!(pieces.concat(), message.to_vec());
    }
}

#[test]
fn a_piece_is_full_once() {
    let objects = (0..1000).map(|i| ((2, format!("{i:04}")), 500)).collect();
    let store = store(&objects);
    let (list, _) = both((&store, ("/apisix/".to_owned(), "/apisix0".to_owned())));
    let sizes: Vec<usize> = list.json().map(|piece| piece.len()).collect();
    assert!(sizes.len() > 5, "{sizes:?}");
    assert!(sizes.iter().all(|&size| size < PIECE + 1000), "{sizes:?}");
}

#[test]
fn only_who_asks_for_all_gets_pieces() {
    let all = RangeRequest {
        key: "a".into(),
        range_end: "b".into(),
        serializable: true,
        ..RangeRequest::default()
    };
    assert!(asks_for_all(&all));
    for other in [
        RangeRequest { limit: 1, ..all.clone() },
        RangeRequest { revision: 1, ..all.clone() },
        RangeRequest { keys_only: true, ..all.clone() },
        RangeRequest { count_only: true, ..all.clone() },
        RangeRequest { sort_target: 1, ..all.clone() },
        RangeRequest { min_mod_revision: 1, ..all.clone() },
    ] {
        assert!(!asks_for_all(&other), "{other:?}");
    }
}
