//! Stand-in until the model is there.

use std::collections::BTreeMap;

use apisix_mesh::apisix::Key;
use bytes::Bytes;

use crate::support::{
    exchange::{Answer, Forward, Outcome, Request},
    router,
};

pub struct Apisix(BTreeMap<Key, Bytes>);

impl Apisix {
    pub fn new(objects: &BTreeMap<Key, Bytes>) -> Self {
        Self(objects.clone())
    }

    pub fn answer(&self, request: &Request) -> Outcome {
        let mut old = router::Request::get(&request.original_dst, &request.authority, &request.target)
            .var("request_method", &request.method);
        for (name, value) in &request.headers {
            old = old.var(&format!("http_{}", name.replace('-', "_")), value);
        }
        let Ok(outcome) = std::panic::catch_unwind(|| router::choose(&self.0, &old)) else {
            return Outcome::Answer(Answer::status(599));
        };
        match outcome {
            router::Outcome::Upstreams(names) | router::Outcome::Nodes(names) => Outcome::Forward(Forward {
                clusters: names.into_iter().collect(),
                method: request.method.clone(),
                authority: request.authority.clone(),
                target: request.target.clone(),
                headers: request.headers.clone(),
                response_headers: vec![("x-both".into(), "up".into()), ("x-upstream".into(), "1".into())],
            }),
            router::Outcome::Answer(status) => Outcome::Answer(Answer::status(status)),
            router::Outcome::NoRoute => Outcome::Answer(Answer::status(404)),
        }
    }
}
