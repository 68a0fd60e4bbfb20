//! The endpoint beside a real etcd: random histories in both, the same random requests to both, equal answers.
//!
//! `SEED` and `CALLS` choose which requests and how many; a history is asked `CALLS_PER_HISTORY` of them.

mod ask;
mod history;
mod real;
mod requests;
mod rules;
mod tally;

use std::{env, str::FromStr, sync::Arc};

pub use ask::{Answer, Client};
use history::{History, Revisions};
pub use real::RealEtcd;
use requests::Call;
use rules::Exchange;

use serde_json::{Value, json};
pub use tally::Tally;
use tokio::task::JoinSet;

use crate::support::mutate::Random;

const CALLS_PER_HISTORY: usize = 4000;
/// How many ask at the same time, each on connections of its own.
const ASKERS: usize = 8;

pub fn setting<T: FromStr>(name: &str, default: T) -> T {
    let given = env::var(name).ok().filter(|text| !text.is_empty());
    given.map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// Asks both until there were this many calls.
pub async fn compare(real: &RealEtcd, seed: u64, calls: usize) -> Tally {
    let version = real.version().await;
    println!("etcd {version} SEED={seed} CALLS={calls}");
    let mut numbers = version.split('.').map(|number| number.parse().unwrap_or(0));
    let version = (numbers.next().unwrap(), numbers.next().unwrap());
    let mut total = Tally::default();
    let mut round = 0;
    while total.calls() < calls {
        let left = calls - total.calls();
        let seed = seed.wrapping_mul(1_000_003).wrapping_add(round);
        round += 1;
        total.add(one_history(real, version, seed, left.min(CALLS_PER_HISTORY)).await);
    }
    total
}

async fn one_history(real: &RealEtcd, version: (u32, u32), seed: u64, calls: usize) -> Tally {
    let mut random = Random::new(seed);
    let history = Arc::new(History::load(&real.address, &mut random).await);
    let mut askers = JoinSet::new();
    for asker in 0..ASKERS {
        let calls = calls / ASKERS + usize::from(asker < calls % ASKERS);
        let (history, address, random) = (history.clone(), real.address.clone(), Random::new(random.next()));
        askers.spawn(async move { ask_both(&history, &address, version, random, calls).await });
    }
    let mut total = Tally::default();
    while let Some(tally) = askers.join_next().await {
        total.add(tally.unwrap());
    }
    total
}

async fn ask_both(
    history: &History,
    real: &str,
    version: (u32, u32),
    mut random: Random,
    calls: usize,
) -> Tally {
    let mut tally = Tally::default();
    let (mut ours, mut real) = (Client::connect(history.address()).await, Client::connect(real).await);
    for _ in 0..calls {
        let call = requests::any(history, &mut random);
        let (our_answer, real_answer) = tokio::join!(
            ours.call(call.method, call.door, &call.ours),
            real.call(call.method, call.door, &call.real)
        );
        judge(history, version, &call, our_answer, real_answer, &mut tally);
    }
    tally
}

fn judge(history: &History, version: (u32, u32), call: &Call, ours: Answer, real: Answer, tally: &mut Tally) {
    let (ours, real) = (without_cluster(ours), without_cluster(real));
    let ours = Answer { body: with_real_revisions(ours.body, &history.revisions), ..ours };
    if ours == real {
        return tally.equal(call.method.name);
    }
    let mut exchange = Exchange { call, history, version, ours: ours.clone(), real: real.clone() };
    match rules::explain(&mut exchange) {
        Some(rules) => tally.explained(call.method.name, &rules),
        None => tally.differ(call.method.name, || {
            format!("{:?} {} {}\nours: {ours}\nreal: {real}", call.door, call.method.name, call.ours)
        }),
    }
}

/// An answer without what says which cluster gave it.
fn without_cluster(mut answer: Answer) -> Answer {
    forget_cluster(&mut answer.body);
    answer
}

fn forget_cluster(value: &mut Value) {
    match value {
        Value::Object(members) => {
            if let Some(Value::Object(header)) = members.get_mut("header") {
                header.retain(|name, _| name == "revision");
            }
            members.values_mut().for_each(forget_cluster);
        }
        Value::Array(items) => items.iter_mut().for_each(forget_cluster),
        _ => {}
    }
}

/// An answer of ours with etcd's revisions; one that etcd has not is marked as ours.
fn with_real_revisions(mut answer: Value, revisions: &Revisions) -> Value {
    map_revisions(&mut answer, revisions);
    answer
}

fn map_revisions(value: &mut Value, revisions: &Revisions) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                let is_revision = ["revision", "create_revision", "mod_revision", "compact_revision"]
                    .contains(&name.as_str());
                match value {
                    Value::String(text) if is_revision => {
                        let real = text.parse().ok().and_then(|ours| revisions.real(ours));
                        *value = real
                            .map_or_else(|| json!(format!("ours:{text}")), |real| json!(real.to_string()));
                    }
                    _ => map_revisions(value, revisions),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| map_revisions(item, revisions)),
        _ => {}
    }
}
