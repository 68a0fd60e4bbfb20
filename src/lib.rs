//! apisix-mesh: a service-mesh sidecar for nginx and Apache APISIX, as a library inside the nginx process.
//!
//! ```text
//! xDS server --> xds --> translate --> store --+--> etcd    loopback gRPC + HTTP/JSON, range and watch
//! (ADS, file)   decode    pure         MVCC    +--> state   the last known good, in a file
//!               check     functions    log     +--> capi    C ABI, FFI
//!               cache                          +--> libxds  APISIX's shared dictionaries
//! ```
//!
//! A one-way street: each stage imports only the one on its left and the leaves ([`apisix`], [`config`], [`error`],
//! [`grpc`], [`log`], [`pb`]). [`agent`] alone sees all stages, [`instance`] decides which process has one. `tests/layering.rs` holds every file to it.

pub mod agent;
pub mod apisix;
pub mod capi;
pub mod config;
pub mod error;
pub mod etcd;
pub mod grpc;
pub mod identity;
pub mod instance;
pub mod interception;
pub mod libxds;
pub mod log;
pub mod metrics;
pub mod pb;
pub mod state;
pub mod status;
pub mod store;
pub mod translate;
pub mod xds;
