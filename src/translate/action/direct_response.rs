//! Direct responses to fault-injection. Mapping row 54.

use crate::{
    apisix::{Plugins, literal},
    pb::{
        envoy::config::{core::v3::data_source::Specifier, route::v3::DirectResponseAction},
        path::Path,
    },
};

use crate::translate::note::Notes;

/// `None` when it has been noted that APISIX has no such answer.
pub(super) fn plugin(action: &DirectResponseAction, path: &Path<'_>, notes: &mut Notes) -> Option<Plugins> {
    if !(200..600).contains(&action.status) {
        let detail = format!("{} is not from 200 to 599: answered with 503", action.status);
        notes.traffic(&path.field("status"), detail);
        return None;
    }
    let body = match action.body.as_ref().and_then(|b| b.specifier.as_ref()) {
        Some(Specifier::InlineString(text)) => Some(text.clone()),
        Some(Specifier::InlineBytes(bytes)) => Some(text(bytes, path, notes)),
        None => None,
    };
    Some(Plugins::answer(action.status, body.filter(|text| !text.is_empty()).as_deref().map(literal)))
}

/// Objects are JSON, which holds text alone.
fn text(bytes: &[u8], path: &Path<'_>, notes: &mut Notes) -> String {
    let text = String::from_utf8_lossy(bytes);
    if matches!(text, std::borrow::Cow::Owned(_)) {
        let detail = "is not UTF-8: each byte that is not is sent as a replacement character";
        notes.traffic(&path.field("body"), detail);
    }
    text.into_owned()
}
