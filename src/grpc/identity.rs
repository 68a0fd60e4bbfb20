//! Who this client is, by a certificate.

use std::{sync::Arc, time::SystemTime};

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::sync::watch;

use super::Secret;

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

/// The identity in force, always the newest; none before the first and after the last has expired.
pub type Identities = watch::Receiver<Option<Arc<Identity>>>;
