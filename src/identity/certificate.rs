//! What a certificate says of itself, as far as its owner needs it: when it is good, and for whom.
//!
//! In: DER from an authority. Out: two times and a name, or nothing. Never here: whether it is to be trusted, which is
//! rustls' to say.

use std::time::{Duration, SystemTime};

const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const OBJECT: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
/// `subjectAltName`, 2.5.29.17.
const ALTERNATIVE_NAME: &[u8] = &[0x55, 0x1d, 0x11];
const URI: u8 = 0x86;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;

/// The times and the name of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    pub not_before: SystemTime,
    pub not_after: SystemTime,
    /// Its first URI.
    pub spiffe_id: Option<String>,
}

/// Reads a certificate; `None` if it is none.
pub fn read(der: &[u8]) -> Option<Facts> {
    let certificate = Elements(der).expect(SEQUENCE)?;
    let mut fields = Elements(Elements(certificate).expect(SEQUENCE)?);
    if fields.peek() == Some(VERSION) {
        fields.expect(VERSION)?;
    }
    fields.expect(INTEGER)?;
    let [_algorithm, _issuer, validity] =
        [fields.expect(SEQUENCE)?, fields.expect(SEQUENCE)?, fields.expect(SEQUENCE)?];
    let mut validity = Elements(validity);
    let (not_before, not_after) = (time(validity.next()?)?, time(validity.next()?)?);
    let extensions = fields.find(|(tag, _)| *tag == EXTENSIONS).map(|(_, content)| content);
    let spiffe_id = extensions.and_then(first_uri);
    Some(Facts { not_before, not_after, spiffe_id })
}

fn first_uri(extensions: &[u8]) -> Option<String> {
    let mut extensions = Elements(Elements(extensions).expect(SEQUENCE)?);
    let names = extensions.find_map(|(_, extension)| {
        let mut parts = Elements(extension);
        (parts.expect(OBJECT)? == ALTERNATIVE_NAME).then_some(())?;
        // A flag may stand between.
        parts.find(|(tag, _)| *tag == OCTETS).map(|(_, content)| content)
    })?;
    let (_, uri) = Elements(Elements(names).expect(SEQUENCE)?).find(|(tag, _)| *tag == URI)?;
    std::str::from_utf8(uri).ok().map(str::to_owned)
}

/// Elements of DER, one after the other; it ends where they are damaged.
struct Elements<'a>(&'a [u8]);

impl<'a> Elements<'a> {
    fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    /// The content of the next one, if it has this tag.
    fn expect(&mut self, wanted: u8) -> Option<&'a [u8]> {
        self.next().and_then(|(tag, content)| (tag == wanted).then_some(content))
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = if first < 0x80 {
            (usize::from(first), rest)
        } else {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            // None at all is BER, more than four no certificate.
            if !(1..=4).contains(&bytes.len()) {
                return None;
            }
            (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, content))
    }
}

/// `YYMMDDhhmmssZ`, or with a year of four digits.
fn time((tag, text): (u8, &[u8])) -> Option<SystemTime> {
    let digits = text.strip_suffix(b"Z")?;
    let (year, rest) = match tag {
        UTC_TIME => {
            let (year, rest) = two_digits(digits)?;
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        GENERALIZED_TIME => {
            let (century, rest) = two_digits(digits)?;
            let (year, rest) = two_digits(rest)?;
            (century * 100 + year, rest)
        }
        _ => return None,
    };
    let (month, rest) = two_digits(rest)?;
    let (day, rest) = two_digits(rest)?;
    let (hour, rest) = two_digits(rest)?;
    let (minute, rest) = two_digits(rest)?;
    let (second, rest) = two_digits(rest)?;
    let is_time = rest.is_empty()
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    if !is_time {
        return None;
    }
    let seconds = ((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second;
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

fn two_digits(text: &[u8]) -> Option<(i64, &[u8])> {
    let (digits, rest) = text.split_at_checked(2)?;
    let number = digits
        .iter()
        .try_fold(0, |number, digit| digit.is_ascii_digit().then(|| number * 10 + i64::from(digit - b'0')))?;
    Some((number, rest))
}

/// From 1 January 1970, in the Gregorian calendar. Years begin in March, so that the leap day is their last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let before_year = year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let before_month = (month * 153 + 2) / 5;
    before_year + before_month + day - 1 - DAYS_TO_1970
}

/// From 1 March of the year 0.
const DAYS_TO_1970: i64 = 719_468;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, KeyPair, SanType};

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn certificate(not_before: SystemTime, not_after: SystemTime, names: Vec<SanType>) -> Vec<u8> {
        let mut params = CertificateParams::default();
        (params.not_before, params.not_after) = (not_before.into(), not_after.into());
        params.subject_alt_names = names;
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn times_and_name_are_read() {
        let uri = |text: &str| SanType::URI(text.try_into().unwrap());
        let names =
            vec![SanType::DnsName("a".try_into().unwrap()), uri("spiffe://a/ns/b/sa/c"), uri("spiffe://d")];
        // On both sides of 2050, where the form of the time changes, and of a leap day.
        for (from, to) in [(951_782_400, 951_868_800), (1_709_164_800, 2_556_144_000), (0, 4_107_542_399)] {
            let facts = read(&certificate(at(from), at(to), names.clone())).unwrap();
            let spiffe_id = Some("spiffe://a/ns/b/sa/c".to_owned());
            assert_eq!(facts, Facts { not_before: at(from), not_after: at(to), spiffe_id });
        }
        let unnamed = read(&certificate(at(1), at(2), Vec::new())).unwrap();
        assert_eq!(unnamed.spiffe_id, None);
    }

    #[test]
    fn what_is_no_time_is_none() {
        let of = |tag, text: &str| time((tag, text.as_bytes()));
        assert_eq!(of(UTC_TIME, "700101000001Z"), Some(at(1)));
        assert_eq!(of(GENERALIZED_TIME, "19700101000001Z"), Some(at(1)));
        assert_eq!(of(UTC_TIME, "500101000000Z"), Some(at(0)), "before 1970");
        for text in
            ["", "Z", "7001010000Z", "701301000001Z", "700132000001Z", "70010100000aZ", "700101000001"]
        {
            assert_eq!(of(UTC_TIME, text), None, "{text}");
        }
        assert_eq!(of(INTEGER, "700101000001Z"), None);
    }

    proptest! {
        #[test]
        fn damage_does_no_harm(cut in 0usize..500, at_byte in 0usize..500, value: u8) {
            let mut der = certificate(at(1), at(2), vec![SanType::URI("spiffe://a".try_into().unwrap())]);
            let place = at_byte % der.len();
            der[place] = value;
            der.truncate(cut.max(1));
            let _ = read(&der);
        }
    }
}
