//! The plugins of a route, as their code in `apisix/plugins` does it: which run when, and what each does.
//!
//! Every plugin's rewrite phase runs before any access phase, both by falling priority; an answer ends them. Header
//! filters run on every response, the plugins' own answers among them.

mod cors;
mod fault;
mod redirect;
mod response_rewrite;
mod rewrite;
mod split;

use std::{cell::RefCell, net::IpAddr};

use serde_json::Value;

use super::{
    super::exchange::Answer,
    expression::{Expression, Network},
    upstream::Upstream,
    variable::{Context, Names},
};

/// What the phases hand on.
#[derive(Default)]
pub struct Flow {
    /// Of proxy-rewrite.
    pub host: Option<String>,
    /// `$upstream_uri`.
    pub uri: Option<String>,
    pub method: Option<String>,
    pub captures: Option<Vec<Option<String>>>,
    /// Of traffic-split: instead of the route's own upstream.
    pub shares: Option<Vec<Share>>,
    /// For which origin cors allows, and what was asked.
    pub origin: Option<String>,
    /// The filters that have been evaluated: once in a request.
    filters: RefCell<Vec<(usize, bool)>>,
}

/// Where a part of the requests goes.
#[derive(Debug, Clone)]
pub enum Share {
    Id(String),
    Inline(Upstream),
    RouteOwn,
}

/// A plugin of a route, prepared.
#[derive(Debug)]
pub struct Plugin {
    name: String,
    priority: i64,
    filter: Option<Expression>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Fault(fault::Fault),
    Cors(cors::Cors),
    IpRestriction {
        networks: Vec<Network>,
        allows: bool,
        answer: Answer,
    },
    /// Limits that are never reached, mirrors, and authorities that always agree.
    Transparent,
    Rewrite(rewrite::Rewrite),
    Split(split::Split),
    Redirect(redirect::Redirect),
    ResponseRewrite(response_rewrite::ResponseRewrite),
}

/// The plugins of a route in the order in which they run.
pub fn plugins(value: Option<&Value>, names: &mut Names) -> Vec<Plugin> {
    let Some(value) = value else { return Vec::new() };
    let plugins = value.as_object().expect("plugins is an object");
    let enabled = plugins.iter().filter(|(_, conf)| conf["_meta"]["disable"] != true);
    let mut plugins: Vec<Plugin> = enabled.map(|(name, conf)| Plugin::new(name, conf, names)).collect();
    plugins.sort_by_key(|plugin| std::cmp::Reverse(plugin.priority));
    plugins
}

impl Plugin {
    fn new(name: &str, conf: &Value, names: &mut Names) -> Self {
        let (priority, kind) = match name {
            "fault-injection" => (11000, Kind::Fault(fault::Fault::new(conf, names))),
            "cors" => (4000, Kind::Cors(cors::Cors::new(conf))),
            "ip-restriction" => (3000, ip_restriction(conf)),
            // Bounds, compression and other servers' words: these requests keep within all of them.
            "client-control" => (22000, Kind::Transparent),
            "gzip" => (995, Kind::Transparent),
            "forward-auth" => (2002, Kind::Transparent),
            "proxy-mirror" => (1010, Kind::Transparent),
            "proxy-rewrite" => (1008, Kind::Rewrite(rewrite::Rewrite::new(conf))),
            "limit-conn" => (1003, Kind::Transparent),
            "limit-count" => (1002, Kind::Transparent),
            "limit-req" => (1001, Kind::Transparent),
            "traffic-split" => (966, Kind::Split(split::Split::new(conf, names))),
            "redirect" => (900, Kind::Redirect(redirect::Redirect::new(conf))),
            "response-rewrite" => {
                (899, Kind::ResponseRewrite(response_rewrite::ResponseRewrite::new(conf, names)))
            }
            other => panic!("not modelled: plugin {other:?}"),
        };
        let meta = conf.get("_meta").and_then(Value::as_object);
        for key in meta.into_iter().flat_map(|meta| meta.keys()) {
            assert!(["disable", "filter", "priority"].contains(&key.as_str()), "not modelled: _meta.{key}");
        }
        Self {
            name: name.to_owned(),
            priority: conf["_meta"]["priority"].as_i64().unwrap_or(priority),
            filter: conf["_meta"].get("filter").map(|filter| Expression::new(filter, names)),
            kind,
        }
    }

    fn runs(&self, at: usize, flow: &Flow, context: &Context<'_>) -> bool {
        let Some(filter) = &self.filter else { return true };
        if let Some((_, holds)) = flow.filters.borrow().iter().find(|(filter, _)| *filter == at) {
            return *holds;
        }
        let holds = filter.holds(context);
        flow.filters.borrow_mut().push((at, holds));
        holds
    }

    fn rewrite(&self, flow: &mut Flow, context: &Context<'_>) -> Option<Answer> {
        match &self.kind {
            Kind::Fault(fault) => fault.rewrite(context),
            Kind::Cors(cors) => cors.rewrite(flow, context),
            Kind::Rewrite(rewrite) => rewrite.rewrite(flow, context),
            Kind::Redirect(redirect) => redirect.rewrite(context),
            Kind::IpRestriction { .. } | Kind::Transparent | Kind::Split(_) | Kind::ResponseRewrite(_) => {
                None
            }
        }
    }

    fn access(&self, flow: &mut Flow, context: &Context<'_>) -> Option<Answer> {
        match &self.kind {
            Kind::IpRestriction { networks, allows, answer } => {
                let ip: IpAddr = context.request.remote_addr.parse().expect("an address");
                let listed = networks.iter().any(|network| network.contains(ip));
                (listed != *allows).then(|| answer.clone())
            }
            Kind::Split(split) => split.access(flow, context),
            _ => None,
        }
    }

    fn header_filter(&self, flow: &Flow, context: &Context<'_>, answer: &mut ResponseParts) {
        match &self.kind {
            Kind::Cors(cors) => cors.header_filter(flow, context),
            Kind::ResponseRewrite(rewrite) => rewrite.header_filter(context, answer),
            _ => {}
        }
    }
}

/// What header filters change besides the headers in the context.
pub struct ResponseParts {
    pub status: Option<u64>,
    pub body: Option<String>,
}

/// Runs the rewrite and the access phases.
pub fn run(plugins: &[Plugin], flow: &mut Flow, context: &Context<'_>) -> Option<Answer> {
    for phase in [Plugin::rewrite, Plugin::access] {
        for (at, plugin) in plugins.iter().enumerate() {
            if plugin.runs(at, flow, context)
                && let Some(answer) = phase(plugin, flow, context)
            {
                return Some(answer);
            }
        }
    }
    None
}

/// Runs the header filters on a response with these headers; they come back sorted.
pub fn filter_headers(
    plugins: &[Plugin],
    flow: &Flow,
    context: &Context<'_>,
    headers: Vec<(String, String)>,
) -> (Vec<(String, String)>, ResponseParts) {
    let mut parts = ResponseParts { status: None, body: None };
    context.response.replace(headers);
    for (at, plugin) in plugins.iter().enumerate() {
        if plugin.runs(at, flow, context) {
            plugin.header_filter(flow, context, &mut parts);
        }
    }
    let mut headers = context.response.take();
    headers.sort();
    (headers, parts)
}

impl std::fmt::Display for Plugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)
    }
}

fn ip_restriction(conf: &Value) -> Kind {
    let list = |field: &str| conf.get(field).and_then(Value::as_array);
    let (list, allows) = match (list("whitelist"), list("blacklist")) {
        (Some(list), None) => (list, true),
        (None, Some(list)) => (list, false),
        _ => panic!("ip-restriction: exactly one list: {conf}"),
    };
    let message = conf["message"].as_str().unwrap_or("Your IP address is not allowed");
    let answer = Answer {
        body: Some(format!("{}\n", serde_json::json!({"message": message}))),
        ..Answer::status(conf["response_code"].as_u64().unwrap_or(403))
    };
    let networks = list.iter().map(|item| Network::new(item.as_str().unwrap())).collect();
    Kind::IpRestriction { networks, allows, answer }
}

/// `ngx.header[name] = value`: underscores become hyphens, all lines of the name become one, an empty value takes
/// them away.
pub fn set_response_header(context: &Context<'_>, name: &str, value: Option<&str>) {
    let name = name.to_ascii_lowercase().replace('_', "-");
    let mut headers = context.response.borrow_mut();
    headers.retain(|(held, _)| *held != name);
    if let Some(value) = value.filter(|value| !value.is_empty()) {
        headers.push((name, value.to_owned()));
    }
}

/// `ngx.resp.add_header`.
pub fn add_response_header(context: &Context<'_>, name: &str, value: &str) {
    if !value.is_empty() {
        let name = name.to_ascii_lowercase().replace('_', "-");
        context.response.borrow_mut().push((name, value.to_owned()));
    }
}

/// A header value of an object: text, or a number as Lua prints it.
fn value_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        other => panic!("not modelled: {other} as a header value"),
    }
}

/// Panics when there is a field that is not modelled.
fn assert_fields(plugin: &str, conf: &Value, known: &[&str]) {
    for key in conf.as_object().expect("an object").keys() {
        assert!(key == "_meta" || known.contains(&key.as_str()), "not modelled: {plugin}.{key}");
    }
}
