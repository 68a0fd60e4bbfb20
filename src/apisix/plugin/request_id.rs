//! `request-id`: gives a request an id of its own.

use serde::Serialize;

use super::{Meta, meta};
use crate::apisix::check::{Checked, Within, if_there, token};

/// `request-id`.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct RequestId {
    /// `X-Request-Id` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header_name: Option<String>,
    /// The client learns it.
    pub include_in_response: bool,
    /// How it is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<IdAlgorithm>,
    /// For which requests; without it for all.
    #[serde(rename = "_meta", skip_serializing_if = "Option::is_none")]
    pub meta: Option<Meta>,
}

/// How ids are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum IdAlgorithm {
    /// A random UUID.
    Uuid,
    /// A UUID with the time in it.
    Uuidv7,
}

impl RequestId {
    pub(super) fn check(&self) -> Checked {
        if_there(&self.header_name, |name| token(name)).within("header_name")?;
        meta(&self.meta)
    }
}
