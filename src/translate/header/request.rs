//! What becomes of request headers, as `proxy-rewrite`.

use crate::{
    apisix::{Condition, RequestHeaders},
    pb::path::Path,
};

use super::fold::{Fate, Fates, Pair, has_variable, is_default};
use crate::translate::{effect::Case, note::Notes};

/// More headers whose fate needs a condition are not told apart: each doubles the cases.
const MAX_CONDITIONAL: usize = 3;

/// The case with what becomes of request headers; several where that depends on what the client sent.
pub(super) fn apply(fates: &Fates<'_>, case: Case, path: &Path<'_>, notes: &mut Notes) -> Vec<Case> {
    let mut plain = RequestHeaders::default();
    let mut conditional: Vec<(&str, &Pair)> = Vec::new();
    for (name, pair) in &fates.headers {
        let Pair { present, absent } = pair;
        if pair.is_one() {
            add(&mut plain, name, present);
        } else if let Some(values) = with_default(fates, name, pair) {
            plain.set.insert(name.clone(), values);
        } else if conditional.len() < MAX_CONDITIONAL && has_variable(name) {
            conditional.push((name, pair));
        } else {
            let detail = format!("{name:?}: what happens depends on whether there is one: taken for missing");
            notes.traffic(&path.field("request_headers_to_add"), detail);
            add(&mut plain, name, absent);
        }
    }
    for name in fates.headers.keys().filter(|name| reads_another_change(fates, name)) {
        let detail =
            format!("{name:?} is made of a header that is changed as well: before or after the change");
        notes.approximated(&path.field("request_headers_to_add"), detail);
    }
    worlds(&conditional, &plain, case)
}

/// One case for each way in which a client may have sent these headers; the last needs no condition.
fn worlds(conditional: &[(&str, &Pair)], plain: &RequestHeaders, case: Case) -> Vec<Case> {
    let of = |world: usize| {
        let mut headers = plain.clone();
        let mut case = case.clone();
        for (at, (name, pair)) in conditional.iter().enumerate() {
            if world >> at & 1 == 1 {
                case.when.push(Condition::present(variable(name)));
                case.label = format!("{} with {name}", case.label).trim_start().to_owned();
                add(&mut headers, name, &pair.present);
            } else {
                add(&mut headers, name, &pair.absent);
            }
        }
        if !headers.is_empty() {
            let rewrite = case.effect.plugins.proxy_rewrite.get_or_insert_default();
            merge(rewrite.headers.get_or_insert_default(), headers);
        }
        case
    };
    // More conditions go first: what follows is then without the header.
    let mut worlds: Vec<usize> = (0..1 << conditional.len()).collect();
    worlds.sort_by_key(|world| std::cmp::Reverse(world.count_ones()));
    worlds.into_iter().map(of).collect()
}

fn variable(name: &str) -> String {
    format!("http_{}", name.replace('-', "_"))
}

fn add(headers: &mut RequestHeaders, name: &str, fate: &Fate) {
    let values: Vec<String> = fate.values.iter().map(|value| value.template.clone()).collect();
    match (fate.kept, values.is_empty()) {
        (false, true) => headers.remove.push(name.to_owned()),
        (false, false) => drop(headers.set.insert(name.to_owned(), values)),
        (true, false) => drop(headers.add.insert(name.to_owned(), values)),
        (true, true) => {}
    }
}

/// A header that keeps what it has, or else gets a value, before what both get.
fn with_default(fates: &Fates<'_>, name: &str, pair: &Pair) -> Option<Vec<String>> {
    let (default, rest) = pair.absent.values.split_first()?;
    let fits = pair.present.kept && rest == pair.present.values && is_default(default) && has_variable(name);
    let first = fits.then(|| fates.or(name, default))?;
    Some(std::iter::once(&first).chain(rest).map(|value| value.template.clone()).collect())
}

/// The plugin makes values while it changes headers, in no order; what it removes it removes last.
fn reads_another_change(fates: &Fates<'_>, name: &str) -> bool {
    let changes = |read: &String| {
        read != name && fates.headers.get(read).is_some_and(|pair| !pair.absent.values.is_empty())
    };
    let values = fates.headers.get(name).into_iter().flat_map(|pair| [&pair.present, &pair.absent]);
    values.flat_map(|fate| &fate.values).any(|value| value.reads.iter().any(changes))
}

fn merge(headers: &mut RequestHeaders, more: RequestHeaders) {
    headers.add.extend(more.add);
    headers.set.extend(more.set);
    headers.remove.extend(more.remove);
}
