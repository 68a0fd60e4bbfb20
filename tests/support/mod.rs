//! What the tests share.

#![allow(dead_code, reason = "each test uses its part")]

pub mod apisix;
pub mod envoy;
pub mod etcd;
pub mod exchange;
pub mod istio;
pub mod load;
pub mod mesh;
pub mod mutate;
pub mod real_etcd;
pub mod schema;
pub mod world;
