//! The names of route configurations: those of RDS, and those that stand inside a listener.

use std::sync::Arc;

use super::id::Id;

/// A route configuration's identity.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum ConfigKey {
    /// An RDS resource.
    Rds(Arc<str>),
    /// Inside a listener. Its name may be empty, or repeat with other content: `ordinal` counts those.
    Inline { listener: Arc<str>, name: Arc<str>, ordinal: usize },
}

impl ConfigKey {
    /// The configuration's own name.
    pub fn name(&self) -> &str {
        match self {
            Self::Rds(name) | Self::Inline { name, .. } => name,
        }
    }

    /// The beginning of the ids of its routes, for the first or a further way of serving it.
    pub fn id(&self, way: usize) -> Id {
        let id = match self {
            Self::Rds(name) => Id::new("rds").name(name),
            Self::Inline { listener, name, ordinal } => {
                Id::new("inline").name(listener).name(name).position(*ordinal)
            }
        };
        if way == 0 { id } else { id.name("way").position(way) }
    }
}
