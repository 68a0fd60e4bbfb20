//! Conditions of a route's `vars`, as `lua-resty-expr` reads them.
//!
//! A missing variable makes every operator false except `==` with null, and so makes a negated one true.

use serde::{Serialize, Serializer, ser::SerializeSeq};

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
}
