//! `grpc-web`: gRPC for browsers.

use serde::Serialize;

use super::{Meta, meta};
use crate::apisix::check::{Checked, Within, if_there, line};

/// `grpc-web`.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct GrpcWeb {
    /// With commas between.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cors_allow_headers: Option<String>,
    /// For which requests; without it for all.
    #[serde(rename = "_meta", skip_serializing_if = "Option::is_none")]
    pub meta: Option<Meta>,
}

impl GrpcWeb {
    pub(super) fn check(&self) -> Checked {
        if_there(&self.cors_allow_headers, |text| line(text)).within("cors_allow_headers")?;
        meta(&self.meta)
    }
}
