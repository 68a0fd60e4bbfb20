//! The files that a connection over TLS is made with. They are read anew for each connection, so that whoever renews
//! them has nobody to tell; a connection that stands goes on with what it began with.
//!
//! In: settings. Out: what the files hold, or which of them is bad and why. Never here: when to read them.

use std::io;

use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer},
};
use tonic::metadata::{Ascii, MetadataValue};
use xxhash_rust::xxh3::Xxh3;

use super::{Identities, Secret, pem, problem::Problem};
use crate::error::Error;

/// The settings of connections over TLS.
#[derive(Debug, Clone, Default)]
pub struct Security {
    /// `xds_ca_file`: the roots of the server's certificate.
    pub ca_file: Option<String>,
    /// `xds_server_name`: the name in that certificate, if it is not the host.
    pub server_name: Option<String>,
    /// `xds_token_file`: the bearer token.
    pub token_file: Option<String>,
    /// `xds_cert_file`: the client's certificate and those between it and its root.
    pub cert_file: Option<String>,
    /// `xds_key_file`: its key.
    pub key_file: Option<String>,
    /// The workload's certificate, shown where `xds_cert_file` is not set.
    pub identity: Option<Identities>,
}

impl Security {
    /// Whether all settings can be left out, as plaintext has no use for any. A token above all is never sent in the clear.
    pub fn check_unused(&self, setting: &str) -> Result<(), Error> {
        let Self { ca_file, server_name, token_file, cert_file, key_file, identity: _ } = self;
        for (name, value) in [
            ("xds_token_file", token_file),
            ("xds_ca_file", ca_file),
            ("xds_server_name", server_name),
            ("xds_cert_file", cert_file),
            ("xds_key_file", key_file),
        ] {
            if value.is_some() {
                let problem = format!(
                    "is for TLS, and {setting} is plaintext, over which no token is sent and nobody is checked: \
                     give {setting} grpcs://HOST:PORT, or leave {name} out"
                );
                return Err(Error::config(name, problem));
            }
        }
        Ok(())
    }
}

/// The files by their paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    pub ca: String,
    pub token: Option<String>,
    pub pair: Option<PairFiles>,
}

/// Where a client certificate and its key are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PairFiles {
    pub cert: String,
    pub key: String,
}

/// A client certificate, those between it and its root, and its key.
pub struct Pair {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
}

/// What the files hold.
pub struct Material {
    pub roots: RootCertStore,
    pub token: Option<Secret<MetadataValue<Ascii>>>,
    pub pair: Option<Pair>,
}

impl Files {
    /// The files that the settings name. There is no other source of roots: without a file nobody could be trusted.
    pub fn new(security: &Security) -> Result<Self, Error> {
        let Security { ca_file, token_file, cert_file, key_file, .. } = security;
        let ca = ca_file.clone().ok_or_else(|| {
            let problem = "not set, and grpcs:// trusts nobody without it: give it the file with the root \
                           certificate of the control plane (Istio: /var/run/secrets/istio/root-cert.pem)";
            Error::config("xds_ca_file", problem)
        })?;
        let lacks = |what, with| Error::config(what, format!("not set, and {with} is of no use without it"));
        let pair = match (cert_file, key_file) {
            (Some(cert), Some(key)) => Some(PairFiles { cert: cert.clone(), key: key.clone() }),
            (None, None) => None,
            (Some(_), None) => return Err(lacks("xds_key_file", "xds_cert_file")),
            (None, Some(_)) => return Err(lacks("xds_cert_file", "xds_key_file")),
        };
        Ok(Self { ca, token: token_file.clone(), pair })
    }

    /// Reads all of them. Blocks as long as the disk takes.
    pub fn read(&self) -> Contents<'_> {
        Contents {
            files: self,
            ca: std::fs::read(&self.ca),
            token: self.token.as_ref().map(std::fs::read),
            cert: self.pair.as_ref().map(|pair| std::fs::read(&pair.cert)),
            key: self.pair.as_ref().map(|pair| std::fs::read(&pair.key)),
        }
    }
}

type Content = io::Result<Vec<u8>>;

/// What was in the files at one time.
pub struct Contents<'a> {
    files: &'a Files,
    ca: Content,
    token: Option<Content>,
    cert: Option<Content>,
    key: Option<Content>,
}

impl Contents<'_> {
    /// A number that is another one after a change of any of them.
    pub fn fingerprint(&self) -> u64 {
        let Self { ca, token, cert, key, .. } = self;
        let mut hash = Xxh3::new();
        for content in [Some(ca), token.as_ref(), cert.as_ref(), key.as_ref()].into_iter().flatten() {
            match content {
                Ok(bytes) => {
                    hash.update(&bytes.len().to_le_bytes());
                    hash.update(bytes);
                }
                Err(error) => hash.update(format!("{:?}", error.kind()).as_bytes()),
            }
        }
        hash.digest()
    }

    /// Certificates, key and token, or the first problem with them.
    pub fn parse(self) -> Result<Material, Problem> {
        let Self { files, ca, token, cert, key } = self;
        let roots = roots(&files.ca, ca)?;
        let token = match (&files.token, token) {
            (Some(path), Some(content)) => Some(parse_token(path, content)?),
            _ => None,
        };
        let pair = match (&files.pair, cert, key) {
            (Some(paths), Some(cert), Some(key)) => Some(parse_pair(paths, cert, key)?),
            _ => None,
        };
        Ok(Material { roots, token, pair })
    }
}

fn roots(path: &str, content: Content) -> Result<RootCertStore, Problem> {
    let text = readable("xds_ca_file", path, content)?;
    pem::roots(&text).map_err(|problem| Problem(format!("xds_ca_file {path}: {problem}")))
}

fn parse_token(path: &str, content: Content) -> Result<Secret<MetadataValue<Ascii>>, Problem> {
    let bad = |problem: &str| Problem(format!("xds_token_file {path}: {problem}"));
    let bytes = readable("xds_token_file", path, content)?;
    let token = bytes.trim_ascii();
    if token.is_empty() {
        return Err(bad("is empty: a bearer token is expected"));
    }
    let text = std::str::from_utf8(token).ok().filter(|text| text.bytes().all(|b| b.is_ascii_graphic()));
    let mut value: MetadataValue<Ascii> = text
        .and_then(|text| format!("Bearer {text}").parse().ok())
        .ok_or_else(|| bad("holds something else than a token: one word of ASCII is expected"))?;
    value.set_sensitive(true);
    Ok(Secret::new(value))
}

fn parse_pair(paths: &PairFiles, cert: Content, key: Content) -> Result<Pair, Problem> {
    let PairFiles { cert: cert_path, key: key_path } = paths;
    let cert = readable("xds_cert_file", cert_path, cert)?;
    let chain = pem::certificates(&cert).map_err(|e| Problem(format!("xds_cert_file {cert_path}: {e}")))?;
    let key = readable("xds_key_file", key_path, key)?;
    let key = pem::private_key(&key).map_err(|e| Problem(format!("xds_key_file {key_path}: {e}")))?;
    Ok(Pair { chain, key })
}

fn readable(setting: &str, path: &str, content: Content) -> Result<Vec<u8>, Problem> {
    content.map_err(|e| {
        let cure = match e.kind() {
            io::ErrorKind::NotFound => "mount or write it there, or correct the setting",
            io::ErrorKind::PermissionDenied => "let this process' user read it",
            _ => "a file that can be read is expected",
        };
        Problem(format!("{setting} {path}: {e}: {cure}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Security {
        let file = |name: &str| Some(format!("/nowhere/{name}"));
        Security {
            ca_file: file("ca"),
            server_name: Some("a".to_owned()),
            token_file: file("token"),
            cert_file: file("cert"),
            key_file: file("key"),
            identity: None,
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        for (name, security) in [
            ("xds_ca_file", Security { ca_file: None, ..full() }),
            ("xds_cert_file", Security { cert_file: None, ..full() }),
            ("xds_key_file", Security { key_file: None, ..full() }),
        ] {
            let error = Files::new(&security).unwrap_err().to_string();
            assert!(error.starts_with(&format!("setting {name}: not set")), "{error}");
        }
        assert!(Files::new(&full()).is_ok());
    }

    #[test]
    fn plaintext_takes_none_of_it_and_a_token_least() {
        assert!(Security::default().check_unused("xds").is_ok());
        let error = full().check_unused("xds").unwrap_err().to_string();
        assert!(error.starts_with("setting xds_token_file: ") && error.contains("grpcs://"), "{error}");
        let error = Security { token_file: None, ..full() }.check_unused("xds").unwrap_err().to_string();
        assert!(error.starts_with("setting xds_ca_file: "), "{error}");
    }

    #[test]
    fn a_token_is_one_line_and_is_not_shown() {
        let parse = |text: &str| parse_token("/t", Ok(text.as_bytes().to_vec()));
        let token = parse("abc.def \r\n\n").unwrap();
        assert_eq!(token.reveal().to_str().unwrap(), "Bearer abc.def");
        assert!(!format!("{token:?} {:?}", token.reveal()).contains("abc"));
        for bad in ["", " \n", "abc\ndef", "ab\u{e4}c", "ab\0c"] {
            let error = parse(bad).unwrap_err().to_string();
            assert!(error.starts_with("xds_token_file /t: ") && !error.contains("abc"), "{error}");
        }
    }

    #[test]
    fn a_change_of_any_file_is_seen() {
        let files = Files { ca: String::new(), token: None, pair: None };
        let of = |ca: Content, token: &str| {
            let token = Some(Ok(token.as_bytes().to_vec()));
            Contents { files: &files, ca, token, cert: None, key: None }.fingerprint()
        };
        let all = [
            of(Ok(b"a".to_vec()), "b"),
            of(Ok(b"ab".to_vec()), ""),
            of(Ok(b"a".to_vec()), "c"),
            of(Err(io::ErrorKind::NotFound.into()), "b"),
            of(Err(io::ErrorKind::PermissionDenied.into()), "b"),
        ];
        let different: std::collections::BTreeSet<u64> = all.into();
        assert_eq!(different.len(), all.len());
        assert_eq!(all[0], of(Ok(b"a".to_vec()), "b"));
    }
}
