//! Text for the fields of plugins in which APISIX replaces `$name` by a variable (`resolve_var` in its `core.utils`).

/// Text that comes out as it went in.
///
/// A dollar that would begin a name is written as the default of a variable that does not exist: `${_ ?? $}`. That
/// also takes `$secret://` and `$env://` their meaning.
pub fn literal(text: &str) -> String {
    let mut template = String::with_capacity(text.len());
    let mut before = ' ';
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let begins_a_name = |next: &char| next.is_ascii_alphanumeric() || matches!(next, '_' | '.' | '{');
        // APISIX leaves a dollar behind a backslash alone, and the backslash too.
        if c == '$' && before != '\\' && rest.peek().is_some_and(begins_a_name) {
            template.push_str("${_ ?? $}");
        } else {
            template.push(c);
        }
        before = c;
    }
    template
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_dollar_before_a_name_is_special() {
        for text in ["", "a", "5$", "$ a", "$$", r"\$host", "100%"] {
            assert_eq!(literal(text), text);
        }
        assert_eq!(literal("a $host"), "a ${_ ?? $}host");
        assert_eq!(literal("${host}$1$."), "${_ ?? $}{host}${_ ?? $}1${_ ?? $}.");
        assert_eq!(literal("$secret://a"), "${_ ?? $}secret://a");
    }
}
