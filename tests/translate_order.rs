//! For random configurations and requests, APISIX with our objects does what Envoy does: the same route, and with it the
//! same cluster, path, host and headers, or the same answer. Where they differ, an issue has said so.
//!
//! `PAIRS=1000000 cargo test --release --test translate_order -- --nocapture` makes more of them, `SEED=7` others.

mod support;

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
};

use apisix_mesh::{
    translate::{Issue, Severity, translate},
    xds::ResourceType,
};
use proptest::{
    collection::vec,
    test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner},
};
use support::{
    apisix::Apisix,
    envoy::{Decision, Envoy, Place},
    exchange::{Answer, Forward, Outcome, Request},
    load, world,
};

/// Requests to one configuration.
const REQUESTS: usize = 50;

#[derive(Default)]
struct Count {
    pairs: Cell<u64>,
    agree: Cell<u64>,
    listed: Cell<u64>,
    /// By what the issue says.
    details: RefCell<BTreeMap<String, u64>>,
}

#[test]
fn requests_end_where_envoy_sends_them() {
    let setting =
        |name: &str, default| std::env::var(name).map_or(default, |v| v.parse::<u64>().expect("a number"));
    let (pairs, seed) = (setting("PAIRS", 50_000), setting("SEED", 1));
    // About one request in four goes where no listener is, and makes no pair.
    let cases = u32::try_from(pairs * 3 / 2 / REQUESTS as u64).unwrap();
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 20_000, ..Config::default() };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let count = Count::default();
    let strategy = (world::world(), vec(world::request::request(), REQUESTS));
    let result = runner.run(&strategy, |(world, requests)| {
        let document = world.document();
        let resources = load::resources(&document);
        let envoy = Envoy::new(&resources);
        let translation = translate(&load::snapshot(resources));
        let apisix = Apisix::new(&translation.objects);
        for request in &requests {
            judge(&envoy, &apisix, &translation.issues, request, &count)
                .map_err(|why| TestCaseError::fail(format!("{why}\n{}", yaml(&document))))?;
        }
        Ok(())
    });
    let differ = u64::from(result.is_err());
    for (detail, times) in count.details.borrow().iter() {
        println!("listed {times} times: {detail}");
    }
    println!(
        "pairs={} agree={} listed={} differ={differ} seed={seed}",
        count.pairs.get(),
        count.agree.get(),
        count.listed.get()
    );
    if let Err(error) = result {
        panic!("{error}");
    }
}

fn judge(
    envoy: &Envoy,
    apisix: &Apisix,
    issues: &[Issue],
    request: &Request,
    count: &Count,
) -> Result<(), String> {
    let add = |cell: &Cell<u64>| cell.set(cell.get() + 1);
    let ours = apisix.answer(request);
    let Some(decision) = envoy.decide(request) else {
        // No listener: Envoy passes the connection on, APISIX must not serve it as something else.
        return match !request.outbound || ours == Outcome::Answer(Answer::status(404)) {
            true => Ok(()),
            false => Err(format!("{request:?}\nhas no listener, APISIX: {ours:?}")),
        };
    };
    add(&count.pairs);
    if agrees(&ours, &decision, request) {
        add(&count.agree);
    } else if let Some(issue) = listed(issues, &decision.place, apisix.matched(request)) {
        add(&count.listed);
        let path: String = issue.path.chars().filter(|c| !c.is_ascii_digit()).collect();
        *count.details.borrow_mut().entry(format!("{path}: {}", issue.detail)).or_default() += 1;
    } else {
        return Err(format!(
            "{request:?}\nAPISIX: {:?} {ours:#?}\nEnvoy: {decision:#?}\nissues: {issues:#?}",
            apisix.matched(request)
        ));
    }
    Ok(())
}

/// APISIX may leave open which cluster of several it is, or choose as the digits of the request's id tell.
fn agrees(ours: &Outcome, decision: &Decision, request: &Request) -> bool {
    if let [(_, only)] = decision.outcomes.as_slice() {
        return same(ours, only);
    }
    let total: u32 = decision.outcomes.iter().map(|(weight, _)| weight).sum();
    let digits = u32::from_str_radix(&request.request_id[5..10], 16).unwrap();
    let point = (f64::from(digits) + 0.5) / f64::from(1 << 20) * f64::from(total);
    let mut sum = 0.0;
    let chosen = decision.outcomes.iter().find(|(weight, _)| {
        sum += f64::from(*weight);
        point < sum
    });
    chosen.is_some_and(|(_, outcome)| same(ours, outcome))
        || merged(decision).is_some_and(|all| same(ours, &all))
}

/// A name in a Location means the same in any case, nginx's is in lower case; an empty query is none.
fn same(ours: &Outcome, theirs: &Outcome) -> bool {
    let lowered = |answer: &Answer| {
        let mut answer = answer.clone();
        for (_, value) in answer.headers.iter_mut().filter(|(name, _)| name == "location") {
            let host = value.find("://").map_or(0, |at| at + 3);
            let end = value[host..].find('/').map_or(value.len(), |at| host + at);
            value[..end].make_ascii_lowercase();
            *value = value.trim_end_matches('?').to_owned();
        }
        answer
    };
    match (ours, theirs) {
        (Outcome::Answer(ours), Outcome::Answer(theirs)) => lowered(ours) == lowered(theirs),
        (Outcome::Forward(ours), Outcome::Forward(theirs)) => with_lists(ours) == with_lists(theirs),
        _ => false,
    }
}

/// Several lines of a header mean the same as one line with all values, and an empty value means none.
fn with_lists(forward: &Forward) -> Forward {
    let split = |headers: &[(String, String)]| {
        let values = headers.iter().flat_map(|(name, value)| {
            value
                .split(',')
                .filter(|one| !one.trim().is_empty())
                .map(move |one| (name.clone(), one.trim().to_owned()))
        });
        let mut values: Vec<_> = values.collect();
        values.sort();
        values
    };
    Forward {
        headers: split(&forward.headers),
        response_headers: split(&forward.response_headers),
        ..forward.clone()
    }
}

/// All outcomes of a weighted choice in one, if they differ in the cluster alone.
fn merged(decision: &Decision) -> Option<Outcome> {
    let mut all: Option<Outcome> = None;
    let mut unavailable = false;
    for (_, outcome) in &decision.outcomes {
        match (outcome, &mut all) {
            (Outcome::Answer(answer), _) if answer.status == 503 => unavailable = true,
            (Outcome::Answer(_), _) => return None,
            (Outcome::Forward(_), None) => all = Some(outcome.clone()),
            (Outcome::Forward(one), Some(Outcome::Forward(held))) => {
                held.clusters.extend(one.clusters.iter().cloned());
                if (&one.target, &one.headers, &one.authority, &one.response_headers)
                    != (&held.target, &held.headers, &held.authority, &held.response_headers)
                {
                    return None;
                }
            }
            (Outcome::Forward(_), Some(Outcome::Answer(_))) => unreachable!("answers are not kept"),
        }
    }
    if let (true, Some(Outcome::Forward(held))) = (unavailable, &mut all) {
        held.clusters.insert("503".to_owned());
    }
    all.or_else(|| unavailable.then(|| Outcome::Answer(Answer::status(503))))
}

/// An issue that lies on the route that one of them chose, on its virtual host, or on the configuration.
fn listed<'a>(issues: &'a [Issue], place: &Place, ours: Option<&str>) -> Option<&'a Issue> {
    issues.iter().find(|issue| {
        let matters = issue.severity >= Severity::Approximated;
        let here = issue.kind == place.kind && *issue.resource == *place.resource;
        matters
            && here
            && issue.path.strip_prefix(&place.prefix).is_some_and(|path| lies_on(path, place, ours))
    })
}

fn lies_on(path: &str, place: &Place, ours: Option<&str>) -> bool {
    let (Some(host), true) = (place.host, path.starts_with("virtual_hosts[")) else {
        return !path.starts_with("virtual_hosts[");
    };
    let Some(path) = path.strip_prefix(&format!("virtual_hosts[{host}].")) else { return false };
    // A domain that is left out is one that Envoy never finds either.
    let Some(path) = path.strip_prefix("routes[") else { return !path.starts_with("domains[") };
    let route: usize = path.split(']').next().and_then(|number| number.parse().ok()).expect("an index");
    // The name of ours is `configuration/virtual host/position`.
    let mut names = ours.unwrap_or_default().split('/').skip(1);
    let same_host = names.next() == Some(&format!("h{host}"));
    let chosen = names.next().filter(|_| same_host).and_then(|name| name.parse().ok());
    Some(route) == place.route || Some(route) == chosen
}

fn yaml(document: &serde_json::Value) -> String {
    serde_json::to_string_pretty(document).unwrap()
}

/// Issues of listeners and clusters are not of routes.
#[test]
fn an_issue_lies_where_its_path_says() {
    let place = Place {
        kind: ResourceType::RouteConfiguration,
        resource: "r".to_owned(),
        prefix: String::new(),
        host: Some(1),
        route: Some(2),
    };
    for (path, expected) in [
        ("vhds", true),
        ("virtual_hosts[1].cors", true),
        ("virtual_hosts[1].routes[2].match", true),
        ("virtual_hosts[1].routes[3].match", true),
        ("virtual_hosts[1].routes[1].match", false),
        ("virtual_hosts[0].cors", false),
    ] {
        assert_eq!(lies_on(path, &place, Some("r/h1/3")), expected, "{path}");
    }
}
