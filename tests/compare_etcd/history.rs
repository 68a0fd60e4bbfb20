//! One random history in both: the same keys, commit by commit, and which revision is which.
//!
//! The real etcd is emptied and used again. It holds APISIX's markers, as ours does, written by the first commit.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use apisix_mesh::{
    apisix::{Directory, Key},
    etcd,
    store::{self, Delta, Store},
};
use bytes::Bytes;
use serde_json::{Value, json};

use super::ask::{COMPACT, Client, Door, TXN};
use crate::support::{
    etcd::{Endpoint, b64},
    mutate::Random,
    real_etcd,
};

/// Ids as APISIX's, and as no one would choose them: bounds fall into the middle of their characters.
pub const IDS: [&str; 16] = [
    "0",
    "1",
    "10",
    "a",
    "a.b",
    "ab",
    "b",
    "Z",
    "~",
    "é",
    "ê",
    "日本",
    "日本語",
    "\u{1}",
    "\u{10ffff}",
    "a b",
];

pub const DIRECTORIES: [Directory; 3] = [Directory::Ssls, Directory::Upstreams, Directory::Routes];

const PREFIXES: [&str; 4] = ["/apisix", "/apisix", "", "/a/b"];

/// Which revision of ours is which of etcd's: both lists rise, and what is at one place belongs together.
#[derive(Debug, Default, Clone)]
pub struct Revisions {
    ours: Vec<i64>,
    real: Vec<i64>,
    /// The place of the oldest one that is not compacted.
    oldest: usize,
    /// What was the last and what the oldest whenever there was a compaction.
    compacted: Vec<[(i64, i64); 2]>,
}

impl Revisions {
    fn push(&mut self, ours: i64, real: i64) {
        let rising = self.ours.last().is_none_or(|&last| last < ours)
            && self.real.last().is_none_or(|&last| last < real);
        assert!(rising, "{ours} and {real} are new");
        self.ours.push(ours);
        self.real.push(real);
    }

    pub fn first(&self) -> i64 {
        self.real[0]
    }

    pub fn last(&self) -> i64 {
        *self.real.last().unwrap()
    }

    /// Both numbers of the last one.
    fn latest(&self) -> (i64, i64) {
        (self.last_of_ours(), self.last())
    }

    pub fn oldest(&self) -> i64 {
        self.real[self.oldest]
    }

    pub fn oldest_of_ours(&self) -> i64 {
        self.ours[self.oldest]
    }

    pub fn last_of_ours(&self) -> i64 {
        *self.ours.last().unwrap()
    }

    pub fn first_of_ours(&self) -> i64 {
        self.ours[0]
    }

    /// Whether this was etcd's oldest one at some time.
    pub fn was_oldest(&self, real: i64) -> bool {
        self.compacted.iter().any(|[_, oldest]| oldest.1 == real)
    }

    /// What was the oldest of ours when this one was the last.
    pub fn oldest_of_ours_at(&self, last: i64) -> i64 {
        self.compacted.iter().rev().find(|compacted| compacted[0].0 <= last).map_or(0, |[_, oldest]| oldest.0)
    }

    /// What was the oldest of etcd's when this one was the last.
    pub fn oldest_at(&self, last: i64) -> i64 {
        self.compacted.iter().rev().find(|compacted| compacted[0].1 <= last).map_or(0, |[_, oldest]| oldest.1)
    }

    /// Ours for any number that is meant as a revision of etcd's.
    pub fn ours(&self, real: i64) -> i64 {
        let (first, last) = (self.first(), self.last());
        if real <= 0 {
            return real;
        }
        if real < first {
            return self.ours[0].saturating_sub(first - real);
        }
        if real > last {
            return self.last_of_ours().saturating_add(real - last);
        }
        self.ours[self.real.partition_point(|&it| it < real)]
    }

    /// Etcd's for a revision that ours has named.
    pub fn real(&self, ours: i64) -> Option<i64> {
        self.ours.binary_search(&ours).ok().map(|place| self.real[place])
    }
}

/// Our endpoint, and the clock of its store.
struct Ours {
    endpoint: Endpoint,
    clock: Arc<AtomicI64>,
}

impl Ours {
    fn start(prefix: &str, options: store::Options) -> Self {
        let clock = Arc::new(AtomicI64::new(1_700_000_000_000));
        let time = clock.clone();
        let store = Store::with_clock(options, move || time.load(Ordering::Relaxed));
        let options = etcd::Options { prefix: prefix.to_owned(), ..etcd::Options::default() };
        Self { endpoint: Endpoint::with(store, options), clock }
    }
}

/// The revisions of a sweep, ours and etcd's.
pub struct Swept {
    pub put: (i64, i64),
    pub deleted: (i64, i64),
}

pub struct History {
    ours: Ours,
    writer: Client,
    max_commits: usize,
    /// The version of the real one: 3.4 is `(3, 4)`.
    pub version: (u32, u32),
    pub prefix: &'static str,
    pub revisions: Revisions,
    /// Held by whoever has leases: all of a server's are one list.
    pub leases: tokio::sync::Mutex<()>,
}

impl History {
    /// A history of up to some hundred commits, of which the oldest may be compacted.
    pub async fn load(real: &str, version: (u32, u32), random: &mut Random) -> Self {
        let mut history = Self::empty(real, version, random).await;
        for _ in 0..random.below(200) {
            history.commit(random).await;
        }
        history.compact().await;
        history
    }

    /// Nothing but the markers in both.
    async fn empty(real: &str, version: (u32, u32), random: &mut Random) -> Self {
        let prefix = *random.pick(&PREFIXES);
        let max_commits = if random.below(3) == 0 { 4096 } else { 1 + random.below(100) };
        let ours = Ours::start(prefix, store::Options { max_commits, ..store::Options::default() });
        let mut writer = Client::connect(real).await;
        let everything = json!({"request_delete_range": {"key": b64("\0"), "range_end": b64("\0")}});
        let emptied = writer.call(&TXN, Door::Grpc, &json!({"success": [everything]})).await;
        assert_eq!(emptied.status, 0, "{emptied:?}");
        let mut history = Self {
            ours,
            writer,
            max_commits,
            version,
            prefix,
            revisions: Revisions::default(),
            leases: tokio::sync::Mutex::default(),
        };
        let first =
            history.ours.endpoint.store.commit(&Delta::default()).expect("the first commit counts").revision;
        let marker = |directory| json!({"request_put": {"key": b64(format!("{prefix}/{directory}/")), "value": b64("init_dir")}});
        history.follow(first, real_etcd::DIRECTORIES.map(marker).to_vec()).await;
        history.compact().await;
        history
    }

    /// One to four changes at one revision, if any of them changes anything.
    pub async fn commit(&mut self, random: &mut Random) {
        let mut delta = Delta::default();
        for _ in 0..1 + random.below(4) * random.below(2) {
            let key = Key::new(*random.pick(&DIRECTORIES), random.pick::<&str>(&IDS));
            if random.below(3) == 0 {
                delta.deletes.push(key);
            } else {
                delta.puts.push((key, any_value(random)));
            }
        }
        self.apply(&delta, random).await;
    }

    pub async fn apply(&mut self, delta: &Delta, random: &mut Random) {
        let jump = [0, 0, 1, 2, 1000][random.below(5)];
        self.ours.clock.fetch_add(jump, Ordering::Relaxed);
        let Some(commit) = self.ours.endpoint.store.commit(delta) else { return };
        let operation = |event: &store::Event| {
            let key = b64(format!("{}{}", self.prefix, event.key));
            match &event.current {
                Some(kv) => json!({"request_put": {"key": key, "value": b64(&kv.value)}}),
                None => json!({"request_delete_range": {"key": key}}),
            }
        };
        let operations = commit.events.iter().map(operation).collect();
        self.follow(commit.revision, operations).await;
    }

    /// Writes every key that there may be, then deletes them all.
    pub async fn sweep(&mut self, random: &mut Random) -> Swept {
        let keys = || DIRECTORIES.into_iter().flat_map(|directory| IDS.map(|id| Key::new(directory, id)));
        let value = Bytes::from(format!("swept at {}", random.next()));
        let puts = keys().map(|key| (key, value.clone())).collect();
        self.apply(&Delta { puts, deletes: vec![] }, random).await;
        let put = self.revisions.latest();
        self.apply(&Delta { puts: vec![], deletes: keys().collect() }, random).await;
        Swept { put, deleted: self.revisions.latest() }
    }

    /// Whether there may be such a key.
    pub fn has_key(&self, is_wanted: impl Fn(&[u8]) -> bool) -> bool {
        let has = |directory: &Directory| {
            IDS.iter().any(|id| is_wanted(format!("{}{}", self.prefix, Key::new(*directory, id)).as_bytes()))
        };
        DIRECTORIES.iter().any(has)
    }

    /// Whether ours keeps so many commits.
    pub fn keeps(&self, commits: usize) -> bool {
        self.max_commits >= commits
    }

    /// What ours did at a revision, done by etcd.
    async fn follow(&mut self, ours: i64, operations: Vec<Value>) {
        let answer = self.writer.call(&TXN, Door::Grpc, &json!({ "success": operations })).await;
        assert_eq!(answer.status, 0, "{answer:?}");
        let real = answer.body["header"]["revision"].as_str().unwrap().parse().unwrap();
        self.revisions.push(ours, real);
    }

    /// Etcd forgets what ours has forgotten.
    pub async fn compact(&mut self) {
        let known = self.revisions.ours.len();
        self.revisions.oldest = known.saturating_sub(self.max_commits);
        let oldest = self.ours.endpoint.store.snapshot().oldest_revision();
        assert_eq!(oldest, self.revisions.oldest_of_ours(), "ours keeps as many commits as it is told to");
        let oldest = (self.revisions.oldest_of_ours(), self.revisions.oldest());
        self.revisions.compacted.push([self.revisions.latest(), oldest]);
        let request = json!({"revision": self.revisions.oldest(), "physical": true});
        let answer = self.writer.call(&COMPACT, Door::Grpc, &request).await;
        let is_new = !answer.body.to_string().contains("has been compacted");
        assert!(answer.status == 0 || !is_new, "{answer:?}");
    }

    pub fn address(&self) -> &str {
        &self.ours.endpoint.address
    }

    /// The etcd key of one of the keys that are used.
    pub fn key(&self, random: &mut Random) -> Vec<u8> {
        format!("{}{}", self.prefix, Key::new(*random.pick(&DIRECTORIES), random.pick::<&str>(&IDS)))
            .into_bytes()
    }

    pub fn marker(&self, random: &mut Random) -> Vec<u8> {
        format!("{}/{}/", self.prefix, random.pick(&real_etcd::DIRECTORIES)).into_bytes()
    }
}

/// JSON, plain text, nothing at all, and bytes that are no text.
fn any_value(random: &mut Random) -> Bytes {
    match random.below(8) {
        0 => Bytes::new(),
        1 => Bytes::copy_from_slice(&random.next().to_le_bytes()),
        2 => "init_dir".into(),
        3 => "x".repeat(random.below(300)).into(),
        4 => "\0".into(),
        _ => format!("{{\"n\":{}}}", random.below(5)).into(),
    }
}
