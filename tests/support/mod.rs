//! What several tests need.

#![allow(dead_code, reason = "each test uses its part")]

pub mod istio;
pub mod load;
pub mod router;
pub mod schema;
