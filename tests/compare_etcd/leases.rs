//! The life of some leases in both. Ids that a server chose are mapped like revisions.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{
    Sides,
    ask::{Answer, GRANT, KEEP_ALIVE, LEASES, Method, REVOKE, Request, TIME_TO_LIVE},
    history::History,
    requests::Call,
};
use crate::support::mutate::Random;

/// Ids that a client might choose; few, so that they meet, and none that an odd request names.
const IDS: [i64; 6] = [11, 12, 77, -11, i64::MAX - 1, i64::MIN + 1];

/// Short leases run out in two seconds. A story that took longer than this is not judged.
const IN_TIME: Duration = Duration::from_secs(1);

/// A lease as a request names it: the same number for both, or what each of them chose.
#[derive(Debug, Clone, Copy)]
struct Id {
    ours: i64,
    real: i64,
}

/// Asks both the same dozen of lease calls; one after the other, since all leases of a server are one list.
pub async fn story(sides: &mut Sides, history: &History, random: &mut Random) {
    let _alone = history.leases.lock().await;
    let started = Instant::now();
    let mut ids: Vec<Id> = IDS.map(|id| Id { ours: id, real: id }).to_vec();
    let mut asked = Vec::new();
    for _ in 0..4 + random.below(12) {
        let (call, ours, real) = step(sides, &ids, random).await;
        if call.is(&GRANT) && ours.status == real.status {
            ids.extend(chosen(&call, &ours, &real));
        }
        asked.push((call, ours, real));
    }
    for id in &ids {
        revoke(sides, *id).await;
    }
    if started.elapsed() > IN_TIME {
        return;
    }
    let names: BTreeMap<i64, i64> = ids.iter().map(|id| (id.ours, id.real)).collect();
    for (call, mut ours, real) in asked {
        name_as_real(&mut ours.body, &names);
        tick_as_real(&call, &mut ours.body, &real.body);
        sides.judge(history, &call, ours, real);
    }
}

async fn step(sides: &mut Sides, ids: &[Id], random: &mut Random) -> (Call, Answer, Answer) {
    let id = *random.pick(ids);
    let ttl =
        *random.pick(&[60, 60, 100, 1000, 2, 1, 0, -1, i64::MIN, 9_000_000_000, 9_000_000_001, i64::MAX]);
    let is_chosen = random.below(3) > 0;
    let (method, mut request): (&Method, _) = match random.below(8) {
        0..3 => (&GRANT, json!({"TTL": ttl})),
        3 => (&REVOKE, json!({})),
        4 => (&KEEP_ALIVE, json!({})),
        5 | 6 => (&TIME_TO_LIVE, json!({"keys": random.below(2) == 0})),
        _ => (&LEASES, json!({})),
    };
    if *method != LEASES && (*method != GRANT || is_chosen) {
        request["ID"] = super::requests::revision(id.real, id.ours);
    }
    let call = super::requests::message(method, request, random);
    let (ours, real) = sides.ask(&call).await;
    (call, ours, real)
}

/// The ids that both chose, if it was up to them.
fn chosen(call: &Call, ours: &Answer, real: &Answer) -> Option<Id> {
    let id = |answer: &Answer| answer.body["ID"].as_str()?.parse().ok();
    if call.message().get("ID").is_some() {
        return None;
    }
    Some(Id { ours: id(ours)?, real: id(real)? })
}

async fn revoke(sides: &mut Sides, id: Id) {
    let request = |id: i64| Request::Message(&REVOKE, json!({ "ID": id }));
    let call = Call {
        name: REVOKE.name,
        door: super::ask::Door::Grpc,
        ours: request(id.ours),
        real: request(id.real),
    };
    sides.ask(&call).await;
}

fn name_as_real(value: &mut Value, names: &BTreeMap<i64, i64>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                let known =
                    value.as_str().and_then(|text| text.parse().ok()).and_then(|id: i64| names.get(&id));
                match known {
                    Some(real) if name == "ID" => *value = json!(real.to_string()),
                    _ => name_as_real(value, names),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| name_as_real(item, names)),
        _ => {}
    }
}

/// Both tell the seconds that are left at a moment of their own.
fn tick_as_real(call: &Call, ours: &mut Value, real: &Value) {
    let seconds = |answer: &Value| answer.get("TTL")?.as_str()?.parse::<i64>().ok();
    if !call.is(&TIME_TO_LIVE) {
        return;
    }
    if let (Some(our_seconds), Some(real_seconds)) = (seconds(ours), seconds(real))
        && our_seconds > 0
        && (our_seconds - real_seconds).abs() <= 1
    {
        ours["TTL"] = real["TTL"].clone();
    }
}
