//! The loopback etcd v3: gRPC and HTTP/1.1 JSON on one port, as APISIX, etcdctl and etcd's own clients use it.
//!
//! In: a [`Store`](crate::store::Store) to read and a [`Listener`] to answer on. Out: etcd's answers. Never here: a change of the store.
//! What APISIX's command line has to write is accepted and dropped; other writes are refused in etcd's words.
//!
//! The services (`kv`, `watch`, `lease`, `cluster`, `maintenance`, `auth`) take and give messages and
//! hold no state, but for the leases; `server` has the connections, `gateway` the JSON. A new call goes into
//! `src/pb/proto/etcd/rpc.proto`, its service's file, and the table in `gateway`.

mod auth;
mod cluster;
mod endpoint;
mod gateway;
mod json;
mod keyspace;
mod kv;
mod lease;
mod listen;
mod maintenance;
mod metrics;
mod server;
mod status;
mod tls;
mod validate;
mod watch;

use std::{sync::Arc, time::Duration};

pub use auth::Login;
pub use listen::{Listener, Reach};
pub use server::serve;
pub use tls::{Tls, TlsFiles};

/// How the endpoint presents the store.
#[derive(Debug, Clone)]
pub struct Options {
    /// What goes before every key; APISIX's `deployment.etcd.prefix`.
    pub prefix: String,
    /// How often a quiet watch that asked for it is told the revision.
    pub progress_interval: Duration,
    /// More connections wait in the listener's backlog.
    pub max_connections: usize,
    /// Who must show a token; without it nobody must.
    pub login: Option<Login>,
    /// Without it connections are plaintext.
    pub tls: Option<Arc<Tls>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            prefix: "/apisix".to_owned(),
            progress_interval: Duration::from_secs(600),
            max_connections: 8192,
            login: None,
            tls: None,
        }
    }
}
