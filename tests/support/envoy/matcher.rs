//! Whether a route matches a request.

use envoy_types::pb::envoy::{
    config::route::v3::{
        HeaderMatcher, QueryParameterMatcher, Route, RouteMatch, header_matcher::HeaderMatchSpecifier,
        query_parameter_matcher::QueryParameterMatchSpecifier, route_match::PathSpecifier,
    },
    r#type::v3::FractionalPercent,
};

use super::text;
use crate::support::exchange::Request;

pub fn matches(route: &Route, request: &Request) -> bool {
    let matched = route.r#match.as_ref().expect("a match");
    let unknown = matched.tls_context.is_some()
        || !matched.dynamic_metadata.is_empty()
        || !matched.filter_state.is_empty()
        || !matched.cookies.is_empty();
    assert!(!unknown, "not modelled: {matched:?}");
    path(matched, request)
        && (matched.grpc.is_none() || is_grpc(request))
        && fraction(matched, request)
        && matched.headers.iter().all(|matcher| header(matcher, request))
        && matched.query_parameters.iter().all(|matcher| query(matcher, request))
}

/// The path without query and fragment, as it was sent.
pub fn raw_path(request: &Request) -> &str {
    let end = request.target.find(['?', '#']).unwrap_or(request.target.len());
    &request.target[..end]
}

fn path(matched: &RouteMatch, request: &Request) -> bool {
    let folds = matched.case_sensitive.as_ref().is_some_and(|sensitive| !sensitive.value);
    let fold = |text: &str| if folds { text.to_ascii_lowercase() } else { text.to_owned() };
    let raw = raw_path(request);
    match matched.path_specifier.as_ref().expect("a path specifier") {
        PathSpecifier::Prefix(prefix) => fold(raw).starts_with(&fold(prefix)),
        PathSpecifier::Path(exact) => fold(raw) == fold(exact),
        PathSpecifier::PathSeparatedPrefix(prefix) => {
            let path = fold(raw);
            path.strip_prefix(&fold(prefix)).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        }
        PathSpecifier::SafeRegex(regex) => text::full_match(&regex.regex, raw),
        other => panic!("not modelled: {other:?}"),
    }
}

fn is_grpc(request: &Request) -> bool {
    header_value(request, "content-type").is_some_and(|value| {
        value.strip_prefix("application/grpc").is_some_and(|rest| rest.is_empty() || rest.starts_with('+'))
    })
}

/// Envoy draws a random number; here the first digits of the request's id are one.
fn fraction(matched: &RouteMatch, request: &Request) -> bool {
    let percent = matched.runtime_fraction.as_ref().and_then(|fraction| fraction.default_value.as_ref());
    percent.is_none_or(|percent| random(request, 0) < share(percent))
}

fn share(percent: &FractionalPercent) -> f64 {
    let whole = [100.0, 10_000.0, 1_000_000.0][percent.denominator as usize];
    f64::from(percent.numerator) / whole
}

/// A number from 0 to below 1 from five digits of the request's id.
pub fn random(request: &Request, first: usize) -> f64 {
    let digits = u32::from_str_radix(&request.request_id[first..first + 5], 16).expect("hexadecimal digits");
    (f64::from(digits) + 0.5) / f64::from(1 << 20)
}

/// All lines of a header in one.
pub fn header_value(request: &Request, name: &str) -> Option<String> {
    match name {
        ":method" => return Some(request.method.clone()),
        ":path" => return Some(request.target.clone()),
        ":authority" | "host" => return Some(request.authority.clone()),
        ":scheme" => return Some("http".to_owned()),
        _ => assert!(!name.starts_with(':'), "not modelled: header {name:?}"),
    }
    let lines: Vec<&str> =
        request.headers.iter().filter(|(held, _)| held == name).map(|(_, value)| value.as_str()).collect();
    (!lines.is_empty()).then(|| lines.join(if name == "cookie" { "; " } else { "," }))
}

fn header(matcher: &HeaderMatcher, request: &Request) -> bool {
    let value = header_value(request, &matcher.name.to_ascii_lowercase());
    let present = value.is_some();
    let specifier = match &matcher.header_match_specifier {
        None => return present != matcher.invert_match,
        Some(HeaderMatchSpecifier::PresentMatch(expected)) => {
            return (present == *expected) != matcher.invert_match;
        }
        Some(specifier) => specifier,
    };
    // A missing header never matches a value, inverted or not, unless it is taken for an empty one.
    if !present && !matcher.treat_missing_header_as_empty {
        return false;
    }
    let value = value.unwrap_or_default();
    let matches = match specifier {
        HeaderMatchSpecifier::ExactMatch(text) => value == *text,
        HeaderMatchSpecifier::PrefixMatch(text) => value.starts_with(text.as_str()),
        HeaderMatchSpecifier::SuffixMatch(text) => value.ends_with(text.as_str()),
        HeaderMatchSpecifier::ContainsMatch(text) => value.contains(text.as_str()),
        HeaderMatchSpecifier::SafeRegexMatch(regex) => text::full_match(&regex.regex, &value),
        HeaderMatchSpecifier::StringMatch(string) => text::matches(string, &value),
        HeaderMatchSpecifier::RangeMatch(range) => {
            value.trim().parse::<i64>().is_ok_and(|number| (range.start..range.end).contains(&number))
        }
        HeaderMatchSpecifier::PresentMatch(_) => unreachable!("returned above"),
    };
    matches != matcher.invert_match
}

/// The first value of a parameter, as it was sent; one without `=` has an empty value.
fn query(matcher: &QueryParameterMatcher, request: &Request) -> bool {
    let query = request.target.split_once('?').map_or("", |(_, query)| query);
    let value = query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key == matcher.name).then_some(value)
    });
    match &matcher.query_parameter_match_specifier {
        None | Some(QueryParameterMatchSpecifier::PresentMatch(true)) => value.is_some(),
        Some(QueryParameterMatchSpecifier::StringMatch(string)) => {
            value.is_some_and(|value| text::matches(string, value))
        }
        Some(QueryParameterMatchSpecifier::PresentMatch(false)) => {
            panic!("not modelled: present_match: false")
        }
    }
}
