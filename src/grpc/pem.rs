//! Certificates and keys from PEM. No text that comes out of here holds what was in a key's file.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};

/// All certificates of a text, at least one; else what is wrong with it.
pub fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    match found {
        Ok(found) if found.is_empty() => {
            Err("holds no certificate: PEM is expected (-----BEGIN CERTIFICATE-----)".to_owned())
        }
        Ok(found) => Ok(found),
        Err(error) => Err(format!("is not PEM: {error}")),
    }
}

/// The certificates of a text that can be roots, at least one; else what is wrong with it.
pub fn roots(text: &[u8]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let (usable, _) = roots.add_parsable_certificates(certificates(text)?);
    if usable == 0 {
        return Err("no certificate in it can be a root: X.509 version 3 is expected".to_owned());
    }
    Ok(roots)
}

/// The first private key of a text.
pub fn private_key(text: &[u8]) -> Result<PrivateKeyDer<'static>, &'static str> {
    PrivateKeyDer::from_pem_slice(text)
        .map_err(|_| "holds no private key: PEM is expected (PKCS#8, SEC1 or PKCS#1, not encrypted)")
}

/// The text of one object.
pub fn encode(label: &str, der: &[u8]) -> String {
    let mut text = format!("-----BEGIN {label}-----\n");
    // 48 bytes are 64 characters.
    for line in der.chunks(48) {
        STANDARD.encode_string(line, &mut text);
        text.push('\n');
    }
    text + &format!("-----END {label}-----\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_read() {
        for length in [1, 47, 48, 49, 500] {
            let der = vec![7; length];
            let text = encode("CERTIFICATE", &der);
            assert!(text.lines().all(|line| line.len() <= 64), "{text}");
            assert_eq!(certificates(text.as_bytes()).unwrap(), [CertificateDer::from(der)]);
        }
    }

    #[test]
    fn what_is_not_pem_is_told() {
        assert!(certificates(b"").unwrap_err().contains("holds no certificate"));
        let broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n";
        assert!(certificates(broken).unwrap_err().contains("is not PEM"));
        assert!(private_key(b"-----BEGIN PRIVATE KEY-----\n!secret!\n-----END PRIVATE KEY-----").is_err());
    }
}
