//! Direct responses to fault-injection. Mapping row 54.

use crate::{
    apisix::Plugins,
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
        Some(Specifier::InlineBytes(bytes)) => Some(String::from_utf8_lossy(bytes).into_owned()),
        None => None,
    };
    let body = body.filter(|text| !text.is_empty());
    if body.as_ref().is_some_and(|text| text.contains('$')) {
        notes.traffic(&path.field("body"), "holds a $, which may be read as a variable");
    }
    Some(Plugins::answer(action.status, body))
}
