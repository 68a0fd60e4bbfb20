//! All operations on all headers, folded: what a header becomes where the message has it, and where it has not.

use std::collections::BTreeMap;

use crate::{
    apisix::literal, pb::envoy::config::core::v3::header_value_option::HeaderAppendAction as Action,
};

use super::{
    Side,
    format::Part,
    operation::{Add, Operations},
};

/// A value as APISIX takes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Value {
    pub template: String,
    /// Itself, where no variable is in it.
    pub literal: Option<String>,
    /// The headers that it reads, as they came.
    pub reads: Vec<String>,
}

/// What becomes of a header: its own values, if it keeps them, and then these.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Fate {
    pub kept: bool,
    pub values: Vec<Value>,
}

/// Of a header that the message has, and of one that it has not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pair {
    pub present: Fate,
    pub absent: Fate,
}

/// The headers that some operation touches, in lower case.
#[derive(Debug)]
pub(super) struct Fates<'a> {
    side: Side,
    route: &'a str,
    cluster: &'a str,
    pub headers: BTreeMap<String, Pair>,
}

impl Pair {
    /// Of a header that nothing has touched.
    fn untouched() -> Self {
        Self { present: Fate { kept: true, values: Vec::new() }, absent: Fate::default() }
    }

    fn both(&mut self) -> [&mut Fate; 2] {
        [&mut self.present, &mut self.absent]
    }

    /// The same operation whether the message has the header or not.
    pub fn is_one(&self) -> bool {
        self.present.values == self.absent.values
    }
}

impl Fate {
    fn exists(&self) -> bool {
        self.kept || !self.values.is_empty()
    }
}

impl<'a> Fates<'a> {
    pub fn new(side: Side, route: &'a str, cluster: &'a str) -> Self {
        Self { side, route, cluster, headers: BTreeMap::new() }
    }

    /// Adds what one level does.
    pub fn apply(&mut self, operations: &Operations) {
        for name in &operations.remove {
            let gone = Pair { present: Fate::default(), absent: Fate::default() };
            self.headers.insert(name.clone(), gone);
        }
        // Every value and every condition sees the headers as they are now.
        let steps: Vec<_> = operations.add.iter().filter_map(|add| self.step(add)).collect();
        let (overwrites, appends): (Vec<_>, Vec<_>) = steps.iter().partition(|step| step.overwrites());
        for step in overwrites.into_iter().chain(appends) {
            let pair = self.headers.entry(step.add.name.clone()).or_insert_with(Pair::untouched);
            for (fate, acts) in pair.both().into_iter().zip(step.acts) {
                if acts && step.overwrites() {
                    *fate = Fate { kept: false, values: vec![step.value.clone()] };
                } else if acts {
                    fate.values.push(step.value.clone());
                }
            }
        }
    }

    /// `None` where Envoy skips the operation: there is no value.
    fn step<'b>(&self, add: &'b Add) -> Option<Step<'b>> {
        let value = self.value(&add.value);
        if value.template.is_empty() && !add.keep_empty {
            return None;
        }
        let untouched = Pair::untouched();
        let pair = self.headers.get(&add.name).unwrap_or(&untouched);
        let acts = [&pair.present, &pair.absent].map(|fate| match add.action {
            Action::AppendIfExistsOrAdd | Action::OverwriteIfExistsOrAdd => true,
            Action::AddIfAbsent => !fate.exists(),
            Action::OverwriteIfExists => fate.exists(),
        });
        Some(Step { add, value, acts })
    }

    fn value(&self, parts: &[Part]) -> Value {
        let mut value = Value { literal: Some(String::new()), ..Value::default() };
        for part in parts {
            match part {
                Part::Text(text) => value.push_text(text),
                Part::Route => value.push_text(self.route),
                Part::Cluster => value.push_text(self.cluster),
                Part::Variable(name) => value.push_variable(name),
                Part::Optional(name) => value.push_variable(name),
                Part::Header(name) => self.push_header(&mut value, name),
            }
        }
        value
    }

    /// A header's value after the operations so far: the first, if there are several.
    fn push_header(&self, value: &mut Value, name: &str) {
        let untouched = Pair::untouched();
        let pair = self.headers.get(name).unwrap_or(&untouched);
        let variable = self.variable(name);
        match (pair.present.kept, pair.present.values.first(), pair.absent.values.first()) {
            (true, _, Some(other)) if is_default(other) => value.push_default(&variable, name, other),
            (true, _, _) => value.push_read(&variable, name),
            (false, Some(first), Some(_)) => value.push_value(first),
            (false, _, _) => {}
        }
    }

    /// The variable with what the message has under this name.
    pub fn variable(&self, name: &str) -> String {
        let name = name.replace('-', "_");
        match self.side {
            Side::Request => format!("http_{name}"),
            Side::Response => format!("upstream_http_{name}"),
        }
    }

    /// Reads the header as it came, and `default` where there is none.
    pub fn or(&self, name: &str, default: &Value) -> Value {
        let mut value = Value::default();
        value.push_default(&self.variable(name), name, default);
        value
    }
}

/// What one operation does.
struct Step<'a> {
    add: &'a Add,
    value: Value,
    /// Where the message has the header, and where it has not.
    acts: [bool; 2],
}

impl Step<'_> {
    fn overwrites(&self) -> bool {
        matches!(self.add.action, Action::OverwriteIfExistsOrAdd | Action::OverwriteIfExists)
    }
}

impl Value {
    fn push_text(&mut self, text: &str) {
        self.template.push_str(&literal(text));
        if let Some(literal) = &mut self.literal {
            literal.push_str(text);
        }
    }

    fn push_variable(&mut self, name: &str) {
        self.template.push_str(&format!("${{{name}}}"));
        self.literal = None;
    }

    fn push_read(&mut self, variable: &str, name: &str) {
        self.push_variable(variable);
        self.reads.push(name.to_owned());
    }

    fn push_default(&mut self, variable: &str, name: &str, default: &Value) {
        self.push_read(&format!("{variable} ?? {}", default.template), name);
    }

    fn push_value(&mut self, other: &Value) {
        self.template.push_str(&other.template);
        self.reads.extend(other.reads.iter().cloned());
        match (&mut self.literal, &other.literal) {
            (Some(literal), Some(more)) => literal.push_str(more),
            (literal, _) => *literal = None,
        }
    }
}

/// Whether the value can stand behind `??`: APISIX trims it, ends it at a brace, and replaces nothing in it but the
/// groups of a pattern.
pub(super) fn is_default(value: &Value) -> bool {
    value.literal.as_ref().is_some_and(|text| {
        !text.is_empty() && text.trim() == text && !text.contains(['}', '$', '\\']) && !text.contains("??")
    })
}

/// Whether `name` can stand in the name of a variable.
pub(super) fn has_variable(name: &str) -> bool {
    name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operations(remove: &[&str], add: &[(&str, &str, Action)]) -> Operations {
        let add = add.iter().map(|(name, text, action)| Add {
            name: (*name).to_owned(),
            value: vec![Part::Text((*text).to_owned())],
            action: *action,
            keep_empty: false,
        });
        Operations { remove: remove.iter().map(|name| (*name).to_owned()).collect(), add: add.collect() }
    }

    /// What a header becomes where it is kept (`*` stands for its own values), and where it is missing.
    fn fates(levels: &[Operations]) -> BTreeMap<String, [String; 2]> {
        let mut fates = Fates::new(Side::Request, "", "");
        levels.iter().for_each(|level| fates.apply(level));
        let text = |fate: &Fate| {
            let values = fate.values.iter().map(|value| value.template.as_str());
            fate.kept.then_some("*").into_iter().chain(values).collect::<Vec<_>>().join(",")
        };
        let pair = |(name, pair): (&String, &Pair)| (name.clone(), [text(&pair.present), text(&pair.absent)]);
        fates.headers.iter().map(pair).collect()
    }

    fn one(levels: &[Operations]) -> [String; 2] {
        fates(levels).remove("x").expect("touched")
    }

    #[test]
    fn each_action_on_a_header_that_is_there_and_one_that_is_not() {
        let one = |action| one(&[operations(&[], &[("x", "v", action)])]);
        assert_eq!(one(Action::AppendIfExistsOrAdd), ["*,v", "v"]);
        assert_eq!(one(Action::AddIfAbsent), ["*", "v"]);
        assert_eq!(one(Action::OverwriteIfExistsOrAdd), ["v", "v"]);
        assert_eq!(one(Action::OverwriteIfExists), ["v", ""]);
    }

    #[test]
    fn a_level_removes_then_overwrites_then_appends() {
        let (append, over) = (Action::AppendIfExistsOrAdd, Action::OverwriteIfExistsOrAdd);
        let level = operations(&["x"], &[("x", "a", append), ("x", "b", over), ("x", "c", append)]);
        assert_eq!(one(&[level]), ["b,a,c", "b,a,c"]);
        // Both see that there is none yet, as in Envoy.
        let absent = operations(&["x"], &[("x", "1", Action::AddIfAbsent), ("x", "2", Action::AddIfAbsent)]);
        assert_eq!(one(&[absent]), ["1,2", "1,2"]);
    }

    #[test]
    fn a_later_level_sees_what_an_earlier_one_did() {
        let over = operations(&[], &[("x", "v", Action::OverwriteIfExists)]);
        let absent = operations(&[], &[("x", "w", Action::AddIfAbsent)]);
        assert_eq!(one(&[over, absent]), ["v", "w"]);
        let append = operations(&[], &[("x", "v", Action::AppendIfExistsOrAdd)]);
        assert_eq!(one(&[append, operations(&["x"], &[])]), ["", ""]);
    }

    #[test]
    fn an_empty_value_is_no_operation() {
        assert!(fates(&[operations(&[], &[("x", "", Action::OverwriteIfExistsOrAdd)])]).is_empty());
    }

    #[test]
    fn a_default_ends_where_apisix_ends_it() {
        let is_default = |text: &str| {
            let mut value = Value { literal: Some(String::new()), ..Value::default() };
            value.push_text(text);
            super::is_default(&value)
        };
        assert!(is_default("a b/c:d"));
        for text in ["", " a", "a ", "a}", "a ?? b", "$1", "a\\"] {
            assert!(!is_default(text), "{text:?}");
        }
    }
}
