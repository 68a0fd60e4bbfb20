//! Text with variables in it, in each of APISIX's three ways to read it.

use super::variable::{Context, Val};

/// `core.utils.resolve_var`: `$name`, `${name}`, `${name ?? default}`; a backslash before the `$` keeps it, and stays.
pub fn resolve(template: &str, context: &Context<'_>) -> String {
    resolve_with(template, context, str::to_owned)
}

/// The same, with something done to each value.
pub fn resolve_with(template: &str, context: &Context<'_>, escape: impl Fn(&str) -> String) -> String {
    let mut text = String::with_capacity(template.len());
    let mut at = 0;
    while let Some(found) = template[at..].find('$') {
        let dollar = at + found;
        text.push_str(&template[at..dollar]);
        let escaped = template[..dollar].ends_with('\\');
        let Some((name, length)) = reference(&template[dollar + 1..]).filter(|_| !escaped) else {
            text.push('$');
            at = dollar + 1;
            continue;
        };
        text.push_str(&value(name, context).map_or_else(String::new, |value| escape(&value)));
        at = dollar + 1 + length;
    }
    text.push_str(&template[at..]);
    text
}

/// The name after a `$` and the length of all that belongs to it.
fn reference(after: &str) -> Option<(&str, usize)> {
    if let Some(inner) = after.strip_prefix('{') {
        let end = inner.find('}')?;
        let name = inner[..end].trim();
        return (!name.is_empty()).then_some((name, end + 2));
    }
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
    let end = after.find(|c| !is_name(c)).unwrap_or(after.len());
    (end > 0).then_some((&after[..end], end))
}

fn value(name: &str, context: &Context<'_>) -> Option<String> {
    let mut parts = name.split("??").map(str::trim);
    let name = parts.next().unwrap_or_default();
    match context.named(name) {
        Some(value) => Some(value.text().to_owned()),
        None => parts.next().map(str::to_owned),
    }
}

/// `resolve_var_with_captures`: `$1`, `${1}`.
pub fn captures(template: &str, captures: Option<&[Option<String>]>) -> String {
    let mut text = String::with_capacity(template.len());
    let mut at = 0;
    while let Some(found) = template[at..].find('$') {
        let dollar = at + found;
        text.push_str(&template[at..dollar]);
        let rest = &template[dollar + 1..];
        let inner = rest.strip_prefix('{').unwrap_or(rest);
        let digits = inner.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 || template[..dollar].ends_with('\\') {
            text.push('$');
            at = dollar + 1;
            continue;
        }
        let group = inner[..digits].parse::<usize>().ok().and_then(|n| captures?.get(n)?.clone());
        text.push_str(&group.unwrap_or_default());
        let end = &inner[digits..];
        at = template.len() - end.strip_prefix('}').unwrap_or(end).len();
    }
    text.push_str(&template[at..]);
    text
}

/// The redirect plugin's own way: `$name` and `${name}`; `\$name` stays as it is, any other backslash goes.
pub fn redirect(template: &str, context: &Context<'_>) -> String {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let name = |text: &str| text.find(|c| !is_name(c)).unwrap_or(text.len());
    let mut text = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(first) = rest.chars().next() {
        let tail = &rest[first.len_utf8()..];
        rest = match first {
            '\\' => match tail.strip_prefix('$').map(|after| (after, name(after))) {
                Some((after, end)) if end > 0 => {
                    text.push_str(&rest[..2 + end]);
                    &after[end..]
                }
                _ => tail,
            },
            '$' => {
                let inner = tail.strip_prefix('{').unwrap_or(tail);
                let end = name(inner);
                let after = &inner[end..];
                let closed = if inner.len() == tail.len() { Some(after) } else { after.strip_prefix('}') };
                match closed.filter(|_| end > 0) {
                    Some(after) => {
                        text.push_str(context.named(&inner[..end]).as_ref().map_or("", Val::text));
                        after
                    }
                    None => {
                        text.push('$');
                        tail
                    }
                }
            }
            other => {
                text.push(other);
                tail
            }
        };
    }
    text
}
