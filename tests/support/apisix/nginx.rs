//! What nginx makes of a request before APISIX sees it: the host, the path, the arguments, the headers.
//!
//! nginx 1.29: `ngx_http_validate_host`, `ngx_http_parse_complex_uri` (slashes are merged),
//! `ngx_http_variable_unknown_header`; lua-nginx-module: `ngx.req.get_uri_args`.

/// `$host` of a Host header; `None` when nginx answers 400.
pub fn host(header: &str) -> Option<String> {
    let bytes = header.as_bytes();
    let mut end = bytes.len();
    if bytes.windows(2).any(|pair| pair == b"..")
        || bytes.iter().any(|b| *b <= b' ' || *b == b'/' || *b == 0x7f)
    {
        return None;
    }
    if bytes.first() == Some(&b'[') {
        end = header.find(']')? + 1;
    } else if let Some(colon) = header.find(':') {
        end = colon;
    }
    let name = header[..end].strip_suffix('.').unwrap_or(&header[..end]);
    (!name.is_empty()).then(|| name.to_ascii_lowercase())
}

/// `$uri` and `$args` of a request target; `None` when nginx answers 400.
pub fn uri_and_args(target: &str) -> Option<(String, String)> {
    if !target.starts_with('/') || target.bytes().any(|b| b <= b' ' || b == 0x7f) {
        return None;
    }
    let (raw, args) = split_target(target);
    let mut path = Normaliser::default();
    let mut bytes = raw.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            path.push(byte)?;
            continue;
        }
        let decoded = hex(bytes.next()?)? * 16 + hex(bytes.next()?)?;
        match decoded {
            0 => return None,
            b'%' | b'#' | b'?' => path.push_literal(decoded),
            _ => path.push(decoded)?,
        }
    }
    let uri = String::from_utf8_lossy(&path.finish()?).into_owned();
    Some((uri, args.to_owned()))
}

/// The raw path, and the raw arguments without a fragment.
fn split_target(target: &str) -> (&str, &str) {
    let target = target.split_once('#').map_or(target, |(before, _)| before);
    target.split_once('?').unwrap_or((target, ""))
}

fn hex(byte: u8) -> Option<u8> {
    (byte as char).to_digit(16).map(|digit| digit as u8)
}

/// Merges slashes and resolves dot segments, escaped or not.
#[derive(Default)]
struct Normaliser {
    path: Vec<u8>,
    state: Segment,
}

/// What has been read of the present segment.
#[derive(Default, Clone, Copy, PartialEq)]
enum Segment {
    #[default]
    Usual,
    Start,
    Dot,
    DotDot,
}

impl Normaliser {
    fn push(&mut self, byte: u8) -> Option<()> {
        match (self.state, byte) {
            (Segment::Usual, b'/') => {
                self.path.push(byte);
                self.state = Segment::Start;
            }
            (Segment::Start, b'/') => {}
            (Segment::Dot, b'/') => {
                self.path.pop();
                self.state = Segment::Start;
            }
            (Segment::DotDot, b'/') => {
                self.up()?;
                self.state = Segment::Start;
            }
            (Segment::Start, b'.') => self.dots(Segment::Dot),
            (Segment::Dot, b'.') => self.dots(Segment::DotDot),
            _ => self.push_literal(byte),
        }
        Some(())
    }

    fn push_literal(&mut self, byte: u8) {
        self.path.push(byte);
        self.state = Segment::Usual;
    }

    fn dots(&mut self, state: Segment) {
        self.path.push(b'.');
        self.state = state;
    }

    /// `/a/..` to `/`.
    fn up(&mut self) -> Option<()> {
        let parent = self.path.len().checked_sub(4)?;
        let slash = self.path[..=parent].iter().rposition(|b| *b == b'/')?;
        self.path.truncate(slash + 1);
        Some(())
    }

    fn finish(mut self) -> Option<Vec<u8>> {
        match self.state {
            Segment::Dot => drop(self.path.pop()),
            Segment::DotDot => self.up()?,
            Segment::Usual | Segment::Start => {}
        }
        Some(self.path)
    }
}

/// The first value of an argument: `Some(None)` for one without `=`.
pub fn argument(args: &str, name: &str) -> Option<Option<String>> {
    args.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').map_or((pair, None), |(key, value)| (key, Some(value)));
        (!key.is_empty() && unescape(key) == name).then(|| value.map(unescape))
    })
}

/// `ngx.unescape_uri`: `+` is a space, an incomplete escape stays.
pub fn unescape(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let digits = bytes.get(at + 1).and_then(|b| hex(*b)).zip(bytes.get(at + 2).and_then(|b| hex(*b)));
        match (bytes[at], digits) {
            (b'%', Some((high, low))) => {
                plain.push(high * 16 + low);
                at += 2;
            }
            (b'+', _) => plain.push(b' '),
            (byte, _) => plain.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&plain).into_owned()
}

/// `ngx_escape_uri` with type 0, which proxy-rewrite uses on a path.
pub fn escape_uri(path: &str) -> String {
    let mut escaped = String::with_capacity(path.len());
    for byte in path.bytes() {
        let special = matches!(
            byte,
            b' ' | b'"' | b'#' | b'%' | b'<' | b'>' | b'?' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}'
        );
        if special || !(0x20..0x7f).contains(&byte) {
            escaped += &format!("%{byte:02X}");
        } else {
            escaped.push(byte as char);
        }
    }
    escaped
}

/// The value of a header by its folded name (lower case, `_` for `-`): all lines in one.
pub fn header(headers: &[(String, String)], folded: &str) -> Option<String> {
    let separator = if folded == "cookie" { "; " } else { ", " };
    let mut all: Option<String> = None;
    for (_, value) in headers.iter().filter(|(name, _)| folds_to(name, folded)) {
        match &mut all {
            None => all = Some(value.clone()),
            Some(text) => {
                text.push_str(separator);
                text.push_str(value);
            }
        }
    }
    all
}

fn folds_to(name: &str, folded: &str) -> bool {
    name.len() == folded.len()
        && name.bytes().zip(folded.bytes()).all(|(a, b)| {
            let a = if a == b'-' { b'_' } else { a.to_ascii_lowercase() };
            a == b
        })
}

/// Whether nginx keeps a header of this name; APISIX sets `underscores_in_headers`.
pub fn keeps_header(name: &str) -> bool {
    name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}
