//! The resources of one response, read and checked before anything is changed.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

use bytes::Bytes;

use super::{Cache, references::Node};
use crate::{
    pb::{envoy::service::discovery::v3::Resource as Wrapper, google::protobuf::Any},
    xds::{
        Resource, ResourceType,
        validate::{self, Carried, Checked, Terms},
    },
};

/// One resource of a response.
pub enum Incoming {
    /// Named without content.
    Heartbeat(String, Terms),
    /// As it was.
    Unchanged(Arc<str>, Terms),
    New(Checked, Bytes, Terms),
    Bad {
        name: Option<String>,
        error: String,
    },
}

impl Incoming {
    fn name(&self) -> Option<&str> {
        match self {
            Self::Heartbeat(name, _) => Some(name),
            Self::Unchanged(name, _) => Some(name),
            Self::New(checked, ..) => Some(&checked.name),
            Self::Bad { name, .. } => name.as_deref(),
        }
    }
}

impl Cache {
    /// The resources of a state-of-the-world response, without those that nobody asked for.
    pub(super) fn read(&self, kind: ResourceType, resources: &[Any]) -> Vec<Incoming> {
        let read = |any: &Any| match validate::unwrap(kind, any) {
            Ok(carried) => self.read_carried(kind, carried),
            Err(error) => Some(Incoming::Bad { name: validate::name_in(any), error: error.to_string() }),
        };
        refuse_repeated(resources.iter().filter_map(read).collect(), "comes twice in one response")
    }

    /// The resources of a delta response, without those that nobody asked for. What it says both of is neither.
    pub(super) fn read_delta(
        &self,
        kind: ResourceType,
        resources: &[Wrapper],
        removed: &[String],
    ) -> Vec<Incoming> {
        let read = |wrapper: &Wrapper| match validate::unwrap_resource(kind, wrapper) {
            Ok(carried) => self.read_carried(kind, carried).map(|item| under_its_name(item, &wrapper.name)),
            Err(error) => {
                let name = (!wrapper.name.is_empty()).then(|| wrapper.name.clone());
                Some(Incoming::Bad { name, error: error.to_string() })
            }
        };
        let items =
            refuse_repeated(resources.iter().filter_map(read).collect(), "comes twice in one response");
        let brought: HashSet<&str> = items.iter().filter_map(Incoming::name).collect();
        let both = removed.iter().filter(|name| brought.contains(name.as_str())).cloned().collect();
        refuse(items, both, "is both brought and removed by one response")
    }

    /// `None` for a resource nobody asked for.
    fn read_carried(&self, kind: ResourceType, carried: Carried) -> Option<Incoming> {
        let (message, terms) = match carried {
            Carried::Message(message, terms) => (message, terms),
            Carried::Heartbeat(name, terms) => {
                let node = Node { kind, name: name.as_str().into() };
                return self.latest(&node).map(|_| Incoming::Heartbeat(name, terms));
            }
        };
        let held = self.by_hash[kind as usize].get(&Resource::hash_of(&message));
        if let Some(held) = held.and_then(|name| self.latest(&Node { kind, name: name.clone() }))
            && held.bytes == message
        {
            return Some(Incoming::Unchanged(held.name.clone(), terms));
        }
        let item = match self.check(kind, &message) {
            Ok(checked) => Incoming::New(checked, message, terms),
            Err(error) => Incoming::Bad { name: validate::peek_name(&message), error },
        };
        let asked_for = |name: &str| self.graph.refers_to(&Node { kind, name: name.into() });
        let wanted = kind.is_complete() || item.name().is_none_or(asked_for);
        wanted.then_some(item)
    }

    fn check(&self, kind: ResourceType, message: &Bytes) -> Result<Checked, String> {
        let checked = validate::check(kind, message).map_err(|error| error.to_string())?;
        self.objection.to(kind, &checked.name, message)?;
        Ok(checked)
    }
}

/// A delta server removes a resource by the name outside, so another one inside could never go.
fn under_its_name(item: Incoming, outside: &str) -> Incoming {
    match item.name() {
        Some(inside) if inside != outside => Incoming::Bad {
            error: format!("name: {outside:?} outside of the resource, {inside:?} in it"),
            name: Some(outside.to_owned()),
        },
        _ => item,
    }
}

/// Which of two is meant cannot be told, so neither is taken (3.2 point 12).
fn refuse_repeated(items: Vec<Incoming>, error: &str) -> Vec<Incoming> {
    let mut seen = HashSet::with_capacity(items.len());
    let names = items.iter().filter_map(Incoming::name);
    let twice = names.filter(|name| !seen.insert(*name)).map(str::to_owned).collect();
    refuse(items, twice, error)
}

fn refuse(mut items: Vec<Incoming>, names: BTreeSet<String>, error: &str) -> Vec<Incoming> {
    if !names.is_empty() {
        items.retain(|item| item.name().is_none_or(|name| !names.contains(name)));
    }
    items.extend(names.into_iter().map(|name| Incoming::Bad { name: Some(name), error: error.to_owned() }));
    items
}
