//! Certificates: here those that APISIX shows to upstreams.

use std::{fmt, ops::RangeInclusive};

use serde::Serialize;

use super::{
    Directory, Key, canonical,
    check::{Checked, Within, demand, id},
};

const CERTIFICATE: RangeInclusive<usize> = 128..=65536;
const PRIVATE_KEY: RangeInclusive<usize> = 64..=65536;

/// An object under `/ssls` of the type `client`: what an upstream may name as its `client_cert_id`.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct Ssl {
    id: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    cert: String,
    key: String,
}

impl Ssl {
    /// The id of the workload's own certificate.
    pub const WORKLOAD: &'static str = "workload";

    /// The workload's certificate and those between it and its root, and its key, in PEM.
    pub fn workload(cert: String, key: String) -> Self {
        Self { id: Self::WORKLOAD, kind: "client", cert, key }
    }

    /// Where the workload's certificate stands.
    pub fn workload_key() -> Key {
        Key::new(Directory::Ssls, Self::WORKLOAD)
    }

    /// The canonical JSON.
    pub fn to_bytes(&self) -> bytes::Bytes {
        canonical(self)
    }

    /// The first rule of APISIX that it breaks. No text of the key is ever in it.
    pub fn check(&self) -> Checked {
        id(self.id).within("id")?;
        length(&self.cert, CERTIFICATE, "characters: must be 128 to 65536").within("cert")?;
        length(&self.key, PRIVATE_KEY, "characters: must be 64 to 65536").within("key")
    }
}

fn length(text: &str, range: RangeInclusive<usize>, rule: &'static str) -> Checked {
    let length = text.chars().count();
    demand(range.contains(&length), length, rule)
}

/// Nothing of the key.
impl fmt::Debug for Ssl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ssl").field("id", &self.id).field("cert", &self.cert).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_bounded_and_the_key_is_never_shown() {
        let of = |cert: usize, key: usize| Ssl::workload("c".repeat(cert), "k".repeat(key));
        assert_eq!(of(128, 64).check(), Ok(()));
        assert_eq!(of(127, 64).check().unwrap_err().path(), "cert");
        for bad in [63, 65537] {
            let text = of(128, bad).check().unwrap_err().to_string();
            assert_eq!(text, format!("key: {bad} characters: must be 64 to 65536"));
        }
        assert!(!format!("{:?}", of(128, 64)).contains("kk"));
    }
}
