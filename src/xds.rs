//! The left end of the street: resources come in, checked and cached.
//!
//! In: xDS responses over gRPC ([`ads`]), or files ([`file`]). Out: a [`Snapshot`] of accepted resources and, for each
//! update, the [`Change`]s in it. ACK or NACK is decided here, from each resource on its own ([`validate`]). Never
//! here: what a resource means to APISIX.

mod resource;
mod snapshot;

pub use resource::{Resource, ResourceType};
pub use snapshot::{Change, Snapshot};
