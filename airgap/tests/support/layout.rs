//! OCI image layouts on disk, with layers that can really be unpacked, and the tools that make archives of them.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use qiji_blueprint::Digest;
use serde_json::{Value, json};

use super::registry::{MANIFEST, bytes, descriptor};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// A tar with one file, which tells one architecture from another.
pub(crate) fn layer_tar(arch: &str) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    let content = format!("built for {arch}\n").repeat(2000);
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    tar.append_data(&mut header, "etc/arch", content.as_bytes()).unwrap();
    tar.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

/// A layout in a folder.
pub(crate) struct Layout<'a> {
    root: &'a Path,
    entries: Vec<Value>,
}

impl<'a> Layout<'a> {
    pub(crate) fn new(root: &'a Path) -> Self {
        fs_err::create_dir_all(root.join("blobs/sha256")).unwrap();
        fs_err::write(root.join("oci-layout"), "{\"imageLayoutVersion\":\"1.0.0\"}").unwrap();
        Self { root, entries: Vec::new() }
    }

    pub(crate) fn blob(&self, body: &[u8]) -> Digest {
        let digest = Digest::of(body);
        fs_err::write(self.root.join("blobs/sha256").join(digest.hex()), body).unwrap();
        digest
    }

    /// Adds an image of one architecture without a name. Gives its manifest.
    pub(crate) fn image(&self, arch: &str) -> Vec<u8> {
        let tar = layer_tar(arch);
        let layer = gzip(&tar);
        let config = bytes(&json!({
            "architecture": arch, "os": "linux", "config": { "Cmd": ["/x"] },
            "rootfs": { "type": "layers", "diff_ids": [Digest::of(&tar).to_string()] },
            "history": [{ "created": "1970-01-01T00:00:00Z" }],
        }));
        let manifest = bytes(&json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
            "layers": [descriptor("application/vnd.oci.image.layer.v1.tar+gzip", &layer)],
        }));
        for body in [&layer, &config, &manifest] {
            self.blob(body);
        }
        manifest
    }

    /// Adds an index over images, under a name.
    pub(crate) fn index(&mut self, name: &str, archs: &[&str]) -> Vec<Vec<u8>> {
        let manifests: Vec<_> = archs.iter().map(|arch| self.image(arch)).collect();
        let entries = manifests.iter().zip(archs).map(|(manifest, arch)| {
            let mut entry = descriptor(MANIFEST, manifest);
            entry["platform"] = json!({ "os": "linux", "architecture": arch });
            entry
        });
        let index = bytes(
            &json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": entries.collect::<Vec<_>>() }),
        );
        self.blob(&index);
        self.name(INDEX, &index, name);
        manifests
    }

    /// Gives a manifest or index a name.
    pub(crate) fn name(&mut self, kind: &str, body: &[u8], name: &str) {
        let mut entry = descriptor(kind, body);
        entry["annotations"] = json!({ "org.opencontainers.image.ref.name": name });
        self.list(entry);
    }

    /// Adds an entry to the layout's list.
    pub(crate) fn list(&mut self, entry: Value) {
        self.entries.push(entry);
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": self.entries });
        fs_err::write(self.root.join("index.json"), index.to_string()).unwrap();
    }
}

/// Runs a tool that must be there and must succeed.
pub(crate) fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output =
        output.unwrap_or_else(|error| panic!("{program} cannot be started ({error}): apt install {program}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?} failed: {errors}");
    String::from_utf8(output.stdout).unwrap()
}
