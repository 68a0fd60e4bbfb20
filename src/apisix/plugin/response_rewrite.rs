//! `response-rewrite`: changes the answer on its way down.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Meta, meta};
use crate::apisix::check::{Checked, Within, demand, each, line, token};

/// `response-rewrite`.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ResponseRewrite {
    /// Header operations.
    pub headers: ResponseHeaders,
    /// For which requests; without it for all.
    #[serde(rename = "_meta", skip_serializing_if = "Option::is_none")]
    pub meta: Option<Meta>,
}

/// Header operations of [`ResponseRewrite`], in the order in which they are done.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ResponseHeaders {
    /// `Name: value`, and in the value no `:` and no `/` at the end; `$name` is replaced by a variable.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub add: Vec<String>,
    /// Names and values, with `$name` for variables.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub set: BTreeMap<String, String>,
    /// Names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<String>,
}

impl ResponseHeaders {
    /// Whether `add` takes this value: any other has to go into `set`.
    pub fn is_addable(value: &str) -> bool {
        !value.is_empty() && !value.contains(':') && !value.ends_with('/')
    }

    fn check(&self) -> Checked {
        demand(!self.is_empty(), "", "must have something to do")?;
        each(&self.add, |text| {
            line(text)?;
            let (name, value) = text.split_once(':').unwrap_or((text, ""));
            token(name)?;
            demand(
                Self::is_addable(value),
                text,
                "must be Name: value, the value without a : or a / at its end",
            )
        })
        .within("add")?;
        for (name, value) in &self.set {
            token(name).and_then(|()| line(value)).key(name).within("set")?;
        }
        each(&self.remove, |name| token(name)).within("remove")
    }

    /// Nothing to do.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl ResponseRewrite {
    pub(super) fn check(&self) -> Checked {
        self.headers.check().within("headers")?;
        meta(&self.meta)
    }
}
