//! `proxy-rewrite`: the path and the host that go up; headers added, then set, then removed.

use serde_json::Value;

use super::{Flow, assert_fields, value_text};
use crate::support::{
    apisix::{nginx, pattern::Pattern, template, variable::Context},
    exchange::Answer,
};

#[derive(Debug)]
pub struct Rewrite {
    uri: Option<String>,
    regex_uri: Vec<(Pattern, String)>,
    host: Option<String>,
    method: Option<String>,
    raw: bool,
    add: Vec<(String, Vec<String>)>,
    set: Vec<(String, Vec<String>)>,
    remove: Vec<String>,
}

impl Rewrite {
    pub fn new(conf: &Value) -> Self {
        let known = ["uri", "regex_uri", "host", "method", "headers", "use_real_request_uri_unsafe"];
        assert_fields("proxy-rewrite", conf, &known);
        let headers = conf.get("headers").cloned().unwrap_or_else(|| serde_json::json!({}));
        assert_fields("proxy-rewrite.headers", &headers, &["add", "set", "remove"]);
        let text = |field: &str| conf.get(field).map(|v| v.as_str().unwrap().to_owned());
        let fields = |op: &str| {
            let fields = headers.get(op).and_then(Value::as_object).into_iter().flatten();
            fields.map(|(name, value)| (name_of(name), values(value))).collect()
        };
        let pairs: Vec<&str> = conf
            .get("regex_uri")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .map(|part| part.as_str().unwrap())
            .collect();
        let remove = headers.get("remove").and_then(Value::as_array).into_iter().flatten();
        Self {
            uri: text("uri"),
            regex_uri: pairs.chunks(2).map(|pair| (Pattern::new(pair[0]), pair[1].to_owned())).collect(),
            host: text("host"),
            method: text("method"),
            raw: conf["use_real_request_uri_unsafe"] == true,
            add: fields("add"),
            set: fields("set"),
            remove: remove.map(|name| name_of(name.as_str().unwrap())).collect(),
        }
    }

    pub fn rewrite(&self, flow: &mut Flow, context: &Context<'_>) -> Option<Answer> {
        if self.host.is_some() {
            flow.host.clone_from(&self.host);
        }
        let uri = self.upstream_uri(flow, context);
        context.upstream_uri.replace(uri.clone());
        flow.uri = Some(uri);
        self.headers(flow, context);
        if self.method.is_some() {
            flow.method.clone_from(&self.method);
        }
        None
    }

    fn upstream_uri(&self, flow: &mut Flow, context: &Context<'_>) -> String {
        let mut uri = if self.raw { context.request.target.clone() } else { context.uri.clone() };
        let query = if self.raw { uri.find('?').map_or("", |at| &context.request.target[at..]) } else { "" };
        let mut separator_escaped = false;
        if let Some(to) = &self.uri {
            separator_escaped = true;
            uri = template::resolve_with(to, context, |value| value.replacen('?', "%3F", 1));
            if let Some(query) = query.strip_prefix('?') {
                uri.push(if uri.contains('?') { '&' } else { '?' });
                uri += query;
            }
        } else if !self.regex_uri.is_empty() {
            separator_escaped = !uri.contains('?');
            for (pattern, replacement) in &self.regex_uri {
                if let Some((_, groups)) = pattern.captures(&uri) {
                    flow.captures = Some(groups);
                    uri = pattern.substitute(&uri, replacement).expect("it has just matched");
                    break;
                }
            }
        }
        if self.raw {
            return uri;
        }
        let index = if separator_escaped { uri.find('?') } else { None };
        let (path, rest) = uri.split_at(index.unwrap_or(uri.len()));
        let mut uri = nginx::escape_uri(path) + &without_controls(rest);
        if !context.args.is_empty() {
            uri.push(if index.is_some() { '&' } else { '?' });
            uri += &context.args;
        }
        uri
    }

    fn headers(&self, flow: &Flow, context: &Context<'_>) {
        let value = |template: &str| {
            template::resolve(&template::captures(template, flow.captures.as_deref()), context)
        };
        for (name, values) in &self.add {
            for template in values {
                let value = value(template);
                context.headers.borrow_mut().push((name.clone(), value));
                context.forget_header(name);
            }
        }
        for (name, values) in &self.set {
            let values: Vec<String> = values.iter().map(|template| value(template)).collect();
            set(context, name, &values);
        }
        for name in &self.remove {
            set(context, name, &[]);
        }
    }
}

/// `ngx.req.set_header`: the first line of the name gets the first value, other lines go; an empty value only takes
/// away, further values follow.
fn set(context: &Context<'_>, name: &str, values: &[String]) {
    let mut headers = context.headers.borrow_mut();
    headers.retain(|(held, _)| held != name);
    let kept = values.iter().enumerate().filter(|(at, value)| *at > 0 || !value.is_empty());
    headers.extend(kept.map(|(_, value)| (name.to_owned(), value.clone())));
    drop(headers);
    context.forget_header(name);
}

fn name_of(name: &str) -> String {
    let name = name.to_ascii_lowercase();
    assert!(
        name != "host",
        "not modelled: the Host header changed as a header has no effect on what goes up"
    );
    name
}

fn values(value: &Value) -> Vec<String> {
    match value {
        Value::Array(list) => list.iter().map(value_text).collect(),
        one => vec![value_text(one)],
    }
}

fn without_controls(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_ascii_control() { format!("%{:02X}", c as u32) } else { c.to_string() })
        .collect()
}
