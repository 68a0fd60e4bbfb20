//! Conditions of a route's `vars`, as `lua-resty-expr` reads them.
//!
//! A missing variable makes every operator false except `==` with null, and so makes a negated one true.

use serde::{Serialize, Serializer, ser::SerializeSeq};

use super::{
    check::{Checked, Within, demand, each, network, no_secret, not_empty},
    pcre,
};

/// One condition, or several with AND or OR between them.
#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    /// A variable against a value.
    Test {
        /// Any APISIX or nginx variable.
        variable: String,
        /// `!` before the operator.
        negated: bool,
        /// `==`, `~~`, ...
        operator: Operator,
        /// The right side.
        operand: Operand,
    },
    /// All of them.
    All(Vec<Condition>),
    /// At least one of them.
    Any(Vec<Condition>),
    /// Not all of them.
    NotAll(Vec<Condition>),
}

/// How a variable is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// `==`
    Equal,
    /// `~~`: a PCRE is found anywhere in the value
    Matches,
    /// `~*`: the same, whatever the case
    MatchesIgnoringCase,
    /// `in`
    In,
    /// `ipmatch`: an address of one of these networks
    IpMatch,
    /// `>=`
    AtLeast,
    /// `<`
    Below,
}

impl Operator {
    const fn text(self) -> &'static str {
        match self {
            Self::Equal => "==",
            Self::Matches => "~~",
            Self::MatchesIgnoringCase => "~*",
            Self::In => "in",
            Self::IpMatch => "ipmatch",
            Self::AtLeast => ">=",
            Self::Below => "<",
        }
    }
}

/// The right side of a comparison.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Operand {
    /// No value at all.
    Null,
    /// Makes the variable a number too.
    Number(i64),
    /// Text or a pattern.
    Text(String),
    /// For `in` and `ipmatch`.
    List(Vec<String>),
}

impl Condition {
    /// `variable operator operand`
    pub fn test(variable: impl Into<String>, operator: Operator, operand: Operand) -> Self {
        Self::Test { variable: variable.into(), negated: false, operator, operand }
    }

    /// The variable has exactly this value.
    pub fn equals(variable: impl Into<String>, value: impl Into<String>) -> Self {
        Self::test(variable, Operator::Equal, Operand::Text(value.into()))
    }

    /// The pattern is found in the variable's value.
    pub fn matches(variable: impl Into<String>, pattern: impl Into<String>) -> Self {
        Self::test(variable, Operator::Matches, Operand::Text(pattern.into()))
    }

    /// The variable's value is one of these.
    pub fn is_in(variable: impl Into<String>, values: Vec<String>) -> Self {
        Self::test(variable, Operator::In, Operand::List(values))
    }

    /// The variable is an address of one of these networks.
    pub fn is_within(variable: impl Into<String>, networks: Vec<String>) -> Self {
        Self::test(variable, Operator::IpMatch, Operand::List(networks))
    }

    /// There is no such header, argument, ...
    pub fn absent(variable: impl Into<String>) -> Self {
        Self::test(variable, Operator::Equal, Operand::Null)
    }

    /// There is such a header, argument, ...
    pub fn present(variable: impl Into<String>) -> Self {
        !Self::absent(variable)
    }

    /// All of them, in the shortest form; `None` when there is nothing to hold.
    pub fn all(mut conditions: Vec<Condition>) -> Option<Self> {
        match conditions.len() {
            0 | 1 => conditions.pop(),
            _ => Some(Self::All(conditions)),
        }
    }

    /// Any of them, in the shortest form; `None` when there is nothing to choose from.
    pub fn any(mut conditions: Vec<Condition>) -> Option<Self> {
        match conditions.len() {
            0 | 1 => conditions.pop(),
            _ => Some(Self::Any(conditions)),
        }
    }
}

impl Condition {
    /// What `lua-resty-expr` and the data plane demand.
    pub(super) fn check(&self) -> Checked {
        match self {
            Self::Test { variable, operator, operand, .. } => {
                demand(!variable.is_empty(), variable, "must name a variable")?;
                operator.check(operand).key(variable)
            }
            Self::All(group) | Self::Any(group) | Self::NotAll(group) => {
                demand(group.len() >= 2, group.len(), "must be two conditions or more: take one alone")?;
                each(group, Self::check)
            }
        }
    }

    /// In a plugin's configuration, texts may not name secrets either.
    pub(super) fn check_in_plugin(&self) -> Checked {
        self.check()?;
        match self {
            Self::Test { operand: Operand::Text(text), .. } => no_secret(text),
            Self::Test { operand: Operand::List(texts), .. } => each(texts, |text| no_secret(text)),
            Self::Test { .. } => Ok(()),
            Self::All(group) | Self::Any(group) | Self::NotAll(group) => each(group, Self::check_in_plugin),
        }
    }
}

impl Operator {
    fn check(self, operand: &Operand) -> Checked {
        match (self, operand) {
            (Self::Equal, Operand::Null | Operand::Text(_) | Operand::Number(_)) => Ok(()),
            (Self::Matches | Self::MatchesIgnoringCase, Operand::Text(text)) => pcre::pattern(text),
            (Self::In, Operand::List(_)) => Ok(()),
            (Self::IpMatch, Operand::List(networks)) => {
                not_empty(networks)?;
                each(networks, |text| network(text))
            }
            (Self::AtLeast | Self::Below, Operand::Number(_)) => Ok(()),
            _ => demand(false, operand, "is not what this operator compares with"),
        }
    }
}

impl std::ops::Not for Condition {
    type Output = Self;

    fn not(self) -> Self {
        match self {
            Self::Test { variable, negated, operator, operand } => {
                Self::Test { variable, negated: !negated, operator, operand }
            }
            Self::All(conditions) => Self::NotAll(conditions),
            Self::NotAll(conditions) => Self::All(conditions),
            Self::Any(conditions) => Self::All(conditions.into_iter().map(std::ops::Not::not).collect()),
        }
    }
}

impl Serialize for Condition {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut seq = serializer.serialize_seq(None)?;
        let group = match self {
            Self::Test { variable, negated, operator, operand } => {
                seq.serialize_element(variable)?;
                if *negated {
                    seq.serialize_element("!")?;
                }
                seq.serialize_element(operator.text())?;
                seq.serialize_element(operand)?;
                return seq.end();
            }
            Self::All(conditions) => ("AND", conditions),
            Self::Any(conditions) => ("OR", conditions),
            Self::NotAll(conditions) => ("!AND", conditions),
        };
        seq.serialize_element(group.0)?;
        for condition in group.1 {
            seq.serialize_element(condition)?;
        }
        seq.end()
    }
}

/// `text` as a PCRE that matches just this text.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if matches!(
            c,
            '\\' | '^' | '$' | '.' | '[' | ']' | '|' | '(' | ')' | '?' | '*' | '+' | '{' | '}' | '#'
        ) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(condition: &Condition) -> String {
        serde_json::to_string(condition).unwrap()
    }

    #[test]
    fn each_form_is_what_lua_resty_expr_reads() {
        let a = Condition::equals("host", "a");
        let b = Condition::matches("uri", "^/b");
        assert_eq!(json(&a), r#"["host","==","a"]"#);
        assert_eq!(json(&!b.clone()), r#"["uri","!","~~","^/b"]"#);
        assert_eq!(json(&Condition::present("http_a")), r#"["http_a","!","==",null]"#);
        let both = Condition::any(vec![a, Condition::All(vec![b.clone(), b])]).unwrap();
        assert_eq!(json(&both), r#"["OR",["host","==","a"],["AND",["uri","~~","^/b"],["uri","~~","^/b"]]]"#);
    }

    #[test]
    fn a_group_of_one_is_no_group() {
        let a = Condition::equals("host", "a");
        assert_eq!(Condition::all(vec![a.clone()]), Some(a));
        assert_eq!(Condition::any(vec![]), None);
    }

    #[test]
    fn special_characters_are_escaped() {
        assert_eq!(escape("/a.b(c)*"), r"/a\.b\(c\)\*");
    }

    #[test]
    fn what_lua_resty_expr_would_refuse_is_found() {
        let list = |texts: &[&str]| texts.iter().map(|&t| t.to_owned()).collect::<Vec<_>>();
        for good in [
            Condition::absent("http_a"),
            Condition::is_in("host", list(&["a"])),
            Condition::is_within("remote_addr", list(&["10.0.0.0/8"])),
            Condition::test("arg_a", Operator::AtLeast, Operand::Number(1)),
        ] {
            assert_eq!(good.check_in_plugin(), Ok(()));
        }
        for bad in [
            Condition::equals("", "a"),
            Condition::matches("uri", "("),
            Condition::test("uri", Operator::Matches, Operand::Null),
            Condition::test("uri", Operator::Below, Operand::Text("1".to_owned())),
            Condition::test("uri", Operator::In, Operand::Null),
            Condition::is_within("remote_addr", list(&["::/129"])),
            Condition::is_within("remote_addr", list(&[])),
            Condition::All(vec![Condition::equals("a", "b")]),
            Condition::Any(vec![]),
            !Condition::All(vec![Condition::absent("a"), Condition::matches("b", "[")]),
        ] {
            assert!(bad.check().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn only_plugins_read_secrets() {
        let secret = Condition::is_in("host", vec!["a".to_owned(), "$secret://a".to_owned()]);
        assert_eq!(secret.check(), Ok(()));
        assert!(Condition::Any(vec![secret.clone(), secret]).check_in_plugin().is_err());
    }
}
