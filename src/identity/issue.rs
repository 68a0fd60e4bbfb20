//! One certificate from the authority.
//!
//! In: a name. Out: a new key, of which nobody else hears, and the certificate for it, or the status that says why not.
//! Never here: when to ask.

use std::time::{Duration, SystemTime};

use rcgen::{
    CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256, SanType, string::Ia5String,
};
use rustls::{crypto::ring, pki_types::PrivatePkcs8KeyDer, sign::CertifiedKey};
use tokio::time::timeout;
use tonic::Status;

use super::certificate;
use crate::{
    grpc::{Identity, Peer, Secret, pem},
    pb::istio::v1::auth::{
        IstioCertificateRequest, istio_certificate_service_client::IstioCertificateServiceClient,
    },
};

/// From the request to the answer.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Authorities such as Istio's give the caller's own name, whatever is asked for.
    pub spiffe_id: Ia5String,
    /// Authorities may give less, or refuse; zero leaves it to them.
    pub lifetime: Duration,
}

/// Asks once.
pub async fn issue(authority: &Peer, wanted: &Wanted) -> Result<Identity, Status> {
    let (key, csr) = request(wanted).map_err(|e| Status::internal(format!("the request's key: {e}")))?;
    let client = authority.connect().await?;
    let validity_duration = i64::try_from(wanted.lifetime.as_secs()).unwrap_or(i64::MAX);
    let mut client = IstioCertificateServiceClient::new(client);
    let call = client.create_certificate(IstioCertificateRequest { csr, validity_duration });
    let answer = timeout(CALL_TIMEOUT, call)
        .await
        .map_err(|_| Status::deadline_exceeded(format!("no answer within {} s", CALL_TIMEOUT.as_secs())))?;
    let answer = answer.map_err(|status| authority.explain(status))?.into_inner();
    identity(key, &answer.cert_chain, SystemTime::now())
        .map_err(|problem| Status::internal(format!("the authority's answer: {problem}")))
}

/// A new key and the request for its certificate.
fn request(wanted: &Wanted) -> Result<(PrivatePkcs8KeyDer<'static>, String), rcgen::Error> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = vec![SanType::URI(wanted.spiffe_id.clone())];
    let csr = pem::encode("CERTIFICATE REQUEST", params.serialize_request(&key)?.der());
    Ok((key.serialize_der().into(), csr))
}

/// What the authority gave, if it is a certificate for this key that is good now.
fn identity(key: PrivatePkcs8KeyDer<'static>, chain: &[String], now: SystemTime) -> Result<Identity, String> {
    let mut chain = pem::certificates(chain.concat().as_bytes())?;
    let root = chain.pop().filter(|_| !chain.is_empty());
    let root =
        root.ok_or("one certificate alone: the workload's, those between and the root are expected")?;
    let facts = chain.first().and_then(|leaf| certificate::read(leaf)).ok_or("no X.509 certificate")?;
    let spiffe_id = facts.spiffe_id.ok_or("the certificate has no SPIFFE id")?;
    let for_key = CertifiedKey::from_der(chain.clone(), key.clone_key().into(), &ring::default_provider());
    for_key.map_err(|e| format!("the certificate does not go with the key: {e}"))?;
    if facts.not_after <= now {
        return Err("the certificate has expired already: check the clocks of both sides".to_owned());
    }
    Ok(Identity {
        spiffe_id,
        chain,
        key: Secret::new(key.into()),
        root,
        not_before: facts.not_before,
        not_after: facts.not_after,
    })
}
