//! Path tests, and each as a condition for where the path is not native.

use crate::{
    apisix::{Condition, Operand, Operator, escape},
    pb::envoy::config::route::v3::{RouteMatch, route_match::PathSpecifier},
};

/// Decoded and normalised by nginx.
const URI: &str = "uri";
/// As sent, query and all.
const RAW_URI: &str = "real_request_uri";

/// What a path must be like.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum PathTest {
    Exact(String),
    Prefix(String),
    /// The path itself, or below it after a slash.
    Separated(String),
    ExactIgnoringCase(String),
    PrefixIgnoringCase(String),
    SeparatedIgnoringCase(String),
    /// Of the whole path.
    Regex(String),
}

impl PathTest {
    /// The test of this match, if it has one that is read.
    pub fn of(matched: &RouteMatch) -> Option<Self> {
        let text = match matched.path_specifier.as_ref()? {
            PathSpecifier::SafeRegex(regex) => return Some(Self::Regex(regex.regex.clone())),
            PathSpecifier::Path(text)
            | PathSpecifier::Prefix(text)
            | PathSpecifier::PathSeparatedPrefix(text) => text.clone(),
        };
        Some(match (matched.path_specifier.as_ref()?, matched.case_sensitive != Some(false)) {
            (PathSpecifier::Path(_), true) => Self::Exact(text),
            (PathSpecifier::Path(_), false) => Self::ExactIgnoringCase(text),
            (PathSpecifier::PathSeparatedPrefix(_), true) => Self::Separated(text),
            (PathSpecifier::PathSeparatedPrefix(_), false) => Self::SeparatedIgnoringCase(text),
            // "/" has no case, and stays native.
            (_, false) if text.len() > 1 => Self::PrefixIgnoringCase(text),
            _ => Self::Prefix(text),
        })
    }

    /// Every path is like that.
    pub fn is_everything(&self) -> bool {
        matches!(self, Self::Prefix(text) if text.is_empty() || text == "/")
    }

    /// The test on a variable; `None` when every path passes.
    pub fn condition(&self) -> Option<Condition> {
        if self.is_everything() {
            return None;
        }
        // Envoy compares escapes as they are sent. Where the text has none, nginx's decoded path is the better one.
        let raw = self.literal().contains('%');
        let (variable, end) = if raw { (RAW_URI, r"(?:\?.*)?\z") } else { (URI, r"\z") };
        let below = if raw { r"(?:[/?]|\z)" } else { r"(?:/|\z)" };
        let text = escape(self.literal());
        Some(match self {
            Self::Exact(text) if !raw => Condition::equals(variable, text),
            Self::Exact(_) => Condition::matches(variable, format!("^{text}{end}")),
            Self::Prefix(_) => Condition::matches(variable, format!("^{text}")),
            Self::Separated(_) => Condition::matches(variable, format!("^{text}{below}")),
            Self::ExactIgnoringCase(_) => ignoring_case(variable, format!("^{text}{end}")),
            Self::PrefixIgnoringCase(_) => ignoring_case(variable, format!("^{text}")),
            Self::SeparatedIgnoringCase(_) => ignoring_case(variable, format!("^{text}{below}")),
            Self::Regex(regex) => Condition::matches(URI, super::text::whole(regex)),
        })
    }

    /// The path's beginning as it is sent, as a pattern; `None` where the whole path counts.
    pub fn raw_prefix(&self) -> Option<String> {
        let text = escape(self.literal());
        Some(match self {
            Self::Prefix(_) => text,
            Self::PrefixIgnoringCase(_) => format!("(?i:{text})"),
            Self::Separated(_) => format!(r"{text}(?=[/?]|\z)"),
            Self::SeparatedIgnoringCase(_) => format!(r"(?i:{text})(?=[/?]|\z)"),
            Self::Exact(_) | Self::ExactIgnoringCase(_) | Self::Regex(_) => return None,
        })
    }

    fn literal(&self) -> &str {
        match self {
            Self::Exact(text)
            | Self::Prefix(text)
            | Self::Separated(text)
            | Self::ExactIgnoringCase(text)
            | Self::PrefixIgnoringCase(text)
            | Self::SeparatedIgnoringCase(text) => text,
            Self::Regex(_) => "",
        }
    }
}

fn ignoring_case(variable: &str, pattern: String) -> Condition {
    Condition::test(variable, Operator::MatchesIgnoringCase, Operand::Text(pattern))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(test: PathTest) -> String {
        serde_json::to_string(&test.condition()).unwrap()
    }

    #[test]
    fn conditions_are_anchored_and_escaped() {
        assert_eq!(json(PathTest::Exact("/a.b".into())), r#"["uri","==","/a.b"]"#);
        assert_eq!(json(PathTest::Prefix("/a.b".into())), r#"["uri","~~","^/a\\.b"]"#);
        assert_eq!(json(PathTest::Separated("/a".into())), r#"["uri","~~","^/a(?:/|\\z)"]"#);
        assert_eq!(json(PathTest::Regex("/a|/b".into())), r#"["uri","~~","^(?:/a|/b)\\z"]"#);
        assert_eq!(json(PathTest::PrefixIgnoringCase("/A".into())), r#"["uri","~*","^/A"]"#);
        assert_eq!(json(PathTest::Prefix("/".into())), "null");
    }

    #[test]
    fn an_escape_is_compared_as_sent() {
        let found = json(PathTest::Exact("/a%20b".into()));
        assert_eq!(found, r#"["real_request_uri","~~","^/a%20b(?:\\?.*)?\\z"]"#);
    }
}
