//! External authorization: a server decides about each request. Mapping rows 75 and 76.
//!
//! In: the filter's configuration, for a chain or for one route. Out: nothing where the filter is off; else the route is
//! unguarded, which the policy decides about. Never here: forward-auth. It asks at one path, with one method, and takes
//! each status below 300 for a yes, where Envoy asks at the path and with the method of the request and takes 200 alone:
//! what the server refuses would pass.

use std::sync::Arc;

use prost::Message;

use super::{Filter, unhonoured};
use crate::{
    pb::{
        envoy::extensions::filters::http::ext_authz::v3::{
            ExtAuthz, ExtAuthzPerRoute, HttpService, check_settings::ServiceOverride, ext_authz::Services,
            ext_authz_per_route::Override,
        },
        path::Path,
    },
    translate::{Severity, note::Notes},
};

const GRPC: &str = "a gRPC service cannot be asked";
const NO_SERVICE: &str = "no known service is to be asked";
/// What a check for one route is not: the service stands in the chain's configuration.
const AS_THE_CHAIN: &str = "the filter's service cannot be asked";

/// Reads the filter of a chain.
pub(super) fn read(bytes: &[u8], path: &Path<'_>, notes: &mut Notes) -> Option<Arc<dyn Filter>> {
    let config = match ExtAuthz::decode(bytes) {
        Ok(config) => config,
        Err(error) => return closed(path, format!("not decodable: {error}"), notes),
    };
    if is_off(&config) {
        return None;
    }
    match &config.services {
        Some(Services::HttpService(service)) => closed(&path.field("http_service"), why(service), notes),
        Some(Services::GrpcService(_)) => closed(&path.field("grpc_service"), GRPC, notes),
        None => closed(path, NO_SERVICE, notes),
    }
}

/// Reads what a route says. How a body would be sent changes nothing where no server is asked.
pub(super) fn read_route(bytes: &[u8], path: &Path<'_>, notes: &mut Notes) -> Option<Arc<dyn Filter>> {
    let config = match ExtAuthzPerRoute::decode(bytes) {
        Ok(config) => config,
        Err(error) => return closed(path, format!("not decodable: {error}"), notes),
    };
    let settings = match config.r#override {
        Some(Override::Disabled(true)) => return None,
        // Turns on what the chain may have turned off.
        Some(Override::Disabled(false)) | None => return closed(path, AS_THE_CHAIN, notes),
        Some(Override::CheckSettings(settings)) => settings,
    };
    let path = path.field("check_settings");
    match &settings.service_override {
        Some(ServiceOverride::HttpService(service)) => {
            closed(&path.field("http_service"), why(service), notes)
        }
        Some(ServiceOverride::GrpcService(_)) => closed(&path.field("grpc_service"), GRPC, notes),
        None => closed(&path, AS_THE_CHAIN, notes),
    }
}

fn closed(path: &Path<'_>, why: impl Into<String>, notes: &mut Notes) -> Option<Arc<dyn Filter>> {
    notes.add(Severity::Security, path, why);
    Some(unhonoured())
}

/// No request is ever asked about, nor refused for that. A runtime key could say otherwise at any time.
fn is_off(config: &ExtAuthz) -> bool {
    let never = config.filter_enabled.as_ref().is_some_and(|enabled| {
        let share = enabled.default_value.as_ref().map_or(0, |percent| percent.numerator);
        share == 0 && enabled.runtime_key.is_empty()
    });
    let refuses = config
        .deny_at_disable
        .as_ref()
        .is_some_and(|flag| flag.default_value == Some(true) || !flag.runtime_key.is_empty());
    never && !refuses
}

fn why(service: &HttpService) -> String {
    let path = if service.path_override.is_empty() { "path and method" } else { "method" };
    format!(
        "the server decides by the {path} of a request, which forward-auth does not ask with, and only its 200 lets one \
         pass, where forward-auth takes any status below 300"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pb::envoy::{
        config::core::v3::{RuntimeFeatureFlag, RuntimeFractionalPercent},
        extensions::filters::http::ext_authz::v3::CheckSettings,
        r#type::v3::FractionalPercent,
    };

    fn is_closed(config: &ExtAuthz) -> bool {
        read(&config.encode_to_vec(), &Path::ROOT, &mut Notes::default()).is_some()
    }

    fn enabled(numerator: u32, key: &str) -> ExtAuthz {
        let default_value = Some(FractionalPercent { numerator, denominator: 0 });
        let filter_enabled = Some(RuntimeFractionalPercent { default_value, runtime_key: key.to_owned() });
        ExtAuthz { filter_enabled, ..ExtAuthz::default() }
    }

    #[test]
    fn only_a_filter_that_is_off_for_good_lets_requests_pass() {
        assert!(!is_closed(&enabled(0, "")));
        assert!(is_closed(&enabled(0, "key")));
        assert!(is_closed(&enabled(1, "")));
        assert!(is_closed(&ExtAuthz::default()));
        let deny = |value, key: &str| ExtAuthz {
            deny_at_disable: Some(RuntimeFeatureFlag { default_value: value, runtime_key: key.to_owned() }),
            ..enabled(0, "")
        };
        assert!(is_closed(&deny(Some(true), "")));
        assert!(is_closed(&deny(Some(false), "key")));
        assert!(!is_closed(&deny(Some(false), "")));
    }

    #[test]
    fn only_disabled_turns_it_off_for_a_route() {
        let of = |r#override| {
            let bytes = ExtAuthzPerRoute { r#override }.encode_to_vec();
            read_route(&bytes, &Path::ROOT, &mut Notes::default()).is_some()
        };
        assert!(!of(Some(Override::Disabled(true))));
        assert!(of(Some(Override::Disabled(false))));
        assert!(of(Some(Override::CheckSettings(CheckSettings::default()))));
        assert!(of(None));
    }

    #[test]
    fn what_is_not_decodable_closes() {
        assert!(read(b"\x08", &Path::ROOT, &mut Notes::default()).is_some());
        assert!(read_route(b"\x08", &Path::ROOT, &mut Notes::default()).is_some());
    }
}
