//! A store in memory, a small bundle, and the means to take one apart and put it together wrongly.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use qiji_blueprint::Digest;
use qiji_blueprint::part::{Ingredient, Part, PartKind};
use qiji_blueprint::site::{Arch, Role};
use qiji_bundle::sbom::Description;
use qiji_bundle::{
    Blob, BlobSource, BundleSpec, ImageEntry, PackageEntry, RAW_FILE, SigningKey, TrustedKeys, Untrusted,
    Verified, VerifyError, Written,
};

pub(crate) const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
pub(crate) const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

#[derive(Default)]
pub(crate) struct Store(pub(crate) BTreeMap<Digest, Vec<u8>>);

impl BlobSource for Store {
    fn open(&self, digest: &Digest) -> io::Result<Box<dyn Read + '_>> {
        match self.0.get(digest) {
            Some(bytes) => Ok(Box::new(&bytes[..])),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

impl Store {
    pub(crate) fn add(&mut self, media_type: &str, bytes: &[u8]) -> Blob {
        let digest = Digest::of(bytes);
        self.0.insert(digest, bytes.to_vec());
        Blob { media_type: media_type.to_owned(), digest, size: bytes.len() as u64 }
    }

    /// An image whose configuration and manifest `skopeo` accepts.
    pub(crate) fn image(&mut self, name: &str, arch: Arch, roles: &[Role], layers: &[Vec<u8>]) -> ImageEntry {
        let ids: Vec<_> = layers.iter().map(|layer| format!("\"{}\"", Digest::of(layer))).collect();
        let config = format!(
            r#"{{"architecture":"{arch}","os":"linux","config":{{"Entrypoint":["/etcd"]}},"rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#,
            ids.join(",")
        );
        let config = self.add(CONFIG, config.as_bytes());
        let layers: Vec<_> = layers.iter().map(|layer| self.add(LAYER, layer)).collect();
        let list: Vec<_> = layers.iter().map(descriptor).collect();
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{},"layers":[{}]}}"#,
            descriptor(&config),
            list.join(",")
        );
        let manifest = self.add(MANIFEST, manifest.as_bytes());
        ImageEntry { name: name.to_owned(), arch, roles: roles.to_vec(), manifest, config, layers }
    }
}

pub(crate) fn descriptor(blob: &Blob) -> String {
    let Blob { media_type, digest, size } = blob;
    format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":{size}}}"#)
}

/// A tar with one file: a layer.
pub(crate) fn layer(path: &str, content: &[u8]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(content.len() as u64);
    header.set_mode(0o755);
    builder.append_data(&mut header, path, content).unwrap();
    builder.into_inner().unwrap()
}

/// One image of two architectures, one of one, a package that shares a layer, a raw file, two documents, two bills of materials.
pub(crate) fn sample() -> (BundleSpec, Store) {
    let mut store = Store::default();
    let both = [Role::Worker, Role::ControlPlane];
    let etcd = layer("etcd", b"etcd for amd64");
    let shared = layer("kube", b"kubernetes");
    let images = vec![
        store.image("qiji.local/kube-proxy:v1.36.3", Arch::Amd64, &both, std::slice::from_ref(&shared)),
        store.image(
            "qiji.local/etcd:3.7.3-0",
            Arch::Arm64,
            &[Role::ControlPlane],
            &[layer("etcd", b"for arm64")],
        ),
        store.image("qiji.local/etcd:3.7.3-0", Arch::Amd64, &[Role::ControlPlane], &[etcd]),
    ];
    let package = |name: &str, version: &str, roles: &[Role], blob| PackageEntry {
        name: name.to_owned(),
        version: version.to_owned(),
        arch: Arch::Amd64,
        roles: roles.to_vec(),
        blobs: vec![blob],
    };
    let packages = vec![
        package("kubernetes", "1.36.3", &both, store.add(LAYER, &shared)),
        package("agent", "0.1.0", &[], store.add(RAW_FILE, b"\x7fELF agent")),
    ];
    let documents = vec![
        ("site.kdl".to_owned(), b"site \"demo\"\n".to_vec()),
        ("site.lock".to_owned(), b"lock \"demo\"\n".to_vec()),
    ];
    let sboms =
        [Description::of_image(&images[2], vec![]), Description::of_package(&packages[0], vec![program()])];
    let sboms = sboms.iter().map(|one| (one.subject.clone(), one.to_spdx())).collect();
    let spec = BundleSpec {
        name: "demo".to_owned(),
        version: "1.2.3".to_owned(),
        edition: "enterprise".to_owned(),
        channel: "stable".to_owned(),
        images,
        packages,
        documents,
        sboms,
        ..BundleSpec::default()
    };
    (spec, store)
}

/// A program with one module.
pub(crate) fn program() -> Ingredient {
    let part = |kind, name: &str, version: &str| Part {
        kind,
        name: name.to_owned(),
        version: version.to_owned(),
        licence: Some("Apache-2.0".to_owned()),
    };
    Ingredient {
        part: part(PartKind::File, "kube", "1.36.3"),
        digest: Digest::of(b"kubernetes"),
        origin: "built from recipe kubernetes".to_owned(),
        parts: vec![part(PartKind::GoModule, "k8s.io/kubernetes", "v1.36.3")],
        licence_texts: BTreeMap::new(),
    }
}

/// A folder with a key and a written bundle in it.
pub(crate) struct Bench {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) key: SigningKey,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), key: SigningKey::generate().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, spec: &BundleSpec, store: &Store) -> (PathBuf, Written) {
        let path = self.path(name);
        let written = qiji_bundle::write(spec, store, &[&self.key], &path, &mut |_| ()).unwrap();
        (path, written)
    }

    /// The bytes of the sample bundle.
    pub(crate) fn sample(&self) -> Vec<u8> {
        let (spec, store) = sample();
        fs_err::read(self.write("sample.qiji", &spec, &store).0).unwrap()
    }

    pub(crate) fn trusted(&self) -> TrustedKeys {
        TrustedKeys::new([self.key.public()], 1).unwrap()
    }

    pub(crate) fn verify(&self, path: &Path) -> Result<Verified, VerifyError> {
        Untrusted::open(path)?.verify(&self.trusted(), &mut |_| ())
    }
}

/// Name and content of each member, read by a library.
pub(crate) fn split(bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut archive = tar::Archive::new(bytes);
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        (entry.path().unwrap().to_str().unwrap().to_owned(), content)
    });
    entries.collect()
}

/// A tar whose headers are laid down as the format's specification says, by other code than the product's.
pub(crate) fn join(members: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, content) in members {
        bytes.extend(header(name, content.len() as u64, tar::EntryType::Regular));
        bytes.extend(content);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

/// One header, as the specification has it for regular files.
pub(crate) fn header(name: &str, size: u64, kind: tar::EntryType) -> [u8; 512] {
    let mut header = tar::Header::new_ustar();
    header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header.set_entry_type(kind);
    header.set_device_major(0).unwrap();
    header.set_device_minor(0).unwrap();
    sum(*header.as_bytes())
}

/// A header with its sum made right again.
pub(crate) fn sum(mut block: [u8; 512]) -> [u8; 512] {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

pub(crate) fn blob_name(bytes: &[u8]) -> String {
    format!("blobs/sha256/{}", Digest::of(bytes).hex())
}
