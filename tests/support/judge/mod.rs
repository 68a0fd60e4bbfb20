//! The comparison with the real Envoy.
//!
//! In: sets of resources. Each is translated, and given to Envoy; the same requests go to Envoy, whose clusters all lead
//! to a stub backend, and to the model of APISIX with our objects. Out: how often they agree, how often they differ
//! where the translation said so, and each other difference. Never here: what the translation should do.

mod backend;
mod cases;
mod client;
mod corpus;
mod envoy;
mod excuse;
mod generate;
mod outcome;
mod prepare;
mod random;
mod sample;
mod validity;

use std::{
    collections::BTreeMap,
    fmt,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use apisix_mesh::translate::{Translation, translate};
pub use envoy::binary;
use serde_json::Value;
pub use validity::refused;

use self::{
    envoy::{Envoy, Kind},
    excuse::Taken,
    prepare::{Chain, Prepared},
    random::Random,
};
use crate::support::{
    apisix::Apisix,
    exchange::{Answer, Outcome, Request},
    load,
};

/// The loopback addresses 127.x.0.0/16 and up, for Envoy's listeners and for the endpoints.
const LISTENERS: u32 = 32;
const ENDPOINTS: u32 = 64;
/// Requests wait for Envoy most of the time.
const THREADS: usize = 4;
/// How often chance is asked again until it decides as Envoy's did: one in a hundred is found nearly always.
const CHANCES: usize = 500;

/// What came of it.
#[derive(Debug, Default)]
pub struct Report {
    pub cases: usize,
    pub requests: usize,
    pub agree: usize,
    /// By what the translation said, and in what they differ.
    pub listed: BTreeMap<String, usize>,
    pub differ: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let listed: usize = self.listed.values().sum();
        let Self { cases, requests, agree, differ, .. } = self;
        write!(
            f,
            "envoy: cases={cases} requests={requests} agree={agree} listed={listed} differ={}",
            differ.len()
        )
    }
}

/// A case with both sides' means.
struct Contest {
    prepared: Prepared,
    translation: Translation,
    /// By endpoint.
    clusters: BTreeMap<Ipv4Addr, String>,
    /// Before the names of its clusters in Envoy.
    prefix: String,
}

/// Compares everything with the Envoy that lies at `binary`.
pub fn compare(binary: &std::path::Path) -> Report {
    let port = backend::start();
    let mut endpoints = 0;
    let mut contests = Vec::new();
    for case in cases::all() {
        let prepared = prepare::prepare(&case);
        if !prepared.chains.is_empty() {
            contests.push(Contest::new(prepared, contests.len(), &mut endpoints));
        }
    }
    let mut envoy = Envoy::start(binary);
    for (name, reason) in envoy.apply(Kind::Clusters, &clusters(&contests, port)) {
        println!("Envoy refuses the cluster {name}: {reason}");
    }
    // A port that is free at all addresses is free at each of those that Envoy's listeners get.
    let listeners_port = {
        let socket = std::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        socket.local_addr().unwrap().port()
    };
    let mut chains: Vec<(&Contest, &Chain, SocketAddr, String)> = Vec::new();
    for contest in &contests {
        for chain in &contest.prepared.chains {
            let address = SocketAddr::new(envoy::address(LISTENERS, chains.len()).into(), listeners_port);
            chains.push((contest, chain, address, format!("{} {}", chains.len(), chain.name)));
        }
    }
    let listeners: Vec<(String, Value)> = chains
        .iter()
        .map(|(contest, chain, address, name)| {
            let address = address.ip().to_string();
            (name.clone(), chain.for_envoy(name, &contest.prefix, &address, listeners_port))
        })
        .collect();
    let refused = envoy.apply(Kind::Listeners, &listeners);
    for (name, reason) in &refused {
        println!("no case, Envoy refuses it: {name}: {reason}");
    }
    chains.retain(|(_, _, _, name)| !refused.contains_key(name));

    let report = Mutex::new(Report { cases: chains.len(), ..Report::default() });
    let mut of_contests: BTreeMap<&str, Vec<(&Contest, &Chain, SocketAddr)>> = BTreeMap::new();
    for (contest, chain, address, _) in chains {
        of_contests.entry(&contest.prefix).or_default().push((contest, chain, address));
    }
    let work: Vec<_> = of_contests.into_values().collect();
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some(chains) = work.get(next.fetch_add(1, Ordering::Relaxed)) {
                    // The model does not go from thread to thread.
                    let apisix = Apisix::new(&chains[0].0.translation.objects);
                    for (contest, chain, address) in chains {
                        contest.judge(&apisix, chain, *address, &report);
                    }
                }
            });
        }
    });
    report.into_inner().unwrap()
}

fn clusters(contests: &[Contest], port: u16) -> Vec<(String, Value)> {
    let mut clusters = Vec::new();
    for contest in contests {
        for cluster in &contest.prepared.clusters {
            let own = contest.clusters.iter().filter(|(_, name)| **name == cluster.name);
            let addresses: Vec<String> = own.map(|(address, _)| address.to_string()).collect();
            let resource = cluster.for_envoy(&contest.prefix, &addresses, port);
            clusters.push((prepare::text(&resource["name"]), resource));
        }
    }
    clusters
}

impl Contest {
    fn new(prepared: Prepared, number: usize, endpoints: &mut usize) -> Self {
        let read = |resource: &Value| {
            load::try_resource(resource).map_err(|e| println!("{}: not translated: {e}", prepared.name)).ok()
        };
        let translation = translate(&load::snapshot(prepared.ours.iter().filter_map(read)));
        let mut clusters = BTreeMap::new();
        for cluster in &prepared.clusters {
            for _ in &cluster.endpoints {
                clusters.insert(envoy::address(ENDPOINTS, *endpoints), cluster.name.clone());
                *endpoints += 1;
            }
        }
        Self { translation, clusters, prefix: format!("{number}/"), prepared }
    }

    fn judge(&self, apisix: &Apisix, chain: &Chain, address: SocketAddr, report: &Mutex<Report>) {
        for request in corpus::requests(chain) {
            let answer = client::send(address, &request);
            let mut report = report.lock().unwrap();
            report.requests += 1;
            let response = match answer {
                Ok(response) => response,
                Err(problem) => {
                    report
                        .differ
                        .push(format!("{}: {request:?}: Envoy does not answer: {problem}", chain.name));
                    continue;
                }
            };
            let (theirs, place) = outcome::of_envoy(&response, &self.clusters);
            let ours = self.ours(apisix, &request, chain);
            let taken = Taken {
                virtual_host: place
                    .map(|(host, _)| host)
                    .or_else(|| excuse::virtual_host(&chain.config, &request.authority)),
                route: place.map(|(_, route)| route),
            };
            let configured = taken.virtual_host.zip(taken.route).is_some_and(|(host, route)| {
                chain.config["virtual_hosts"][host]["routes"][route]["direct_response"].is_object()
            });
            let differences = outcome::differences(&theirs, &ours, &request, configured);
            let differences = match excuse::is_chance(chain, taken) && !differences.is_empty() {
                true if self.other_chances(apisix, &request, chain, |ours| {
                    outcome::differences(&theirs, ours, &request, configured).is_empty()
                }) =>
                {
                    Vec::new()
                }
                _ => differences,
            };
            if differences.is_empty() {
                report.agree += 1;
                continue;
            }
            let excused = |difference: &String| {
                let issue = excuse::excuse(&self.translation.issues, chain, taken, &request, difference)?;
                Some(format!(
                    "{difference} | {:?} {}: {}",
                    issue.severity,
                    pattern(&issue.path),
                    issue.detail
                ))
            };
            if excuse::is_general(&request) {
                *report.listed.entry(excuse::GENERAL.to_owned()).or_default() += 1;
                continue;
            }
            match differences.iter().map(excused).collect::<Option<Vec<_>>>() {
                Some(reasons) => *report.listed.entry(reasons[0].clone()).or_default() += 1,
                None => report.differ.push(told(chain, &request, taken, &differences, &theirs, &ours)),
            }
        }
    }

    /// What our objects do.
    fn ours(&self, apisix: &Apisix, request: &Request, chain: &Chain) -> Outcome {
        let answer = std::panic::AssertUnwindSafe(|| apisix.answer(request));
        match std::panic::catch_unwind(answer) {
            Ok(outcome) => self.named(outcome, chain),
            Err(problem) => {
                let text = problem.downcast_ref::<String>().cloned().unwrap_or_default();
                Outcome::Answer(Answer { body: Some(text), ..Answer::status(0) })
            }
        }
    }

    /// Whether our objects do that, had chance decided otherwise.
    fn other_chances(
        &self,
        apisix: &Apisix,
        request: &Request,
        chain: &Chain,
        agrees: impl Fn(&Outcome) -> bool,
    ) -> bool {
        let mut random = Random::named(&request.request_id);
        (0..CHANCES).any(|_| {
            let request_id = format!("{:016x}{:016x}", random.number(), random.number());
            agrees(&self.ours(apisix, &Request { request_id, ..request.clone() }, chain))
        })
    }

    /// A node in an inbound route stands for the cluster whose endpoint is where the connection was going.
    fn named(&self, mut outcome: Outcome, chain: &Chain) -> Outcome {
        if let Outcome::Forward(forward) = &mut outcome {
            let port = chain.original_dst.rsplit(':').next().unwrap_or_default();
            if forward.clusters.contains(&format!("127.0.0.1:{port}")) {
                let own = self.prepared.clusters.iter().filter(|c| c.original_dst);
                forward.clusters.extend(own.map(|c| c.name.clone()));
            }
        }
        outcome
    }
}

/// The path without the places in lists.
fn pattern(path: &str) -> String {
    let mut depth = 0;
    path.chars()
        .filter(|c| {
            match c {
                '[' => depth += 1,
                ']' => depth -= 1,
                _ => return depth == 0,
            }
            false
        })
        .collect()
}

fn told(
    chain: &Chain,
    request: &Request,
    taken: Taken,
    differences: &[String],
    theirs: &Outcome,
    ours: &Outcome,
) -> String {
    let headers: Vec<String> = request.headers.iter().map(|(n, v)| format!("{n}: {v}")).collect();
    let place = match (taken.virtual_host, taken.route) {
        (Some(host), Some(route)) => format!("virtual_hosts[{host}].routes[{route}]"),
        (Some(host), None) => format!("virtual_hosts[{host}], no route"),
        _ => "no virtual host".to_owned(),
    };
    format!(
        "{} | {}\n  request: {} {} host {} [{}]\n  Envoy's {place}\n  Envoy: {}\n  ours:  {}",
        chain.name,
        differences.join(", "),
        request.method,
        request.target,
        request.authority,
        headers.join("; "),
        outcome::shown(theirs),
        outcome::shown(ours),
    )
}
