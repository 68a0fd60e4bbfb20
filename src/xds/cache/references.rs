//! Which parents refer to which children: listeners to route configurations, clusters to load assignments.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

/// The references of one parent type, counted, so that a change costs what the parent refers to.
#[derive(Debug, Default)]
pub struct References {
    of: HashMap<Arc<str>, Vec<Arc<str>>>,
    /// How many parents each child has; never zero.
    parents: BTreeMap<Arc<str>, usize>,
}

/// What changes of parents did to the set of children.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Difference {
    /// Children with their first parent, sorted.
    pub new: BTreeSet<Arc<str>>,
    /// Children that lost their last one, sorted.
    pub gone: BTreeSet<Arc<str>>,
}

impl Difference {
    /// Whether the set of children is what it was.
    pub fn is_empty(&self) -> bool {
        self.new.is_empty() && self.gone.is_empty()
    }

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
    /// Replaces what `parent` refers to; nothing removes the parent.
    pub fn set(&mut self, parent: Arc<str>, children: Vec<String>) -> Difference {
        let mut difference = Difference::default();
        let mut held = Vec::with_capacity(children.len());
        for name in children {
            match self.parents.get_key_value(name.as_str()).map(|(name, _)| name.clone()) {
                Some(name) => held.push(name),
                None => {
                    held.push(Arc::from(name));
                    difference.new.extend(held.last().cloned());
                }
            }
            *self.parents.entry(held[held.len() - 1].clone()).or_default() += 1;
        }
        let before = if held.is_empty() { self.of.remove(&parent) } else { self.of.insert(parent, held) };
        for name in before.into_iter().flatten() {
            if let Some(count) = self.parents.get_mut(&name) {
                *count -= 1;
                if *count == 0 {
                    self.parents.remove(&name);
                    difference.gone.insert(name);
                }
            }
        }
        difference
    }

    /// Every child, sorted.
    pub fn children(&self) -> impl Iterator<Item = &Arc<str>> {
        self.parents.keys()
    }

    /// Whether any parent refers to `child`.
    pub fn refers_to(&self, child: &str) -> bool {
        self.parents.contains_key(child)
    }

    /// Whether nothing is referred to.
    pub fn is_empty(&self) -> bool {
        self.parents.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(references: &mut References, parent: &str, children: &[&str]) -> (Vec<String>, Vec<String>) {
        let children = children.iter().map(|c| (*c).to_owned()).collect();
        let Difference { new, gone } = references.set(parent.into(), children);
        let text = |names: BTreeSet<Arc<str>>| names.iter().map(|n| n.to_string()).collect();
        (text(new), text(gone))
    }

    #[test]
    fn a_child_lives_while_any_parent_refers_to_it() {
        let mut r = References::default();
        assert_eq!(set(&mut r, "p", &["a", "b"]), (vec!["a".into(), "b".into()], vec![]));
        assert_eq!(set(&mut r, "q", &["b"]), (vec![], vec![]));
        assert_eq!(set(&mut r, "p", &[]), (vec![], vec!["a".into()]));
        assert_eq!(set(&mut r, "q", &["c"]), (vec!["c".into()], vec!["b".into()]));
        assert_eq!(r.children().map(|c| &**c).collect::<Vec<_>>(), ["c"]);
    }

    #[test]
    fn a_child_that_passes_between_parents_is_neither_new_nor_gone() {
        let mut r = References::default();
        let mut all = Difference::default();
        for (parent, children) in [("p", &["a"][..]), ("q", &["b"]), ("p", &[]), ("q", &["a"])] {
            all.add(r.set(parent.into(), children.iter().map(|c| (*c).to_owned()).collect()));
        }
        assert_eq!(all, Difference { new: [Arc::from("a")].into(), gone: [].into() });
        all.add(r.set("q".into(), vec![]));
        assert!(all.is_empty());
    }
}
