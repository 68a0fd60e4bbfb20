//! Which parents refer to which children: listeners to route configurations, clusters to load assignments.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

/// The references of one parent type, counted, so that a change costs what the parent refers to.
#[derive(Debug, Default)]
pub struct References {
    of: HashMap<Arc<str>, Vec<Arc<str>>>,
    /// How many parents each child has; never zero.
    parents: BTreeMap<Arc<str>, usize>,
    generation: u64,
}

/// What a change of one parent did to the set of children.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Children with their first parent.
    pub new: Vec<Arc<str>>,
    /// Children that lost their last one.
    pub gone: Vec<Arc<str>>,
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
                    difference.gone.push(name);
                }
            }
        }
        if difference != Difference::default() {
            self.generation += 1;
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

    /// Rises whenever the set of children changes.
    pub fn generation(&self) -> u64 {
        self.generation
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(references: &mut References, parent: &str, children: &[&str]) -> (Vec<String>, Vec<String>) {
        let children = children.iter().map(|c| (*c).to_owned()).collect();
        let Difference { new, gone } = references.set(parent.into(), children);
        let text = |names: Vec<Arc<str>>| names.iter().map(|n| n.to_string()).collect();
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
    fn the_generation_rises_only_with_the_set() {
        let mut r = References::default();
        set(&mut r, "p", &["a"]);
        let before = r.generation();
        set(&mut r, "q", &["a"]);
        set(&mut r, "p", &[]);
        assert_eq!(r.generation(), before);
        set(&mut r, "q", &[]);
        assert_ne!(r.generation(), before);
    }
}
