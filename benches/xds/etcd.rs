//! A reader of the child's etcd endpoint: JSON over its socket.

use std::{
    io::{BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

/// Between two ranges of a [`Prober`], and between two tries to connect.
const PAUSE: Duration = Duration::from_millis(1);

/// One connection, with what is read from it.
struct Connection(BufReader<UnixStream>);

impl Connection {
    /// Connects; the endpoint may be about to listen.
    fn open(socket: &str) -> Self {
        let began = Instant::now();
        loop {
            match UnixStream::connect(socket) {
                Ok(stream) => return Self(BufReader::new(stream)),
                Err(error) => assert!(began.elapsed().as_secs() < 10, "{socket}: {error}"),
            }
            thread::sleep(PAUSE);
        }
    }

    fn post(&mut self, path: &str, body: &Value) -> Option<()> {
        let body = body.to_string();
        let request =
            format!("POST {path} HTTP/1.1\r\nHost: etcd\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        self.0.get_mut().write_all(request.as_bytes()).ok()
    }

    /// The size of the body, if the head of the response tells it.
    fn head(&mut self) -> Option<usize> {
        let mut size = None;
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Some(size.unwrap_or_default());
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                size = value.trim().parse().ok();
            }
        }
    }

    /// A line without its end; none when the connection is over.
    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = self.0.read_line(&mut line).ok()?;
        (read > 0).then(|| line.trim_end().to_owned())
    }

    fn bytes(&mut self, size: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; size];
        self.0.read_exact(&mut bytes).ok()?;
        Some(bytes)
    }

    fn range(&mut self, body: &Value) -> Option<Value> {
        self.post("/v3/kv/range", body)?;
        let size = self.head()?;
        serde_json::from_slice(&self.bytes(size)?).ok()
    }
}

/// Waits for a range of one upstream, which is not answered before the first configuration is complete. Its key, and
/// when it came.
pub fn first_range(socket: &str) -> (String, Instant) {
    let (key, end) = (STANDARD.encode("/apisix/upstreams/"), STANDARD.encode("/apisix/upstreams0"));
    let body = json!({"key": key, "range_end": end, "limit": 1});
    let answer = Connection::open(socket).range(&body).expect("the endpoint answers");
    let came = Instant::now();
    (answer["kvs"][0]["key"].as_str().expect("there are upstreams").to_owned(), came)
}

/// Asks for one key all the time.
pub struct Prober {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Duration>,
}

impl Prober {
    /// Starts to ask for a key in base64.
    pub fn start(socket: &str, key: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (mut connection, body, stopped) = (Connection::open(socket), json!({"key": key}), stop.clone());
        let thread = thread::spawn(move || {
            let mut worst = Duration::ZERO;
            while !stopped.load(Ordering::Relaxed) {
                let began = Instant::now();
                connection.range(&body).expect("the endpoint answers");
                worst = worst.max(began.elapsed());
                thread::sleep(PAUSE);
            }
            worst
        });
        Self { stop, thread }
    }

    /// The worst time until an answer.
    pub fn stop(self) -> Duration {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("it only asks")
    }
}

/// The ports of endpoints in the events of a watch, each with the time at which the event's first byte was there.
pub fn follow(socket: &str) -> mpsc::Receiver<(u32, Instant)> {
    let mut connection = Connection::open(socket);
    let key = json!({"key": STANDARD.encode("/apisix/"), "range_end": STANDARD.encode("/apisix0")});
    connection
        .post("/v3/watch", &json!({"create_request": key}))
        .and_then(|()| connection.head())
        .and_then(|_| message(&mut connection))
        .expect("the watch is created");
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        // It ends with the child.
        while let Some((came, message)) = message(&mut connection) {
            for port in ports(&message) {
                let _ = sender.send((port, came));
            }
        }
    });
    receiver
}

/// A chunk, which is a message, and when its first byte was there.
fn message(connection: &mut Connection) -> Option<(Instant, Value)> {
    connection.0.fill_buf().ok()?;
    let came = Instant::now();
    let size = usize::from_str_radix(&connection.line()?, 16).ok()?;
    let chunk = connection.bytes(size + 2)?;
    Some((came, serde_json::from_slice(&chunk[..size]).ok()?))
}

fn ports(message: &Value) -> Vec<u32> {
    let events = message["result"]["events"].as_array().map(Vec::as_slice).unwrap_or_default();
    let objects = events.iter().filter_map(|event| {
        let value = STANDARD.decode(event["kv"]["value"].as_str()?).ok()?;
        serde_json::from_slice::<Value>(&value).ok()
    });
    let first_port = |object: Value| object["nodes"][0]["port"].as_u64();
    objects.filter_map(first_port).map(|port| port as u32).collect()
}
