//! A long list in pieces, each made when the connection has room for it.
//!
//! In: a range that asks for all that is in an interval now. Out: the bytes of its answer, as JSON or as a gRPC message.
//! Never here: any other range; `range` looks at all its pairs before it answers.
//!
//! The whole answer would take a hundred megabytes where a piece does, once for each client that lists at that moment, and
//! the loop would have no time for anybody else until it is written.

mod grpc;
mod json;

use std::sync::Arc;

use bytes::Bytes;

pub(in crate::etcd) use self::grpc::{PATH, answer};
use crate::{
    etcd::{
        endpoint::{Endpoint, header},
        keyspace::{Interval, Keyspace, Pair},
        status::Refusal,
        validate,
    },
    pb::etcdserverpb::{RangeRequest, ResponseHeader},
    store::Snapshot,
};

/// A list of more pairs is long.
const MANY: usize = 64;
/// With so many bytes a piece is full.
const PIECE: usize = 64 << 10;

/// All pairs of an interval at one revision.
pub(in crate::etcd) struct List {
    keyspace: Keyspace,
    snapshot: Arc<Snapshot>,
    /// Of keys as the store has them.
    interval: Interval,
}

/// How an answer is written.
trait Form {
    fn begin(&mut self, header: &ResponseHeader, text: &mut Vec<u8>);
    fn pair(&mut self, pair: Pair, text: &mut Vec<u8>);
    fn end(&mut self, text: &mut Vec<u8>);
}

impl Endpoint {
    /// The list that a request asks for, if it is a long one.
    pub(in crate::etcd) async fn list(&self, request: &RangeRequest) -> Result<Option<List>, Refusal> {
        validate::range(request)?;
        if !asks_for_all(request) {
            return Ok(None);
        }
        let interval = Interval::new(request.key.clone(), request.range_end.clone());
        let list = List::new(self.keyspace.clone(), self.snapshot().await, &interval);
        let is_long = list.pairs().nth(MANY).is_some();
        Ok(is_long.then_some(list))
    }
}

/// More than one key, without an order, filters, a limit or anything else to look at all pairs for.
fn asks_for_all(request: &RangeRequest) -> bool {
    if request.range_end.is_empty() {
        return false;
    }
    let RangeRequest { key, range_end, serializable, .. } = request.clone();
    *request == RangeRequest { key, range_end, serializable, ..RangeRequest::default() }
}

impl List {
    fn new(keyspace: Keyspace, snapshot: Arc<Snapshot>, interval: &Interval) -> Self {
        let interval = keyspace.stored(interval);
        Self { keyspace, snapshot, interval }
    }

    fn pairs(&self) -> impl Iterator<Item = Pair<'_>> {
        self.keyspace.each(&self.snapshot, &self.interval)
    }

    /// The pieces of the answer.
    fn pieces(mut self, mut form: impl Form) -> impl Iterator<Item = Bytes> {
        let mut first = Vec::new();
        form.begin(&header(self.snapshot.revision()), &mut first);
        let mut begun = Some(first);
        std::iter::from_fn(move || {
            let mut piece = begun.take()?;
            piece.reserve(PIECE + PIECE / 8);
            let full_at = self.write(&mut form, &mut piece);
            match full_at {
                Some(interval) => {
                    self.interval = interval;
                    begun = Some(Vec::new());
                }
                None => form.end(&mut piece),
            }
            Some(piece.into())
        })
    }

    /// Writes pairs until the piece is full; what is left then.
    fn write(&self, form: &mut impl Form, piece: &mut Vec<u8>) -> Option<Interval> {
        for pair in self.pairs() {
            form.pair(pair, piece);
            if piece.len() >= PIECE {
                return Some(self.interval.after(pair.key));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests;
