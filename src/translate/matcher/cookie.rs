//! Cookie matchers: Envoy compares the first cookie of a name, without its quotes. One that is missing fails a test,
//! and passes an inverted one, unlike a header.

use crate::{
    apisix::{Condition, escape},
    pb::{envoy::config::route::v3::CookieMatcher, path::Path},
};

use super::{super::note::Notes, listed::Listed};

/// The condition of one matcher; `None` when it has been noted that there is none.
pub(super) fn condition(matcher: &CookieMatcher, path: &Path<'_>, notes: &mut Notes) -> Option<Condition> {
    let name = escape(&matcher.name);
    let first = Listed {
        variable: "http_cookie",
        separator: ';',
        before: format!(r#"^(?:(?!\s*{name}=)[^;]*;)*\s*{name}="?"#),
        after: r#""?\s*"#,
    };
    let path = path.field("string_match");
    let Some(string) = &matcher.string_match else {
        notes.traffic(&path, "missing: route left out");
        return None;
    };
    let condition = first.condition(string, &path, notes)?;
    Some(if matcher.invert_match { !condition } else { condition })
}
