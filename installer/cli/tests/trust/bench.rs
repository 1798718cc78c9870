//! A folder with keys, bundles that hold nothing but a site, and the program run in it.

use std::io::{self, Read};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Command;

use qiji_blueprint::{Catalogue, Digest};
use qiji_bundle::{
    BlobSource, BundleSpec, Policy, PolicyFile, PublicKey, SiteTrust, TrustedKeys, Untrusted, write,
};

/// A folder to work in.
pub(crate) struct Bench(tempfile::TempDir);

/// A bundle of documents needs no store.
struct Nothing;

impl BlobSource for Nothing {
    fn open(&self, _: &Digest) -> io::Result<Box<dyn Read + '_>> {
        Err(io::ErrorKind::NotFound.into())
    }
}

/// A release of a site whose hosts are on this machine, at a port where nothing listens.
pub(crate) fn release(version: &str, edition: &str) -> BundleSpec {
    let text = include_str!("../../../../blueprints/examples/quickstart.kdl");
    let mut site = qiji_blueprint::check("quickstart.kdl", text, &Catalogue::builtin()).unwrap().site;
    site.version = version.parse().unwrap();
    edition.clone_into(&mut site.edition);
    for node in &mut site.nodes {
        node.address = Ipv4Addr::LOCALHOST.into();
        node.access.port = 1;
    }
    BundleSpec {
        name: site.name.clone(),
        version: version.to_owned(),
        edition: edition.to_owned(),
        channel: "stable".to_owned(),
        documents: vec![("site.json".to_owned(), serde_json::to_vec(&site).unwrap())],
        ..BundleSpec::default()
    }
}

impl Bench {
    /// A folder with a passphrase.
    pub(crate) fn new() -> Self {
        let bench = Self(tempfile::tempdir().unwrap());
        bench.write("passphrase", b"only for tests\n");
        bench
    }

    /// The same with keys `a` (Ed25519), `b` (SM2) and `c` (Ed25519).
    pub(crate) fn with_keys() -> Self {
        let bench = Self::new();
        for (name, kind) in [("a", "ed25519"), ("b", "sm2"), ("c", "ed25519")] {
            let made = bench.qiji(&["keygen", "--output", name, "--kind", kind]);
            assert!(made.starts_with("status 0\n"), "{made}");
        }
        bench
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) {
        fs_err::write(self.path(name), bytes).unwrap();
    }

    pub(crate) fn public(&self, key: &str) -> PublicKey {
        PublicKey::load(&self.path(&format!("{key}.pub"))).unwrap()
    }

    /// Writes an unsigned bundle.
    pub(crate) fn bundle(&self, name: &str, spec: &BundleSpec) {
        write(spec, &Nothing, &[], &self.path(name), &mut |_| ()).unwrap();
    }

    /// Leaves the controller as after an installation of this bundle with this key.
    pub(crate) fn has_accepted(&self, bundle: &str, key: &str) {
        let keys = TrustedKeys::new([self.public(key)], 1).unwrap();
        let bundle = Untrusted::open(&self.path(bundle)).unwrap().verify(&keys, &mut |_| ()).unwrap();
        let policy = PolicyFile::first(Policy::of_keys(&keys)).unwrap();
        let mut trust = SiteTrust { policy: Some(policy), ..SiteTrust::default() };
        trust.accept(&bundle);
        let folder = self.path("state/sites").join(bundle.name());
        fs_err::create_dir_all(&folder).unwrap();
        fs_err::write(folder.join("trust.json"), trust.to_text()).unwrap();
    }

    /// Runs qiji and gives its status and all that it prints; what differs from run to run is put into words.
    pub(crate) fn qiji(&self, args: &[&str]) -> String {
        let output = Command::new(env!("CARGO_BIN_EXE_qiji"))
            .args(args)
            .current_dir(self.0.path())
            .env("QIJI_PASSPHRASE_FILE", "passphrase")
            .env("HOME", self.0.path())
            .env_remove("SSH_AUTH_SOCK")
            .output()
            .unwrap();
        let [stdout, stderr] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        plain(&format!("status {}\n{stdout}{stderr}", output.status.code().unwrap()))
    }
}

/// Digests and ids of keys in one word.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    let mut digits = String::new();
    for letter in text.chars().chain(['\n']) {
        if letter.is_ascii_hexdigit() {
            digits.push(letter);
            continue;
        }
        plain.push_str(if matches!(digits.len(), 12 | 64) { "HEX" } else { &digits });
        digits.clear();
        plain.push(letter);
    }
    plain
}
