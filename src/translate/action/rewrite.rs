//! Path rewrites to proxy-rewrite. Mapping rows 47 and 48.

use crate::{apisix::ProxyRewrite, pb::path::Path};

use crate::translate::{matcher::PathTest, note::Notes};

/// Replaces what the route matched: a prefix, or the whole path.
pub(super) fn plugin(
    replacement: &str,
    test: &PathTest,
    path: &Path<'_>,
    notes: &mut Notes,
) -> Option<ProxyRewrite> {
    if replacement.contains('$') {
        notes.traffic(path, "holds a $, which would name a variable: answered with 503");
        return None;
    }
    Some(match test.prefix_pattern() {
        Some(pattern) => ProxyRewrite {
            regex_uri: vec![[format!("{pattern}(.*)"), format!("{replacement}$1")]],
            ..ProxyRewrite::default()
        },
        None => ProxyRewrite { uri: Some(replacement.to_owned()), ..ProxyRewrite::default() },
    })
}
