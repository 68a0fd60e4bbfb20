//! HTTP filters: which act on a route, with which configuration, and what they do to its cases.
//!
//! In: a connection manager's list of filters, and what a configuration, a virtual host and a route say of each by
//! name. Out: the cases of a route with what the filters add to them. A filter of its own stands in a file of its own
//! under `filter/`; [`TABLE`] names its messages. Never here: what a filter does.

mod buffer;
mod compressor;
mod cors;
mod ext_authz;
mod fault;
mod health_check;
mod jwt_authn;
mod local_ratelimit;
mod rbac;

use std::{collections::HashMap, fmt::Debug, sync::Arc};

use prost::Message;

use crate::{
    apisix::Condition,
    pb::{
        envoy::{
            config::route::v3::{FilterConfig, HeaderMatcher},
            extensions::filters::network::http_connection_manager::v3::{
                HttpFilter, http_filter::ConfigType,
            },
        },
        google::protobuf::Any,
        message_name,
        path::Path,
        unread,
    },
};

use super::{
    Severity,
    effect::Case,
    extension,
    matcher::header,
    note::{Notes, grade},
};

/// A filter's configuration, read and ready.
pub(super) trait Filter: Debug + Send + Sync {
    /// Adds what the filter does: a plugin to the effects, or a case that is tried before the others.
    fn apply(&self, cases: &mut Vec<Case>);
}

/// Reads one message. `None` does nothing; what cannot be honoured is noted at `path`.
type Read = fn(&[u8], &Path<'_>, &mut Notes) -> Option<Arc<dyn Filter>>;

/// The messages of filters that are honoured, for a whole chain or for one route, and who reads them.
const TABLE: &[(&str, Read)] = &[
    ("envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication", jwt_authn::read),
    ("envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig", jwt_authn::read_route),
    ("envoy.extensions.filters.http.ext_authz.v3.ExtAuthz", ext_authz::read),
    ("envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute", ext_authz::read_route),
    ("envoy.extensions.filters.http.rbac.v3.RBAC", rbac::read),
    ("envoy.extensions.filters.http.rbac.v3.RBACPerRoute", rbac::read_route),
    ("envoy.extensions.filters.http.buffer.v3.Buffer", buffer::read),
    ("envoy.extensions.filters.http.buffer.v3.BufferPerRoute", buffer::read_route),
    ("envoy.extensions.filters.http.compressor.v3.Compressor", compressor::read),
    ("envoy.extensions.filters.http.compressor.v3.CompressorPerRoute", compressor::read_route),
    ("envoy.extensions.filters.http.cors.v3.Cors", cors::read),
    ("envoy.extensions.filters.http.cors.v3.CorsPolicy", cors::read_policy),
    ("envoy.extensions.filters.http.fault.v3.HTTPFault", fault::read),
    ("envoy.extensions.filters.http.health_check.v3.HealthCheck", health_check::read),
    ("envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit", local_ratelimit::read),
];

const FILTER_CONFIG: &str = "envoy.config.route.v3.FilterConfig";

/// The filters of a connection manager, in Envoy's order.
#[derive(Debug, Default)]
pub(super) struct Filters(Vec<Listed>);

#[derive(Debug)]
struct Listed {
    /// By which routes name it.
    name: String,
    /// Off unless a route turns it on.
    disabled: bool,
    /// `None` where its configuration for the chain does nothing.
    config: Option<Arc<dyn Filter>>,
}

/// What a route, a virtual host or a configuration says of filters, by their names.
#[derive(Debug, Default)]
pub(super) struct Overrides(HashMap<String, Override>);

#[derive(Debug)]
enum Override {
    Off,
    /// As the chain has it, though the chain may have it turned off.
    On,
    Config(Option<Arc<dyn Filter>>),
}

impl Filters {
    /// Reads the list of the connection manager at `path`.
    pub fn read(filters: &[HttpFilter], path: &Path<'_>, notes: &mut Notes) -> Self {
        let listed = filters.iter().enumerate().map(|(at, filter)| {
            let here = path.item("http_filters", at);
            let config = match &filter.config_type {
                Some(ConfigType::TypedConfig(any)) => {
                    read(any, filter.is_optional, &here.field("typed_config"), notes)
                }
                Some(ConfigType::ConfigDiscovery(source)) => {
                    discovered(&source.type_urls, &here.field("config_discovery"), filter, notes)
                }
                None => None,
            };
            Listed { name: filter.name.clone(), disabled: filter.disabled, config }
        });
        Self(listed.collect())
    }

    /// Applies every filter that is on. The last goes first, so that the first stands outermost.
    pub fn apply(&self, levels: &[&Overrides], cases: &mut Vec<Case>) {
        for filter in self.0.iter().rev() {
            // The most specific level that names it decides alone.
            let config = match levels.iter().find_map(|level| level.0.get(&filter.name)) {
                None if filter.disabled => None,
                Some(Override::Off) => None,
                None | Some(Override::On) => filter.config.as_ref(),
                Some(Override::Config(config)) => config.as_ref(),
            };
            if let Some(config) = config {
                config.apply(cases);
            }
        }
    }
}

impl Overrides {
    /// Reads the `typed_per_filter_config` of the message at `path`.
    pub fn read(configs: &HashMap<String, Any>, path: &Path<'_>, notes: &mut Notes) -> Self {
        // Sorted, so that notes come in the same order every time.
        let mut configs: Vec<_> = configs.iter().collect();
        configs.sort_by_key(|(name, _)| *name);
        let overrides = configs.into_iter().map(|(name, any)| {
            let here = path.entry("typed_per_filter_config", name);
            (name.clone(), Override::read(any, &here, notes))
        });
        Self(overrides.collect())
    }
}

impl Override {
    fn read(any: &Any, path: &Path<'_>, notes: &mut Notes) -> Self {
        if message_name(&any.type_url) != FILTER_CONFIG {
            return Self::Config(read(any, false, path, notes));
        }
        match FilterConfig::decode(any.value.clone()) {
            Ok(wrapper) if wrapper.disabled => Self::Off,
            Ok(FilterConfig { config: Some(inner), is_optional, .. }) if !inner.type_url.is_empty() => {
                Self::Config(read(&inner, is_optional, &path.field("config"), notes))
            }
            Ok(_) => Self::On,
            Err(error) => {
                notes.add(Severity::Security, path, format!("not decodable: {error}"));
                Self::Config(Some(unhonoured()))
            }
        }
    }
}

/// A filter whose configuration would come by ECDS, which is not asked: it is one of these, or any.
fn discovered(
    type_urls: &[String],
    path: &Path<'_>,
    filter: &HttpFilter,
    notes: &mut Notes,
) -> Option<Arc<dyn Filter>> {
    let guards = type_urls.is_empty()
        || type_urls.iter().any(|of| extension::severity(of) == Some(Severity::Security));
    let severity = match (filter.is_optional, guards) {
        (true, _) => Severity::Ignored,
        (false, true) => Severity::Security,
        (false, false) => Severity::Traffic,
    };
    notes.add(severity, path, "ECDS is not asked for it");
    (severity == Severity::Security).then(unhonoured)
}

fn read(any: &Any, optional: bool, path: &Path<'_>, notes: &mut Notes) -> Option<Arc<dyn Filter>> {
    let name = message_name(&any.type_url);
    let Some((_, read)) = TABLE.iter().find(|(known, _)| *known == name) else {
        let is = unread::extension_type(&any.type_url, &any.value);
        let guards = !optional && extension::severity(is) == Some(Severity::Security);
        return guards.then(unhonoured);
    };
    let config = read(&any.value, path, notes);
    if leaves_open(name, &any.value) { Some(unhonoured()) } else { config }
}

/// The message; `None` when it has been noted that there is none, and that the filter is left out for it.
fn decode<M: Message + Default>(bytes: &[u8], path: &Path<'_>, notes: &mut Notes) -> Option<M> {
    M::decode(bytes).map_err(|error| notes.traffic(path, format!("not decodable: {error}: left out"))).ok()
}

/// The conditions of a filter's header matchers; `None` when it has been noted that one has no counterpart, and that
/// the filter is left out for it.
fn headers(matchers: &[HeaderMatcher], path: &Path<'_>, notes: &mut Notes) -> Option<Vec<Condition>> {
    let mut conditions = Vec::new();
    for (at, matcher) in matchers.iter().enumerate() {
        let path = path.item("headers", at);
        let mut found = Notes::default();
        let Some(tests) = header::conditions(matcher, &path, &mut found) else {
            notes.traffic(&path, "has no counterpart: the filter is left out");
            return None;
        };
        notes.take(found);
        conditions.extend(tests);
    }
    Some(conditions)
}

/// Whether there is something in a filter's configuration that guards, and that nothing reads.
fn leaves_open(message: &str, bytes: &[u8]) -> bool {
    let mut open = false;
    unread::walk(message, bytes, &mut |_, finding| {
        open |= matches!(grade(finding), Some((Severity::Security, _)));
    });
    open
}

/// Guards something, and cannot be honoured: the policy decides what becomes of the route.
#[derive(Debug)]
struct Unhonoured;

impl Filter for Unhonoured {
    fn apply(&self, cases: &mut Vec<Case>) {
        cases.iter_mut().for_each(|case| case.effect.unguarded = true);
    }
}

/// See [`Unhonoured`].
pub(super) fn unhonoured() -> Arc<dyn Filter> {
    Arc::new(Unhonoured)
}
