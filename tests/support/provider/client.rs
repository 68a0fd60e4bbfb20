//! lua-resty-etcd's v3 client over HTTP: ranges with their retries, watches, and the health of the endpoint.
//!
//! In: a network. Out: decoded answers and messages, or an error in the client's words. Never here: what APISIX makes of
//! them.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use super::{
    clock::{Clock, Doing, Fibre, Instant},
    http::{Chunks, Connection, Reader},
    link::Network,
    tally::Tally,
};

/// `etcd.timeout`: of each request but a watch.
pub const TIMEOUT: Duration = Duration::from_secs(30);
/// `etcd.health_check_timeout`.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_FAILS: usize = 3;
pub const NO_ENDPOINT: &str = "has no healthy etcd endpoint available";

pub struct Client {
    network: Rc<Network>,
    clock: Rc<Clock>,
    health: Health,
    idle: RefCell<Vec<Connection>>,
    tally: Rc<Tally>,
}

/// The only endpoint's, in a shared dict.
#[derive(Default)]
struct Health {
    fails: Cell<usize>,
    forgets_at: Cell<Instant>,
    down_until: Cell<Instant>,
}

/// A key and what it holds; nothing if the value is missing or no JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    pub key: String,
    pub value: Option<Rc<str>>,
    pub mod_revision: i64,
}

/// What a request was answered, when it was answered.
#[derive(Debug)]
pub struct Answer {
    /// Nothing if it is no JSON.
    pub body: Option<Value>,
    pub pairs: Vec<Pair>,
}

impl Client {
    pub fn new(network: Rc<Network>, clock: Rc<Clock>, tally: Rc<Tally>) -> Self {
        Self { network, clock, health: Health::default(), idle: RefCell::default(), tally }
    }

    /// A range, tried again at once: once more than what makes an endpoint unhealthy.
    pub async fn range(&self, fibre: &Fibre, key: &str, range_end: Option<&str>) -> Result<Answer, String> {
        let mut last = Err(NO_ENDPOINT.to_owned());
        for _ in 0..=MAX_FAILS {
            if !self.health.is_up(self.clock.now()) {
                return Err(NO_ENDPOINT.to_owned());
            }
            last = self.range_once(fibre, key, range_end).await;
            if last.is_ok() {
                return last;
            }
            self.health.report_failure(self.clock.now());
        }
        last
    }

    /// A range as it is done in `init_by_lua`: tried once, whatever the endpoint's health.
    pub async fn range_once(
        &self,
        fibre: &Fibre,
        key: &str,
        range_end: Option<&str>,
    ) -> Result<Answer, String> {
        let mut body = json!({
            "key": encode(key), "limit": 0, "revision": 0, "sort_order": 0, "sort_target": 0, "serializable": false,
            "keys_only": false, "count_only": false, "min_mod_revision": 0, "max_mod_revision": 0,
            "min_create_revision": 0, "max_create_revision": 0,
        });
        if let Some(range_end) = range_end {
            body["range_end"] = json!(encode(range_end));
        }
        let reader = Reader { fibre, timeout: TIMEOUT, doing: Doing::Reading };
        let mut connection = self.connection(fibre, TIMEOUT).await?;
        let head = connection.request("/v3/kv/range", &body.to_string(), reader).await?;
        let body = connection.body(head.body, reader).await?;
        self.idle.borrow_mut().push(connection);
        if head.status >= 500 {
            return Err(format!("invalid response code: {}", head.status));
        }
        let body: Option<Value> = serde_json::from_slice(&body).ok();
        let kvs = body.as_ref().filter(|_| head.status == 200).and_then(|body| body["kvs"].as_array());
        let pairs = kvs.into_iter().flatten().map(|kv| self.pair(kv)).collect();
        Ok(Answer { body, pairs })
    }

    /// Opens a watch. Its answer's head is waited for; nothing is tried again but the connection.
    pub async fn watch(
        &self,
        fibre: &Fibre,
        key: &str,
        start_revision: i64,
        timeout: Duration,
    ) -> Result<Watch, String> {
        let create = json!({"create_request": {
            "key": encode(key), "range_end": encode(range_end(key)), "start_revision": start_revision,
        }});
        let mut connection = self.connection_for_watch(fibre, timeout).await?;
        let reader = Reader { fibre, timeout, doing: Doing::Reading };
        let head = connection.request("/v3/watch", &create.to_string(), reader).await?;
        if head.status >= 300 {
            return Err(format!("failed to watch data, response code: {}", head.status));
        }
        // Without chunks the client reads to the end, which does not come.
        assert_eq!(head.body, super::http::Body::Chunked);
        Ok(Watch { connection, chunks: Chunks::Fresh, timeout, created: false })
    }

    async fn connection_for_watch(&self, fibre: &Fibre, timeout: Duration) -> Result<Connection, String> {
        let mut last = NO_ENDPOINT.to_owned();
        for _ in 0..=MAX_FAILS {
            if !self.health.is_up(self.clock.now()) {
                return Err(NO_ENDPOINT.to_owned());
            }
            match self.connection(fibre, timeout).await {
                Ok(connection) => return Ok(connection),
                Err(error) => last = error,
            }
            self.health.report_failure(self.clock.now());
        }
        Err(last)
    }

    /// One of the pool, if there is any that is not closed; all connections to an endpoint share it.
    async fn connection(&self, fibre: &Fibre, timeout: Duration) -> Result<Connection, String> {
        self.idle.borrow_mut().retain(|connection| !connection.is_over());
        if let Some(connection) = self.idle.borrow_mut().pop() {
            return Ok(connection);
        }
        let dialled = fibre.within(timeout, Doing::Running, self.network.dial()).await;
        Ok(Connection::new(dialled.unwrap_or(Err("timeout"))?))
    }

    fn pair(&self, kv: &Value) -> Pair {
        pair(kv, &self.tally)
    }
}

impl Health {
    fn is_up(&self, now: Instant) -> bool {
        now >= self.down_until.get()
    }

    fn report_failure(&self, now: Instant) {
        if now >= self.forgets_at.get() {
            self.fails.set(0);
            self.forgets_at.set(now + HEALTH_TIMEOUT);
        }
        self.fails.set(self.fails.get() + 1);
        if self.fails.get() >= MAX_FAILS && self.is_up(now) {
            self.down_until.set(now + HEALTH_TIMEOUT);
        }
    }
}

/// A watch's stream.
pub struct Watch {
    connection: Connection,
    chunks: Chunks,
    timeout: Duration,
    created: bool,
}

/// What the reader hands over: an object, with all events that it found.
#[derive(Debug, Default)]
pub struct Message {
    pub body: Value,
    /// Nothing if the object has none.
    pub events: Option<Vec<Pair>>,
}

impl Watch {
    /// The next message. No error text means that the stream ended in order.
    pub async fn next(&mut self, fibre: &Fibre, tally: &Tally) -> Result<Message, Option<String>> {
        let body = self.chunks_of_an_object(fibre).await?;
        let text = String::from_utf8_lossy(&body);
        let objects: Vec<&str> = text.split('\n').filter(|object| !object.is_empty()).collect();
        let mut events = Vec::new();
        let mut last = Message { body: Value::String("\n".to_owned()), events: None };
        for object in &objects {
            let body: Value = serde_json::from_str(object)
                .map_err(|error| Some(format!("failed to decode json body: {error}")))?;
            if let Some(error) = body.get("error") {
                match error["http_code"].as_i64() {
                    None => tally.fault(format!("an error without http_code: {body}")),
                    Some(500..) => return Err(Some(error["http_status"].to_string())),
                    Some(_) => {}
                }
            }
            let found = body["result"]["events"]
                .as_array()
                .map(|events| events.iter().map(|event| pair(&event["kv"], tally)).collect::<Vec<_>>());
            events.extend(found.iter().flatten().cloned());
            last = Message { body, events: found };
        }
        // The events of all objects go to the last one, if they are more than one; a single one stays where it was.
        if events.len() > 1 {
            last.events = Some(events);
        } else if last.events.is_none() && !events.is_empty() {
            tally.fault(format!("the reader drops an event of {text:?}"));
        }
        self.created = true;
        Ok(last)
    }

    /// Chunks up to one that ends in a newline.
    async fn chunks_of_an_object(&mut self, fibre: &Fibre) -> Result<Vec<u8>, Option<String>> {
        let doing = if self.created { Doing::Watching } else { Doing::Reading };
        let reader = Reader { fibre, timeout: self.timeout, doing };
        let mut body = Vec::new();
        while !body.ends_with(b"\n") {
            match self.chunks.next(&mut self.connection, reader).await {
                Ok(Some(chunk)) => body.extend(chunk),
                Ok(None) if body.is_empty() => return Err(None),
                Ok(None) => break,
                Err(error) => return Err(Some(error.to_owned())),
            }
        }
        Ok(body)
    }
}

fn pair(kv: &Value, tally: &Tally) -> Pair {
    let key = kv["key"].as_str().and_then(decode);
    let mod_revision = kv["mod_revision"].as_str().and_then(|number| number.parse().ok());
    if key.is_none() || mod_revision.is_none() {
        tally.fault(format!("a key or its revision is missing: {kv}"));
    }
    let value = kv["value"].as_str().and_then(decode);
    let value = value.filter(|value| serde_json::from_str::<Value>(value).is_ok()).map(Rc::from);
    Pair { key: key.unwrap_or_default(), value, mod_revision: mod_revision.unwrap_or_default() }
}

/// The last byte is raised by one.
pub fn range_end(key: &str) -> String {
    let mut end = key.as_bytes().to_vec();
    *end.last_mut().expect("a key is not empty") += 1;
    String::from_utf8(end).unwrap()
}

fn encode(text: impl AsRef<[u8]>) -> String {
    BASE64_STANDARD.encode(text)
}

fn decode(text: &str) -> Option<String> {
    String::from_utf8(BASE64_STANDARD.decode(text).ok()?).ok()
}
