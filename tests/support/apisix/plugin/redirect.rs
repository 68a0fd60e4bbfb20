//! `redirect`.

use serde_json::Value;

use super::assert_fields;
use crate::support::{
    apisix::{nginx, pattern::Pattern, template, variable::Context},
    exchange::Answer,
};

#[derive(Debug)]
pub struct Redirect {
    to: To,
    status: u64,
    encode: bool,
    append_query: bool,
}

#[derive(Debug)]
enum To {
    Template(String),
    Regex(Pattern, String),
}

impl Redirect {
    pub fn new(conf: &Value) -> Self {
        assert_fields(
            "redirect",
            conf,
            &["uri", "regex_uri", "ret_code", "encode_uri", "append_query_string"],
        );
        let to = match (conf.get("uri"), conf.get("regex_uri")) {
            (Some(uri), None) => To::Template(uri.as_str().unwrap().to_owned()),
            (None, Some(pair)) => {
                To::Regex(Pattern::new(pair[0].as_str().unwrap()), pair[1].as_str().unwrap().to_owned())
            }
            _ => panic!("redirect: one of uri and regex_uri: {conf}"),
        };
        Self {
            to,
            status: conf.get("ret_code").map_or(302, |code| code.as_u64().unwrap()),
            encode: conf["encode_uri"] == true,
            append_query: conf["append_query_string"] == true,
        }
    }

    pub fn rewrite(&self, context: &Context<'_>) -> Option<Answer> {
        let mut location = match &self.to {
            To::Template(template) => template::redirect(template, context),
            To::Regex(pattern, template) => pattern.substitute(&context.uri, template)?,
        };
        let query = location.find('?');
        if self.encode {
            let (path, rest) = location.split_at(query.unwrap_or(location.len()));
            location = nginx::escape_uri(path) + rest;
        }
        if self.append_query && !context.args.is_empty() {
            location.push(if query.is_some() { '&' } else { '?' });
            location += &context.args;
        }
        Some(Answer { headers: vec![("location".to_owned(), location)], ..Answer::status(self.status) })
    }
}
