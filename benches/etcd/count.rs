//! How many pairs or events came, told from the bytes without decoding them.
//!
//! In: the bytes of bodies, however they come. Out: counts. Never here: a check of what is in a pair; the tests do that.

/// Braces and brackets, of which base64 has none.
#[derive(Default)]
pub struct Json {
    braces: usize,
    lists: usize,
}

impl Json {
    pub fn take(&mut self, bytes: &[u8]) {
        self.braces += bytes.iter().filter(|&&byte| byte == b'{').count();
        self.lists += bytes.iter().filter(|&&byte| byte == b']').count();
    }

    /// The pairs of so many ranges: an answer and its header have a brace too.
    pub fn pairs(&self, answers: usize) -> usize {
        self.braces - 2 * answers
    }

    /// Whether the first message of a watch came.
    pub fn is_created(&self) -> bool {
        self.braces >= 3
    }

    /// The events of a watch: each has two braces, and each message three; the first one has no event, and so no list.
    pub fn events(&self) -> usize {
        self.braces.saturating_sub(3 * (1 + self.lists)) / 2
    }
}

/// The fields of one number, at the top of messages.
pub struct Fields {
    number: u64,
    head: Vec<u8>,
    /// What is still to come of a message.
    message: usize,
    /// What is still to come of a field.
    field: usize,
    found: usize,
    messages: usize,
}

/// What is before a message: whether it is compressed, and its length.
const MESSAGE_HEAD: usize = 5;
const LENGTH_DELIMITED: u64 = 2;

impl Fields {
    pub fn new(number: u64) -> Self {
        Self { number, head: Vec::new(), message: 0, field: 0, found: 0, messages: 0 }
    }

    pub fn found(&self) -> usize {
        self.found
    }

    /// How many messages have begun.
    pub fn messages(&self) -> usize {
        self.messages
    }

    pub fn take(&mut self, mut bytes: &[u8]) {
        while let Some(&first) = bytes.first() {
            if self.field > 0 {
                let skipped = self.field.min(bytes.len());
                self.field -= skipped;
                bytes = &bytes[skipped..];
                continue;
            }
            bytes = &bytes[1..];
            self.head.push(first);
            if self.message == 0 {
                self.begin_message();
            } else {
                self.begin_field();
            }
        }
    }

    fn begin_message(&mut self) {
        if let [_, length @ ..] = &self.head[..]
            && self.head.len() == MESSAGE_HEAD
        {
            self.message = length.iter().fold(0, |length, &byte| length << 8 | usize::from(byte));
            self.messages += 1;
            self.head.clear();
        }
    }

    fn begin_field(&mut self) {
        let Some((tag, rest)) = varint(&self.head) else { return };
        let Some((value, _)) = varint(rest) else { return };
        let is_delimited = tag & 7 == LENGTH_DELIMITED;
        self.found += usize::from(tag >> 3 == self.number);
        self.field = if is_delimited { value as usize } else { 0 };
        self.message -= self.head.len() + self.field;
        self.head.clear();
    }
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let length = 1 + bytes.iter().position(|byte| byte & 0x80 == 0)?;
    let value = bytes[..length].iter().rev().fold(0, |value, &byte| value << 7 | u64::from(byte & 0x7f));
    Some((value, &bytes[length..]))
}
