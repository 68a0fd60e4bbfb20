//! Where an object lives: `/<directory>/<id>`, without the etcd prefix.

use std::{fmt, sync::Arc};

/// A directory of APISIX objects that this library writes.
///
/// The order is make-before-break: an object only refers to objects of directories before its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Directory {
    /// `/ssls`
    Ssls,
    /// `/upstreams`
    Upstreams,
    /// `/routes`
    Routes,
}

impl Directory {
    /// All directories, in make-before-break order.
    pub const ALL: [Directory; 3] = [Self::Ssls, Self::Upstreams, Self::Routes];

    /// The name in keys, without slashes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ssls => "ssls",
            Self::Upstreams => "upstreams",
            Self::Routes => "routes",
        }
    }
}

/// The key of one object, such as `/routes/4f1c...`. Sorted bytewise, as etcd sorts.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Arc<str>);

impl Key {
    /// The key of the object `id` (1 to 64 of `[a-zA-Z0-9-_.]`) in a directory.
    pub fn new(directory: Directory, id: &str) -> Self {
        Self(format!("/{}/{id}", directory.name()).into())
    }

    /// The key of this text; `None` if it is no key of an object.
    pub fn parse(text: &str) -> Option<Self> {
        Self::is_valid(text).then(|| Self(text.into()))
    }

    /// Whether this text is the key of an object.
    pub fn is_valid(text: &str) -> bool {
        let parts = text.strip_prefix('/').and_then(|rest| rest.split_once('/'));
        parts.is_some_and(|(directory, id)| {
            let is_known = Directory::ALL.iter().any(|d| d.name() == directory);
            is_known && !id.is_empty() && !id.contains('/')
        })
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The directory this key is in.
    pub fn directory(&self) -> Directory {
        let name = self.0[1..].split('/').next().unwrap_or_default();
        Directory::ALL
            .into_iter()
            .find(|d| d.name() == name)
            .expect("a key is made by Key::new or Key::parse, which know them all")
    }

    /// What follows the directory.
    pub fn id(&self) -> &str {
        &self.0[self.directory().name().len() + 2..]
    }
}

impl std::borrow::Borrow<str> for Key {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_knows_its_parts() {
        let key = Key::new(Directory::Routes, "a.b");
        assert_eq!(key.as_str(), "/routes/a.b");
        assert_eq!((key.directory(), key.id()), (Directory::Routes, "a.b"));
        assert_eq!(Key::parse("/routes/a.b"), Some(key));
        for text in ["", "/", "routes/a", "/routes", "/routes/", "/routes/a/b", "/other/a"] {
            assert_eq!(Key::parse(text), None, "{text}");
        }
    }
}
