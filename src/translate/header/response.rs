//! What becomes of the headers of answers, as `response-rewrite`.

use crate::{apisix::ResponseHeaders, pb::path::Path};

use super::fold::{Fate, Fates, Pair, Value, has_variable, is_default};
use crate::translate::{effect::Effect, note::Notes};

/// Values of it cannot be joined by commas.
const SET_COOKIE: &str = "set-cookie";
/// Nothing, for the end of a value that may not end in a slash: no variable has this name.
const NOTHING: &str = "$_";

/// The effect with what becomes of the headers of its answers.
pub(super) fn apply(fates: &Fates<'_>, effect: &mut Effect, path: &Path<'_>, notes: &mut Notes) {
    let path = path.field("response_headers_to_add");
    let mut headers = ResponseHeaders::default();
    for (name, pair) in &fates.headers {
        if pair.is_one() {
            add(&mut headers, name, &pair.present, &path, notes);
        } else if let Some(value) = with_default(fates, name, pair) {
            set(&mut headers, name, &[value], &path, notes);
        } else {
            let detail =
                format!("{name:?}: what happens depends on whether the answer has one: left as it is");
            notes.traffic(&path, detail);
        }
    }
    if !headers.is_empty() {
        effect.plugins.response_rewrite.get_or_insert_default().headers = headers;
    }
}

fn add(headers: &mut ResponseHeaders, name: &str, fate: &Fate, path: &Path<'_>, notes: &mut Notes) {
    match (fate.kept, fate.values.as_slice()) {
        (false, []) => headers.remove.push(name.to_owned()),
        (true, []) => {}
        (true, values) if values.iter().all(|value| line(name, value).is_some()) => {
            headers.add.extend(values.iter().filter_map(|value| line(name, value)));
        }
        (true, values) => {
            let detail = format!("{name:?}: a value with a colon replaces what the upstream sent");
            notes.traffic(path, detail);
            set(headers, name, values, path, notes);
        }
        (false, values) => set(headers, name, values, path, notes),
    }
}

fn set(headers: &mut ResponseHeaders, name: &str, values: &[Value], path: &Path<'_>, notes: &mut Notes) {
    if values.len() > 1 && name == SET_COOKIE {
        notes.traffic(path, "several cookies in place of the upstream's: only the last");
    } else if values.len() > 1 {
        notes.approximated(path, format!("{name:?}: several values in one line"));
    }
    let templates: Vec<&str> = values.iter().map(|value| value.template.as_str()).collect();
    let value = match (name, templates.last()) {
        (SET_COOKIE, Some(last)) => (*last).to_owned(),
        _ => templates.join(", "),
    };
    headers.set.insert(name.to_owned(), value);
}

/// `Name: value`, if APISIX takes it.
fn line(name: &str, value: &Value) -> Option<String> {
    let text = value.template.trim_start();
    if text.is_empty() || text.contains(':') {
        return None;
    }
    let end = if text.ends_with('/') { NOTHING } else { "" };
    Some(format!("{name}: {text}{end}"))
}

fn with_default(fates: &Fates<'_>, name: &str, pair: &Pair) -> Option<Value> {
    match (pair.present.kept, pair.present.values.as_slice(), pair.absent.values.as_slice()) {
        (true, [], [default]) if is_default(default) && has_variable(name) => Some(fates.or(name, default)),
        _ => None,
    }
}
