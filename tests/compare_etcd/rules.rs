//! The differences that are meant. Each is one row here and one in `docs/etcd.md`.
//!
//! A rule takes away the difference that it explains and nothing else, and says whether there was one. What is left
//! unequal after all of them is a difference that nobody meant.

mod watch_rules;

use serde_json::{Value, json};
use tonic::Code;

use super::{
    ask::{AUTHENTICATE, Answer, COMPACT, DELETE_RANGE, Door, MEMBER_LIST, PUT, Request, STATUS, TXN},
    history::History,
    requests::Call,
};

/// One request, what both said to it, and where it was asked.
pub struct Exchange<'a> {
    pub call: &'a Call,
    pub history: &'a History,
    pub ours: Answer,
    pub real: Answer,
}

/// A difference that is meant.
pub struct Rule {
    /// Its name here and in `docs/etcd.md`.
    pub name: &'static str,
    explain: fn(&mut Exchange) -> bool,
}

pub const RULES: &[Rule] = &[
    Rule { name: "root-revision", explain: root_revision },
    Rule { name: "jump-revision", explain: jump_revision },
    Rule { name: "unknown-sort", explain: unknown_sort },
    Rule { name: "ties", explain: ties },
    Rule { name: "write-refused", explain: write_refused },
    Rule { name: "write-dropped", explain: write_dropped },
    Rule { name: "gateway-of-3.6", explain: gateway_of_3_6 },
    Rule { name: "version", explain: version },
    Rule { name: "unknown-call-text", explain: unknown_call_text },
    Rule { name: "watch-created-header", explain: watch_rules::created_header },
    Rule { name: "watch-compact-revision", explain: watch_rules::compact_revision },
    Rule { name: "watch-of-the-future", explain: watch_rules::of_the_future },
    Rule { name: "watch-compacted-header", explain: watch_rules::compacted_header },
    Rule { name: "watch-cancelled-again", explain: watch_rules::cancelled_again },
    Rule { name: "watch-marker-events", explain: watch_rules::marker_events },
    Rule { name: "watch-oldest-deletes", explain: watch_rules::oldest_deletes },
    Rule { name: "watch-oldest-prev-kv", explain: watch_rules::oldest_prev_kv },
    Rule { name: "watch-cut-by-cancel", explain: watch_rules::cut_by_cancel },
    Rule { name: "watch-progress", explain: watch_rules::progress },
    Rule { name: "member", explain: member },
    Rule { name: "status", explain: status },
    Rule { name: "no-users", explain: no_users },
    Rule { name: "body-error-text", explain: body_error_text },
];

/// The names of the rules without which the answers would not be equal, if they are with them.
pub fn explain(exchange: &mut Exchange) -> Option<Vec<&'static str>> {
    let mut used = Vec::new();
    for rule in RULES {
        if exchange.ours == exchange.real {
            break;
        }
        if (rule.explain)(exchange) {
            used.push(rule.name);
        }
    }
    (exchange.ours == exchange.real).then_some(used)
}

/// `<prefix>/` alone is answered with the oldest revision that can be replayed from.
fn root_revision(exchange: &mut Exchange) -> bool {
    let known = &exchange.history.revisions;
    let oldest = (known.oldest_of_ours() - 1).max(known.first_of_ours());
    let key = format!("{}/", exchange.history.prefix);
    tells_of(exchange, &key, &[""], oldest)
}

/// Some versions of APISIX would skip to the revision that they are told under this key.
fn jump_revision(exchange: &mut Exchange) -> bool {
    let [key, end] = ["//phantomkey", "//phantomkez"].map(|key| format!("{}{key}", exchange.history.prefix));
    tells_of(exchange, &key, &["", &end], 1)
}

/// A Range on exactly this key, with one of these ends, that is answered at this revision of ours.
fn tells_of(exchange: &mut Exchange, key: &str, ends: &[&str], revision: i64) -> bool {
    let real = exchange.history.revisions.real(revision);
    let written = real.map_or_else(|| format!("ours:{revision}"), |real| real.to_string());
    let is_meant = exchange.call.reads(key, ends);
    match exchange.ours.body.pointer_mut("/header/revision") {
        Some(revision) if is_meant && *revision == json!(written) => {
            *revision = exchange.real.body["header"]["revision"].clone();
            true
        }
        _ => false,
    }
}

/// An order that there is not is refused, as by 3.6; before that it meant no order at all.
fn unknown_sort(exchange: &mut Exchange) -> bool {
    let is_refused = exchange.ours.body["message"] == "etcdserver: invalid sort option";
    if exchange.history.version < (3, 6) && is_refused && has_unknown_sort(&exchange.call.message()) {
        exchange.ours = exchange.real.clone();
        return true;
    }
    false
}

fn has_unknown_sort(request: &Value) -> bool {
    match request {
        Value::Object(members) => members.iter().any(|(name, value)| {
            let is_order = ["sort_order", "sortOrder"].contains(&name.as_str());
            let is_target = ["sort_target", "sortTarget"].contains(&name.as_str());
            let number = value.as_i64().unwrap_or_default();
            is_order && !(0..3).contains(&number)
                || is_target && !(0..5).contains(&number)
                || has_unknown_sort(value)
        }),
        Value::Array(items) => items.iter().any(has_unknown_sort),
        _ => false,
    }
}

/// Etcd's sort leaves open how more than twelve keys are ordered that are equal in what they are sorted by.
fn ties(exchange: &mut Exchange) -> bool {
    reorder_ties(&mut exchange.ours.body, &exchange.real.body)
}

fn reorder_ties(ours: &mut Value, real: &Value) -> bool {
    match (ours, real) {
        (Value::Object(ours), Value::Object(real)) => {
            let is_cut = ours.contains_key("more");
            let count = ours.get("count").and_then(Value::as_str).and_then(|text| text.parse().ok());
            let is_open = count.is_some_and(|count: usize| count > 12);
            let mut reordered = false;
            for (name, ours) in ours {
                let Some(real) = real.get(name) else { continue };
                match (&*ours, real) {
                    (Value::Array(our_kvs), Value::Array(real_kvs)) if name == "kvs" => {
                        if is_open && our_kvs != real_kvs && are_ties(our_kvs, real_kvs, is_cut) {
                            *ours = real.clone();
                            reordered = true;
                        }
                    }
                    _ => reordered |= reorder_ties(ours, real),
                }
            }
            reordered
        }
        (Value::Array(ours), Value::Array(real)) => ours
            .iter_mut()
            .zip(real)
            .fold(false, |reordered, (ours, real)| reorder_ties(ours, real) | reordered),
        _ => false,
    }
}

/// The same keys, but for the order of those that are equal in one column, and which of these a limit cuts off.
fn are_ties(ours: &[Value], real: &[Value], is_cut: bool) -> bool {
    ["version", "create_revision", "mod_revision", "value"].iter().any(|column| {
        let same_column = ours.iter().map(|kv| &kv[column]).eq(real.iter().map(|kv| &kv[column]));
        let is_in_last_group = |kv: &Value| is_cut && kv[column] == real[real.len() - 1][column];
        let settled = |kvs: &[Value]| {
            let mut settled: Vec<String> =
                kvs.iter().filter(|kv| !is_in_last_group(kv)).map(Value::to_string).collect();
            settled.sort();
            settled
        };
        same_column && settled(ours) == settled(real)
    })
}

fn is_success(answer: &Answer) -> bool {
    [0, 200].contains(&answer.status)
}

/// Ours takes no write. Etcd has one more reason to refuse it, or performs it.
fn write_refused(exchange: &mut Exchange) -> bool {
    let is_write = [&PUT, &DELETE_RANGE, &TXN, &COMPACT].iter().any(|method| exchange.call.is(method));
    let is_refused = exchange.ours.body["message"] == "etcdserver: permission denied";
    let late = ["requested lease not found", "key not found", "has been compacted", "is a future revision"];
    let message = exchange.real.body["message"].as_str().unwrap_or_default();
    if is_write
        && is_refused
        && (is_success(&exchange.real) || late.iter().any(|text| message.ends_with(text)))
    {
        exchange.real = exchange.ours.clone();
        return true;
    }
    false
}

/// What APISIX writes for itself is taken and dropped.
fn write_dropped(exchange: &mut Exchange) -> bool {
    let nothing_changed = json!({"header": {"revision": exchange.history.revisions.last().to_string()}});
    let late = ["requested lease not found", "key not found"];
    let message = exchange.real.body["message"].as_str().unwrap_or_default();
    let is_taken = is_success(&exchange.real) || late.iter().any(|text| message.ends_with(text));
    if exchange.call.is(&PUT) && exchange.ours.body == nothing_changed && is_taken {
        exchange.real = exchange.ours.clone();
        return true;
    }
    false
}

/// The only member has a name of its own, and the address that its client came by; the header has a revision, which etcd's
/// has not.
fn member(exchange: &mut Exchange) -> bool {
    let members = |answer: &Answer| answer.body["members"].as_array().map_or(0, Vec::len);
    let revision = json!(exchange.history.revisions.last().to_string());
    let ours = &exchange.ours.body;
    let is_plain =
        ours["members"][0].as_object().is_some_and(|member| member.keys().eq(["ID", "clientURLs", "name"]));
    let is_expected = is_plain
        && members(&exchange.ours) == 1
        && members(&exchange.real) == 1
        && ours["header"]["revision"] == revision
        && exchange.real.body["header"].get("revision").is_none();
    if exchange.call.is(&MEMBER_LIST) && is_expected {
        exchange.ours = exchange.real.clone();
        return true;
    }
    false
}

/// The numbers of its process are its own, and its size is that of keys and values.
fn status(exchange: &mut Exchange) -> bool {
    if !exchange.call.is(&STATUS) {
        return false;
    }
    for answer in [&mut exchange.ours, &mut exchange.real] {
        let Some(members) = answer.body.as_object_mut() else { return false };
        for name in ["version", "leader", "raftIndex", "raftTerm", "raftAppliedIndex"] {
            if members.remove(name).is_none() {
                return false;
            }
        }
        for name in ["dbSize", "dbSizeInUse", "storageVersion", "dbSizeQuota", "downgradeInfo"] {
            members.remove(name);
        }
    }
    true
}

/// Without users, any name and password get a token.
fn no_users(exchange: &mut Exchange) -> bool {
    let has_none = exchange.real.body["message"] == "etcdserver: authentication is not enabled";
    let has_token = exchange.ours.body["token"].as_str().is_some_and(|token| !token.is_empty());
    if exchange.call.is(&AUTHENTICATE) && has_none && has_token && is_success(&exchange.ours) {
        exchange.ours = exchange.real.clone();
        return true;
    }
    false
}

/// What is wrong with a body that cannot be read is told in other words.
fn body_error_text(exchange: &mut Exchange) -> bool {
    let has_code = |answer: &Answer| {
        let code = &answer.body["code"];
        answer.status == 400 && *code == 3 || answer.status == 500 && *code == 2
    };
    let is_etcds = exchange.ours.body["message"].as_str().is_none_or(|text| text.starts_with("etcdserver:"));
    let is_same_code = exchange.ours.status == exchange.real.status;
    if has_code(&exchange.ours) && has_code(&exchange.real) && is_same_code && !is_etcds {
        for name in ["error", "message"] {
            exchange.ours.body[name] = exchange.real.body[name].clone();
        }
        return true;
    }
    false
}

/// Ours is a 3.5.0, and tells as that does how it is.
fn version(exchange: &mut Exchange) -> bool {
    let Request::Http { path, .. } = &exchange.call.real else { return false };
    let is_form = |answer: &Answer| {
        let members = answer.body.as_object();
        members.is_some_and(|members| members.keys().eq(["etcdcluster", "etcdserver"]))
    };
    let is_version = path == "/version" && is_form(&exchange.ours) && is_form(&exchange.real);
    let is_health =
        path == "/health" && exchange.history.version < (3, 5) && exchange.ours.body["reason"] == "";
    if is_health {
        exchange.real.body["reason"] = json!("");
    } else if is_version {
        exchange.ours.body = exchange.real.body.clone();
    }
    is_version || is_health
}

/// That a call is not known is told in other words.
fn unknown_call_text(exchange: &mut Exchange) -> bool {
    let is_unimplemented = |answer: &Answer| answer.status == Code::Unimplemented as u16;
    if exchange.call.name == "Unknown" && is_unimplemented(&exchange.ours) && is_unimplemented(&exchange.real)
    {
        exchange.ours.body = exchange.real.body.clone();
        return true;
    }
    false
}

/// The gateway of 3.6 no longer tells an error twice, and has another status for one code.
fn gateway_of_3_6(exchange: &mut Exchange) -> bool {
    let (ours, real) = (&mut exchange.ours, &exchange.real);
    let has_no_error = real.body.get("message").is_some() && real.body.get("error").is_none();
    if exchange.call.door != Door::Json || exchange.history.version < (3, 6) || !has_no_error {
        return false;
    }
    if (ours.status, real.status) == (412, 400) && ours.body["code"] == Code::FailedPrecondition as i32 {
        ours.status = real.status;
    }
    ours.body.as_object_mut().is_some_and(|body| body.remove("error").is_some())
}
