//! `response-rewrite`: add, then set, then remove.

use serde_json::Value;

use super::{ResponseParts, add_response_header, assert_fields, set_response_header, value_text};
use crate::support::apisix::{
    expression::Expression,
    template,
    variable::{Context, Names},
};

#[derive(Debug)]
pub struct ResponseRewrite {
    add: Vec<(String, String)>,
    set: Vec<(String, String)>,
    remove: Vec<String>,
    status: Option<u64>,
    body: Option<String>,
    vars: Option<Expression>,
}

impl ResponseRewrite {
    pub fn new(conf: &Value, names: &mut Names) -> Self {
        assert_fields("response-rewrite", conf, &["headers", "status_code", "body", "vars"]);
        let headers = conf.get("headers").cloned().unwrap_or_else(|| serde_json::json!({}));
        assert_fields("response-rewrite.headers", &headers, &["add", "set", "remove"]);
        let list = |field: &str| headers.get(field).and_then(Value::as_array).into_iter().flatten();
        let set = headers.get("set").and_then(Value::as_object).into_iter().flatten();
        Self {
            add: list("add").map(|line| added(line.as_str().unwrap())).collect(),
            set: set.map(|(name, value)| (name.clone(), value_text(value))).collect(),
            remove: list("remove").map(|name| name.as_str().unwrap().to_owned()).collect(),
            status: conf.get("status_code").map(|status| status.as_u64().unwrap()),
            body: conf.get("body").map(|body| body.as_str().unwrap().to_owned()),
            vars: conf.get("vars").map(|vars| Expression::new(vars, names)),
        }
    }

    pub fn header_filter(&self, context: &Context<'_>, parts: &mut ResponseParts) {
        if self.vars.as_ref().is_some_and(|vars| !vars.holds(context)) {
            return;
        }
        parts.status = self.status;
        parts.body.clone_from(&self.body);
        for (name, value) in &self.add {
            add_response_header(context, name, &template::resolve(value, context));
        }
        for (name, value) in &self.set {
            set_response_header(context, name, Some(&template::resolve(value, context)));
        }
        for name in &self.remove {
            set_response_header(context, name, None);
        }
    }
}

/// `Name: value`; a panic where the schema or the plugin refuses it.
fn added(line: &str) -> (String, String) {
    let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("{line:?} has no colon"));
    let good = !name.is_empty() && !value.is_empty() && !value.contains(':') && !value.ends_with('/');
    assert!(good, "{line:?}: APISIX refuses the route");
    let name = name.trim_end();
    let value = value.trim_start();
    assert!(!name.contains(char::is_whitespace) && !value.is_empty(), "{line:?}: the plugin fails");
    (name.to_owned(), value.to_owned())
}
