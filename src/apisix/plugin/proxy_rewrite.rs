//! `proxy-rewrite`: changes the request on its way up.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use super::{Meta, meta};
use crate::apisix::{
    check::{Checked, Within, characters, demand, each, if_there, is_dns_name, line, not_empty, token},
    pcre,
};

/// `proxy-rewrite`.
///
/// It always makes the path anew: from the request's own target, or from nginx's decoded and normalised one, which it
/// encodes. The plugin calls the first unsafe, since an upstream sees what no rule of APISIX's saw; without the plugin
/// it sees just that.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ProxyRewrite {
    /// What the path is made from, and patterns are for.
    #[serde(
        rename = "use_real_request_uri_unsafe",
        serialize_with = "is_sent",
        skip_serializing_if = "Target::is_decoded"
    )]
    pub target: Target,
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

/// What [`ProxyRewrite`] makes a path from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Target {
    /// The request's target, query and all, byte for byte. Of no effect on gRPC upstreams.
    #[default]
    Sent,
    /// nginx's path, decoded and normalised, without the query; the result is encoded.
    Decoded,
}

impl Target {
    fn is_decoded(&self) -> bool {
        *self == Self::Decoded
    }
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

/// What `ngx.req.set_method` takes.
const METHODS: [&str; 14] = [
    "GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS", "MKCOL", "COPY", "MOVE", "PROPFIND", "LOCK", "UNLOCK",
    "PATCH", "TRACE",
];

fn authority(text: &str) -> Checked {
    let (name, port) = text.split_once(':').unwrap_or((text, "80"));
    let port = (1..=5).contains(&port.len()) && port.bytes().all(|b| b.is_ascii_digit());
    demand(is_dns_name(name) && port, text, "must be letters, digits, - and ., and a port")
}

impl RequestHeaders {
    fn check(&self) -> Checked {
        demand(!self.is_empty(), "", "must have something to do")?;
        for (field, headers) in [("add", &self.add), ("set", &self.set)] {
            for (name, values) in headers {
                token(name)
                    .and_then(|()| not_empty(values))
                    .and_then(|()| each(values, |value| line(value)))
                    .key(name)
                    .within(field)?;
            }
        }
        each(&self.remove, |name| token(name)).within("remove")
    }

    /// Nothing to do.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

fn is_sent<S: Serializer>(target: &Target, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bool(*target == Target::Sent)
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

impl ProxyRewrite {
    pub(super) fn check(&self) -> Checked {
        let nothing = Self { meta: self.meta.clone(), ..Self::default() };
        demand(*self != nothing, "", "must have something to do")?;
        if_there(&self.uri, |uri| {
            line(uri)?;
            characters(uri, 1..=4096, "must be 1 to 4096 characters")?;
            demand(uri.starts_with('/'), uri, "must begin with /")
        })
        .within("uri")?;
        each(&self.regex_uri, |[pattern, by]| {
            pcre::plugin_pattern(pattern)?;
            line(by)?;
            pcre::replacement(by)
        })
        .within("regex_uri")?;
        if_there(&self.host, |host| authority(host)).within("host")?;
        let rule = "must be a method that nginx knows";
        if_there(&self.method, |m| demand(METHODS.contains(&m.as_str()), m, rule)).within("method")?;
        if_there(&self.headers, RequestHeaders::check).within("headers")?;
        meta(&self.meta)
    }
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
            r#"{"use_real_request_uri_unsafe":true,"regex_uri":["^/a","/b","c","d"],"headers":{"add":{"a":"1","b":["1","2"]}}}"#
        );
    }
}
