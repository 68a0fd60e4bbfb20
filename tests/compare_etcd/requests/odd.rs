//! What only a careless or curious client sends over HTTP: odd JSON, wrong verbs, unknown paths.
//!
//! None of it writes anything.

use bytes::Bytes;
use serde_json::{Value, json};

use super::{Request, bytes, range};
use crate::{
    compare_etcd::{
        ask::{Method, RANGE},
        history::History,
    },
    support::mutate::Random,
};

const PATHS: [&str; 7] = [
    "/v3/kv/range",
    "/v3/kv/txn",
    "/v3/lease/timetolive",
    "/v3/kv/lease/timetolive",
    "/v3/lease/revoke",
    "/v3/kv/lease/revoke",
    "/v3/cluster/member/list",
];

const NOWHERE: [&str; 22] = [
    "/",
    "/v3",
    "/v3/",
    "/v3/kv",
    "/v3/kv/",
    "/v3/kv/nope",
    "/v3/nope",
    "/v3/kv/range/",
    "/v3/kv/range/x",
    "/v3//kv/range",
    "//v3/kv/range",
    "/v3/kv/./range",
    "/v3/kv/../kv/range",
    "/V3/kv/range",
    "/v3alpha/kv/range",
    "/v3beta2/kv/range",
    "/v2/keys",
    "/nope",
    "/version/",
    "/health/",
    "/v3/kv/range?x=1",
    "/v3/kv/range:x",
];

/// Texts that stand where a value is expected.
const VALUES: [&str; 34] = [
    "null",
    "true",
    "false",
    "\"true\"",
    "0",
    "1",
    "-1",
    "\"1\"",
    "\" 1\"",
    "\"1 \"",
    "\"01\"",
    "\"+1\"",
    "\"\"",
    "\"x\"",
    "1.0",
    "1.5",
    "1e2",
    "\"1e2\"",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "\"9223372036854775808\"",
    "{}",
    "[]",
    "[1]",
    "[null]",
    "\"YQ==\"",
    "\"YQ\"",
    "\"YR==\"",
    "\"_w==\"",
    "\"/w==\"",
    "\"Y\\nQ==\"",
    "\"Y Q==\"",
    "\"NaN\"",
];

const FIELDS: [&str; 18] = [
    "key",
    "range_end",
    "rangeEnd",
    "RangeEnd",
    "Key",
    "limit",
    "revision",
    "sort_order",
    "sortOrder",
    "sort_target",
    "keys_only",
    "keysOnly",
    "count_only",
    "serializable",
    "min_mod_revision",
    "maxCreateRevision",
    "unknown",
    "",
];

const ENUMS: [&str; 8] =
    ["\"NONE\"", "\"DESCEND\"", "\"VALUE\"", "\"KEY\"", "\"descend\"", "\"UP\"", "\"\"", "\"0\""];

pub fn any(history: &History, random: &mut Random) -> Request {
    match random.below(12) {
        0 => nowhere(random),
        1 => wrong_verb(random),
        2 => broken(history, random),
        3 => whole(random),
        4 => lease(random),
        5 => compare(history, random),
        6 if random.below(2) == 0 => broken_stream(random),
        6 => many_of_a_stream(random),
        _ => odd_field(history, random),
    }
}

fn post(path: &str, body: impl Into<Bytes>) -> Request {
    Request::Http { verb: "POST", path: path.to_owned(), kind: None, body: body.into() }
}

fn nowhere(random: &mut Random) -> Request {
    let verb = *random.pick(&["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS"]);
    Request::Http { verb, path: (*random.pick(&NOWHERE)).to_owned(), kind: None, body: Bytes::from("{}") }
}

fn wrong_verb(random: &mut Random) -> Request {
    let verb = *random.pick(&["GET", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "post"]);
    let path = *random.pick(&[
        PATHS[0],
        PATHS[2],
        PATHS[6],
        "/version",
        "/health",
        "/v3/watch",
        "/v3/lease/keepalive",
    ]);
    Request::Http { verb, path: path.to_owned(), kind: None, body: Bytes::from("{}") }
}

/// A good request that is cut off, goes on, or comes as another media type.
fn broken(history: &History, random: &mut Random) -> Request {
    let request = super::words_of(&range::any(history, random), super::Side::Real);
    let mut body = without_revisions(request).to_string();
    let kinds = [
        "application/json",
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/octet-stream",
        "nonsense",
    ];
    let kind = (random.below(2) == 0).then(|| *random.pick(&kinds));
    match random.below(6) {
        0 => body.truncate(random.below(body.len())),
        1 => body.push_str(random.pick::<&str>(&["x", "}", "{", " {}", "\n\n", "\0", ","])),
        2 => body.insert_str(0, random.pick::<&str>(&[" ", "\n\t", "\u{feff}", ",", "x"])),
        3 => body = body.replace(':', " : "),
        _ => {}
    }
    Request::Http { verb: "POST", path: "/v3/kv/range".to_owned(), kind, body: body.into() }
}

fn without_revisions(mut request: Value) -> Value {
    let members = request.as_object_mut().expect("a request");
    members.retain(|name, _| !name.contains("revision") && !name.starts_with("sort"));
    request
}

fn whole(random: &mut Random) -> Request {
    let body = match random.below(3) {
        0 => *random.pick(&["", " ", "\n"]),
        _ => *random.pick(&VALUES),
    };
    post(random.pick::<&str>(&PATHS), body)
}

/// What does not even begin a stream.
fn broken_stream(random: &mut Random) -> Request {
    let bodies = [
        "{",
        "[]",
        "7",
        "\"x\"",
        "x",
        "{\"ID\":\"x\",\"create_request\":7}",
        "{\"ID\":[],\"cancel_request\":{\"watch_id\":\"x\"}}",
    ];
    post(random.pick::<&str>(&["/v3/watch", "/v3/lease/keepalive"]), *random.pick(&bodies))
}

/// Several requests in one body, of which a later one may be broken.
fn many_of_a_stream(random: &mut Random) -> Request {
    let objects = ["{\"ID\":5}", " {\"ID\":\"6\"}", "\n{}", "{\"ID\":7,\"x\":[]}"];
    let mut body: String = (0..1 + random.below(4)).map(|_| *random.pick(&objects)).collect();
    body.push_str(random.pick::<&str>(&["", "", " ", "\n", "{", "x", "{\"ID\":\"x\"}"]));
    post("/v3/lease/keepalive", body)
}

fn odd_field(history: &History, random: &mut Random) -> Request {
    let key = bytes(&history.key(random));
    let mut body = format!("{{\"key\":{key}");
    for _ in 0..1 + random.below(2) {
        let name = *random.pick(&FIELDS);
        let value = if name.starts_with("sort") { *random.pick(&ENUMS) } else { *random.pick(&VALUES) };
        // Any other number would be a revision of one of them only.
        let is_revision = name.to_lowercase().contains("revision");
        let value = if is_revision && value.contains(|c: char| c.is_ascii_digit()) { "0" } else { value };
        body.push_str(&format!(",{}:{value}", json!(name)));
    }
    body.push('}');
    post("/v3/kv/range", body)
}

fn compare(history: &History, random: &mut Random) -> Request {
    let key = bytes(&history.key(random));
    let field = *random.pick(&["version", "value", "lease", "result", "target", "range_end", "key"]);
    let value = match field {
        "result" => {
            *random.pick(&["\"EQUAL\"", "\"LESS\"", "\"NOT_EQUAL\"", "\"x\"", "2", "\"2\"", "null", "9"])
        }
        "target" => {
            *random.pick(&["\"VERSION\"", "\"MOD\"", "\"LEASE\"", "\"x\"", "2", "\"2\"", "null", "9"])
        }
        _ => *random.pick(&VALUES),
    };
    let compare = format!("{{\"key\":{key},{}:{value}}}", json!(field));
    let list = *random.pick(&["[]", "null", "{}", "\"\"", "7"]);
    let body = match random.below(4) {
        0 => format!("{{\"compare\":{compare}}}"),
        1 => format!("{{\"compare\":[{compare}],\"success\":{list}}}"),
        _ => format!("{{\"compare\":[{compare}]}}"),
    };
    post("/v3/kv/txn", body)
}

fn lease(random: &mut Random) -> Request {
    let value = *random.pick(&VALUES);
    let body = format!("{{{}:{value}}}", json!(random.pick(&["ID", "id", "Id", "keys"])));
    post(random.pick::<&str>(&PATHS[2..6]), body)
}

macro_rules! unknown {
    ($path:literal) => {
        Method { name: "Unknown", grpc: $path, path: "", request: RANGE.request, response: RANGE.response }
    };
}

/// Calls that nobody knows.
pub static UNKNOWN: [Method; 3] =
    [unknown!("/etcdserverpb.KV/Nope"), unknown!("/etcdserverpb.Nope/Range"), unknown!("/nope.KV/Range")];
