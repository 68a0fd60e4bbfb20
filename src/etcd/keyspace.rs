//! What a client sees as keys: the objects under the prefix, and a marker for each of APISIX's directories.
//!
//! In: a snapshot of the store, etcd keys and ranges. Out: key-value pairs in bytewise order. Never here: a marker in
//! an event; APISIX would take it for a deletion of what it marks (contract section 2).
//!
//! Without its marker APISIX does not load a directory at start, and routes of it are missing until a timer runs
//! (contract section 1). The value is no JSON on purpose: that is how the marker is told from an item.

use bytes::Bytes;

use crate::{
    apisix::Key,
    pb::mvccpb,
    store::{KeyValue, Revision, Snapshot},
};

/// Every directory that any APISIX since 3.0 reads, sorted as keys are.
const DIRECTORIES: [&str; 13] = [
    "/consumer_groups/",
    "/consumers/",
    "/global_rules/",
    "/plugin_configs/",
    "/plugin_metadata/",
    "/plugins/",
    "/protos/",
    "/routes/",
    "/secrets/",
    "/services/",
    "/ssls/",
    "/stream_routes/",
    "/upstreams/",
];

/// The value of a marker.
pub(super) const MARKER: &[u8] = b"init_dir";
static MARKER_VALUE: Bytes = Bytes::from_static(MARKER);

/// A range of etcd keys, as every request gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Interval {
    from: Bytes,
    to: End,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum End {
    /// Only the key itself.
    Single,
    /// All keys from there on.
    Open,
    /// The keys before this one.
    Before(Bytes),
}

impl Interval {
    /// Without an end it is one key; with the end `\0` it is all that follows.
    pub(super) fn new(key: Bytes, range_end: Bytes) -> Self {
        let to = match range_end.as_ref() {
            [] => End::Single,
            [0] => End::Open,
            _ => End::Before(range_end),
        };
        Self { from: key, to }
    }

    pub(super) fn is_empty(&self) -> bool {
        matches!(&self.to, End::Before(end) if *end <= self.from)
    }

    pub(super) fn contains(&self, key: &[u8]) -> bool {
        key >= self.from.as_ref() && !self.is_past(key)
    }

    /// Whether this key and all after it are beyond the end.
    fn is_past(&self, key: &[u8]) -> bool {
        match &self.to {
            End::Single => key > self.from.as_ref(),
            End::Open => false,
            End::Before(end) => key >= end.as_ref(),
        }
    }

    /// The same range for keys without the prefix that all of them have.
    fn without(&self, prefix: &[u8]) -> Self {
        let bound = |bytes: &Bytes| match bytes.strip_prefix(prefix) {
            Some(rest) => Bound::Within(bytes.slice_ref(rest)),
            None if bytes.as_ref() < prefix => Bound::BeforeAll,
            None => Bound::AfterAll,
        };
        let from = match bound(&self.from) {
            Bound::Within(from) => from,
            Bound::BeforeAll if self.to != End::Single => Bytes::new(),
            Bound::BeforeAll | Bound::AfterAll => return Self::nothing(),
        };
        let to = match &self.to {
            End::Before(end) => match bound(end) {
                Bound::Within(end) => End::Before(end),
                Bound::BeforeAll => return Self::nothing(),
                Bound::AfterAll => End::Open,
            },
            unchanged => unchanged.clone(),
        };
        Self { from, to }
    }

    /// What of it comes after a key.
    pub(super) fn after(&self, key: &str) -> Self {
        match self.to {
            End::Single => Self::nothing(),
            _ => Self { from: [key.as_bytes(), b"\0"].concat().into(), to: self.to.clone() },
        }
    }

    fn nothing() -> Self {
        Self { from: Bytes::new(), to: End::Before(Bytes::new()) }
    }
}

/// Where a bound lies among the keys of one prefix.
enum Bound {
    BeforeAll,
    Within(Bytes),
    AfterAll,
}

/// A key and its value as they lie in the store.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pair<'a> {
    pub(super) prefix: &'a str,
    /// Without the prefix.
    pub(super) key: &'a str,
    pub(super) create_revision: Revision,
    pub(super) mod_revision: Revision,
    pub(super) version: i64,
    pub(super) value: &'a Bytes,
}

impl<'a> Pair<'a> {
    fn of(prefix: &'a str, key: &'a Key, kv: &'a KeyValue) -> Self {
        let KeyValue { value, create_revision, mod_revision, version } = kv;
        let (create_revision, mod_revision, version) = (*create_revision, *mod_revision, *version);
        Self { prefix, key: key.as_str(), create_revision, mod_revision, version, value }
    }

    /// As it is answered.
    pub(super) fn message(self) -> mvccpb::KeyValue {
        mvccpb::KeyValue {
            key: join(self.prefix, self.key),
            create_revision: self.create_revision,
            mod_revision: self.mod_revision,
            version: self.version,
            value: self.value.clone(),
            lease: 0,
        }
    }
}

fn join(prefix: &str, key: &str) -> Bytes {
    [prefix.as_bytes(), key.as_bytes()].concat().into()
}

/// The prefix, and how keys are made with it.
#[derive(Debug, Clone)]
pub(super) struct Keyspace {
    prefix: String,
}

impl Keyspace {
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.trim_end_matches('/').to_owned() }
    }

    /// A store's key as clients see it.
    pub(super) fn join(&self, key: &str) -> Bytes {
        join(&self.prefix, key)
    }

    /// The key without the prefix, if it has it.
    fn strip<'a>(&self, key: &'a [u8]) -> Option<&'a [u8]> {
        key.strip_prefix(self.prefix.as_bytes())
    }

    pub(super) fn pair(&self, key: &Key, kv: &KeyValue) -> mvccpb::KeyValue {
        Pair::of(&self.prefix, key, kv).message()
    }

    /// The same range for keys as the store has them.
    pub(super) fn stored(&self, interval: &Interval) -> Interval {
        interval.without(self.prefix.as_bytes())
    }

    /// The keys of a range with their values, sorted bytewise.
    pub(super) fn pairs(&self, snapshot: &Snapshot, interval: &Interval) -> Vec<mvccpb::KeyValue> {
        self.each(snapshot, &self.stored(interval)).map(|pair| pair.message()).collect()
    }

    /// The same one by one as they lie there, for a range of keys as the store has them.
    pub(super) fn each<'a>(
        &'a self,
        snapshot: &'a Snapshot,
        interval: &'a Interval,
    ) -> impl Iterator<Item = Pair<'a>> {
        // A range may start in the middle of a character; keys are text, and none is cut off by starting before it.
        let lowest = interval.from.utf8_chunks().next().map_or("", |chunk| chunk.valid());
        let objects = snapshot
            .objects_from(lowest)
            .skip_while(|(key, _)| key.as_str().as_bytes() < interval.from.as_ref())
            .take_while(|(key, _)| !interval.is_past(key.as_str().as_bytes()))
            .map(|(key, kv)| Pair::of(&self.prefix, key, kv));
        let markers = DIRECTORIES
            .iter()
            .filter(|directory| interval.contains(directory.as_bytes()))
            .map(|directory| self.marker(snapshot, directory));
        merge(objects, markers)
    }

    /// A marker is as old as the store, and never changes.
    fn marker<'a>(&'a self, snapshot: &Snapshot, directory: &'a str) -> Pair<'a> {
        Pair {
            prefix: &self.prefix,
            key: directory,
            create_revision: snapshot.first_revision(),
            mod_revision: snapshot.first_revision(),
            version: 1,
            value: &MARKER_VALUE,
        }
    }

    /// Whether APISIX itself writes this key at start or later: its markers, the id counter of its Admin API, and
    /// what data planes tell about themselves.
    pub(super) fn is_apisix_housekeeping(&self, key: &[u8], value: &[u8]) -> bool {
        match self.strip(key) {
            Some(b"/gen_id") => true,
            Some(rest) if rest.starts_with(b"/data_plane/") => true,
            Some(_) => value == MARKER,
            None => false,
        }
    }

    /// Whether this is `<prefix>//phantomkey`, alone or as a directory, which APISIX 3.14 to 3.17 reads before each watch: behind its revision it
    /// goes on when the watch times out, as if the watch had told all up to there.
    pub(super) fn is_jump_mark(&self, key: &[u8], range_end: &[u8]) -> bool {
        let is_alone = range_end.is_empty() || self.strip(range_end) == Some(b"//phantomkez");
        is_alone && self.strip(key) == Some(b"//phantomkey")
    }

    /// Whether this is `<prefix>/`, which APISIX reads only for the revision to watch from.
    pub(super) fn is_root(&self, key: &[u8], range_end: &[u8]) -> bool {
        range_end.is_empty() && self.strip(key) == Some(b"/")
    }
}

/// Two sorted sequences as one. A marker's key is in no object's way: an id is never empty.
fn merge<'a>(
    objects: impl Iterator<Item = Pair<'a>>,
    markers: impl Iterator<Item = Pair<'a>>,
) -> impl Iterator<Item = Pair<'a>> {
    let (mut objects, mut markers) = (objects.peekable(), markers.peekable());
    std::iter::from_fn(move || match (objects.peek(), markers.peek()) {
        (Some(object), Some(marker)) if object.key < marker.key => objects.next(),
        (Some(_), None) => objects.next(),
        (_, _) => markers.next(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        apisix::Directory,
        store::{Delta, Options, Store},
    };

    fn keys(from: &'static [u8], to: &'static [u8]) -> Vec<String> {
        let store = Store::new(Options::default());
        let object = |directory, id| (Key::new(directory, id), Bytes::from_static(b"{}"));
        let puts = vec![
            object(Directory::Routes, "a"),
            object(Directory::Routes, "b"),
            object(Directory::Upstreams, "u"),
        ];
        store.commit(&Delta { puts, deletes: vec![] });
        let interval = Interval::new(Bytes::from_static(from), Bytes::from_static(to));
        let pairs = Keyspace::new("/apisix").pairs(&store.snapshot(), &interval);
        pairs.into_iter().map(|pair| String::from_utf8(pair.key.to_vec()).unwrap()).collect()
    }

    #[test]
    fn a_marker_opens_its_directory() {
        assert_eq!(
            keys(b"/apisix/routes", b"/apisix/routet"),
            ["/apisix/routes/", "/apisix/routes/a", "/apisix/routes/b"]
        );
    }

    #[test]
    fn the_whole_prefix_is_sorted_bytewise() {
        let all = keys(b"/apisix", b"/apisiy");
        assert_eq!(all.len(), 16);
        assert!(all.is_sorted());
        assert_eq!(keys(b"\0", b"\0"), all);
    }

    #[test]
    fn bounds_are_bytes_wherever_they_lie() {
        assert_eq!(keys(b"/apisix/routes/a", b""), ["/apisix/routes/a"]);
        assert_eq!(keys(b"/apisix/routes/a\0", b"/apisix/routes/b\0"), ["/apisix/routes/b"]);
        assert_eq!(keys(b"/apisix/routes/a\xff", b"/apisix/routes/\xff"), ["/apisix/routes/b"]);
        assert_eq!(keys(b"/apisix/upstreams/u", b"\0"), ["/apisix/upstreams/u"]);
        assert!(keys(b"/apisiy", b"\0").is_empty());
        assert!(keys(b"/api", b"/apisix").is_empty());
        assert!(keys(b"/apisix/routes/b", b"/apisix/routes/a").is_empty());
    }
}
