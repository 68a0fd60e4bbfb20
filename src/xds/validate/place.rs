//! Where in a resource a check is, and what it finds wrong there.
//!
//! Places are linked on the stack, so that a check that passes allocates nothing.

use std::{cell::OnceCell, fmt};

use bytes::Bytes;
use prost_reflect::{DynamicMessage, Value};

use crate::pb::json::descriptors;

/// What is wrong with a resource, and in which field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// Such as `virtual_hosts[0].routes[2].match`; empty for the resource itself.
    pub path: String,
    /// The value met and what is expected.
    pub problem: String,
}

impl FieldError {
    /// An error at a path that is known as a whole.
    pub fn new(path: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { path: path.into(), problem: problem.into() }
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            return f.write_str(&self.problem);
        }
        write!(f, "{}: {}", self.path, self.problem)
    }
}

/// An encoded message with all its fields, decoded when somebody asks about one that the Rust types leave out.
pub struct Content<'a> {
    name: &'a str,
    bytes: &'a Bytes,
    all_fields: OnceCell<Option<DynamicMessage>>,
}

impl<'a> Content<'a> {
    /// `bytes` as a message of this full name.
    pub fn new(name: &'a str, bytes: &'a Bytes) -> Self {
        Self { name, bytes, all_fields: OnceCell::new() }
    }

    fn all_fields(&self) -> Option<&DynamicMessage> {
        self.all_fields
            .get_or_init(|| {
                let descriptor = descriptors().get_message_by_name(self.name)?;
                DynamicMessage::decode(descriptor, self.bytes.clone()).ok()
            })
            .as_ref()
    }
}

/// A field of a resource, known by the way to it.
pub struct Place<'a> {
    parent: Option<&'a Place<'a>>,
    step: Step<'a>,
}

enum Step<'a> {
    Field(&'static str),
    Item(&'static str, usize),
    Message(&'a Content<'a>),
}

impl<'a> Place<'a> {
    /// The resource itself.
    pub fn root(content: &'a Content<'a>) -> Self {
        Place { parent: None, step: Step::Message(content) }
    }

    /// A member of it.
    pub fn field(&'a self, name: &'static str) -> Place<'a> {
        Place { parent: Some(self), step: Step::Field(name) }
    }

    /// An element of a repeated member of it.
    pub fn item(&'a self, name: &'static str, index: usize) -> Place<'a> {
        Place { parent: Some(self), step: Step::Item(name, index) }
    }

    /// The message packed in it, an `Any`.
    pub fn packed(&'a self, content: &'a Content<'a>) -> Place<'a> {
        Place { parent: Some(self), step: Step::Message(content) }
    }

    /// An error here.
    pub fn error(&self, problem: impl Into<String>) -> FieldError {
        let mut path = String::new();
        self.write_path(&mut path);
        FieldError::new(path, problem)
    }

    /// The check that most fields share.
    pub fn not_empty(&self, value: &str) -> Result<(), FieldError> {
        if value.is_empty() { Err(self.error("must not be empty")) } else { Ok(()) }
    }

    /// A message that must be there.
    pub fn required<'v, T>(&self, value: &'v Option<T>) -> Result<&'v T, FieldError> {
        value.as_ref().ok_or_else(|| self.error("is required"))
    }

    /// A value of an enum that Envoy knows.
    pub fn known<E: TryFrom<i32>>(&self, value: i32) -> Result<E, FieldError> {
        E::try_from(value).map_err(|_| self.error(format!("{value} is no value of this enum")))
    }

    /// Whether any of these members is set, those that the Rust types leave out included.
    ///
    /// Such a member makes a `oneof` look unset while Envoy sees it set; the translation reports it. To tell,
    /// the message is decoded once more in full, which only resources with such members pay for.
    pub fn has_any(&self, members: &[&str]) -> bool {
        self.with_all_fields(&mut |message| {
            members.iter().any(|m| message.get_field_by_name(m).is_some() && message.has_field_by_name(m))
        })
        .unwrap_or(false)
    }

    fn with_all_fields(&self, look: &mut dyn FnMut(&DynamicMessage) -> bool) -> Option<bool> {
        match (&self.step, self.parent) {
            (Step::Message(content), _) => content.all_fields().map(look),
            (Step::Field(name), Some(parent)) => parent.with_all_fields(&mut |message| {
                message.get_field_by_name(name).and_then(|v| v.as_message().map(&mut *look)).unwrap_or(false)
            }),
            (Step::Item(name, index), Some(parent)) => parent.with_all_fields(&mut |message| {
                let Some(list) = message.get_field_by_name(name) else { return false };
                let item = list.as_list().and_then(|l| l.get(*index)).and_then(Value::as_message);
                item.map(&mut *look).unwrap_or(false)
            }),
            (_, None) => None,
        }
    }

    fn write_path(&self, path: &mut String) {
        if let Some(parent) = self.parent {
            parent.write_path(path);
        }
        let (name, index) = match self.step {
            Step::Message(_) => return,
            Step::Field(name) => (name, None),
            Step::Item(name, index) => (name, Some(index)),
        };
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(name);
        if let Some(index) = index {
            path.push_str(&format!("[{index}]"));
        }
    }
}
