//! Route configurations, and the matchers in them.

use std::collections::HashSet;

use super::{
    Change, ResourceType,
    place::{FieldError, Place},
    regex,
};
use crate::pb::envoy::{
    config::route::v3::{
        DirectResponseAction, HeaderMatcher, QueryParameterMatcher, RedirectAction, Route, RouteAction,
        RouteConfiguration, RouteMatch, VirtualHost, WeightedCluster, header_matcher::HeaderMatchSpecifier,
        query_parameter_matcher::QueryParameterMatchSpecifier, redirect_action::RedirectResponseCode,
        route::Action, route_action::ClusterSpecifier, route_match::PathSpecifier,
    },
    r#type::matcher::v3::{RegexMatcher, StringMatcher, string_matcher::MatchPattern},
};

/// The name is left to the caller: an inline configuration may do without.
pub fn check(place: &Place<'_>, routes: &RouteConfiguration) -> Result<(), FieldError> {
    let mut domains = HashSet::new();
    for (i, host) in routes.virtual_hosts.iter().enumerate() {
        let place = place.item("virtual_hosts", i);
        check_domains(&place, host, &mut domains)?;
        for (j, route) in host.routes.iter().enumerate() {
            check_route(&place.item("routes", j), route)?;
        }
    }
    Ok(())
}

/// The clusters that routes name, some more than once.
pub fn clusters(routes: &RouteConfiguration) -> impl Iterator<Item = Change> {
    let routes = routes.virtual_hosts.iter().flat_map(|host| &host.routes);
    let actions = routes.filter_map(|route| match &route.action {
        Some(Action::Route(action)) => action.cluster_specifier.as_ref(),
        _ => None,
    });
    let names = actions.flat_map(|specifier| {
        let (one, weighted) = match specifier {
            ClusterSpecifier::Cluster(name) => (Some(name), None),
            ClusterSpecifier::WeightedClusters(weighted) => (None, Some(&weighted.clusters)),
            #[allow(unreachable_patterns)]
            _ => (None, None),
        };
        one.into_iter().chain(weighted.into_iter().flatten().map(|cluster| &cluster.name))
    });
    let named = names.filter(|name| !name.is_empty());
    named.map(|name| Change { kind: ResourceType::Cluster, name: name.as_str().into() })
}

fn check_domains(
    place: &Place<'_>,
    host: &VirtualHost,
    taken: &mut HashSet<String>,
) -> Result<(), FieldError> {
    place.field("name").not_empty(&host.name)?;
    if host.domains.is_empty() {
        return Err(place.field("domains").error("at least one is required"));
    }
    for (i, domain) in host.domains.iter().enumerate() {
        // Hosts are compared without regard to case, so domains are as well.
        if !taken.insert(domain.to_ascii_lowercase()) {
            let place = place.item("domains", i);
            return Err(place.error(format!("{domain:?} is a domain of this configuration already")));
        }
    }
    Ok(())
}

fn check_route(place: &Place<'_>, route: &Route) -> Result<(), FieldError> {
    let at_match = place.field("match");
    check_match(&at_match, at_match.required(&route.r#match)?)?;
    match &route.action {
        Some(Action::Route(action)) => check_action(&place.field("route"), action),
        Some(Action::Redirect(redirect)) => check_redirect(&place.field("redirect"), redirect),
        Some(Action::DirectResponse(response)) => check_direct(&place.field("direct_response"), response),
        #[allow(unreachable_patterns)]
        Some(_) => Ok(()),
        None if place.has_any(&["filter_action", "non_forwarding_action"]) => Ok(()),
        None => Err(place.error("an action (route, redirect, direct_response, ...) is required")),
    }
}

fn check_match(place: &Place<'_>, m: &RouteMatch) -> Result<(), FieldError> {
    match &m.path_specifier {
        Some(PathSpecifier::SafeRegex(regex)) => check_regex(&place.field("safe_regex"), regex)?,
        Some(PathSpecifier::PathSeparatedPrefix(prefix)) => {
            let bad = prefix.len() < 2 || prefix.ends_with('/') || prefix.contains(['?', '#']);
            if bad {
                let problem = format!("{prefix:?} must be 2 or more characters, without ?, # or a last /");
                return Err(place.field("path_separated_prefix").error(problem));
            }
        }
        Some(_) => {}
        None if place.has_any(&["connect_matcher", "path_match_policy"]) => {}
        None => return Err(place.error("one of prefix, path, safe_regex, ... is required")),
    }
    for (i, header) in m.headers.iter().enumerate() {
        check_header(&place.item("headers", i), header)?;
    }
    for (i, parameter) in m.query_parameters.iter().enumerate() {
        check_query_parameter(&place.item("query_parameters", i), parameter)?;
    }
    Ok(())
}

fn check_header(place: &Place<'_>, header: &HeaderMatcher) -> Result<(), FieldError> {
    use HeaderMatchSpecifier as H;
    place.field("name").not_empty(&header.name)?;
    match &header.header_match_specifier {
        Some(H::PrefixMatch(text)) => place.field("prefix_match").not_empty(text),
        Some(H::SuffixMatch(text)) => place.field("suffix_match").not_empty(text),
        Some(H::ContainsMatch(text)) => place.field("contains_match").not_empty(text),
        Some(H::SafeRegexMatch(regex)) => check_regex(&place.field("safe_regex_match"), regex),
        Some(H::StringMatch(matcher)) => check_string(&place.field("string_match"), matcher),
        Some(H::ExactMatch(_) | H::RangeMatch(_) | H::PresentMatch(_)) | None => Ok(()),
    }
}

fn check_query_parameter(place: &Place<'_>, parameter: &QueryParameterMatcher) -> Result<(), FieldError> {
    place.field("name").not_empty(&parameter.name)?;
    match &parameter.query_parameter_match_specifier {
        Some(QueryParameterMatchSpecifier::StringMatch(matcher)) => {
            check_string(&place.field("string_match"), matcher)
        }
        Some(QueryParameterMatchSpecifier::PresentMatch(_)) | None => Ok(()),
    }
}

fn check_string(place: &Place<'_>, matcher: &StringMatcher) -> Result<(), FieldError> {
    match &matcher.match_pattern {
        Some(MatchPattern::Exact(_)) => Ok(()),
        Some(MatchPattern::Prefix(text)) => place.field("prefix").not_empty(text),
        Some(MatchPattern::Suffix(text)) => place.field("suffix").not_empty(text),
        Some(MatchPattern::Contains(text)) => place.field("contains").not_empty(text),
        Some(MatchPattern::SafeRegex(regex)) => check_regex(&place.field("safe_regex"), regex),
        None if place.has_any(&["custom"]) => Ok(()),
        None => Err(place.error("one of exact, prefix, suffix, safe_regex, contains, custom is required")),
    }
}

fn check_regex(place: &Place<'_>, matcher: &RegexMatcher) -> Result<(), FieldError> {
    let place = place.field("regex");
    place.not_empty(&matcher.regex)?;
    regex::check(&matcher.regex).map_err(|problem| place.error(format!("{:?}: {problem}", matcher.regex)))
}

fn check_action(place: &Place<'_>, action: &RouteAction) -> Result<(), FieldError> {
    match &action.cluster_specifier {
        Some(ClusterSpecifier::Cluster(name)) => place.field("cluster").not_empty(name),
        Some(ClusterSpecifier::WeightedClusters(clusters)) => {
            check_weighted(&place.field("weighted_clusters"), clusters)
        }
        #[allow(unreachable_patterns)]
        Some(_) => Ok(()),
        None if place.has_any(&[
            "cluster_header",
            "cluster_specifier_plugin",
            "inline_cluster_specifier_plugin",
        ]) =>
        {
            Ok(())
        }
        None => Err(place.error("one of cluster, weighted_clusters, cluster_header, ... is required")),
    }
}

fn check_weighted(place: &Place<'_>, weighted: &WeightedCluster) -> Result<(), FieldError> {
    let mut sum = 0;
    for (i, cluster) in weighted.clusters.iter().enumerate() {
        let place = place.item("clusters", i);
        if cluster.name.is_empty() && !place.has_any(&["cluster_header"]) {
            return Err(place.field("name").error("must not be empty"));
        }
        sum += u64::from(*place.field("weight").required(&cluster.weight)?);
    }
    match sum {
        0 => Err(place.field("clusters").error("the sum of weights must be greater than 0")),
        _ if sum > u64::from(u32::MAX) => {
            Err(place.field("clusters").error(format!("the sum of weights {sum} is more than {}", u32::MAX)))
        }
        _ => Ok(()),
    }
}

fn check_redirect(place: &Place<'_>, redirect: &RedirectAction) -> Result<(), FieldError> {
    place.field("response_code").known::<RedirectResponseCode>(redirect.response_code).map(|_| ())
}

fn check_direct(place: &Place<'_>, response: &DirectResponseAction) -> Result<(), FieldError> {
    if (200..600).contains(&response.status) {
        return Ok(());
    }
    Err(place.field("status").error(format!("{} is not an HTTP status (200-599)", response.status)))
}
