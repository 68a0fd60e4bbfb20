//! The protobuf wire format, read in place: fields of a message, one after the other, borrowed from its bytes.
//!
//! In: any bytes at all. Out: fields until the bytes end or make no sense. Never here: a schema.

/// One field as it stands on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WireField<'a> {
    /// The field's number.
    pub number: u32,
    /// What follows its tag.
    pub value: WireValue<'a>,
    /// All of it, tag included.
    pub raw: &'a [u8],
}

/// A value by its wire type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WireValue<'a> {
    /// int, bool, enum
    Varint(u64),
    /// fixed32, fixed64, float, double
    Fixed,
    /// string, bytes, message, packed
    Bytes(&'a [u8]),
}

/// The fields of `message`. Garbage ends the iteration; whether the message is whole is for the decoder to say.
pub fn fields(message: &[u8]) -> impl Iterator<Item = WireField<'_>> {
    let mut rest = message;
    std::iter::from_fn(move || next_field(&mut rest))
}

fn next_field<'a>(rest: &mut &'a [u8]) -> Option<WireField<'a>> {
    let start = *rest;
    let tag = varint(rest)?;
    let number = u32::try_from(tag >> 3).ok().filter(|n| *n > 0)?;
    let value = match tag & 7 {
        0 => WireValue::Varint(varint(rest)?),
        1 => take(rest, 8).map(|_| WireValue::Fixed)?,
        2 => {
            let len = usize::try_from(varint(rest)?).ok()?;
            WireValue::Bytes(take(rest, len)?)
        }
        5 => take(rest, 4).map(|_| WireValue::Fixed)?,
        _ => return None,
    };
    Some(WireField { number, value, raw: &start[..start.len() - rest.len()] })
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(len)?;
    *rest = left;
    Some(taken)
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = take(rest, 1)?[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_in_order() {
        let read: Vec<_> = fields(&[0x08, 0x96, 0x01, 0x12, 0x02, b'h', b'i']).collect();
        assert_eq!((read[0].number, read[0].value), (1, WireValue::Varint(150)));
        assert_eq!((read[1].number, read[1].value), (2, WireValue::Bytes(b"hi")));
        assert_eq!(read[1].raw, [0x12, 0x02, b'h', b'i']);
    }

    #[test]
    fn garbage_ends_the_message() {
        for garbage in [&[0x12, 0x7f, 1][..], &[0xff; 20], &[0x03], &[0x00, 0x00], &[0x0d, 1]] {
            assert_eq!(fields(garbage).count(), 0, "{garbage:?}");
        }
    }
}
