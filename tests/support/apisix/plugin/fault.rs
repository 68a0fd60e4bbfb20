//! `fault-injection`. Delays change no outcome; of percentages only 0 and 100 say what happens.

use serde_json::Value;

use super::{assert_fields, value_text};
use crate::support::{
    apisix::{
        expression::Expression,
        template,
        variable::{Context, Names},
    },
    exchange::Answer,
};

#[derive(Debug)]
pub struct Fault(Option<Abort>);

#[derive(Debug)]
struct Abort {
    status: u64,
    body: Option<String>,
    headers: Vec<(String, String)>,
    vars: Option<Vec<Expression>>,
}

impl Fault {
    pub fn new(conf: &Value, names: &mut Names) -> Self {
        assert_fields("fault-injection", conf, &["abort", "delay"]);
        if let Some(delay) = conf.get("delay") {
            assert_fields("fault-injection.delay", delay, &["duration", "percentage", "vars"]);
        }
        Self(conf.get("abort").and_then(|abort| Abort::new(abort, names)))
    }

    pub fn rewrite(&self, context: &Context<'_>) -> Option<Answer> {
        let abort = self.0.as_ref()?;
        if abort.vars.as_ref().is_some_and(|any| !any.iter().any(|vars| vars.holds(context))) {
            return None;
        }
        let headers = abort.headers.iter();
        Some(Answer {
            status: abort.status,
            headers: headers
                .map(|(name, value)| {
                    (name.to_ascii_lowercase().replace('_', "-"), template::resolve(value, context))
                })
                .collect(),
            body: abort
                .body
                .as_ref()
                .map(|body| template::resolve(body, context))
                .filter(|body| !body.is_empty()),
        })
    }
}

impl Abort {
    fn new(abort: &Value, names: &mut Names) -> Option<Self> {
        assert_fields(
            "fault-injection.abort",
            abort,
            &["http_status", "body", "headers", "percentage", "vars"],
        );
        match abort.get("percentage").map(|p| p.as_u64().expect("an integer")) {
            Some(0) => return None,
            None | Some(100) => {}
            Some(other) => panic!("not modelled: {other} % of requests"),
        }
        let headers = abort.get("headers").and_then(Value::as_object);
        Some(Self {
            status: abort["http_status"].as_u64().expect("a status"),
            body: abort.get("body").map(|body| body.as_str().unwrap().to_owned()),
            headers: headers
                .into_iter()
                .flatten()
                .map(|(name, value)| (name.clone(), value_text(value)))
                .collect(),
            vars: abort
                .get("vars")
                .map(|vars| vars.as_array().unwrap().iter().map(|v| Expression::new(v, names)).collect()),
        })
    }
}
