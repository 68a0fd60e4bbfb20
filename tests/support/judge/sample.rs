//! Texts that a matcher takes, and texts it nearly takes.

use regex_syntax::hir::{Class, Hir, HirKind};
use serde_json::Value;

use super::random::Random;

/// A text that the whole of `pattern` matches; none where it asks for what no request line or header can hold.
pub fn of_regex(pattern: &str, random: &mut Random) -> Option<String> {
    let hir = regex_syntax::parse(pattern).ok()?;
    let mut text = String::new();
    grow(&hir, random, &mut text)?;
    Some(text)
}

fn grow(hir: &Hir, random: &mut Random, text: &mut String) -> Option<()> {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => {}
        HirKind::Literal(literal) => text.push_str(std::str::from_utf8(&literal.0).ok()?),
        HirKind::Class(Class::Unicode(class)) => {
            let fits = |c: &char| class.ranges().iter().any(|r| r.start() <= *c && *c <= r.end());
            let common: Vec<char> = "ab1-x9Z_./v".chars().filter(fits).collect();
            let any: Vec<char> = ('!'..='~').filter(fits).collect();
            text.push(*random.pick(if common.is_empty() {
                (!any.is_empty()).then_some(&any)?
            } else {
                &common
            }));
        }
        HirKind::Class(Class::Bytes(_)) => return None,
        HirKind::Repetition(repetition) => {
            let most = repetition.max.unwrap_or(u32::MAX).min(repetition.min.saturating_add(2));
            let extra = random.below((most - repetition.min) as usize + 1);
            for _ in 0..repetition.min as usize + extra {
                grow(&repetition.sub, random, text)?;
            }
        }
        HirKind::Capture(capture) => grow(&capture.sub, random, text)?,
        HirKind::Concat(parts) => parts.iter().try_for_each(|part| grow(part, random, text))?,
        HirKind::Alternation(parts) => grow(random.pick(parts), random, text)?,
    }
    Some(())
}

/// A text that a StringMatcher takes.
pub fn of_string_matcher(matcher: &Value, random: &mut Random) -> Option<String> {
    let of = |field: &str| matcher[field].as_str().map(str::to_owned);
    of("exact")
        .or_else(|| Some(of("prefix")? + "z"))
        .or_else(|| Some("z".to_owned() + &of("suffix")?))
        .or_else(|| Some(format!("z{}z", of("contains")?)))
        .or_else(|| of_regex(matcher["safe_regex"]["regex"].as_str()?, random))
}

/// A value that a HeaderMatcher takes, were it not inverted; none where the header must be missing.
pub fn of_header_matcher(matcher: &Value, random: &mut Random) -> Option<String> {
    if matcher["present_match"] == false {
        return None;
    }
    if let Some(start) = matcher["range_match"]["start"]
        .as_i64()
        .or_else(|| matcher["range_match"]["start"].as_str()?.parse().ok())
    {
        return Some(start.to_string());
    }
    for legacy in ["exact", "prefix", "suffix", "contains", "safe_regex"] {
        if let Some(found) = matcher.get(format!("{legacy}_match")) {
            return of_string_matcher(&serde_json::json!({ legacy: found }), random);
        }
    }
    match matcher.get("string_match") {
        Some(found) => of_string_matcher(found, random),
        None => Some("any".to_owned()),
    }
}

/// A host that a domain takes.
pub fn of_domain(domain: &str) -> String {
    match (domain, domain.strip_prefix('*'), domain.strip_suffix('*')) {
        ("*", _, _) => "other.example".to_owned(),
        (_, Some(suffix), _) => format!("zz{suffix}"),
        (_, _, Some(prefix)) => format!("{prefix}zz"),
        _ => domain.to_owned(),
    }
}

/// A path that a RouteMatch takes.
pub fn of_path(matched: &Value, random: &mut Random) -> String {
    let of = |field: &str| matched[field].as_str().map(str::to_owned);
    let found = of("path")
        .or_else(|| of("prefix"))
        .or_else(|| of("path_separated_prefix"))
        .or_else(|| of_regex(matched["safe_regex"]["regex"].as_str()?, random));
    match found {
        Some(path) if path.starts_with('/') => path,
        Some(path) => format!("/{path}"),
        None => "/".to_owned(),
    }
}
