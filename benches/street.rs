//! The whole street, from a control plane's response to the event an etcd client reads, each figure beside its floor.
//!
//! One endpoint of one cluster changes. The clock starts when the control plane hands the response to its socket and
//! stops at the first byte of the event. The floor is two loopback hops through one relaying thread, with as many bytes:
//! what the kernel takes for the same way with nothing done. The first synchronisation stands beside a copy and a hash
//! of the same bytes.

#[path = "../tests/support/ads_server.rs"]
mod ads_server;
#[path = "../tests/support/mesh.rs"]
mod mesh;

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::net::UnixStream,
    sync::Arc,
    time::{Duration, Instant},
};

use ads_server::{Acceptor, Session, response};
use apisix_mesh::{
    config::Config,
    instance::Instance,
    pb::{envoy::service::discovery::v3::DiscoveryResponse, google::protobuf::Any},
    xds::ResourceType,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use prost::Message;
use serde_json::{Value, json};
use tokio::{runtime::Runtime, sync::mpsc};
use tonic::Status;

const CHANGES: usize = 1000;
const PAUSE: Duration = Duration::from_millis(10);

fn main() {
    // `cargo bench` passes flags of its own harness; there is nothing to choose here.
    let runtime = Runtime::new().expect("a runtime");
    println!(
        "{:<46} {:>10} {:>10} {:>12}",
        "one endpoint changed, response to event", "p50 us", "p99 us", "p50 / floor"
    );
    for clusters in [100, 10_000] {
        endpoint_change(&runtime, clusters);
    }
    first_synchronisation(&runtime, 10_000);
}

type Responses = mpsc::Sender<Result<DiscoveryResponse, Status>>;

/// A library fed by a control plane with a mesh of this size, ready.
struct Running {
    instance: Arc<Instance>,
    responses: Responses,
    socket: String,
    /// From the first response to the first revision.
    synchronised: Duration,
    _acceptor: Acceptor,
}

fn start(runtime: &Runtime, clusters: usize) -> Running {
    let mut acceptor = runtime.block_on(Acceptor::bind("127.0.0.1:0")).expect("a port");
    let socket = std::env::temp_dir().join(format!("apisix-mesh-bench-{}.sock", std::process::id()));
    let socket = socket.to_str().expect("a path in UTF-8").to_owned();
    let config = json!({
        "xds": format!("grpc://{}", acceptor.address), "xds_mode": "sotw",
        "etcd_listen": format!("unix:{socket}"), "log_level": "error",
    });
    let instance =
        Instance::start(Config::from_text(&config.to_string()).expect("good settings")).expect("it starts");
    let session = runtime.block_on(acceptor.session());
    let responses = session.responses.clone();
    let prepared = ResourceType::ALL.map(|kind| resources(kind, clusters));
    let began = Instant::now();
    runtime.spawn(answer_first_requests(session, prepared));
    while instance.snapshot().revision() == 0 {
        std::thread::sleep(Duration::from_micros(200));
    }
    Running { instance, responses, socket, synchronised: began.elapsed(), _acceptor: acceptor }
}

async fn answer_first_requests(mut session: Session, mut prepared: [Vec<Any>; ResourceType::ALL.len()]) {
    while let Ok(Some(request)) = session.requests.message().await {
        let first = request.response_nonce.is_empty();
        if let Some(kind) = ResourceType::from_type_url(&request.type_url).filter(|_| first) {
            let response = response(kind, "first", std::mem::take(&mut prepared[kind as usize]));
            if session.responses.send(Ok(response)).await.is_err() {
                return;
            }
        }
    }
}

fn resources(kind: ResourceType, clusters: usize) -> Vec<Any> {
    let name = kind.type_url().rsplit('/').next().expect("a type URL");
    match kind {
        ResourceType::Cluster => (0..clusters).map(|i| mesh::any(name, &mesh::cluster(i))).collect(),
        ResourceType::ClusterLoadAssignment => {
            (0..clusters).map(|i| mesh::any(name, &mesh::assignment(i, 3))).collect()
        }
        ResourceType::Listener => vec![mesh::any(name, &mesh::listener())],
        ResourceType::RouteConfiguration => vec![mesh::any(name, &mesh::routes(clusters))],
    }
}

fn endpoint_change(runtime: &Runtime, clusters: usize) {
    let running = start(runtime, clusters);
    let mut watch = Watch::open(&running.socket, running.instance.snapshot().revision() + 1);
    let (mut times, mut sent, mut received) = (Vec::with_capacity(CHANGES), 0, 0);
    for change in 0..CHANGES {
        let kind = ResourceType::ClusterLoadAssignment;
        let name = kind.type_url().rsplit('/').next().expect("a type URL");
        // Each change is another address, so that every one of them is an event.
        let assignment = mesh::assignment(change * 7919 % clusters, 100 + (change / clusters % 100) as u8);
        let response = response(kind, &format!("change-{change}"), vec![mesh::any(name, &assignment)]);
        sent = response.encoded_len();
        let began = Instant::now();
        running.responses.blocking_send(Ok(response)).expect("the stream is open");
        times.push(watch.wait_for_byte(began));
        let (events, bytes) = watch.message();
        received = bytes;
        // One change at a time: the answer to it, with all names, has left and been read.
        std::thread::sleep(PAUSE);
        assert_eq!(events.len(), 1, "one change is one event");
        assert!(
            events[0].starts_with("/apisix/upstreams/"),
            "an endpoint is an upstream's, not {}",
            events[0]
        );
    }
    let (p50, p99) = percentiles(times);
    let (floor, _) = percentiles(relay(sent, received));
    println!(
        "{:<46} {:>10.0} {:>10.0} {:>12.1}",
        format!("  in {clusters} clusters, {CHANGES} changes, 0 route events"),
        p50,
        p99,
        p50 / floor
    );
    println!("{:<46} {floor:>10.0}", "  floor: two loopback hops");
    running.instance.stop();
}

fn first_synchronisation(runtime: &Runtime, clusters: usize) {
    let running = start(runtime, clusters);
    running.instance.stop();
    let bytes: Vec<Vec<u8>> = ResourceType::ALL
        .into_iter()
        .flat_map(|kind| resources(kind, clusters))
        .map(|any| any.value.to_vec())
        .collect();
    let began = Instant::now();
    let sum = bytes.iter().map(|b| xxhash_rust::xxh3::xxh3_64(&b.clone())).fold(0, u64::wrapping_add);
    let floor = began.elapsed();
    std::hint::black_box(sum);
    println!(
        "\n{:<46} {:>10.0} ms, floor (copy and hash the bytes) {:.1} ms",
        format!("first synchronisation of {clusters} clusters"),
        running.synchronised.as_secs_f64() * 1e3,
        floor.as_secs_f64() * 1e3
    );
}

/// An etcd watch over JSON, read a chunk at a time.
struct Watch(BufReader<UnixStream>);

impl Watch {
    fn open(socket: &str, start_revision: i64) -> Self {
        let create = json!({"create_request": {
            "key": STANDARD.encode("/apisix/"), "range_end": STANDARD.encode("/apisix0"), "start_revision": start_revision,
        }})
        .to_string();
        let mut stream = UnixStream::connect(socket).expect("the endpoint listens");
        let head =
            format!("POST /v3/watch HTTP/1.1\r\nHost: etcd\r\nContent-Length: {}\r\n\r\n", create.len());
        stream.write_all((head + &create).as_bytes()).expect("the endpoint reads");
        let mut watch = Self(BufReader::new(stream));
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            watch.0.read_line(&mut line).expect("a header");
        }
        assert!(watch.message().0.is_empty(), "the first message says created");
        watch
    }

    fn wait_for_byte(&mut self, began: Instant) -> Duration {
        self.0.fill_buf().expect("an event");
        began.elapsed()
    }

    /// The keys of one message's events, and how many bytes it had.
    fn message(&mut self) -> (Vec<String>, usize) {
        let mut size = String::new();
        self.0.read_line(&mut size).expect("a chunk");
        let size = usize::from_str_radix(size.trim(), 16).expect("a chunk's size");
        let mut chunk = vec![0; size + 2];
        self.0.read_exact(&mut chunk).expect("a whole chunk");
        let message: Value = serde_json::from_slice(&chunk[..size]).expect("JSON");
        let events = message["result"]["events"].as_array().cloned().unwrap_or_default();
        let key = |event: &Value| {
            let key = STANDARD.decode(event["kv"]["key"].as_str().unwrap_or_default()).expect("base64");
            String::from_utf8(key).expect("UTF-8")
        };
        (events.iter().map(key).collect(), size)
    }
}

/// `sent` bytes to a relay, `received` bytes from it, over and over.
fn relay(sent: usize, received: usize) -> Vec<Duration> {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let mut near = TcpStream::connect(listener.local_addr().expect("bound")).expect("loopback");
    let (mut far, _) = listener.accept().expect("just connected");
    near.set_nodelay(true).and_then(|()| far.set_nodelay(true)).expect("TCP");
    let relay = std::thread::spawn(move || {
        let (mut input, output) = (vec![0; sent], vec![1; received]);
        while far.read_exact(&mut input).is_ok() && far.write_all(&output).is_ok() {}
    });
    let (output, mut input) = (vec![0; sent], vec![0; received]);
    let mut times = Vec::with_capacity(CHANGES);
    for _ in 0..CHANGES {
        let began = Instant::now();
        near.write_all(&output).expect("the relay reads");
        near.read_exact(&mut input).expect("the relay writes");
        times.push(began.elapsed());
    }
    drop(near);
    relay.join().expect("the relay ends with its socket");
    times
}

/// The median and the 99th of a hundred, in microseconds.
fn percentiles(mut times: Vec<Duration>) -> (f64, f64) {
    times.sort();
    let at = |share: f64| times[(times.len() as f64 * share) as usize].as_secs_f64() * 1e6;
    (at(0.50), at(0.99))
}
