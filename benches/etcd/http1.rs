//! HTTP/1.1 as the JSON gateway speaks it: requests as bytes, and answers cut out of what a socket gives.
//!
//! In: bytes, however they come. Out: the bytes of bodies, without a copy. Never here: what they mean.

/// A request whose body is all there.
pub fn request(path: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("POST {path} HTTP/1.1\r\nHost: etcd\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// Reads answers, one after the other.
#[derive(Default)]
pub struct Reader {
    at: At,
    line: Vec<u8>,
    length: usize,
    is_chunked: bool,
    ended: usize,
}

#[derive(Default)]
enum At {
    #[default]
    Head,
    Body(usize),
    ChunkSize,
    Chunk(usize),
    ChunkEnd,
    Trailer,
}

impl Reader {
    /// How many answers have ended.
    pub fn ended(&self) -> usize {
        self.ended
    }

    /// Shows the bytes of bodies among these.
    pub fn take(&mut self, mut bytes: &[u8], mut body: impl FnMut(&[u8])) {
        while let Some(&first) = bytes.first() {
            let (At::Body(left) | At::Chunk(left)) = &mut self.at else {
                bytes = &bytes[1..];
                self.line.push(first);
                if first == b'\n' {
                    self.end_line();
                }
                continue;
            };
            let (some, rest) = bytes.split_at(bytes.len().min(*left));
            body(some);
            *left -= some.len();
            bytes = rest;
            match self.at {
                At::Body(0) => self.end(),
                At::Chunk(0) => self.at = At::ChunkEnd,
                _ => {}
            }
        }
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        let line = std::str::from_utf8(&line).expect("a line of text").trim_end();
        match self.at {
            At::Head if line.is_empty() && self.is_chunked => self.at = At::ChunkSize,
            At::Head if line.is_empty() && self.length == 0 => self.end(),
            At::Head if line.is_empty() => self.at = At::Body(self.length),
            At::Head => self.header(line),
            At::ChunkSize => {
                self.at = match usize::from_str_radix(line, 16).expect("the size of a chunk") {
                    0 => At::Trailer,
                    size => At::Chunk(size),
                }
            }
            At::ChunkEnd => self.at = At::ChunkSize,
            At::Trailer if line.is_empty() => self.end(),
            At::Trailer | At::Body(_) | At::Chunk(_) => {}
        }
    }

    fn header(&mut self, line: &str) {
        let Some((name, value)) = line.split_once(':') else {
            assert!(line.starts_with("HTTP/1.1 200"), "{line}");
            return;
        };
        let value = value.trim();
        if name.eq_ignore_ascii_case("content-length") {
            self.length = value.parse().expect("a length");
        }
        self.is_chunked |=
            name.eq_ignore_ascii_case("transfer-encoding") && value.eq_ignore_ascii_case("chunked");
    }

    fn end(&mut self) {
        *self = Self { ended: self.ended + 1, ..Self::default() };
    }
}
