//! `traffic-split`: the first rule that matches; which of its upstreams is left open.

use serde_json::Value;

use super::{Flow, Share, assert_fields};
use crate::support::{
    apisix::{
        expression::Expression,
        upstream::Upstream,
        variable::{Context, Names},
    },
    exchange::Answer,
};

#[derive(Debug)]
pub struct Split(Vec<Rule>);

#[derive(Debug)]
struct Rule {
    matches: Option<Vec<Expression>>,
    shares: Vec<Share>,
}

impl Split {
    pub fn new(conf: &Value, names: &mut Names) -> Self {
        assert_fields("traffic-split", conf, &["rules"]);
        Self(conf["rules"].as_array().unwrap().iter().map(|rule| Rule::new(rule, names)).collect())
    }

    pub fn access(&self, flow: &mut Flow, context: &Context<'_>) -> Option<Answer> {
        let matching = self
            .0
            .iter()
            .find(|rule| rule.matches.as_ref().is_none_or(|any| any.iter().any(|vars| vars.holds(context))));
        flow.shares = matching.map(|rule| rule.shares.clone());
        None
    }
}

impl Rule {
    fn new(rule: &Value, names: &mut Names) -> Self {
        assert_fields("traffic-split.rules", rule, &["match", "weighted_upstreams"]);
        let entries = rule["weighted_upstreams"].as_array().unwrap();
        assert!((1..=20).contains(&entries.len()), "traffic-split: 1 to 20 upstreams");
        let weighty = entries.iter().filter(|entry| entry.get("weight").is_none_or(|weight| *weight != 0));
        let matches = rule.get("match").map(|list| {
            let list = list.as_array().unwrap().iter();
            list.map(|one| Expression::new(&one["vars"], names)).collect()
        });
        Self { matches, shares: weighty.map(share).collect() }
    }
}

fn share(entry: &Value) -> Share {
    match (entry.get("upstream_id"), entry.get("upstream")) {
        (Some(id), _) => Share::Id(id.as_str().unwrap().to_owned()),
        (None, Some(upstream)) => Share::Inline(Upstream::new(upstream)),
        (None, None) => Share::RouteOwn,
    }
}
