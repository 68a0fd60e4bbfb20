//! The simulated provider sees what would stop APISIX: each thing that an endpoint must never say is told as a fault.

#[path = "support/provider/mod.rs"]
mod provider;
mod support;

use std::time::Duration;

use provider::{
    clock::Doing,
    script::Script,
    version::{V3_3, V3_11, V3_18, Version},
    worker::Role,
    world::World,
};
use support::etcd::b64;

const HEADER: &str = r#""header":{"revision":"7"}"#;

fn created() -> String {
    format!("{{\"result\":{{{HEADER},\"created\":true}}}}\n")
}

fn event(id: &str) -> String {
    let (key, value) = (b64(format!("/apisix/routes/{id}")), b64("{}"));
    format!(r#"{{"kv":{{"key":"{key}","mod_revision":"9","value":"{value}"}}}}"#)
}

fn events(ids: &[&str]) -> String {
    let events: Vec<String> = ids.iter().map(|id| event(id)).collect();
    format!("{{\"result\":{{\"header\":{{\"revision\":\"9\"}},\"events\":[{}]}}}}\n", events.join(","))
}

fn progress() -> String {
    "{\"result\":{\"header\":{\"revision\":\"9\"}}}\n".to_owned()
}

fn list() -> String {
    let (key, value) = (b64("/apisix/routes/"), b64("init_dir"));
    format!(r#"{{{HEADER},"kvs":[{{"key":"{key}","mod_revision":"7","value":"{value}"}}]}}"#)
}

/// What a worker has to say about this endpoint.
fn faults(version: &'static Version, range: &str, chunks: &[&str]) -> Vec<String> {
    let mut faults = Vec::new();
    provider::run(async {
        let mut world = World::new(version, 1);
        let script = Script {
            range: range.to_owned(),
            chunks: chunks.iter().map(|&chunk| chunk.to_owned()).collect(),
        };
        world.network.lead_to(Some(script.serve().await));
        world.start(Role::DataPlane);
        let shared = world.workers[0].0.clone();
        world.until(|| matches!(shared.fibre.doing(), Doing::Sleeping)).await;
        world.clock.move_to(Duration::from_secs(1));
        // What is wrong is met again and again: a thread that dies of it is started anew at once.
        let is_idle = || shared.fibres.iter().all(|fibre| matches!(fibre.doing(), Doing::Waiting));
        let is_read = || !shared.tally.faults.borrow().is_empty() || shared.delivered.get() >= 9 && is_idle();
        world.until(is_read).await;
        faults = shared.tally.faults.take();
    });
    faults
}

fn watched(chunks: &[&str]) -> String {
    faults(&V3_18, &list(), chunks).join("; ")
}

#[test]
fn a_stream_as_it_should_be_is_no_fault() {
    assert_eq!(watched(&[&created(), &events(&["a"])]), "");
    assert_eq!(watched(&[&(created() + &events(&["a", "b"]))]), "", "two events survive");
}

#[test]
fn an_event_with_an_object_without_events_behind_it_in_one_chunk_is_lost() {
    assert!(watched(&[&created(), &(events(&["a"]) + &progress())]).contains("drops an event"));
}

#[test]
fn an_object_without_events_is_a_lua_error() {
    for version in [&V3_18, &V3_3] {
        let faults = faults(version, &list(), &[&created(), &progress()]).join("; ");
        assert!(faults.contains("without events"), "{}: {faults}", version.name);
    }
}

#[test]
fn a_newline_alone_is_a_lua_error() {
    assert!(watched(&[&created(), "\n"]).contains("without result"));
}

#[test]
fn events_of_a_created_message_are_lost() {
    let both = events(&["a"]).replace("\"events\"", "\"created\":true,\"events\"");
    assert!(watched(&[&both]).contains("created message"));
}

#[test]
fn an_error_without_http_code_is_a_lua_error() {
    assert!(watched(&[&created(), "{\"error\":{\"message\":\"x\"}}\n"]).contains("http_code"));
}

#[test]
fn an_empty_list_of_keys_is_a_lua_error() {
    assert!(faults(&V3_18, &format!(r#"{{{HEADER},"kvs":[]}}"#), &[]).join("; ").contains("kvs"));
}

#[test]
fn an_answer_without_a_revision_is_a_lua_error() {
    assert!(faults(&V3_18, r#"{"header":{}}"#, &[]).join("; ").contains("no revision"));
}

/// Since 3.12 a header below the watch's revision says that etcd was restarted; before, it says nothing.
#[test]
fn a_message_below_the_watch_is_a_restart_since_3_12() {
    for (version, start) in [(&V3_18, 5), (&V3_11, 8)] {
        provider::run(async {
            let mut world = World::new(version, 1);
            let below = events(&["a"]).replace("\"9\"", "\"5\"");
            let script = Script { range: list(), chunks: vec![created(), below] };
            world.network.lead_to(Some(script.serve().await));
            world.start(Role::DataPlane);
            let shared = world.workers[0].0.clone();
            world.until(|| matches!(shared.fibre.doing(), Doing::Sleeping)).await;
            world.clock.move_to(Duration::from_secs(1));
            world.until(|| shared.delivered.get() == 5 || shared.start.get() == 5).await;
            assert_eq!(shared.start.get(), start, "{}", version.name);
        });
    }
}
