//! Buffers: how much a client may send. Mapping row 89.
//!
//! In: the filter's configuration, for a chain or for one route. Out: client-control. Never here: that a request is
//! held back until its body is whole, which nginx does anyway.

use std::sync::Arc;

use super::Filter;
use crate::{
    apisix::ClientControl,
    pb::{
        envoy::extensions::filters::http::buffer::v3::{Buffer, BufferPerRoute, buffer_per_route::Override},
        path::Path,
    },
    translate::{effect::Case, note::Notes},
};

/// Reads the filter of a chain.
pub(super) fn read(bytes: &[u8], path: &Path<'_>, notes: &mut Notes) -> Option<Arc<dyn Filter>> {
    bound(&super::decode(bytes, path, notes)?)
}

/// Reads what a route says: a bound of its own, or none.
pub(super) fn read_route(bytes: &[u8], path: &Path<'_>, notes: &mut Notes) -> Option<Arc<dyn Filter>> {
    let config: BufferPerRoute = super::decode(bytes, path, notes)?;
    match config.r#override? {
        Override::Disabled(_) => None,
        Override::Buffer(buffer) => bound(&buffer),
    }
}

/// The plugin takes 0 for no bound; Envoy refuses it.
fn bound(buffer: &Buffer) -> Option<Arc<dyn Filter>> {
    let bytes = buffer.max_request_bytes.filter(|bytes| *bytes > 0)?;
    Some(Arc::new(Bound(bytes.into())))
}

/// The most bytes of a body.
#[derive(Debug)]
struct Bound(u64);

impl Filter for Bound {
    fn apply(&self, cases: &mut Vec<Case>) {
        for case in cases {
            case.effect.plugins.client_control = Some(ClientControl { max_body_size: self.0, meta: None });
        }
    }
}
