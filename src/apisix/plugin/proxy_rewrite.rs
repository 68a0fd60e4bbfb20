//! `proxy-rewrite`: changes the request on its way up.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use super::Meta;

/// `proxy-rewrite`.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ProxyRewrite {
    /// The whole path instead, with `$name` for variables; the query stays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    /// Patterns, and what they are replaced by; the first that is found counts.
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "flat")]
    pub regex_uri: Vec<[String; 2]>,
    /// Letters, digits, `-` and `.`, and a port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// One that nginx knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Header operations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headers: Option<RequestHeaders>,
    /// For which requests; without it for all.
    #[serde(rename = "_meta", skip_serializing_if = "Option::is_none")]
    pub meta: Option<Meta>,
}

/// Header operations of [`ProxyRewrite`], in the order in which they are done.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct RequestHeaders {
    /// Names and further values, with `$name` for variables and `$1` for groups of `regex_uri`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", serialize_with = "values")]
    pub add: BTreeMap<String, Vec<String>>,
    /// As `add`, instead of what there is.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", serialize_with = "values")]
    pub set: BTreeMap<String, Vec<String>>,
    /// Names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<String>,
}

impl RequestHeaders {
    /// Nothing to do.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Pairs, one after the other.
fn flat<S: Serializer>(pairs: &[[String; 2]], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(pairs.iter().flatten())
}

/// A value alone is no list.
fn values<S: Serializer>(headers: &BTreeMap<String, Vec<String>>, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    #[serde(untagged)]
    enum Value<'a> {
        One(&'a str),
        Several(&'a [String]),
    }
    serializer.collect_map(headers.iter().map(|(name, values)| match values.as_slice() {
        [value] => (name, Value::One(value)),
        values => (name, Value::Several(values)),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_flat_and_a_single_value_is_a_string() {
        let add = BTreeMap::from([
            ("a".to_owned(), vec!["1".to_owned()]),
            ("b".to_owned(), vec!["1".to_owned(), "2".to_owned()]),
        ]);
        let plugin = ProxyRewrite {
            regex_uri: vec![["^/a".to_owned(), "/b".to_owned()], ["c".to_owned(), "d".to_owned()]],
            headers: Some(RequestHeaders { add, ..RequestHeaders::default() }),
            ..ProxyRewrite::default()
        };
        assert_eq!(
            serde_json::to_string(&plugin).unwrap(),
            r#"{"regex_uri":["^/a","/b","c","d"],"headers":{"add":{"a":"1","b":["1","2"]}}}"#
        );
    }
}
