//! Header operations: in each level removals, then what overwrites, then what adds, all by the values before; the
//! levels from the route to the configuration, or the other way round.

use envoy_types::pb::envoy::config::core::v3::{HeaderValueOption, header_value_option::HeaderAppendAction};

/// The operations of one level.
pub struct Level<'a> {
    pub add: &'a [HeaderValueOption],
    pub remove: &'a [String],
}

/// Does what the levels say, in their order; the headers come back sorted.
pub fn apply(levels: &[Level<'_>], mut headers: Vec<(String, String)>) -> Vec<(String, String)> {
    levels.iter().for_each(|level| one(level, &mut headers));
    headers.sort();
    headers
}

fn one(level: &Level<'_>, headers: &mut Vec<(String, String)>) {
    for name in level.remove {
        let name = name.to_ascii_lowercase();
        headers.retain(|(held, _)| *held != name);
    }
    let mut added = Vec::new();
    let mut overwritten = Vec::new();
    for option in level.add {
        let header = option.header.as_ref().expect("a header");
        assert!(header.raw_value.is_empty(), "not modelled: raw_value");
        let (name, value) = (header.key.to_ascii_lowercase(), literal(&header.value));
        if value.is_empty() && !option.keep_empty_value {
            continue;
        }
        let is_there = headers.iter().any(|(held, _)| *held == name);
        match action(option) {
            HeaderAppendAction::AppendIfExistsOrAdd => added.push((name, value)),
            HeaderAppendAction::AddIfAbsent if is_there => {}
            HeaderAppendAction::AddIfAbsent => added.push((name, value)),
            HeaderAppendAction::OverwriteIfExists if !is_there => {}
            HeaderAppendAction::OverwriteIfExists | HeaderAppendAction::OverwriteIfExistsOrAdd => {
                overwritten.push((name, value));
            }
        }
    }
    for (name, value) in overwritten {
        headers.retain(|(held, _)| *held != name);
        headers.push((name, value));
    }
    headers.extend(added);
}

fn action(option: &HeaderValueOption) -> HeaderAppendAction {
    match &option.append {
        Some(append) if append.value => HeaderAppendAction::AppendIfExistsOrAdd,
        Some(_) => HeaderAppendAction::OverwriteIfExistsOrAdd,
        None => HeaderAppendAction::try_from(option.append_action).expect("an action"),
    }
}

/// Formatters are not modelled, `%%` is a per cent sign.
fn literal(value: &str) -> String {
    let text = value.replace("%%", "%");
    assert!(text.matches('%').count() == value.matches("%%").count(), "not modelled: {value:?}");
    text
}
