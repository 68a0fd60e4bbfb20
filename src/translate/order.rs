//! Envoy's order of routes in APISIX's terms.
//!
//! Envoy takes the first route that matches. APISIX tries exact paths, then longer prefixes, and asks for priorities
//! only between routes with the same path text (contract section 8). So a path stays native where APISIX would not
//! try it before an earlier route that could match the same request; elsewhere it goes flat: `/*`, which is tried
//! last, and the path as a condition.

use std::collections::HashSet;

use crate::apisix::{Condition, MAX_URI};

use super::matcher::PathTest;

/// How one route's path is written.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Layout {
    pub uris: Vec<String>,
    pub condition: Option<Condition>,
    /// APISIX tries it after all native paths of its hosts, one after the other.
    pub flat: bool,
}

impl Layout {
    fn flat(path: &PathTest) -> Self {
        Self { uris: vec!["/*".to_owned()], condition: path.condition(), flat: true }
    }
}

/// Layouts that keep the order of `paths`.
pub(super) fn keep<'a>(paths: impl Iterator<Item = &'a PathTest>) -> Vec<Layout> {
    let mut earlier = Earlier::default();
    paths.map(|path| earlier.place(path)).collect()
}

/// Layouts that leave all order to priorities.
pub(super) fn flat<'a>(paths: impl Iterator<Item = &'a PathTest>) -> Vec<Layout> {
    paths.map(Layout::flat).collect()
}

/// What stands before the route that is placed.
#[derive(Default)]
struct Earlier {
    /// A flat route may match anything.
    any_flat: bool,
    /// Text of native prefixes.
    prefixes: HashSet<String>,
}

impl Earlier {
    fn place(&mut self, path: &PathTest) -> Layout {
        match Native::of(path).filter(|native| native.text() == "/" || !self.is_overtaken_by(native)) {
            Some(native) => {
                self.prefixes.extend(native.prefix());
                Layout { uris: native.uris(), condition: None, flat: false }
            }
            None => {
                self.any_flat = true;
                Layout::flat(path)
            }
        }
    }

    /// Whether APISIX would try the route before one of these that may match the same request: one with a shorter
    /// prefix of its text, or any prefix of an exact path.
    fn is_overtaken_by(&self, native: &Native<'_>) -> bool {
        let text = native.text();
        let shorter =
            (1..text.len()).any(|end| text.is_char_boundary(end) && self.prefixes.contains(&text[..end]));
        let same = !matches!(native, Native::Prefix(_)) && self.prefixes.contains(text);
        self.any_flat || shorter || same
    }
}

/// A path that radixtree reads as it is meant.
enum Native<'a> {
    Exact(&'a str),
    Prefix(&'a str),
    Separated(&'a str),
}

impl<'a> Native<'a> {
    fn of(path: &'a PathTest) -> Option<Self> {
        let native = match path {
            PathTest::Exact(text) => Self::Exact(text),
            PathTest::Prefix(text) if text.is_empty() => Self::Prefix("/"),
            PathTest::Prefix(text) => Self::Prefix(text),
            PathTest::Separated(text) => Self::Separated(text),
            PathTest::ExactIgnoringCase(_)
            | PathTest::PrefixIgnoringCase(_)
            | PathTest::SeparatedIgnoringCase(_)
            | PathTest::Regex(_) => return None,
        };
        is_plain(native.text()).then_some(native)
    }

    fn text(&self) -> &'a str {
        match self {
            Self::Exact(text) | Self::Prefix(text) | Self::Separated(text) => text,
        }
    }

    /// The text before the `*`, if there is one.
    fn prefix(&self) -> Option<String> {
        match self {
            Self::Exact(_) => None,
            Self::Prefix(text) => Some((*text).to_owned()),
            Self::Separated(text) => Some(format!("{text}/")),
        }
    }

    fn uris(&self) -> Vec<String> {
        match self {
            Self::Exact(text) => vec![(*text).to_owned()],
            Self::Prefix(text) => vec![format!("{text}*")],
            Self::Separated(text) => vec![(*text).to_owned(), format!("{text}/*")],
        }
    }
}

/// Radixtree gives meaning to `*`, and to `:` where a segment begins; escapes are compared before they are decoded.
fn is_plain(text: &str) -> bool {
    text.starts_with('/') && text.len() + 2 < MAX_URI && !text.contains(['*', '%']) && !text.contains("/:")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exact(text: &str) -> PathTest {
        PathTest::Exact(text.to_owned())
    }

    fn prefix(text: &str) -> PathTest {
        PathTest::Prefix(text.to_owned())
    }

    fn uris(paths: &[PathTest]) -> Vec<String> {
        keep(paths.iter()).into_iter().map(|l| l.uris.join(" ")).collect()
    }

    #[test]
    fn from_specific_to_general_all_stay_native() {
        let paths = [exact("/a/b"), prefix("/a/"), PathTest::Separated("/c".to_owned()), prefix("/")];
        assert_eq!(uris(&paths), ["/a/b", "/a/*", "/c /c/*", "/*"]);
    }

    #[test]
    fn an_exact_path_behind_its_prefix_goes_flat() {
        assert_eq!(uris(&[prefix("/a"), exact("/a/b")]), ["/a*", "/*"]);
        assert_eq!(uris(&[prefix("/a"), exact("/a")]), ["/a*", "/*"]);
    }

    #[test]
    fn a_longer_prefix_behind_a_shorter_goes_flat() {
        assert_eq!(uris(&[prefix("/"), prefix("/a"), exact("/b")]), ["/*", "/*", "/*"]);
        assert_eq!(uris(&[prefix("/a"), prefix("/b/c")]), ["/a*", "/b/c*"]);
    }

    #[test]
    fn the_same_path_is_left_to_priorities() {
        assert_eq!(uris(&[prefix("/a"), prefix("/a"), exact("/b"), exact("/b")]), ["/a*", "/a*", "/b", "/b"]);
    }

    #[test]
    fn whatever_follows_a_flat_route_goes_flat() {
        assert_eq!(
            uris(&[PathTest::Regex("/a|/b".to_owned()), exact("/b"), prefix("/")]),
            ["/*", "/*", "/*"]
        );
    }

    #[test]
    fn what_radixtree_would_misread_goes_flat() {
        for text in ["/a*b", "/:id/x", "/*", "/a%20b", "a"] {
            assert_eq!(uris(&[exact(text)]), ["/*"], "{text}");
        }
        assert_eq!(uris(&[exact("/a:b")]), ["/a:b"]);
    }
}
