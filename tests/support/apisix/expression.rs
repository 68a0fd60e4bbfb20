//! `lua-resty-expr` (contract section 6, `lib/resty/expr/v1.lua`), compiled once.

use std::net::IpAddr;

use serde_json::Value;

use super::{
    pattern::Pattern,
    variable::{Context, Names, Val, Variable},
};

/// A list of conditions, as `vars` holds them.
#[derive(Debug)]
pub struct Expression(Option<Node>);

#[derive(Debug)]
enum Node {
    All(Vec<Node>),
    Any(Vec<Node>),
    Not(Box<Node>),
    Test { variable: Variable, reverse: bool, test: Test },
}

#[derive(Debug)]
enum Test {
    Equal(Operand),
    NotEqual(Operand),
    Compare {
        number: Option<f64>,
        holds: fn(f64, f64) -> bool,
    },
    Found(Pattern),
    In(Vec<Operand>),
    /// The left side is never a list here.
    Has,
    Address(Vec<Network>),
}

#[derive(Debug)]
enum Operand {
    Nil,
    Text(String),
    Number(f64),
    Flag(bool),
}

impl Expression {
    /// Compiles; a panic where APISIX refuses the route.
    pub fn new(rules: &Value, names: &mut Names) -> Self {
        let rules = rules.as_array().expect("vars is a list");
        if rules.is_empty() {
            return Self(None);
        }
        let logical = rules[0].as_str().is_some_and(|op| is_logical(&op.to_uppercase()));
        assert!(rules[0].is_array() || logical, "rule should be wrapped inside brackets: {rules:?}");
        Self(Some(compile(rules, names)))
    }

    /// No condition at all.
    pub fn always() -> Self {
        Self(None)
    }

    /// Whether it holds.
    pub fn holds(&self, context: &Context<'_>) -> bool {
        self.0.as_ref().is_none_or(|node| node.holds(context))
    }
}

fn is_logical(op: &str) -> bool {
    matches!(op, "OR" | "!OR" | "AND" | "!AND")
}

fn compile(rules: &[Value], names: &mut Names) -> Node {
    assert!(!rules.is_empty(), "rule too short");
    let list = |rules: &[Value], names: &mut Names| {
        rules.iter().map(|rule| compile(rule.as_array().expect("a condition is a list"), names)).collect()
    };
    if rules[0].is_array() {
        return Node::All(list(rules, names));
    }
    let op = rules[0].as_str().expect("a condition begins with a name").to_uppercase();
    if !is_logical(&op) {
        return compile_test(rules, names);
    }
    assert!(rules.len() > 2, "rule too short: {rules:?}");
    let nodes = list(&rules[1..], names);
    match op.as_str() {
        "OR" => Node::Any(nodes),
        "!OR" => Node::Not(Box::new(Node::Any(nodes))),
        "AND" => Node::All(nodes),
        _ => Node::Not(Box::new(Node::All(nodes))),
    }
}

fn compile_test(rule: &[Value], names: &mut Names) -> Node {
    let (reverse, operator, operand) = match rule {
        [_, not, operator, operand] => {
            assert_eq!(not, "!", "bad 'not' expression: {rule:?}");
            (true, operator, operand)
        }
        [_, operator, operand] => (false, operator, operand),
        _ => panic!("not modelled: {rule:?}"),
    };
    let variable = names.variable(rule[0].as_str().unwrap());
    let operator = operator.as_str().expect("an operator").to_lowercase();
    let compare = |holds| Test::Compare { number: to_number(operand), holds };
    let text = || operand.as_str().unwrap_or_else(|| panic!("a pattern is text: {rule:?}"));
    let test = match operator.as_str() {
        "==" => Test::Equal(Operand::of(operand)),
        "~=" => Test::NotEqual(Operand::of(operand)),
        ">" => compare(|l, r| l > r),
        ">=" => compare(|l, r| l >= r),
        "<" => compare(|l, r| l < r),
        "<=" => compare(|l, r| l <= r),
        "~~" => Test::Found(valid(Pattern::new(text()), rule)),
        "~*" => Test::Found(valid(Pattern::ignoring_case(text()), rule)),
        "in" => {
            Test::In(operand.as_array().map_or_else(Vec::new, |list| list.iter().map(Operand::of).collect()))
        }
        "has" => Test::Has,
        "ipmatch" => Test::Address(networks(operand)),
        other => panic!("not modelled: operator {other:?}"),
    };
    Node::Test { variable, reverse, test }
}

/// APISIX takes an invalid pattern in silence; our objects never hold one.
fn valid(pattern: Pattern, rule: &[Value]) -> Pattern {
    assert!(pattern.is_valid(), "PCRE refuses the pattern in {rule:?}");
    pattern
}

impl Node {
    fn holds(&self, context: &Context<'_>) -> bool {
        match self {
            Self::All(nodes) => nodes.iter().all(|node| node.holds(context)),
            Self::Any(nodes) => nodes.iter().any(|node| node.holds(context)),
            Self::Not(node) => !node.holds(context),
            Self::Test { variable, reverse, test } => {
                context.with(variable, |value| test.holds(value)) != *reverse
            }
        }
    }
}

impl Test {
    fn holds(&self, value: Option<&Val>) -> bool {
        match self {
            Self::Equal(operand) => operand.equals(value),
            Self::NotEqual(operand) => !operand.equals(value),
            Self::Compare { number, holds } => {
                value.and_then(Val::number).zip(*number).is_some_and(|(left, right)| holds(left, right))
            }
            Self::Found(pattern) => value.is_some_and(|value| pattern.is_found(value.text())),
            Self::In(operands) => operands.iter().any(|operand| operand.is(value)),
            Self::Has => false,
            Self::Address(networks) => {
                let Some(Val::Text(text)) = value else { panic!("ipmatch on a missing variable raises") };
                text.parse::<IpAddr>().is_ok_and(|ip| networks.iter().any(|network| network.contains(ip)))
            }
        }
    }
}

impl Operand {
    fn of(value: &Value) -> Self {
        match value {
            Value::Null => Self::Nil,
            Value::Bool(flag) => Self::Flag(*flag),
            Value::Number(number) => Self::Number(number.as_f64().unwrap()),
            Value::String(text) => Self::Text(text.clone()),
            other => panic!("not modelled: {other} as an operand"),
        }
    }

    /// `==`: a number on the right makes one of the left.
    fn equals(&self, value: Option<&Val>) -> bool {
        match self {
            Self::Number(number) => value.and_then(Val::number) == Some(*number),
            _ => self.is(value),
        }
    }

    /// Lua's own equality.
    fn is(&self, value: Option<&Val>) -> bool {
        match (self, value) {
            (Self::Nil, None) => true,
            (Self::Text(text), Some(Val::Text(value))) => text == value,
            (Self::Flag(flag), Some(Val::True)) => *flag,
            _ => false,
        }
    }
}

fn to_number(operand: &Value) -> Option<f64> {
    match operand {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => Val::Text(text.clone()).number(),
        _ => None,
    }
}

/// An address, or a range of them.
#[derive(Debug)]
pub struct Network {
    ip: IpAddr,
    bits: u32,
}

impl Network {
    /// Reads `10.0.0.0/8` or `::1`.
    pub fn new(text: &str) -> Self {
        let (ip, bits) = text.split_once('/').map_or((text, None), |(ip, bits)| (ip, Some(bits)));
        let ip: IpAddr =
            ip.parse().unwrap_or_else(|_| panic!("{text:?} is no address: APISIX refuses the route"));
        let whole = if ip.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(whole, |bits| bits.parse().expect("a prefix length"));
        assert!(bits <= whole, "{text:?}: APISIX refuses the route");
        Self { ip, bits }
    }

    /// Whether the address is in it.
    pub fn contains(&self, ip: IpAddr) -> bool {
        match (self.ip, ip) {
            (IpAddr::V4(net), IpAddr::V4(ip)) => {
                self.bits == 0 || (u32::from(net) ^ u32::from(ip)) >> (32 - self.bits) == 0
            }
            (IpAddr::V6(net), IpAddr::V6(ip)) => {
                self.bits == 0 || (u128::from(net) ^ u128::from(ip)) >> (128 - self.bits) == 0
            }
            _ => false,
        }
    }
}

fn networks(operand: &Value) -> Vec<Network> {
    match operand {
        Value::String(text) => vec![Network::new(text)],
        Value::Array(list) => list.iter().map(|item| Network::new(item.as_str().unwrap())).collect(),
        other => panic!("invalid ip address: {other}"),
    }
}
