//! The endpoint beside a real etcd: random histories in both, the same random requests to both, equal answers.
//!
//! `SEED` and `CALLS` choose which requests and how many; a history is asked `CALLS_PER_HISTORY` of them. `HISTORY`
//! begins with the one whose number a difference was printed with.

mod ask;
mod history;
mod leases;
mod real;
mod requests;
mod rules;
mod streams;
mod tally;
mod watches;

use std::{env, str::FromStr, sync::Arc, time::Instant};

pub use ask::{Answer, Client};
use history::{History, Revisions};
pub use real::RealEtcd;
use requests::Call;
use rules::Exchange;
pub use rules::RULES;

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
    let started = Instant::now();
    for number in setting("HISTORY", 0).. {
        if total.calls() >= calls {
            break;
        }
        let left = calls - total.calls();
        let seed = seed.wrapping_mul(1_000_003).wrapping_add(number);
        let shown = total.differences();
        total.add(one_history(real, version, seed, left.min(CALLS_PER_HISTORY)).await);
        if total.differences() > shown {
            println!("these were differences in HISTORY={number}");
        }
    }
    println!("{:.0} calls a second", total.calls() as f64 / started.elapsed().as_secs_f64());
    total
}

/// Reads first, then watches, and writes at last: what etcd takes of them makes its history another one.
async fn one_history(real: &RealEtcd, version: (u32, u32), seed: u64, calls: usize) -> Tally {
    let mut random = Random::new(seed);
    let mut history = Arc::new(History::load(&real.address, version, &mut random).await);
    let mut total = Tally::default();
    let writes = calls / 16;
    total.add(ask_at_once(&history, real, Part::Reads, calls - writes, &mut random).await);
    if history.keeps(watches::HISTORY_NEEDED) {
        let mut sides = Sides::connect(&history, &real.address).await;
        let history = Arc::get_mut(&mut history).expect("the askers are done");
        watches::story(&mut sides, history, &mut random).await;
        total.add(sides.tally);
    }
    total.add(ask_at_once(&history, real, Part::Writes, writes, &mut random).await);
    total
}

async fn ask_at_once(
    history: &Arc<History>,
    real: &RealEtcd,
    part: Part,
    calls: usize,
    random: &mut Random,
) -> Tally {
    let mut askers = JoinSet::new();
    for _ in 0..ASKERS {
        let mut sides = Sides::connect(history, &real.address).await;
        let (history, mut random) = (history.clone(), Random::new(random.next()));
        askers.spawn(async move {
            while sides.tally.calls() < calls.div_ceil(ASKERS) {
                sides.one(part, &history, &mut random).await;
            }
            sides.tally
        });
    }
    let mut total = Tally::default();
    while let Some(tally) = askers.join_next().await {
        total.add(tally.unwrap());
    }
    total
}

#[derive(Debug, Clone, Copy)]
enum Part {
    Reads,
    Writes,
}

/// Both, as one asker knows them, and what they answered him so far.
struct Sides {
    ours: Client,
    real: Client,
    tally: Tally,
}

impl Sides {
    async fn connect(history: &History, real: &str) -> Self {
        let (ours, real) = (Client::connect(history.address()).await, Client::connect(real).await);
        Self { ours, real, tally: Tally::default() }
    }

    async fn one(&mut self, part: Part, history: &History, random: &mut Random) {
        let call = match part {
            Part::Reads if random.below(64) == 0 => return leases::story(self, history, random).await,
            Part::Reads => requests::any(history, random),
            Part::Writes => requests::any_write(history, random),
        };
        let (ours, real) = self.ask(&call).await;
        self.judge(history, &call, ours, real);
    }

    async fn ask(&mut self, call: &Call) -> (Answer, Answer) {
        tokio::join!(self.ours.ask(call.door, &call.ours), self.real.ask(call.door, &call.real))
    }

    fn judge(&mut self, history: &History, call: &Call, ours: Answer, real: Answer) {
        let (ours, real) = (without_cluster(ours), without_cluster(real));
        let ours = Answer { body: with_real_revisions(ours.body, &history.revisions), ..ours };
        if ours == real {
            return self.tally.equal(call.name);
        }
        let mut exchange = Exchange { call, history, ours: ours.clone(), real: real.clone() };
        match rules::explain(&mut exchange) {
            Some(rules) => self.tally.explained(call.name, &rules),
            None => self
                .tally
                .differ(call.name, || format!("{:?} {}\nours: {ours}\nreal: {real}", call.door, call.ours)),
        }
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
