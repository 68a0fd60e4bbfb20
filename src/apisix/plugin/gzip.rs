//! `gzip`: compresses answers.

use serde::Serialize;

use super::{Meta, meta};
use crate::apisix::check::{Checked, Within, demand, each, if_there, line, one_or_more, text_of_one_or_more};

/// `gzip`.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Gzip {
    /// Media types; without any, `text/html`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub types: Vec<String>,
    /// Bytes, 1 or more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_length: Option<u32>,
    /// 1 to 9.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comp_level: Option<u32>,
    /// Adds `Vary: Accept-Encoding`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub vary: bool,
    /// For which requests; without it for all.
    #[serde(rename = "_meta", skip_serializing_if = "Option::is_none")]
    pub meta: Option<Meta>,
}

impl Gzip {
    pub(super) fn check(&self) -> Checked {
        each(&self.types, |kind| text_of_one_or_more(kind).and_then(|()| line(kind))).within("types")?;
        if_there(&self.min_length, |n| one_or_more(*n)).within("min_length")?;
        let rule = "must be from 1 to 9";
        if_there(&self.comp_level, |n| demand((1..=9).contains(n), n, rule)).within("comp_level")?;
        meta(&self.meta)
    }
}
