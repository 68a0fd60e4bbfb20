//! What hinders a connection, in words for whoever has to do something about it.
//!
//! In: errors of TLS and of the system. Out: one text each, that names the certificate, the setting and the cure, and
//! that is the same each time: a text with the time in it would be a new line in the log every time. Never here: what
//! is secret.

use std::{error::Error as _, io};

use rustls::{CertificateError, Error as TlsError};

/// Why a connection does not come about.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Problem(pub String);

/// What the texts name.
pub struct Parties<'a> {
    /// The name that was looked for in the server's certificate.
    pub server_name: &'a str,
    /// How the server's certificate and its name can be made to agree.
    pub name_cure: &'a str,
    /// The roots' file.
    pub ca_file: &'a str,
}

/// The problem of a handshake that failed.
pub fn of_handshake(error: &io::Error, parties: &Parties) -> Problem {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>());
    Problem(match tls {
        Some(TlsError::InvalidCertificate(reason)) => of_certificate(reason, parties),
        Some(TlsError::InvalidMessage(_)) => {
            "the server does not speak TLS there: is this its plaintext port? \
             grpcs:// wants the one with TLS (istiod: 15012)"
                .to_owned()
        }
        Some(TlsError::AlertReceived(alert)) => {
            let text = format!("{alert:?}");
            of_alert(&text).unwrap_or_else(|| format!("the server refuses the TLS handshake: {text}"))
        }
        Some(TlsError::NoApplicationProtocol) => NO_HTTP2.to_owned(),
        Some(other) => format!("TLS: {other}"),
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            "the server closed the connection during the TLS handshake".to_owned()
        }
        None => format!("TLS: {error}"),
    })
}

/// Whether it is the server's word that ended the handshake.
pub fn is_alert(error: &io::Error) -> bool {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>());
    matches!(tls, Some(TlsError::AlertReceived(_)))
}

/// The problem of a server that speaks TLS and something else than HTTP/2 over it.
pub const NO_HTTP2: &str = "the server does not offer HTTP/2 over TLS (ALPN h2), which gRPC needs";

fn of_certificate(reason: &CertificateError, parties: &Parties) -> String {
    let Parties { server_name, name_cure, ca_file } = parties;
    match reason {
        // A new root often has the name of the old one, and then it is the signature that is wrong.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => format!(
            "the server's certificate is not from a CA in xds_ca_file {ca_file}: \
             put the root of the control plane's CA into that file"
        ),
        CertificateError::NotValidForNameContext { presented, .. } if !presented.is_empty() => {
            // Such as `DnsName("istiod")`, which says no more than the name alone.
            let names: Vec<&str> = presented.iter().map(|name| bare(name)).collect();
            format!(
                "the server's certificate is for {} and not for {server_name}: {name_cure}",
                names.join(", ")
            )
        }
        CertificateError::NotValidForNameContext { .. } | CertificateError::NotValidForName => {
            format!("the server's certificate is not for {server_name}: {name_cure}")
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "a certificate of the server, or its CA's, has expired: renew it, or set this machine's clock"
                .to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "a certificate of the server, or its CA's, is not valid yet: check the clocks of both sides"
                .to_owned()
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "the server's certificate is not one for servers: its extended key usage lacks serverAuth"
                .to_owned()
        }
        other => format!("the server's certificate is refused: {other}"),
    }
}

fn bare(name: &str) -> &str {
    name.split('"').nth(1).unwrap_or(name)
}

/// What the server says of this client, by the alert's name. After a handshake in TLS 1.3 it comes as text alone.
pub fn of_alert(text: &str) -> Option<String> {
    let (_, meaning) = ALERTS.iter().find(|(name, _)| text.contains(name))?;
    Some(format!("the server refuses this client's certificate: {meaning}"))
}

const ALERTS: &[(&str, &str)] = &[
    ("CertificateRequired", "it wants one; set xds_cert_file and xds_key_file"),
    ("CertificateExpired", "it has expired; renew it"),
    ("CertificateRevoked", "it is revoked; replace it"),
    ("UnknownCA", "it is not from a CA that the server trusts"),
    ("BadCertificate", "it is bad, or from another CA than the server trusts"),
    ("UnsupportedCertificate", "it is not of a kind that the server takes"),
    ("CertificateUnknown", "it does not say why; see the server's log"),
    ("DecryptError", "its signature is not from a CA that the server trusts"),
    ("AccessDenied", "it may not come in; see the server's log"),
];

/// The words of an error and its causes, each once. Ours stands for all of its chain.
pub fn words(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(problem) = error.downcast_ref::<Problem>() {
            return problem.to_string();
        }
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

/// The words of a status' causes, if something other than the server's answer caused it.
pub fn cause(status: &tonic::Status) -> Option<String> {
    status.source().map(words)
}
