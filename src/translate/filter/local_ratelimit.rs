//! Local rate limits: a bucket of tokens for all requests. Mapping row 73.
//!
//! In: the filter's configuration, for a chain, a virtual host or a route. Out: limit-count where a bucket is filled
//! whole, counting together all routes that the bucket is for; limit-req where it is filled bit by bit, which APISIX
//! counts for each route. Never here: descriptors, which count some requests apart.

use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use super::Filter;
use crate::{
    apisix::{LimitCount, LimitKey, LimitReq, Meta, ONE_FOR_ALL},
    pb::{
        envoy::{
            config::core::v3::RuntimeFractionalPercent,
            extensions::{
                common::ratelimit::v3::XRateLimitHeadersRfcVersion,
                filters::http::local_ratelimit::v3::LocalRateLimit,
            },
            r#type::v3::TokenBucket,
        },
        path::Path,
    },
    translate::{
        cluster,
        effect::Case,
        id::Id,
        note::Notes,
        random::{self, Choice, Share},
    },
};

const TOO_MANY_REQUESTS: u32 = 429;
/// A connection's number.
const CONNECTION: &str = "connection";

/// Reads the filter, of a chain or of a route. Without a bucket it does nothing, and turns off what is above it.
pub(super) fn read(bytes: &[u8], path: &Path<'_>, notes: &mut Notes) -> Option<Arc<dyn Filter>> {
    let config: LocalRateLimit = super::decode(bytes, path, notes)?;
    let bucket = config.token_bucket.as_ref()?;
    let (enabled, enforced) = (share(&config.filter_enabled), share(&config.filter_enforced));
    let meta = match Share::below(Choice::Filter, enabled * enforced) {
        Share::None => return None,
        Share::Some(condition) => Some(Meta::filter(vec![condition])),
        Share::All => None,
    };
    if enforced < 1.0 {
        notes.approximated(&path.field("filter_enforced"), "requests that are not limited take no token");
    }
    if !config.response_headers_to_add.is_empty() {
        notes.approximated(&path.field("response_headers_to_add"), "not supported");
    }
    let id = Id::new("limit").name(path.origin()).name(&path.to_string());
    let group = id.name(&format!("{:x}", xxh3_64(bytes))).finish();
    let limit = Limit::of(&config, bucket, meta, group, &path.field("token_bucket"), notes)?;
    Some(Arc::new(limit))
}

/// A part of all requests, from 0 to 1; without one, Envoy takes 0.
fn share(percent: &Option<RuntimeFractionalPercent>) -> f64 {
    percent.as_ref().and_then(|p| p.default_value.as_ref()).map_or(0.0, random::fraction)
}

/// A limit that is on.
#[derive(Debug)]
enum Limit {
    Count(LimitCount),
    Req(LimitReq),
}

impl Limit {
    fn of(
        config: &LocalRateLimit,
        bucket: &TokenBucket,
        meta: Option<Meta>,
        group: String,
        path: &Path<'_>,
        notes: &mut Notes,
    ) -> Option<Self> {
        let per_fill = bucket.tokens_per_fill.unwrap_or(1);
        let Some(interval) = bucket.fill_interval.as_ref().and_then(cluster::seconds) else {
            notes.traffic(&path.field("fill_interval"), "not above 0: no limit");
            return None;
        };
        if bucket.max_tokens == 0 || per_fill == 0 {
            notes.traffic(path, "without tokens: no limit");
            return None;
        }
        let rejected_code = status(config);
        let key = if config.local_rate_limit_per_downstream_connection { CONNECTION } else { ONE_FOR_ALL };
        let aside = "what is answered without an upstream is not counted, and a refusal has another body";
        // A bucket never holds more than `max_tokens`, however many a fill brings.
        if per_fill >= bucket.max_tokens && interval.fract() == 0.0 {
            notes.approximated(path, format!("counts from one fill to the next; {aside}"));
            return Some(Self::Count(LimitCount {
                count: bucket.max_tokens,
                time_window: interval as u32,
                key: key.to_owned(),
                key_type: LimitKey::Var,
                rejected_code,
                group: Some(group),
                show_limit_quota_header: config.enable_x_ratelimit_headers
                    == XRateLimitHeadersRfcVersion::DraftVersion03 as i32,
                meta,
                ..LimitCount::default()
            }));
        }
        notes.approximated(path, format!("counts for each route, and tells nothing in headers; {aside}"));
        Some(Self::Req(LimitReq {
            rate: f64::from(per_fill.min(bucket.max_tokens)) / interval,
            burst: f64::from(bucket.max_tokens - 1),
            key: key.to_owned(),
            nodelay: true,
            rejected_code,
            meta,
            ..LimitReq::default()
        }))
    }
}

/// Envoy takes an error status only.
fn status(config: &LocalRateLimit) -> u32 {
    let code = config.status.as_ref().and_then(|status| u32::try_from(status.code).ok());
    code.filter(|code| (400..600).contains(code)).unwrap_or(TOO_MANY_REQUESTS)
}

impl Filter for Limit {
    fn apply(&self, cases: &mut Vec<Case>) {
        for case in cases.iter_mut().filter(|case| !case.effect.answers()) {
            match self {
                Self::Count(plugin) => case.effect.plugins.limit_count = Some(plugin.clone()),
                Self::Req(plugin) => case.effect.plugins.limit_req = Some(plugin.clone()),
            }
        }
    }
}
