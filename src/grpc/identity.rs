//! Who this client is, by a certificate.

use std::{sync::Arc, time::SystemTime};

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::sync::watch;

use super::{Secret, pem};

/// A workload's certificate with its key. Both live in memory alone.
#[derive(Debug)]
pub struct Identity {
    /// `spiffe://TRUST_DOMAIN/ns/NAMESPACE/sa/ACCOUNT`
    pub spiffe_id: String,
    /// The certificate, and those between it and its root.
    pub chain: Vec<CertificateDer<'static>>,
    /// The key of the certificate.
    pub key: Secret<PrivateKeyDer<'static>>,
    /// What certificates of others are to chain to.
    pub root: CertificateDer<'static>,
    /// From when on it is good.
    pub not_before: SystemTime,
    /// Until when.
    pub not_after: SystemTime,
}

impl Identity {
    /// The certificate and those between it and its root, in PEM.
    pub fn chain_pem(&self) -> String {
        self.chain.iter().map(|certificate| pem::encode("CERTIFICATE", certificate)).collect()
    }

    /// The key in PEM.
    pub fn key_pem(&self) -> Secret<String> {
        let key = self.key.reveal();
        let label = match key {
            PrivateKeyDer::Pkcs1(_) => "RSA PRIVATE KEY",
            PrivateKeyDer::Sec1(_) => "EC PRIVATE KEY",
            _ => "PRIVATE KEY",
        };
        Secret::new(pem::encode(label, key.secret_der()))
    }
}

/// The identity in force, always the newest; none before the first and after the last has expired.
pub type Identities = watch::Receiver<Option<Arc<Identity>>>;
