//! `require_tls` of a virtual host: plaintext requests are sent to the same place over HTTPS. Mapping row 9.
//!
//! In: the virtual host. Out: an entry before all of its routes, or none. Never here: TLS itself.

use crate::{
    apisix::{Condition, Plugins, Redirect, RedirectTo},
    pb::{
        envoy::config::route::v3::{VirtualHost, virtual_host::TlsRequirementType},
        path::Path,
    },
};

use super::{
    effect::{Case, Effect},
    matcher::{Match, PathTest},
    note::Notes,
    route::Entry,
};

const MOVED_PERMANENTLY: u32 = 301;

/// The entry that comes before all routes, if there is one.
pub(super) fn entry(host: &VirtualHost, notes: &mut Notes) -> Option<Entry> {
    let path = Path::ROOT.field("require_tls");
    match TlsRequirementType::try_from(host.require_tls) {
        Ok(TlsRequirementType::None) => return None,
        Ok(TlsRequirementType::All) => {}
        // Which requests Envoy takes for internal depends on more than an address; none is let through for it.
        Ok(TlsRequirementType::ExternalOnly) => notes.traffic(&path, "internal requests are redirected too"),
        Err(_) => notes.guard_told(&path, "not known: taken for ALL"),
    }
    notes.approximated(&path, "the connection tells, not X-Forwarded-Proto");
    let case = Case {
        label: "require_tls".to_owned(),
        when: vec![!Condition::equals("scheme", "https")],
        effect: Effect { plugins: redirect(), ..Effect::default() },
    };
    let matched = Match { path: PathTest::Prefix("/".to_owned()), conditions: Vec::new() };
    Some(Entry { position: 0, name: "*".to_owned(), matched, case })
}

/// To the host and port that were asked for.
fn redirect() -> Plugins {
    let plugin = Redirect {
        to: RedirectTo::Uri("https://$http_host$request_uri".to_owned()),
        ret_code: MOVED_PERMANENTLY,
        append_query_string: false,
        encode_uri: false,
        meta: None,
    };
    Plugins { redirect: Some(plugin), ..Plugins::default() }
}
