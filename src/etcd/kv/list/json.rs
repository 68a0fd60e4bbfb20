//! A list as the gateway's JSON.

use bytes::Bytes;

use super::{Form, List};
use crate::{
    etcd::{json, keyspace::Pair},
    pb::etcdserverpb::ResponseHeader,
};

impl List {
    /// The pieces of an object.
    pub(in crate::etcd) fn json(self) -> impl Iterator<Item = Bytes> {
        self.pieces(Json { count: 0 })
    }
}

struct Json {
    count: usize,
}

impl Form for Json {
    fn begin(&mut self, header: &ResponseHeader, text: &mut Vec<u8>) {
        text.extend_from_slice(b"{\"header\":");
        json::write_to(text, header);
        text.extend_from_slice(b",\"kvs\":[");
    }

    fn pair(&mut self, pair: Pair, text: &mut Vec<u8>) {
        if self.count > 0 {
            text.push(b',');
        }
        self.count += 1;
        json::write_to(text, &pair);
    }

    fn end(&mut self, text: &mut Vec<u8>) {
        text.extend_from_slice(format!("],\"count\":\"{}\"}}", self.count).as_bytes());
    }
}
