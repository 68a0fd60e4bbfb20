//! APISIX's etcd provider, simulated: what a worker of each version holds after what it read from a real endpoint over
//! real connections, that the test cuts, stalls and dribbles, in a time that only the test moves.
//!
//! In: an endpoint's address. Out: the configuration that each worker holds, and counts of what it went through; what
//! would be a Lua error or a lost event is told as such. Never here: our own view of how a client should behave; each
//! rule is APISIX's (`apisix/core/config_etcd.lua`, `etcd.lua`), lua-resty-etcd's or lua-resty-http's.

#![allow(dead_code, reason = "each test uses its part")]

pub mod client;
pub mod clock;
pub mod directory;
pub mod history;
pub mod http;
pub mod link;
pub mod queue;
pub mod script;
pub mod tally;
pub mod version;
pub mod watcher;
pub mod worker;
pub mod world;

/// Runs a test on one thread: the workers, the network and the endpoint take turns.
pub fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, test);
}
