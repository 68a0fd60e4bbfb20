//! `cors`: answers every OPTIONS with 200, and adds headers to every response for an allowed origin.

use serde_json::Value;

use super::{Flow, add_response_header, assert_fields, set_response_header, value_text};
use crate::support::{
    apisix::{nginx, pattern::Pattern, variable::Context},
    exchange::Answer,
};

#[derive(Debug)]
pub struct Cors {
    origins: String,
    by_regex: Option<Pattern>,
    methods: String,
    headers: String,
    expose: Option<String>,
    max_age: String,
    credential: bool,
}

impl Cors {
    pub fn new(conf: &Value) -> Self {
        let known = [
            "allow_origins",
            "allow_origins_by_regex",
            "allow_methods",
            "allow_headers",
            "expose_headers",
            "max_age",
            "allow_credential",
        ];
        assert_fields("cors", conf, &known);
        let text = |field: &str| conf.get(field).map(|v| v.as_str().unwrap().to_owned());
        let regexes = conf.get("allow_origins_by_regex").and_then(Value::as_array);
        let joined =
            regexes.map(|list| list.iter().map(|r| r.as_str().unwrap()).collect::<Vec<_>>().join("|"));
        let any = || "*".to_owned();
        let cors = Self {
            origins: text("allow_origins").unwrap_or_else(any),
            by_regex: joined.map(|pattern| Pattern::new(&pattern)),
            methods: text("allow_methods").unwrap_or_else(any),
            headers: text("allow_headers").unwrap_or_else(any),
            expose: text("expose_headers").filter(|text| !text.is_empty()),
            max_age: conf.get("max_age").map_or_else(|| "5".to_owned(), value_text),
            credential: conf["allow_credential"] == true,
        };
        let stars = [&cors.origins, &cors.methods, &cors.headers].into_iter().chain(&cors.expose);
        let has_star = stars.into_iter().any(|text| text == "*");
        assert!(!(cors.credential && has_star), "cors: '*' with credentials: APISIX refuses the route");
        cors
    }

    pub fn rewrite(&self, flow: &mut Flow, context: &Context<'_>) -> Option<Answer> {
        flow.origin = first(context, "origin");
        (context.request.method == "OPTIONS").then(|| Answer::status(200))
    }

    pub fn header_filter(&self, flow: &Flow, context: &Context<'_>) {
        let allowed = self.allowed(flow.origin.as_deref());
        if self.origins != "*" {
            add_response_header(context, "vary", "Origin");
        }
        let Some(allowed) = allowed else { return };
        let set = |name: &str, value: Option<&str>| set_response_header(context, name, value);
        set("access-control-allow-origin", Some(&allowed));
        let methods = match self.methods.as_str() {
            "**" => "GET,POST,PUT,DELETE,PATCH,HEAD,OPTIONS,CONNECT,TRACE",
            methods => methods,
        };
        set("access-control-allow-methods", Some(methods));
        set("access-control-max-age", Some(&self.max_age));
        if let Some(expose) = &self.expose {
            set("access-control-expose-headers", Some(expose));
        }
        match self.headers.as_str() {
            "**" => {
                let asked = first(context, "access-control-request-headers");
                set("access-control-allow-headers", asked.as_deref());
            }
            headers => set("access-control-allow-headers", Some(headers)),
        }
        if self.credential {
            set("access-control-allow-credentials", Some("true"));
        }
    }

    fn allowed(&self, origin: Option<&str>) -> Option<String> {
        if let Some(pattern) = &self.by_regex {
            return origin.filter(|origin| pattern.is_found(origin)).map(str::to_owned);
        }
        let origins = match self.origins.as_str() {
            "**" => origin.unwrap_or("*"),
            origins => origins,
        };
        if !origins.contains(',') {
            return Some(origins.to_owned());
        }
        origin.filter(|origin| origins.split(',').any(|one| one == *origin)).map(str::to_owned)
    }
}

/// `core.request.header`: the first line of a header.
fn first(context: &Context<'_>, name: &str) -> Option<String> {
    let headers = context.headers.borrow();
    let first = headers.iter().find(|(held, _)| held == name)?.1.clone();
    nginx::keeps_header(name).then_some(first)
}
