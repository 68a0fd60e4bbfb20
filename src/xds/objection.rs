//! A word from outside about resources that are well-formed.
//!
//! In: a closure from whoever starts a source. Out: its verdict on one resource at a time. Never here: what it is about:
//! nothing to the right of this stage is known to it.

use std::{fmt, sync::Arc};

use bytes::Bytes;

use super::{Resource, ResourceType};

type Ask = dyn Fn(ResourceType, &Resource) -> Result<(), String> + Send + Sync;

/// Refuses resources, each on its own; by default none.
#[derive(Clone, Default)]
pub struct Objection(Option<Arc<Ask>>);

impl Objection {
    /// Refuses what `ask` gives a reason for.
    pub fn new(ask: impl Fn(ResourceType, &Resource) -> Result<(), String> + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(ask)))
    }

    /// Why this resource is refused, if it is.
    pub fn to(&self, kind: ResourceType, name: &str, message: &Bytes) -> Result<(), String> {
        let Some(ask) = &self.0 else { return Ok(()) };
        ask(kind, &Resource { name: name.into(), hash: Resource::hash_of(message), bytes: message.clone() })
    }
}

impl fmt::Debug for Objection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Objection" } else { "none" })
    }
}
