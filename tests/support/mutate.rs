//! Messages as a broken or malicious control plane may send them, made of good ones.

use apisix_mesh::pb::wire::{self, WireValue};

/// Texts that mean something to somebody on the way: JSON, Lua, PCRE, HTTP, APISIX's variables and secrets.
pub const HOSTILE: &[&str] = &[
    "",
    "$host",
    "${http_host ?? x}",
    "a$",
    "$secret://vault/1/key",
    "$ENV://PATH",
    "100%25%",
    "\"quoted\\\"",
    "a\r\nx-injected: 1",
    "nul\0nul",
    "tab\ttab",
    "a: b/",
    "*",
    "**",
    "(unclosed",
    "[b-a]",
    "{0}{99999}",
    "../../etc",
    "//a?b#c",
    "\u{fffd}\u{202e}ü",
];

/// SplitMix64: small, seeded, the same on every machine.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `end`, which is above 0.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
}

/// `message` with something wrong, perhaps by way of another message of the same type.
pub fn mutate(message: &[u8], other: &[u8], random: &mut Random) -> Vec<u8> {
    match random.below(8) {
        0 => message[..random.below(message.len() + 1)].to_vec(),
        1 => flipped(message, random),
        2 => {
            let (head, tail) = (random.below(message.len() + 1), random.below(other.len() + 1));
            [&message[..head], &other[tail..]].concat()
        }
        _ => inside(message, other, random),
    }
}

fn flipped(bytes: &[u8], random: &mut Random) -> Vec<u8> {
    let mut flipped = bytes.to_vec();
    for _ in 0..1 + random.below(4) {
        if !flipped.is_empty() {
            let at = random.below(flipped.len());
            flipped[at] ^= 1 << random.below(8);
        }
    }
    flipped
}

/// One field of the message, or of a message in it, is another; all lengths are right.
fn inside(message: &[u8], other: &[u8], random: &mut Random) -> Vec<u8> {
    let fields: Vec<_> = wire::fields(message).collect();
    if fields.is_empty() {
        return flipped(message, random);
    }
    let chosen = random.below(fields.len());
    let mut out = Vec::with_capacity(message.len() + 64);
    for (at, field) in fields.iter().enumerate() {
        if at != chosen {
            out.extend_from_slice(field.raw);
            continue;
        }
        match (field.value, random.below(12)) {
            (_, 0) => {}
            (_, 1) => (0..3).for_each(|_| out.extend_from_slice(field.raw)),
            (_, 2) => {
                let others: Vec<_> = wire::fields(other).collect();
                others.iter().filter(|o| o.number == field.number).for_each(|o| out.extend_from_slice(o.raw));
            }
            (WireValue::Varint(_), _) => {
                let odd = [0, 1, u64::from(u32::MAX), u64::MAX, 1 << 63, 599, 65536, random.next()];
                number(field.number << 3, &mut out);
                varint(*random.pick(&odd), &mut out);
            }
            (WireValue::Bytes(inner), 3) => text(field.number, &flipped(inner, random), &mut out),
            (WireValue::Bytes(inner), _) if is_message(inner) => {
                text(field.number, &inside(inner, inner, random), &mut out);
            }
            (WireValue::Bytes(_), 4) => text(field.number, "long ".repeat(60).as_bytes(), &mut out),
            (WireValue::Bytes(_), _) => text(field.number, random.pick(HOSTILE).as_bytes(), &mut out),
            (WireValue::Fixed, _) => out.extend_from_slice(&flipped(field.raw, random)),
        }
    }
    out
}

/// Or a text that reads as one.
fn is_message(bytes: &[u8]) -> bool {
    !bytes.is_empty() && wire::fields(bytes).map(|f| f.raw.len()).sum::<usize>() == bytes.len()
}

fn text(field: u32, content: &[u8], out: &mut Vec<u8>) {
    number(field << 3 | 2, out);
    varint(content.len() as u64, out);
    out.extend_from_slice(content);
}

fn number(tag: u32, out: &mut Vec<u8>) {
    varint(u64::from(tag), out);
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
