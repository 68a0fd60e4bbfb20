//! Redirects to the redirect plugin. Mapping row 53.
//!
//! The plugin's template knows variables and no way to write a dollar, so a path that is more than plain text is made
//! by proxy-rewrite, which runs before it, and taken from `$upstream_uri`. A redirect to another scheme drops the old
//! one's default port and keeps any other: that makes two cases.

use crate::{
    apisix::{Condition, Plugins, ProxyRewrite, Redirect, RedirectTo},
    pb::{
        envoy::config::route::v3::{
            RedirectAction,
            redirect_action::{PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier},
        },
        path::Path,
    },
};

use super::rewrite::{self, Change, Query};
use crate::translate::{
    effect::{Case, Effect},
    matcher::PathTest,
    note::Notes,
    pattern,
};

/// `None` when it has been noted that APISIX has no such redirect.
pub(super) fn cases(
    action: &RedirectAction,
    test: &PathTest,
    path: &Path<'_>,
    notes: &mut Notes,
) -> Option<Vec<Case>> {
    let scheme = scheme(action);
    let named = scheme.strip_prefix(SAME_SCHEME).unwrap_or(scheme);
    for (field, text) in [("host_redirect", action.host_redirect.as_str()), ("scheme_redirect", named)] {
        if text.contains(['$', '\\']) {
            notes.traffic(&path.field(field), "may be read as a variable: answered with 503");
            return None;
        }
    }
    let target = Location::of(action, test, path, notes)?;
    let effect = |host: &str| {
        let redirect = Redirect {
            to: RedirectTo::Uri(format!("{scheme}://{host}{}", target.text)),
            ret_code: status(action),
            append_query_string: target.append_query,
            encode_uri: false,
            meta: None,
        };
        let plugins =
            Plugins { redirect: Some(redirect), proxy_rewrite: target.made_by.clone(), ..Plugins::default() };
        Effect { plugins, ..Effect::default() }
    };
    let host = match action.host_redirect.as_str() {
        "" if action.port_redirect == 0 => {
            let default_port = default_port(scheme).map(|when| Case {
                label: "default port".to_owned(),
                when,
                effect: effect("$host"),
            });
            return Some(default_port.into_iter().chain([Case::always(effect("$http_host"))]).collect());
        }
        "" => "$host",
        host => host,
    };
    let port = match action.port_redirect {
        0 => String::new(),
        port => format!(":{port}"),
    };
    Some(vec![Case::always(effect(&format!("{host}{port}")))])
}

const SAME_SCHEME: &str = "$scheme";

fn scheme(action: &RedirectAction) -> &str {
    match &action.scheme_rewrite_specifier {
        Some(SchemeRewriteSpecifier::HttpsRedirect(true)) => "https",
        Some(SchemeRewriteSpecifier::SchemeRedirect(scheme)) if !scheme.is_empty() => scheme,
        Some(SchemeRewriteSpecifier::SchemeRedirect(_) | SchemeRewriteSpecifier::HttpsRedirect(false))
        | None => SAME_SCHEME,
    }
}

/// The request names the default port of its scheme, which is not the new one.
fn default_port(new: &str) -> Option<Vec<Condition>> {
    let with = |scheme: &str, port: &str| {
        vec![Condition::equals("scheme", scheme), Condition::matches("http_host", format!(r":{port}\z"))]
    };
    match new {
        SAME_SCHEME => None,
        "https" => Some(with("http", "80")),
        "http" => Some(with("https", "443")),
        _ => Condition::any(vec![Condition::All(with("http", "80")), Condition::All(with("https", "443"))])
            .map(|any| vec![any]),
    }
}

/// The location from the path on.
struct Location {
    text: String,
    append_query: bool,
    made_by: Option<ProxyRewrite>,
}

impl Location {
    fn of(action: &RedirectAction, test: &PathTest, path: &Path<'_>, notes: &mut Notes) -> Option<Self> {
        let query = if action.strip_query { Query::Drop } else { Query::Keep };
        let change = match &action.path_rewrite_specifier {
            Some(PathRewriteSpecifier::PathRedirect(text)) if !text.is_empty() => {
                return Some(Self::whole(text, query));
            }
            Some(PathRewriteSpecifier::PrefixRewrite(text)) => Change::Matched(text),
            Some(PathRewriteSpecifier::RegexRewrite(rewrite)) => Change::Pattern(rewrite),
            Some(PathRewriteSpecifier::PathRedirect(_)) | None => Change::Nothing,
        };
        let pairs = rewrite::pairs(change, query, test, path, notes)?;
        Some(if pairs.is_empty() { Self::unchanged() } else { Self::made_by(pairs) })
    }

    /// A query of its own stands in place of the request's.
    fn whole(text: &str, query: Query) -> Self {
        let text = format!("/{}", text.strip_prefix('/').unwrap_or(text));
        let append_query = query == Query::Keep && !text.contains('?');
        if text.contains(['$', '\\']) {
            let pattern = if append_query { "^[^?]*" } else { "^.*" };
            return Self::made_by(vec![[pattern.to_owned(), pattern::literal(&text)]]);
        }
        Self { text, append_query, made_by: None }
    }

    fn unchanged() -> Self {
        Self { text: "$real_request_uri".to_owned(), append_query: false, made_by: None }
    }

    fn made_by(regex_uri: rewrite::Pairs) -> Self {
        let plugin = ProxyRewrite { regex_uri, ..ProxyRewrite::default() };
        Self { text: "$upstream_uri".to_owned(), append_query: false, made_by: Some(plugin) }
    }
}

fn status(action: &RedirectAction) -> u32 {
    match RedirectResponseCode::try_from(action.response_code) {
        Ok(RedirectResponseCode::Found) => 302,
        Ok(RedirectResponseCode::SeeOther) => 303,
        Ok(RedirectResponseCode::TemporaryRedirect) => 307,
        Ok(RedirectResponseCode::PermanentRedirect) => 308,
        Ok(RedirectResponseCode::MovedPermanently) | Err(_) => 301,
    }
}
