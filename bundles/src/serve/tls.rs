//! Who the server is: a certificate that the site gives, or one made for this run by an authority of its own, whose key is kept nowhere.

use std::fmt;
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
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use tokio_rustls::TlsAcceptor;
use zeroize::Zeroizing;

use crate::hash;

/// A certificate with its key, which fit each other. It cannot be printed.
pub struct Identity(Arc<ServerConfig>);

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
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
    #[error(transparent)]
    File(io::Error),
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
    /// No server can be called so.
    #[error("`{}` is neither a DNS name nor an address", .0.escape_debug())]
    Name(String),
    /// None could be made.
    #[error("cannot make a certificate")]
    Made(#[from] rcgen::Error),
}

impl Identity {
    /// From files in PEM: a certificate, followed by those that lead to an authority, and its private key. Gives all faults of both.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, Vec<TlsError>> {
        match (chain(certificate), private_key(key)) {
            (Ok(chain), Ok(key)) => Self::new(chain, key).map_err(|error| vec![error]),
            (chain, key) => Err(chain.err().into_iter().chain(key.err()).collect()),
        }
    }

    /// One for these DNS names and addresses, with the authority that signed it. Gives all names that cannot be had.
    pub fn make(names: &[String]) -> Result<(Self, Authority), Vec<TlsError>> {
        let bad = names.iter().filter(|name| ServerName::try_from(name.as_str()).is_err());
        let bad: Vec<_> = bad.cloned().map(TlsError::Name).collect();
        if bad.is_empty() { Self::issue(names).map_err(|error| vec![error]) } else { Err(bad) }
    }

    fn issue(names: &[String]) -> Result<(Self, Authority), TlsError> {
        let mut params = CertificateParams::new(Vec::new())?;
        // A site's clocks may be years off, and the key is gone when the server ends.
        (params.not_before, params.not_after) = (date_time_ymd(2000, 1, 1), date_time_ymd(2099, 12, 31));
        let mut authority = params.clone();
        authority.distinguished_name.push(DnType::CommonName, "qiji serve");
        authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let issuer = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;

        params.subject_alt_names = CertificateParams::new(names)?.subject_alt_names;
        let first = names.first().map_or("qiji serve", String::as_str);
        params.distinguished_name.push(DnType::CommonName, first);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &issuer)?;
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        let identity = Self::new(vec![certificate.der().clone()], key.into())?;
        let fingerprint = fingerprint(issuer.der());
        Ok((identity, Authority { pem: issuer.pem(), fingerprint }))
    }

    /// TLS 1.2 and 1.3, and HTTP/1.1 only, which is the quickest way for large bodies.
    fn new(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let mut config = builder.with_no_client_auth().with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self(Arc::new(config)))
    }

    pub(crate) fn acceptor(self) -> TlsAcceptor {
        TlsAcceptor::from(self.0)
    }
}

fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bytes = fs_err::read(path).map_err(TlsError::File)?;
    let chain = CertificateDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>();
    chain.ok().filter(|chain| !chain.is_empty()).ok_or_else(|| lacks(path, "certificate"))
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let bytes = Zeroizing::new(fs_err::read(path).map_err(TlsError::File)?);
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|_| lacks(path, "private key"))
}

fn lacks(path: &Path, what: &'static str) -> TlsError {
    TlsError::Pem { path: path.to_owned(), what }
}

/// Names that a server which listens on `address` is surely called by.
pub fn own_names(address: IpAddr) -> Vec<String> {
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    let address = address.to_canonical();
    if !address.is_unspecified() && !names.contains(&address.to_string()) {
        names.insert(0, address.to_string());
    }
    names
}

fn fingerprint(certificate: &[u8]) -> String {
    let digest = hash::digest(certificate);
    let bytes: Vec<String> = digest.as_bytes().iter().map(|byte| format!("{byte:02X}")).collect();
    bytes.join(":")
}
