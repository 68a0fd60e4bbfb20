//! Object ids: hashes of names, so that the same thing keeps its id whatever else changes.

use xxhash_rust::xxh3::Xxh3;

use super::cluster::{PassHost, Variant};

/// The id of the upstream of a cluster for routes that ask for this.
pub(super) fn variant(cluster: &str, variant: &Variant) -> String {
    let id = Id::new("upstream").name(cluster);
    if *variant == Variant::default() {
        return id.finish();
    }
    let id = id.name(&variant.retries.to_string()).name(&format!("{:?}", variant.retry_timeout));
    let id = match &variant.hash {
        Some(hash) => id.name(&format!("{:?}", hash.on)).name(&hash.key),
        None => id.name(""),
    };
    let id = match &variant.host {
        PassHost::Pass => id.name("pass"),
        PassHost::Node => id.name("node"),
        PassHost::Rewrite(host) => id.name("rewrite").name(host),
    };
    variant.subset.iter().fold(id, |id, (key, value)| id.name(key).name(value)).finish()
}

/// An id in the making, from the outermost name to the innermost.
#[derive(Clone)]
pub(super) struct Id(Xxh3);

impl Id {
    pub fn new(kind: &str) -> Self {
        Self(Xxh3::new()).name(kind)
    }

    /// The length goes in too: `a`, `bc` is not `ab`, `c`.
    pub fn name(mut self, name: &str) -> Self {
        self.0.update(&(name.len() as u64).to_le_bytes());
        self.0.update(name.as_bytes());
        self
    }

    pub fn position(mut self, position: usize) -> Self {
        self.0.update(&(position as u64).to_le_bytes());
        self
    }

    /// 32 hexadecimal digits, half of what APISIX allows.
    pub fn finish(self) -> String {
        format!("{:032x}", self.0.digest128())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_do_not_run_into_each_other() {
        let id = |names: &[&str]| names.iter().fold(Id::new("x"), |id, n| id.name(n)).finish();
        assert_ne!(id(&["a", "bc"]), id(&["ab", "c"]));
        assert_ne!(id(&["", "a"]), id(&["a", ""]));
        assert_eq!(id(&["a"]).len(), 32);
    }
}
