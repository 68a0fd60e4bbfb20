//! What a route does with a request: an answer, or a cluster with path, host and headers rewritten.

use std::collections::BTreeSet;

use envoy_types::pb::envoy::config::{
    core::v3::{HeaderValueOption as Options, data_source::Specifier},
    route::v3::{
        DirectResponseAction, RedirectAction, Route, RouteAction, RouteConfiguration, VirtualHost,
        redirect_action::{PathRewriteSpecifier, SchemeRewriteSpecifier},
        route::Action,
        route_action::{ClusterSpecifier, HostRewriteSpecifier},
        route_match::PathSpecifier,
        weighted_cluster::{ClusterWeight, cluster_weight},
    },
};

use super::{
    headers::{self, Level},
    matcher, text,
};
use crate::support::exchange::{Answer, Forward, Outcome, Request};

/// A route that has been chosen.
pub struct Chosen<'a> {
    pub config: &'a RouteConfiguration,
    pub host: &'a VirtualHost,
    pub route: &'a Route,
    pub clusters: &'a BTreeSet<String>,
}

impl Chosen<'_> {
    /// One outcome, or one for each cluster of a weighted choice, with its weight.
    pub fn outcomes(&self, request: &Request) -> Vec<(u32, Outcome)> {
        let answer = match self.route.action.as_ref().expect("an action") {
            Action::Route(action) => return self.forward(action, request),
            Action::Redirect(action) => self.redirect(action, request),
            Action::DirectResponse(action) => direct_response(action),
            other => panic!("not modelled: {other:?}"),
        };
        vec![(1, Outcome::Answer(self.with_headers(answer)))]
    }

    fn with_headers(&self, answer: Answer) -> Answer {
        Answer { headers: headers::apply(&self.response_levels(None), answer.headers), ..answer }
    }

    fn forward(&self, action: &RouteAction, request: &Request) -> Vec<(u32, Outcome)> {
        match action.cluster_specifier.as_ref().expect("a cluster") {
            ClusterSpecifier::Cluster(name) => vec![(1, self.to_cluster(name, None, action, request))],
            ClusterSpecifier::WeightedClusters(split) => split
                .clusters
                .iter()
                .map(|cluster| (cluster.weight.as_ref().map_or(0, |weight| weight.value), cluster))
                .filter(|(weight, _)| *weight > 0)
                .map(|(weight, cluster)| {
                    (weight, self.to_cluster(&cluster.name, Some(cluster), action, request))
                })
                .collect(),
            other => panic!("not modelled: {other:?}"),
        }
    }

    fn to_cluster(
        &self,
        name: &str,
        weighted: Option<&ClusterWeight>,
        action: &RouteAction,
        request: &Request,
    ) -> Outcome {
        if !self.clusters.contains(name) {
            let status = [503, 404, 500][action.cluster_not_found_response_code as usize];
            let headers = headers::apply(&self.response_levels(weighted), Vec::new());
            return Outcome::Answer(Answer { headers, ..Answer::status(status) });
        }
        let given =
            [("x-upstream", "1"), ("x-both", "up")].map(|(n, v)| (n.to_owned(), v.to_owned())).to_vec();
        Outcome::Forward(Forward {
            clusters: [name.to_owned()].into(),
            method: request.method.clone(),
            authority: authority(action, weighted, request),
            target: self.target(action, request),
            headers: headers::apply(&self.request_levels(weighted), request.headers.clone()),
            response_headers: headers::apply(&self.response_levels(weighted), given),
        })
    }

    /// The target with the matched text, or what a pattern finds, replaced.
    fn target(&self, action: &RouteAction, request: &Request) -> String {
        let path = matcher::raw_path(request);
        let rest = &request.target[path.len()..];
        if let Some(rewrite) = &action.regex_rewrite {
            let pattern = text::compiled(&rewrite.pattern.as_ref().expect("a pattern").regex);
            let replaced = pattern.replace_all(path, replacement(&rewrite.substitution).as_str());
            return format!("{replaced}{rest}");
        }
        if action.prefix_rewrite.is_empty() {
            return request.target.clone();
        }
        format!("{}{}{rest}", action.prefix_rewrite, &path[self.matched_length(path)..])
    }

    /// How much of the path the route matched.
    fn matched_length(&self, path: &str) -> usize {
        match self.route.r#match.as_ref().and_then(|m| m.path_specifier.as_ref()) {
            Some(PathSpecifier::Prefix(text) | PathSpecifier::PathSeparatedPrefix(text)) => text.len(),
            Some(PathSpecifier::Path(_) | PathSpecifier::SafeRegex(_)) => path.len(),
            other => panic!("not modelled: {other:?}"),
        }
    }

    fn redirect(&self, action: &RedirectAction, request: &Request) -> Answer {
        let scheme = match &action.scheme_rewrite_specifier {
            Some(SchemeRewriteSpecifier::HttpsRedirect(true)) => "https",
            Some(SchemeRewriteSpecifier::SchemeRedirect(scheme)) if !scheme.is_empty() => scheme,
            _ => "http",
        };
        let port =
            if action.port_redirect == 0 { String::new() } else { format!(":{}", action.port_redirect) };
        let host = match action.host_redirect.as_str() {
            "" => redirected_host(&request.authority, scheme, &port),
            host => host,
        };
        let location = format!("{scheme}://{host}{port}{}", self.redirected_path(action, request));
        let status = [301, 302, 303, 307, 308][action.response_code as usize];
        Answer { headers: vec![("location".to_owned(), location)], ..Answer::status(status) }
    }

    fn redirected_path(&self, action: &RedirectAction, request: &Request) -> String {
        let path = matcher::raw_path(request);
        let query = if action.strip_query { "" } else { &request.target[path.len()..] };
        match &action.path_rewrite_specifier {
            // A query of its own takes the place of the request's, stripped or not.
            Some(PathRewriteSpecifier::PathRedirect(to)) if to.contains('?') => to.clone(),
            Some(PathRewriteSpecifier::PathRedirect(to)) if !to.is_empty() => format!("{to}{query}"),
            Some(PathRewriteSpecifier::PrefixRewrite(to)) => {
                format!("{to}{}{query}", &path[self.matched_length(path)..])
            }
            Some(PathRewriteSpecifier::RegexRewrite(rewrite)) => {
                let pattern = text::compiled(&rewrite.pattern.as_ref().expect("a pattern").regex);
                let replaced = pattern.replace_all(path, replacement(&rewrite.substitution).as_str());
                format!("{replaced}{query}")
            }
            Some(PathRewriteSpecifier::PathRedirect(_)) | None => format!("{path}{query}"),
            Some(other) => panic!("not modelled: {other:?}"),
        }
    }

    fn request_levels<'a>(&'a self, weighted: Option<&'a ClusterWeight>) -> Vec<Level<'a>> {
        let (route, host, config) = (self.route, self.host, self.config);
        let cluster =
            weighted.map(|w| (w.request_headers_to_add.as_slice(), w.request_headers_to_remove.as_slice()));
        self.levels(
            cluster,
            [
                (&route.request_headers_to_add, &route.request_headers_to_remove),
                (&host.request_headers_to_add, &host.request_headers_to_remove),
                (&config.request_headers_to_add, &config.request_headers_to_remove),
            ],
        )
    }

    fn response_levels<'a>(&'a self, weighted: Option<&'a ClusterWeight>) -> Vec<Level<'a>> {
        let (route, host, config) = (self.route, self.host, self.config);
        let cluster =
            weighted.map(|w| (w.response_headers_to_add.as_slice(), w.response_headers_to_remove.as_slice()));
        self.levels(
            cluster,
            [
                (&route.response_headers_to_add, &route.response_headers_to_remove),
                (&host.response_headers_to_add, &host.response_headers_to_remove),
                (&config.response_headers_to_add, &config.response_headers_to_remove),
            ],
        )
    }

    /// The weighted cluster's come first, whatever the order of the others.
    fn levels<'a>(
        &self,
        cluster: Option<(&'a [Options], &'a [String])>,
        mut levels: [(&'a Vec<Options>, &'a Vec<String>); 3],
    ) -> Vec<Level<'a>> {
        if self.config.most_specific_header_mutations_wins {
            levels.reverse();
        }
        let others = levels.into_iter().map(|(add, remove)| (add.as_slice(), remove.as_slice()));
        cluster.into_iter().chain(others).map(|(add, remove)| Level { add, remove }).collect()
    }
}

fn authority(action: &RouteAction, weighted: Option<&ClusterWeight>, request: &Request) -> String {
    if let Some(cluster_weight::HostRewriteSpecifier::HostRewriteLiteral(host)) =
        weighted.and_then(|w| w.host_rewrite_specifier.as_ref())
    {
        return host.clone();
    }
    match &action.host_rewrite_specifier {
        None => request.authority.clone(),
        Some(HostRewriteSpecifier::HostRewriteLiteral(host)) => host.clone(),
        Some(HostRewriteSpecifier::HostRewriteHeader(name)) => {
            let value = matcher::header_value(request, &name.to_ascii_lowercase());
            value.filter(|value| !value.is_empty()).unwrap_or_else(|| request.authority.clone())
        }
        Some(other) => panic!("not modelled: {other:?}"),
    }
}

/// A new port replaces the old one; another scheme only drops the old scheme's own port.
fn redirected_host<'a>(authority: &'a str, scheme: &str, port: &str) -> &'a str {
    let colon = match authority.starts_with('[') {
        true => authority.rfind("]:").map(|at| at + 1),
        false => authority.rfind(':'),
    };
    match colon {
        Some(colon) if !port.is_empty() || (scheme != "http" && &authority[colon..] == ":80") => {
            &authority[..colon]
        }
        _ => authority,
    }
}

/// RE2's `\1` as this crate's `${1}`.
fn replacement(substitution: &str) -> String {
    let mut text = String::new();
    let mut chars = substitution.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(digit) if digit.is_ascii_digit() => text += &format!("${{{digit}}}"),
                other => text.extend(other),
            },
            '$' => text += "$$",
            other => text.push(other),
        }
    }
    text
}

fn direct_response(action: &DirectResponseAction) -> Answer {
    let body = match action.body.as_ref().and_then(|body| body.specifier.as_ref()) {
        None => None,
        Some(Specifier::InlineString(text)) => Some(text.clone()),
        Some(Specifier::InlineBytes(bytes)) => Some(String::from_utf8_lossy(bytes).into_owned()),
        Some(other) => panic!("not modelled: {other:?}"),
    };
    let body = body.filter(|body| !body.is_empty());
    let kind = body.iter().map(|_| ("content-type".to_owned(), "text/plain".to_owned()));
    Answer { status: action.status.into(), headers: kind.collect(), body }
}
