//! Where in a message something stands: `virtual_hosts[2].routes[0].route.hash_policy`.
//!
//! A path is a chain of stack frames, so that walking down a message allocates nothing; it becomes text only when
//! something is found.

use std::fmt;

/// One step of a path, and by its parent all before it.
#[derive(Debug, Clone, Copy)]
pub struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    name: &'a str,
    element: Element<'a>,
}

/// Which element of a field.
#[derive(Debug, Clone, Copy)]
enum Element<'a> {
    Only,
    At(usize),
    Under(&'a str),
}

impl<'a> Path<'a> {
    /// The message itself: no text at all.
    pub const ROOT: Path<'static> = Path { parent: None, name: "", element: Element::Only };

    /// The message itself, which is known by this name. It is no part of the text.
    pub fn root(name: &'a str) -> Path<'a> {
        Path { parent: None, name, element: Element::Only }
    }

    /// The name of the message that the path begins in.
    pub fn origin(&self) -> &'a str {
        match self.parent {
            Some(parent) => parent.origin(),
            None => self.name,
        }
    }

    /// A field of this message.
    pub fn field(&'a self, name: &'a str) -> Path<'a> {
        Path { parent: Some(self), name, element: Element::Only }
    }

    /// An element of a repeated field of this message.
    pub fn item(&'a self, name: &'a str, index: usize) -> Path<'a> {
        Path { parent: Some(self), name, element: Element::At(index) }
    }

    /// The value under a key of a map of this message. Its place does not count: maps have no order.
    pub fn entry(&'a self, name: &'a str, key: &'a str) -> Path<'a> {
        Path { parent: Some(self), name, element: Element::Under(key) }
    }

    /// The same for every element of every repeated field.
    pub fn without_indexes(&self) -> String {
        let mut text = match self.parent {
            Some(parent) => parent.without_indexes(),
            None => return String::new(),
        };
        if !text.is_empty() {
            text.push('.');
        }
        text.push_str(self.name);
        text
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(parent) = self.parent else { return Ok(()) };
        parent.fmt(f)?;
        if parent.parent.is_some() {
            f.write_str(".")?;
        }
        f.write_str(self.name)?;
        match self.element {
            Element::Only => Ok(()),
            Element::At(index) => write!(f, "[{index}]"),
            Element::Under(key) => write!(f, "[{key:?}]"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_reads_like_the_document() {
        let host = Path::ROOT.item("virtual_hosts", 2);
        let route = host.item("routes", 0);
        let action = route.field("route");
        assert_eq!(action.to_string(), "virtual_hosts[2].routes[0].route");
        assert_eq!(action.without_indexes(), "virtual_hosts.routes.route");
        assert_eq!(host.entry("filters", "a.b").to_string(), r#"virtual_hosts[2].filters["a.b"]"#);
        assert_eq!(Path::ROOT.to_string(), "");
    }
}
