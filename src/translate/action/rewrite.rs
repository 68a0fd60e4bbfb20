//! Path rewrites to pairs of proxy-rewrite's `regex_uri`. Mapping rows 47 to 49.
//!
//! Envoy rewrites the path as it was sent and leaves the query alone, so the pairs are for the request's own target
//! (`use_real_request_uri_unsafe`), query and all. Where that does not begin as nginx's normalised path does, since it
//! has dots, slashes or escapes that do not count, the beginning is looked for behind them; a request that was matched
//! never goes up with its path as it was.

use crate::pb::{envoy::r#type::matcher::v3::RegexMatchAndSubstitute, path::Path};

use crate::translate::{
    matcher::PathTest,
    note::Notes,
    pattern::{self, Start, confine},
};

/// What becomes of a path.
#[derive(Debug, Clone, Copy)]
pub(super) enum Change<'a> {
    Nothing,
    /// What the route matched is replaced: a prefix, or all of it.
    Matched(&'a str),
    /// What a pattern finds is replaced.
    Pattern(&'a RegexMatchAndSubstitute),
}

/// What becomes of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Query {
    Keep,
    Drop,
}

/// A pattern for the whole target, and what it is replaced by; the first that is found counts.
pub(super) type Pairs = Vec<[String; 2]>;

/// `None` when it has been noted that there are none.
pub(super) fn pairs(
    change: Change<'_>,
    query: Query,
    test: &PathTest,
    path: &Path<'_>,
    notes: &mut Notes,
) -> Option<Pairs> {
    let (text, found) = match change {
        Change::Nothing => {
            return Some(if query == Query::Drop { vec![without_query()] } else { Vec::new() });
        }
        Change::Pattern(rewrite) => return by_pattern(rewrite, query, path, notes),
        Change::Matched(text) => (text, test.raw_prefix()),
    };
    check_slash(text, path, notes)?;
    let pattern = match found {
        Some(prefix) => format!("^(?:[^?]*?{prefix}|[^?]*)"),
        None => "^[^?]*".to_owned(),
    };
    Some(vec![match (query, text.split_once('?')) {
        (Query::Keep, _) => [pattern, pattern::literal(text)],
        // Envoy drops everything from the first question mark on, whoever put it there.
        (Query::Drop, Some((text, _))) => [format!("{pattern}.*"), pattern::literal(text)],
        (Query::Drop, None) => {
            [format!(r"{pattern}([^?]*)(?:\?.*)?\z"), format!("{}$1", pattern::literal(text))]
        }
    }])
}

/// RE2 replaces all that is found, `ngx.re.sub` what is found first.
fn by_pattern(
    rewrite: &RegexMatchAndSubstitute,
    query: Query,
    path: &Path<'_>,
    notes: &mut Notes,
) -> Option<Pairs> {
    let regex = rewrite.pattern.as_ref().map_or("", |p| p.regex.as_str());
    let path = path.field("regex_rewrite");
    let Some(confined) = confine(regex, '?', Start::Text) else {
        notes.traffic(&path.field("pattern"), "only RE2 reads it: answered with 503");
        return None;
    };
    if !confined.once {
        notes.traffic(&path.field("pattern"), "only what is found first is replaced");
    }
    let found = &confined.pattern;
    if query == Query::Keep && confined.anchored {
        return Some(vec![[found.clone(), pattern::substitution(&rewrite.substitution, 0)]]);
    }
    let before = if confined.anchored { "" } else { "[^?]*?" };
    let replaced = format!("$1{}", pattern::substitution(&rewrite.substitution, 2));
    Some(match query {
        Query::Keep => vec![[format!("^({before})({found})"), replaced]],
        Query::Drop => {
            let last = confined.groups + 3;
            let found = format!(r"^({before})({found})([^?]*)(?:\?.*)?\z");
            vec![[found, format!("{replaced}${{{last}}}")], without_query()]
        }
    })
}

/// The pairs for nginx's path, decoded and without a query, whose result is encoded.
pub(super) fn decoded_pairs(
    change: Change<'_>,
    test: &PathTest,
    path: &Path<'_>,
    notes: &mut Notes,
) -> Option<Pairs> {
    match change {
        Change::Nothing => Some(Vec::new()),
        Change::Matched(text) => {
            check_slash(text, path, notes)?;
            if text.contains(['%', '?']) {
                notes.approximated(path, "gRPC: escapes are encoded once more");
            }
            let found = test.raw_prefix().map_or("(?s)^.*".to_owned(), |prefix| format!("^{prefix}"));
            Some(vec![[found, pattern::literal(text)]])
        }
        Change::Pattern(rewrite) => {
            let regex = rewrite.pattern.as_ref().map_or("", |p| p.regex.as_str());
            if !confine(regex, '?', Start::Text).is_some_and(|confined| confined.once) {
                let path = path.field("regex_rewrite");
                notes.traffic(&path.field("pattern"), "only what is found first is replaced");
            }
            Some(vec![[regex.to_owned(), pattern::substitution(&rewrite.substitution, 0)]])
        }
    }
}

/// Without a slash, nginx would take the path for a part of the upstream's name.
fn check_slash(text: &str, path: &Path<'_>, notes: &mut Notes) -> Option<()> {
    if !text.starts_with('/') {
        notes.traffic(path, "does not begin with /: answered with 503");
        return None;
    }
    Some(())
}

fn without_query() -> [String; 2] {
    [r"\?.*".to_owned(), String::new()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pb::envoy::r#type::matcher::v3::RegexMatcher;

    fn of(change: Change<'_>, query: Query, test: &PathTest) -> Pairs {
        pairs(change, query, test, &Path::ROOT, &mut Notes::default()).unwrap()
    }

    fn pattern(regex: &str, substitution: &str) -> RegexMatchAndSubstitute {
        RegexMatchAndSubstitute {
            pattern: Some(RegexMatcher { regex: regex.to_owned() }),
            substitution: substitution.to_owned(),
        }
    }

    fn pair(pattern: &str, replacement: &str) -> Pairs {
        vec![[pattern.to_owned(), replacement.to_owned()]]
    }

    #[test]
    fn a_prefix_is_replaced_and_never_left() {
        let prefix = PathTest::Prefix("/a.b".into());
        assert_eq!(of(Change::Matched("/$1"), Query::Keep, &prefix), pair(r"^(?:[^?]*?/a\.b|[^?]*)", "/$$1"));
        let separated = PathTest::SeparatedIgnoringCase("/a".into());
        assert_eq!(
            of(Change::Matched("/"), Query::Keep, &separated),
            pair(r"^(?:[^?]*?(?i:/a)(?=[/?]|\z)|[^?]*)", "/")
        );
        let exact = PathTest::Exact("/a".into());
        assert_eq!(of(Change::Matched("/b?c"), Query::Keep, &exact), pair("^[^?]*", "/b?c"));
    }

    #[test]
    fn a_query_is_dropped_in_the_same_step() {
        let prefix = PathTest::Prefix("/a".into());
        let found = of(Change::Matched("/b"), Query::Drop, &prefix);
        assert_eq!(found, pair(r"^(?:[^?]*?/a|[^?]*)([^?]*)(?:\?.*)?\z", "/b$1"));
        assert_eq!(of(Change::Nothing, Query::Drop, &prefix), pair(r"\?.*", ""));
        assert_eq!(of(Change::Nothing, Query::Keep, &prefix), Pairs::new());
    }

    #[test]
    fn a_pattern_stays_in_the_path() {
        let everything = PathTest::Prefix("/".into());
        let of = |regex, substitution, query| {
            of(Change::Pattern(&pattern(regex, substitution)), query, &everything)
        };
        assert_eq!(of("^/p(/?)", r"/\1", Query::Keep), pair("^/p(/?)", "/$1"));
        assert_eq!(of("/p(.)", r"\0\1", Query::Keep), pair(r"^([^?]*?)(/p((?:(?!\?).)))", "$1$2$3"));
        assert_eq!(
            of("^/p(x)", r"/\1", Query::Drop)[0],
            [r"^()(^/p(x))([^?]*)(?:\?.*)?\z".to_owned(), "$1/$3${4}".to_owned()]
        );
    }

    #[test]
    fn a_pattern_that_may_be_found_again_is_noted() {
        let noted = |regex| {
            let mut notes = Notes::default();
            let _ = by_pattern(&pattern(regex, "x"), Query::Keep, &Path::ROOT, &mut notes);
            notes.len()
        };
        assert_eq!((noted("^/a"), noted("/a.*"), noted("a")), (0, 0, 1));
    }
}
