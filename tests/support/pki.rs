//! Certificate authorities for tests, and servers that show what they issue.
#![allow(dead_code)] // Each user includes this file and needs a part of it.

use std::{
    fs,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, SanType,
};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{
        CertificateDer, CertificateSigningRequestDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject as _,
    },
    server::WebPkiClientVerifier,
};

/// What the server of these tests is called.
pub const SERVER: &str = "istiod.istio-system.svc";

fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> = (0..text.len()).step_by(64).map(|at| &text[at..text.len().min(at + 64)]).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// A root and its key.
pub struct Ca(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key.
pub struct Issued {
    pub cert: CertificateDer<'static>,
    pub key: Vec<u8>,
}

impl Issued {
    pub fn cert_pem(&self) -> String {
        pem("CERTIFICATE", &self.cert)
    }

    pub fn key_pem(&self) -> String {
        pem("PRIVATE KEY", &self.key)
    }
}

impl Ca {
    /// All of them have the same name, as those of a mesh that renews its root.
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "cluster.local");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub fn pem(&self) -> String {
        pem("CERTIFICATE", self.0.der())
    }

    /// A certificate for a server of this name, and as good for a client.
    pub fn issue(&self, name: &str) -> Issued {
        self.issue_until(name, SystemTime::now() + Duration::from_secs(3600))
    }

    pub fn issue_until(&self, name: &str, not_after: SystemTime) -> Issued {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.not_after = not_after.into();
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.0).unwrap();
        Issued { cert: cert.der().clone(), key: key.serialize_der() }
    }

    /// What a CA of Istio does: the caller's identity, whatever is asked for. The chain ends with the root.
    pub fn sign(&self, csr: &str, spiffe: &str, lifetime: (SystemTime, SystemTime)) -> Vec<String> {
        let mut csr = read_csr(csr);
        csr.params.subject_alt_names = vec![SanType::URI(spiffe.to_owned().try_into().unwrap())];
        csr.params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        (csr.params.not_before, csr.params.not_after) = (lifetime.0.into(), lifetime.1.into());
        let leaf = csr.signed_by(&self.0).unwrap();
        vec![pem("CERTIFICATE", leaf.der()), self.pem()]
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        Arc::new(roots)
    }
}

/// Reads a request and checks its signature.
pub fn read_csr(csr: &str) -> CertificateSigningRequestParams {
    let der = CertificateSigningRequestDer::from_pem_slice(csr.as_bytes()).unwrap();
    CertificateSigningRequestParams::from_der(&der).unwrap()
}

/// What a server demands of its clients.
pub enum Clients<'a> {
    Anybody,
    From(&'a Ca),
    FromIfShown(&'a Ca),
}

/// A server that shows this certificate and speaks HTTP/2.
pub fn server(shown: &Issued, clients: Clients) -> Arc<ServerConfig> {
    let provider = Arc::new(ring::default_provider());
    let builder =
        ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
    let builder = match clients {
        Clients::Anybody => builder.with_no_client_auth(),
        Clients::FromIfShown(ca) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(ca.roots(), provider);
            builder.with_client_cert_verifier(verifier.allow_unauthenticated().build().unwrap())
        }
        Clients::From(ca) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(ca.roots(), provider).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        }
    };
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(shown.key.clone()));
    let mut config = builder.with_single_cert(vec![shown.cert.clone()], key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Arc::new(config)
}

/// A directory of files that is gone when the test is over.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("apisix-mesh-pki-{}-{test}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// Writes a file in one step, as Kubernetes does.
    pub fn write(&self, name: &str, content: &str) -> String {
        let new = self.0.join("new");
        fs::write(&new, content).unwrap();
        fs::rename(&new, self.0.join(name)).unwrap();
        self.path(name)
    }

    pub fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
