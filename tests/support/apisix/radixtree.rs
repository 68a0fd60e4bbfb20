//! `lua-resty-radixtree` as far as routers need it: exact texts first, then prefixes from the longest to the shortest.

use std::collections::HashMap;

/// Values by texts, where a `*` ends a prefix.
#[derive(Debug)]
pub struct Radixtree<T> {
    exact: HashMap<Vec<u8>, T>,
    prefixes: HashMap<Vec<u8>, T>,
    /// Of the prefixes, descending.
    lengths: Vec<usize>,
}

impl<T> Default for Radixtree<T> {
    fn default() -> Self {
        Self { exact: HashMap::new(), prefixes: HashMap::new(), lengths: Vec::new() }
    }
}

impl<T: Default> Radixtree<T> {
    /// The value at this text, made if there was none.
    pub fn at(&mut self, text: &[u8]) -> &mut T {
        let Some(star) = text.iter().position(|b| *b == b'*') else {
            return self.exact.entry(text.to_vec()).or_default();
        };
        if let Err(place) = self.lengths.binary_search_by(|length| star.cmp(length)) {
            self.lengths.insert(place, star);
        }
        self.prefixes.entry(text[..star].to_vec()).or_default()
    }

    /// The values whose text fits, in the order in which they are tried.
    pub fn candidates<'a>(&'a self, text: &'a [u8]) -> impl Iterator<Item = &'a T> {
        let shorter = self.lengths.iter().filter(|length| **length <= text.len());
        self.exact
            .get(text)
            .into_iter()
            .chain(shorter.filter_map(|length| self.prefixes.get(&text[..*length])))
    }

    /// All values, for what is done once all are there.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.exact.values_mut().chain(self.prefixes.values_mut())
    }
}
