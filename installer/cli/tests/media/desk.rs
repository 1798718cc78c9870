//! A folder with a small signed bundle, and the `qiji` binary to run on it.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use qiji_blueprint::Digest;
use qiji_blueprint::site::Arch;
use qiji_bundle::{Blob, BlobSource, BundleSpec, KeyId, PackageEntry, Passphrase, RAW_FILE, SigningKey};

struct Memory(BTreeMap<Digest, Vec<u8>>);

impl BlobSource for Memory {
    fn open(&self, digest: &Digest) -> io::Result<Box<dyn Read + '_>> {
        self.0
            .get(digest)
            .map(|bytes| Box::new(&bytes[..]) as Box<dyn Read>)
            .ok_or(io::ErrorKind::NotFound.into())
    }
}

/// The folder. It goes away with its end.
pub(crate) struct Desk {
    folder: tempfile::TempDir,
    key: KeyId,
}

impl Desk {
    /// A desk with `demo.qiji`, of some 3 MB, and `key.pub`.
    pub(crate) fn new() -> Self {
        let key = SigningKey::generate().unwrap();
        let desk = Self { folder: tempfile::tempdir().unwrap(), key: key.public().id() };
        key.save(&desk.path("key"), &Passphrase::new("only for tests".to_owned()).unwrap()).unwrap();
        let mut memory = Memory(BTreeMap::new());
        let packages = (0..3_u32).map(|number| {
            let bytes: Vec<u8> =
                (0..250_000_u32).flat_map(|word| (word * 3 + number).to_be_bytes()).collect();
            let digest = Digest::of(&bytes);
            let blob = Blob { media_type: RAW_FILE.to_owned(), digest, size: bytes.len() as u64 };
            memory.0.insert(digest, bytes);
            let (name, version) = (format!("part-{number}"), "1".to_owned());
            PackageEntry { name, version, arch: Arch::Amd64, roles: vec![], blobs: vec![blob] }
        });
        let packages = packages.collect();
        let spec = BundleSpec {
            name: "demo".to_owned(),
            version: "1.0.0".to_owned(),
            packages,
            ..BundleSpec::default()
        };
        qiji_bundle::write(&spec, &memory, &[&key], &desk.path("demo.qiji"), &mut |_| ()).unwrap();
        desk
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs `qiji`, whose words are split at spaces; `@` stands before names on the desk, or alone for the desk. Gives exit status and output, with the desk's folder left out.
    pub(crate) fn qiji(&self, words: &str) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_qiji"));
        let folder = format!("{}/", self.folder.path().display());
        let place = |word: &str| {
            if word == "@" { folder.trim_end_matches('/').to_owned() } else { word.replace('@', &folder) }
        };
        command.args(words.split(' ').map(place)).stdin(Stdio::null());
        let output = command.output().unwrap();
        let (stdout, stderr) =
            (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        format!("status {}\n{stdout}{stderr}", output.status.code().unwrap())
            .replace(&folder, "")
            .replace(folder.trim_end_matches('/'), "the desk")
            .replace(&self.key.to_string(), "KEY")
    }
}
