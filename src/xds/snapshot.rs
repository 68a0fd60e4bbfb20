//! The accepted resources of all types, and what an update changed in them.

use std::{collections::BTreeMap, sync::Arc};

use super::{Resource, ResourceType};

/// Every resource that is in force, by type and name.
///
/// A name may be referred to and absent: its resource has not come yet, or never will.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    resources: [BTreeMap<Arc<str>, Resource>; ResourceType::ALL.len()],
}

impl Snapshot {
    /// The resource of this type and name, if it is there.
    pub fn get(&self, kind: ResourceType, name: &str) -> Option<&Resource> {
        self.resources[kind as usize].get(name)
    }

    /// All resources of a type, sorted by name.
    pub fn iter(&self, kind: ResourceType) -> impl Iterator<Item = &Resource> {
        self.resources[kind as usize].values()
    }

    /// How many resources of a type there are.
    pub fn len(&self, kind: ResourceType) -> usize {
        self.resources[kind as usize].len()
    }

    /// Puts a resource in; `false` when the very same bytes were there.
    pub fn insert(&mut self, kind: ResourceType, resource: Resource) -> bool {
        let resources = &mut self.resources[kind as usize];
        if resources.get(&resource.name).is_some_and(|held| held.hash == resource.hash) {
            return false;
        }
        resources.insert(resource.name.clone(), resource);
        true
    }

    /// Takes a resource out; `false` when it was not there.
    pub fn remove(&mut self, kind: ResourceType, name: &str) -> bool {
        self.resources[kind as usize].remove(name).is_some()
    }
}

/// One resource that came, changed or went; the snapshot tells which.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Change {
    /// The resource's type.
    pub kind: ResourceType,
    /// The resource's name.
    pub name: Arc<str>,
}
