//! How objects get from the host to another process: this library's log and followers beside LMDB with the same objects.
//!
//! Hosts and new readers are processes of their own, the queries are asked in this one, through the C API and through
//! `heed`. Each figure is the median of many turns that the two take by turns. LMDB's commits are without history, which
//! the log's have, and its readers are woken by a byte in a pipe, since it has nothing that wakes them.

#[path = "../../tests/support/mesh.rs"]
mod mesh;

mod carrier;
mod child;
mod lmdb;
mod log;
mod measure;
mod objects;

use std::{
    fs,
    hint::black_box,
    path::{Path, PathBuf},
};

use apisix_mesh::apisix::Key;
use bytes::Bytes;

use carrier::{Carrier, Reader};
use child::{Host, started};
use lmdb::Sync;
use measure::{by_turns, median, now};

const PEER: Carrier = Carrier::Lmdb(Sync::Never);
const TURNS: usize = 25;
const COMMITS_IN_A_TURN: usize = 20;
const SEEN_COMMITS: usize = 200;
/// What the log may grow to before it is written anew: see `src/state/file.rs`.
const OVERGROWN: u64 = 4;
const SMALL: u64 = 1 << 20;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [role, carrier, directory, what] = &arguments[..] {
        return child::play(role, carrier, directory, what);
    }
    for (medium, directory) in [("tmpfs", "/dev/shm"), ("disk", env!("CARGO_MANIFEST_DIR"))] {
        for services in [50, 5_000] {
            compare(medium, Path::new(directory), services);
        }
    }
}

fn compare(medium: &str, directory: &Path, services: usize) {
    let scratch = Scratch::new(directory, services);
    let objects = objects::objects(services);
    let bytes: usize = objects.iter().map(|(_, value)| value.len()).sum();
    let title = format!("{} objects of {} bytes, on {medium}", objects.len(), bytes / objects.len());
    println!("\n{title:<50} {:>10} {:>10} {:>11}", "log", "LMDB", "LMDB / log");
    let mut hosts = Carrier::ALL.map(|carrier| Host::new(carrier, &scratch.of(carrier), services));
    let key = objects[0].0.as_str();
    {
        let log = log::Reader::new(&scratch.of(Carrier::Log));
        let peer = lmdb::Reader::new(&scratch.of(PEER));
        queries([&log, &peer], &objects);
        starts("", &scratch, key);
        commits(&mut hosts);
        seen(&log, &peer, &mut hosts, key);
    }
    let longest = SMALL.max(bytes as u64 * OVERGROWN);
    while scratch.log_len() < longest / 8 * 7 {
        for host in &mut hosts[..2] {
            host.begin(COMMITS_IN_A_TURN);
            host.end();
        }
    }
    starts(", log at its longest", &scratch, key);
}

fn queries(readers: [&dyn Reader; 2], objects: &[(Key, Bytes)]) {
    let keys: Vec<&str> = scattered(objects).collect();
    // The first one reads the log.
    for reader in readers {
        reader.get(keys[0]);
    }
    let get_one = by_turns(readers.map(|reader| times(|| reader.get(keys[0]))));
    let get_each = by_turns(readers.map(|reader| {
        let mut keys = keys.iter().cycle();
        times(move || reader.get(keys.next().expect("a cycle")))
    }));
    let revision = by_turns(readers.map(|reader| times(|| reader.revision())));
    let changes = by_turns(readers.map(|reader| {
        let last = reader.revision();
        times(move || reader.changes(last))
    }));
    let everything = by_turns(readers.map(|reader| times(|| reader.everything())));
    row("get one key again and again, copied out, ns", 1.0, get_one);
    row("get each key in turn, copied out, ns", 1.0, get_each);
    row("revision, ns", 1.0, revision);
    row("changes, nothing new, ns", 1.0, changes);
    row("list of everything, in place, us", 1e3, everything);
}

/// Neighbours in the order are not neighbours in the tree.
fn scattered(objects: &[(Key, Bytes)]) -> impl Iterator<Item = &str> {
    (0..objects.len()).map(|i| objects[i * child::STRIDE % objects.len()].0.as_str())
}

fn times<'a, T>(mut operation: impl FnMut() -> T + 'a) -> measure::Operation<'a> {
    Box::new(move |count| {
        for _ in 0..count {
            black_box(operation());
        }
    })
}

fn commits(hosts: &mut [Host; Carrier::ALL.len()]) {
    let mut times = [const { Vec::new() }; Carrier::ALL.len()];
    for _ in 0..TURNS {
        for (host, times) in hosts.iter_mut().zip(&mut times) {
            host.begin(COMMITS_IN_A_TURN);
            times.push(host.end().0);
        }
    }
    let [log, peers @ ..] = times.map(median);
    for (sync, peer) in ["", ", LMDB with NOMETASYNC", ", LMDB durable"].into_iter().zip(peers) {
        row(&format!("commit of one object{sync}, us"), 1e3, [log, peer]);
    }
}

/// From the beginning of a commit until this process, asleep, has the new state.
fn seen(log: &log::Reader, peer: &dyn Reader, hosts: &mut [Host; Carrier::ALL.len()], key: &str) {
    let [log_host, peer_host, ..] = hosts;
    let (mut log_times, mut peer_times) = (Vec::new(), Vec::new());
    for _ in 0..SEEN_COMMITS {
        let before = log.revision();
        log_host.begin(1);
        log.wait(before);
        log.get(key);
        let has_it = now();
        log_times.push((has_it - log_host.end().1) as f64);

        let before = peer.revision();
        peer_host.begin(1);
        let (_, began) = peer_host.end();
        peer.get(key);
        peer_times.push((now() - began) as f64);
        assert_ne!(peer.revision(), before);
    }
    row("commit until another process has it, us", 1e3, [median(log_times), median(peer_times)]);
}

/// New processes that read.
fn starts(when: &str, scratch: &Scratch, key: &str) {
    let (mut times, mut own, mut shared) = Default::default();
    for _ in 0..TURNS {
        for (i, carrier) in [Carrier::Log, PEER].into_iter().enumerate() {
            let (took, memory) = started(carrier, &scratch.of(carrier), key);
            let figures: [(&mut [Vec<f64>; 2], f64); 3] =
                [(&mut times, took), (&mut own, memory.own as f64), (&mut shared, memory.shared as f64)];
            figures.into_iter().for_each(|(all, figure)| all[i].push(figure));
        }
    }
    row(&format!("start to first answer{when}, us"), 1e3, times.map(median));
    row(&format!("memory of its own{when}, kB"), 1.0, own.map(median));
    row(&format!("memory that it shares{when}, kB"), 1.0, shared.map(median));
}

/// A line of the table, in a unit of this size.
fn row(what: &str, unit: f64, [log, peer]: [f64; 2]) {
    let digits = if log.min(peer) < 10.0 * unit { 2 } else { 0 };
    println!(
        "{:<50} {:>10.digits$} {:>10.digits$} {:>11.2}",
        format!("  {what}"),
        log / unit,
        peer / unit,
        peer / log
    );
}

/// A directory that is gone at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(parent: &Path, services: usize) -> Self {
        let path = parent.join(format!("apisix-mesh-queries-{}-{services}", std::process::id()));
        fs::create_dir_all(&path).expect("a directory");
        Self(path)
    }

    fn of(&self, carrier: Carrier) -> PathBuf {
        self.0.join(carrier.name())
    }

    fn log_len(&self) -> u64 {
        fs::metadata(self.of(Carrier::Log).join("objects")).expect("a log").len()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
