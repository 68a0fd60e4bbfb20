//! The systems side by side, each in a process of its own: a real etcd, and this program as the host of our endpoint.
//!
//! In: what to write. Out: an address, and what the process takes of the machine. etcd gets its writes by gRPC, all that
//! it takes at once; ours come from its own process, as they do in production.

use std::{
    fs,
    io::{BufRead, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{self, Child, ChildStdin, ChildStdout, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use apisix_mesh::pb::etcdserverpb::{PutRequest, RequestOp, TxnRequest, request_op::Request};
use bytes::Bytes;
use prost::Message as _;

use crate::{
    client::Client,
    door::Door,
    host::{CHANGING, Order, ROLE},
    measure::Times,
    objects::{full_key, value},
    real_etcd::{self, DIRECTORIES},
    usage::Usage,
};

/// Objects in one of etcd's transactions at the start.
const IN_A_TRANSACTION: usize = 50;
/// Objects that etcd gets before it has answered the first: what HTTP/2's flow control lets through at once.
const IN_FLIGHT: usize = 64;
/// Far above what etcd takes to start.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(10);

/// How many keys there are besides the objects.
pub const MARKERS: usize = DIRECTORIES.len();

/// A running system; dropping it kills it.
pub struct System {
    pub name: &'static str,
    /// Where it listens.
    pub address: String,
    process: Child,
    /// Of etcd's data.
    folder: Option<PathBuf>,
    writer: Writer,
    /// Of the values, so that each write brings new ones.
    edition: usize,
}

enum Writer {
    /// To etcd, with the revision that it has then.
    Grpc(Client, i64),
    /// Our host's input and output.
    Pipe(ChildStdin, BufReader<ChildStdout>),
}

impl System {
    /// The real etcd and ours.
    pub fn both() -> [Self; 2] {
        [Self::etcd(), Self::ours()]
    }

    fn etcd() -> Self {
        let (address, peer) = (free_address(), free_address());
        let folder = std::env::temp_dir().join(format!("apisix-mesh-bench-etcd-{}-{address}", process::id()));
        let process = real_etcd::command(&address, &peer, &folder)
            .spawn()
            .unwrap_or_else(|error| panic!("{:?} (etcd-server, or ETCD=...): {error}", real_etcd::program()));
        wait_for(&address);
        let writer = Writer::Grpc(Client::open(&address, Door::Grpc), 1);
        Self { name: "etcd", address, process, folder: Some(folder), writer, edition: 0 }
    }

    fn ours() -> Self {
        let mut process = Command::new(std::env::current_exe().expect("this program"))
            .arg(ROLE)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program starts");
        let input = process.stdin.take().expect("it is piped");
        let mut output = BufReader::new(process.stdout.take().expect("it is piped"));
        let address = line(&mut output);
        Self { name: "ours", address, process, folder: None, writer: Writer::Pipe(input, output), edition: 0 }
    }

    /// Puts so many objects, and the markers.
    pub fn load(&mut self, objects: usize) {
        if let Writer::Pipe(..) = self.writer {
            self.put(1, objects);
            return;
        }
        self.put_directories();
        self.put(objects / IN_A_TRANSACTION, IN_A_TRANSACTION);
    }

    fn put_directories(&mut self) {
        if let Writer::Grpc(client, revision) = &mut self.writer {
            let marker = |directory: &&str| put_request(format!("/apisix/{directory}/"), "init_dir");
            client.call_each(PUT, DIRECTORIES.iter().map(marker).map(|put| put.encode_to_vec()));
            *revision += DIRECTORIES.len() as i64;
        }
    }

    /// Writes new values into the first objects, `each` in a commit; the revision then.
    pub fn put(&mut self, commits: usize, each: usize) -> i64 {
        self.edition += 1;
        let edition = self.edition;
        match &mut self.writer {
            Writer::Pipe(..) => self.order(Order::Put { commits, each, edition })[0] as i64,
            Writer::Grpc(client, revision) => {
                let commits: Vec<usize> = (0..commits).collect();
                for some in commits.chunks((IN_FLIGHT / each).max(1)) {
                    let (path, _) = write_of(0, each, edition);
                    client.call_each(path, some.iter().map(|&commit| write_of(commit, each, edition).1));
                }
                *revision += commits.len() as i64;
                *revision
            }
        }
    }

    /// Writes one change at each tick, of one object after the other.
    pub fn pace(&mut self, commits: usize, every: Duration) -> Pace {
        self.edition += 1;
        let edition = self.edition;
        match &mut self.writer {
            Writer::Pipe(..) => {
                let every = every.as_micros() as usize;
                let figures = self.order(Order::Pace { commits, every, edition });
                let [median, p99, late] = figures[..] else { panic!("three figures, not {figures:?}") };
                let [median, p99, late] = [median, p99, late].map(Duration::from_nanos);
                Pace { took: Times { median, p99 }, late }
            }
            Writer::Grpc(client, revision) => {
                *revision += commits as i64;
                pace(client, commits, every, edition)
            }
        }
    }

    /// How many tasks our host has; nobody can tell of etcd.
    pub fn tasks(&mut self) -> Option<u64> {
        matches!(self.writer, Writer::Pipe(..)).then(|| self.order(Order::Count)[0])
    }

    /// Has our host do something, and what it says then.
    fn order(&mut self, order: Order) -> Vec<u64> {
        let Writer::Pipe(input, output) = &mut self.writer else { panic!("etcd takes no orders") };
        writeln!(input, "{}", order.line()).expect("the host reads");
        line(output).split_whitespace().map(|number| number.parse().expect("a number")).collect()
    }

    /// What the process has taken until now.
    pub fn usage(&self) -> Usage {
        Usage::of(self.process.id())
    }
}

impl Drop for System {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        let _ = self.process.kill();
        let _ = self.process.wait();
        if let Some(folder) = &self.folder {
            let _ = fs::remove_dir_all(folder);
        }
    }
}

/// How a writer fared that wrote at a pace.
pub struct Pace {
    /// By a write itself: ours of the store, etcd's with the way there and back.
    pub took: Times,
    /// The p99 from the time for a write until it was done.
    pub late: Duration,
}

fn pace(client: &mut Client, commits: usize, every: Duration, edition: usize) -> Pace {
    let (mut took, mut late) = (Vec::with_capacity(commits), Vec::with_capacity(commits));
    let start = Instant::now();
    for commit in 0..commits {
        let due = start + every * commit as u32;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let put = put_request(full_key(commit % CHANGING), value(commit, edition)).encode_to_vec();
        let began = Instant::now();
        client.call_each(PUT, [put]);
        let done = Instant::now();
        took.push(done - began);
        late.push(done - due);
    }
    Pace { took: Times::of(took), late: Times::of(late).p99 }
}

const PUT: &str = "/etcdserverpb.KV/Put";
const TXN: &str = "/etcdserverpb.KV/Txn";

/// The method and the message that write the `commit`th `each` objects.
fn write_of(commit: usize, each: usize, edition: usize) -> (&'static str, Vec<u8>) {
    let put = |index| put_request(full_key(index), value(index, edition));
    if each == 1 {
        return (PUT, put(commit).encode_to_vec());
    }
    let operation = |index| RequestOp { request: Some(Request::RequestPut(put(index))) };
    let success = (commit * each..(commit + 1) * each).map(operation).collect();
    (TXN, TxnRequest { success, ..TxnRequest::default() }.encode_to_vec())
}

fn put_request(key: String, value: impl Into<Bytes>) -> PutRequest {
    PutRequest { key: key.into(), value: value.into(), ..PutRequest::default() }
}

fn line(output: &mut impl BufRead) -> String {
    let mut line = String::new();
    output.read_line(&mut line).expect("the host lives");
    line.trim_end().to_owned()
}

fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("it is bound").to_string()
}

/// Until it answers, which etcd does when it has elected itself.
fn wait_for(address: &str) {
    let began = Instant::now();
    while http_get(address, "/health").is_none_or(|answer| !answer.starts_with("HTTP/1.1 200")) {
        assert!(began.elapsed() < PATIENCE, "etcd does not answer on {address}");
        thread::sleep(PAUSE);
    }
}

fn http_get(address: &str, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: etcd\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}
