//! Which resources refer to which: clusters to load assignments, listeners to route configurations, routes to clusters.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use crate::xds::{Change, ResourceType};

/// A resource by type and name, there or not.
pub type Node = Change;

/// The references of all resources, counted, so that a change costs what its resource refers to.
#[derive(Debug, Default)]
pub struct References {
    of: HashMap<Node, Arc<[Node]>>,
    /// How many parents each child has; never zero.
    parents: BTreeMap<Node, usize>,
}

/// What changes of parents did to the set of children.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Difference {
    /// Children with their first parent.
    pub new: BTreeSet<Node>,
    /// Children that lost their last one.
    pub gone: BTreeSet<Node>,
}

impl Difference {
    /// Adds what a later change did. A child that came and went, or went and came, is as it was.
    pub fn add(&mut self, later: Self) {
        for name in later.new {
            if !self.gone.remove(&name) {
                self.new.insert(name);
            }
        }
        for name in later.gone {
            if !self.new.remove(&name) {
                self.gone.insert(name);
            }
        }
    }
}

impl References {
    /// Replaces what `parent` refers to; nothing removes the parent. `children` has each once.
    pub fn set(&mut self, parent: &Node, children: Arc<[Node]>) -> Difference {
        let mut difference = Difference::default();
        // A large route configuration changes often, and its clusters seldom.
        if self.of(parent) == &*children {
            return difference;
        }
        for child in children.iter() {
            let count = self.parents.entry(child.clone()).or_default();
            *count += 1;
            if *count == 1 {
                difference.new.insert(child.clone());
            }
        }
        let before = if children.is_empty() {
            self.of.remove(parent)
        } else {
            self.of.insert(parent.clone(), children)
        };
        for child in before.iter().flat_map(|children| children.iter()) {
            if let Some(count) = self.parents.get_mut(child) {
                *count -= 1;
                if *count == 0 {
                    self.parents.remove(child);
                    difference.gone.insert(child.clone());
                }
            }
        }
        difference
    }

    /// What a resource refers to.
    pub fn of(&self, parent: &Node) -> &[Node] {
        self.of.get(parent).map_or(&[], |children| children)
    }

    /// The same, to be shared.
    pub fn shared(&self, parent: &Node) -> Arc<[Node]> {
        self.of.get(parent).cloned().unwrap_or_default()
    }

    /// The names of every child of a type, sorted.
    pub fn children(&self, kind: ResourceType) -> impl Iterator<Item = &Arc<str>> {
        let first = Node { kind, name: Arc::from("") };
        self.parents
            .range(first..)
            .map(|(child, _)| child)
            .take_while(move |c| c.kind == kind)
            .map(|c| &c.name)
    }

    /// Whether any parent refers to `child`.
    pub fn refers_to(&self, child: &Node) -> bool {
        self.parents.contains_key(child)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str) -> Node {
        Node { kind: ResourceType::Cluster, name: name.into() }
    }

    fn set(references: &mut References, parent: &str, children: &[&str]) -> Difference {
        references.set(&node(parent), children.iter().map(|c| node(c)).collect())
    }

    fn difference(new: &[&str], gone: &[&str]) -> Difference {
        let nodes = |names: &[&str]| names.iter().map(|n| node(n)).collect();
        Difference { new: nodes(new), gone: nodes(gone) }
    }

    #[test]
    fn a_child_lives_while_any_parent_refers_to_it() {
        let mut r = References::default();
        assert_eq!(set(&mut r, "p", &["a", "b"]), difference(&["a", "b"], &[]));
        assert_eq!(set(&mut r, "q", &["b"]), difference(&[], &[]));
        assert_eq!(set(&mut r, "p", &[]), difference(&[], &["a"]));
        assert_eq!(set(&mut r, "q", &["c"]), difference(&["c"], &["b"]));
        assert_eq!(r.children(ResourceType::Cluster).map(|c| &**c).collect::<Vec<_>>(), ["c"]);
        assert_eq!(r.children(ResourceType::Listener).count(), 0);
    }

    #[test]
    fn a_child_that_passes_between_parents_is_neither_new_nor_gone() {
        let mut r = References::default();
        let mut all = Difference::default();
        for (parent, children) in [("p", &["a"][..]), ("q", &["b"]), ("p", &[]), ("q", &["a"])] {
            all.add(set(&mut r, parent, children));
        }
        assert_eq!(all, difference(&["a"], &[]));
        all.add(set(&mut r, "q", &[]));
        assert_eq!(all, difference(&[], &[]));
    }
}
