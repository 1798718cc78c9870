//! Who the server is: a certificate that the site gives, or one made for this run with an authority of its own, whose key is forgotten at once.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::hash;

/// A certificate with its key.
#[derive(Debug)]
pub struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

/// The authority that a certificate made for a run is signed by: what clients must trust.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    /// Its certificate, in PEM.
    pub pem: String,
    /// SHA-256 of the certificate, as `openssl x509 -fingerprint -sha256` shows it.
    pub fingerprint: String,
}

/// There is no certificate to serve with.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read the certificate or its key")]
    File(#[source] io::Error),
    /// A file holds no such thing.
    #[error("{} holds no {what} in PEM", .path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
    },
    /// Key and certificate do not fit, or are of a kind that is not known.
    #[error("the certificate and its key cannot be used")]
    Unfit(#[from] rustls::Error),
    /// None could be made for these names.
    #[error("cannot make a certificate for these names")]
    Names(#[from] rcgen::Error),
}

impl Identity {
    /// From files in PEM: a certificate, followed by those that lead to an authority, and its private key.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let lacks = |path: &Path, what| TlsError::Pem { path: path.to_owned(), what };
        let read = |path: &Path| fs_err::read(path).map_err(TlsError::File);
        let chain = CertificateDer::pem_slice_iter(&read(certificate)?).collect::<Result<Vec<_>, _>>();
        let chain =
            chain.ok().filter(|chain| !chain.is_empty()).ok_or_else(|| lacks(certificate, "certificate"))?;
        let key = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|_| lacks(key, "private key"))?;
        Ok(Self { chain, key })
    }

    /// One for these DNS names and addresses, with the authority that signed it.
    pub fn make(names: &[String]) -> Result<(Self, Authority), TlsError> {
        let mut params = CertificateParams::new(Vec::new())?;
        // A site's clocks may be years off, and the key is gone when the server ends.
        (params.not_before, params.not_after) = (date_time_ymd(2000, 1, 1), date_time_ymd(2099, 12, 31));
        let mut authority = params.clone();
        authority.distinguished_name.push(DnType::CommonName, "qiji serve");
        authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let issuer = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;

        params.subject_alt_names = CertificateParams::new(names)?.subject_alt_names;
        params
            .distinguished_name
            .push(DnType::CommonName, names.first().map_or("qiji serve", String::as_str));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &issuer)?;
        let identity = Self {
            chain: vec![certificate.der().clone()],
            key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        };
        let fingerprint = fingerprint(issuer.der());
        Ok((identity, Authority { pem: issuer.pem(), fingerprint }))
    }

    /// What a TLS server needs to know: TLS 1.2 and 1.3, and HTTP/1.1 only, which is the quickest way for large bodies.
    pub(crate) fn into_config(self) -> Result<ServerConfig, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let mut config = builder.with_no_client_auth().with_single_cert(self.chain, self.key)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}

/// Names that a server which listens on `address` is surely called by.
pub fn own_names(address: IpAddr) -> Vec<String> {
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    if !address.is_loopback() && !address.is_unspecified() {
        names.insert(0, address.to_string());
    }
    names
}

fn fingerprint(certificate: &[u8]) -> String {
    let digest = hash::digest(certificate);
    let bytes: Vec<String> = digest.as_bytes().iter().map(|byte| format!("{byte:02X}")).collect();
    bytes.join(":")
}
