//! Redirects to the redirect plugin, in their simple forms. Mapping row 53.

use crate::{
    apisix::{Plugins, Redirect, RedirectTo},
    pb::{
        envoy::config::route::v3::{
            RedirectAction,
            redirect_action::{PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier},
        },
        path::Path,
    },
};

use crate::translate::note::Notes;

/// `None` when it has been noted that APISIX has no such redirect.
pub(super) fn plugin(action: &RedirectAction, path: &Path<'_>, notes: &mut Notes) -> Option<Plugins> {
    let scheme = match &action.scheme_rewrite_specifier {
        Some(SchemeRewriteSpecifier::HttpsRedirect(true)) => Some("https"),
        Some(SchemeRewriteSpecifier::SchemeRedirect(scheme)) => Some(scheme.as_str()),
        Some(SchemeRewriteSpecifier::HttpsRedirect(false)) | None => None,
    };
    let new_path = match &action.path_rewrite_specifier {
        Some(PathRewriteSpecifier::PathRedirect(new_path)) => Some(new_path.as_str()),
        Some(PathRewriteSpecifier::PrefixRewrite(_)) => {
            notes.traffic(&path.field("prefix_rewrite"), "not supported: answered with 503");
            return None;
        }
        None => None,
    };
    let parts = [action.host_redirect.as_str(), scheme.unwrap_or_default(), new_path.unwrap_or_default()];
    if parts.iter().any(|part| part.contains('$')) {
        notes.traffic(path, "holds a $, which would name a variable: answered with 503");
        return None;
    }
    let keeps_query = !action.strip_query && !new_path.is_some_and(|p| p.contains('?'));
    let to = match (new_path, keeps_query) {
        (Some(new_path), _) => new_path,
        (None, true) => "$request_uri",
        (None, false) => "$uri",
    };
    let plugin = Redirect {
        to: RedirectTo::Uri(format!("{}://{}{to}", scheme.unwrap_or("$scheme"), host(action, scheme))),
        ret_code: status(action),
        append_query_string: keeps_query && new_path.is_some(),
        encode_uri: false,
        meta: None,
    };
    Some(Plugins { redirect: Some(plugin), ..Plugins::default() })
}

/// The port that was asked for stays, unless the scheme or the port changes.
fn host(action: &RedirectAction, scheme: Option<&str>) -> String {
    let host = match action.host_redirect.as_str() {
        "" if scheme.is_none() && action.port_redirect == 0 => "$http_host",
        "" => "$host",
        host => host,
    };
    match action.port_redirect {
        0 => host.to_owned(),
        port => format!("{host}:{port}"),
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
