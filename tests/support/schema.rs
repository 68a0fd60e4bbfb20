//! What the types of `apisix` cannot show of their own JSON: that APISIX knows each field by this name, that each
//! object stands under its own id, and that each upstream it names is there. All other rules are `Route::check`'s,
//! `Upstream::check`'s and `Ssl::check`'s.

use std::collections::{BTreeMap, BTreeSet};

use apisix_mesh::apisix::{Directory, Key};
use bytes::Bytes;
use serde_json::Value;

const UPSTREAM: &str = "type hash_on key nodes timeout retries retry_timeout scheme tls pass_host upstream_host checks \
                        keepalive_pool";

/// Each place and the fields that APISIX knows there; `*` for any.
const KNOWN: &[(&str, &str)] = &[
    ("upstreams", "id name desc"),
    ("upstreams", UPSTREAM),
    (".tls", "client_cert_id"),
    (".nodes", "host port weight priority"),
    (".timeout", "connect send read"),
    (".keepalive_pool", "size idle_timeout requests"),
    (".checks", "active passive"),
    (
        ".checks.active",
        "type timeout concurrency host port http_method http_path http_req_body https_verify_certificate \
         req_headers healthy unhealthy",
    ),
    (".active.healthy", "interval http_statuses successes"),
    (".active.unhealthy", "interval http_statuses http_failures tcp_failures timeouts"),
    (".checks.passive", "type healthy unhealthy"),
    (".passive.healthy", "http_statuses successes"),
    (".passive.unhealthy", "http_statuses http_failures tcp_failures timeouts"),
    ("ssls", "id type cert key"),
    ("routes", "id name uris hosts priority vars timeout upstream upstream_id plugins enable_websocket"),
    (".upstream", UPSTREAM),
    (
        ".plugins",
        "api-breaker client-control cors csrf fault-injection forward-auth grpc-web gzip ip-restriction limit-conn \
         limit-count limit-req proxy-mirror proxy-rewrite real-ip redirect request-id response-rewrite traffic-split",
    ),
    ("._meta", "filter priority"),
    (".api-breaker", "break_response_code break_response_body max_breaker_sec unhealthy healthy _meta"),
    (".api-breaker.unhealthy", "http_statuses failures"),
    (".api-breaker.healthy", "http_statuses successes"),
    (".client-control", "max_body_size _meta"),
    (
        ".cors",
        "allow_origins allow_origins_by_regex allow_methods allow_headers expose_headers max_age allow_credential \
         _meta",
    ),
    (".csrf", "key expires name _meta"),
    (".fault-injection", "abort delay _meta"),
    (".abort", "http_status body headers percentage vars"),
    (".abort.headers", "*"),
    (".delay", "duration percentage vars"),
    (
        ".forward-auth",
        "uri request_method request_headers extra_headers upstream_headers client_headers timeout status_on_error \
         allow_degradation ssl_verify _meta",
    ),
    (".extra_headers", "*"),
    (".grpc-web", "cors_allow_headers _meta"),
    (".gzip", "types min_length comp_level vary _meta"),
    (".ip-restriction", "whitelist blacklist message response_code _meta"),
    (
        ".limit-conn",
        "conn burst default_conn_delay key key_type rejected_code rejected_msg allow_degradation _meta",
    ),
    (
        ".limit-count",
        "count time_window key key_type rejected_code rejected_msg policy group allow_degradation \
         show_limit_quota_header _meta",
    ),
    (".limit-req", "rate burst key key_type nodelay rejected_code rejected_msg allow_degradation _meta"),
    (".proxy-mirror", "host path path_concat_mode sample_ratio _meta"),
    (".proxy-rewrite", "uri regex_uri host method headers use_real_request_uri_unsafe _meta"),
    (".headers", "add set remove"),
    (".headers.add", "*"),
    (".headers.set", "*"),
    (".real-ip", "source trusted_addresses recursive _meta"),
    (".redirect", "uri regex_uri ret_code append_query_string encode_uri _meta"),
    (".request-id", "header_name include_in_response algorithm _meta"),
    (".response-rewrite", "headers _meta"),
    (".traffic-split", "rules _meta"),
    (".rules", "weighted_upstreams"),
    (".weighted_upstreams", "upstream_id upstream weight"),
];

/// Fails with the key and the rule that an object breaks.
pub fn check(objects: &BTreeMap<Key, Bytes>) {
    for (key, bytes) in objects {
        for id in names(key, bytes) {
            let upstream = Key::new(Directory::Upstreams, &id);
            assert!(objects.contains_key(&upstream), "{key}: there is no {upstream}");
        }
    }
}

/// Checks one object alone; gives the upstreams that it names.
pub fn names(key: &Key, bytes: &[u8]) -> BTreeSet<String> {
    let value: Value = serde_json::from_slice(bytes).expect("JSON");
    assert_eq!(value["id"], key.id(), "{key}: the id is the key's tail");
    let mut walk = Walk { place: key.directory().name().to_owned(), upstreams: BTreeSet::new() };
    if let Err(name) = walk.value(&value) {
        panic!("{key}: {}: unknown field {name}: {value:#}", walk.place);
    }
    walk.upstreams
}

struct Walk {
    /// The names of the fields on the way, without list indexes.
    place: String,
    upstreams: BTreeSet<String>,
}

impl Walk {
    fn value(&mut self, value: &Value) -> Result<(), String> {
        match value {
            Value::Array(items) => items.iter().try_for_each(|item| self.value(item)),
            Value::Object(fields) => fields.iter().try_for_each(|(name, value)| self.field(name, value)),
            _ => Ok(()),
        }
    }

    fn field(&mut self, name: &str, value: &Value) -> Result<(), String> {
        match self.knows(name) {
            Some("*") => return Ok(()),
            Some(_) => {}
            None => return Err(name.to_owned()),
        }
        if name == "upstream_id" {
            self.upstreams.insert(value.as_str().unwrap_or_default().to_owned());
        }
        let before = self.place.len();
        self.place.push('.');
        self.place.push_str(name);
        self.value(value)?;
        self.place.truncate(before);
        Ok(())
    }

    /// The longest place that fits decides.
    fn knows(&self, name: &str) -> Option<&'static str> {
        let fits =
            |place: &str| self.place == place || (place.starts_with('.') && self.place.ends_with(place));
        let longest = KNOWN.iter().map(|(place, _)| place).filter(|p| fits(p)).max_by_key(|p| p.len());
        let fields = KNOWN.iter().filter(|(place, _)| Some(place) == longest);
        fields.flat_map(|(_, fields)| fields.split(' ')).find(|field| *field == name || *field == "*")
    }
}
