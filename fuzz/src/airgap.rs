//! What comes from registries and Debian mirrors.

use std::io::Write as _;
use std::sync::OnceLock;

use qiji_airgap::{Store, fuzzing};
use tempfile::TempDir;

/// Bytes as a manifest or an index of a registry.
pub(crate) fn oci(data: &[u8]) {
    fuzzing::oci(data);
}

pub(crate) fn oci_seeds() -> Vec<Vec<u8>> {
    let digest = format!("sha256:{}", "ab".repeat(32));
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{digest}","size":2}},"layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"{digest}","size":3}}]}}"#
    );
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{digest}","size":7,"platform":{{"architecture":"amd64","os":"linux"}}}}]}}"#
    );
    let login = r#"Bearer realm="https://auth.example/token",service="registry",scope="repository:a:pull", Basic realm=x"#;
    vec![manifest.into_bytes(), index.into_bytes(), login.as_bytes().to_vec()]
}

/// A folder in memory with a store, and a place for a file.
fn workshop() -> &'static (TempDir, Store) {
    static WORKSHOP: OnceLock<(TempDir, Store)> = OnceLock::new();
    WORKSHOP.get_or_init(|| {
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let store = Store::open(folder.path().join("store")).unwrap();
        (folder, store)
    })
}

/// Bytes as an archive of images.
pub(crate) fn image_archive(data: &[u8]) {
    let (folder, store) = workshop();
    let file = folder.path().join("archive.tar");
    fs_err::write(&file, data).unwrap();
    fuzzing::image_archive(&file, store);
}

pub(crate) fn image_archive_seeds() -> Vec<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    for name in ["oci-layout", "index.json", "a/manifest.json"] {
        let mut header = tar::Header::new_gnu();
        header.set_size(2);
        tar.append_data(&mut header, name, &b"{}"[..]).unwrap();
    }
    let mut link = tar::Header::new_gnu();
    link.set_entry_type(tar::EntryType::Symlink);
    link.set_size(0);
    tar.append_link(&mut link, "manifest.json", "a/manifest.json").unwrap();
    let tar = tar.into_inner().unwrap();
    vec![gzipped(&tar), tar]
}

fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

/// Bytes as `InRelease`, as a package index, and as versions.
pub(crate) fn debian_index(data: &[u8]) {
    fuzzing::debian_index(data);
}

pub(crate) fn debian_index_seeds() -> Vec<Vec<u8>> {
    let hex = "ab".repeat(32);
    let release = format!(
        "Suite: stable\nCodename: trixie\nAcquire-By-Hash: yes\nMD5Sum:\n 00 5 x\nSHA256:\n {hex} 7 main/binary-amd64/Packages.xz\n"
    );
    let packages = format!(
        "Package: libmnl0\nVersion: 1.0.5-3\nFilename: pool/main/libm/libmnl0_1.0.5-3_amd64.deb\nSize: 12\nSHA256: {hex}\n\nPackage: a\n"
    );
    vec![release.into_bytes(), packages.into_bytes(), b"1:2.3~rc1+b1-4 1:2.3-4".to_vec()]
}

/// Bytes as a Debian package.
pub(crate) fn debian_package(data: &[u8]) {
    fuzzing::debian_package(data);
}

pub(crate) fn debian_package_seeds() -> Vec<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(4);
    header.set_mode(0o755);
    tar.append_data(&mut header, "usr/bin/tool", &b"tool"[..]).unwrap();
    let mut link = tar::Header::new_gnu();
    link.set_entry_type(tar::EntryType::Symlink);
    link.set_size(0);
    tar.append_link(&mut link, "usr/bin/other", "tool").unwrap();
    let data = tar.into_inner().unwrap();
    let members = [
        ("data.tar", data.clone()),
        ("data.tar.zst", zstd::encode_all(data.as_slice(), 1).unwrap()),
        ("data.tar.gz", gzipped(&data)),
    ];
    members.map(|(name, content)| package(name, &content)).to_vec()
}

/// An `ar` archive with one member behind `debian-binary`.
fn package(name: &str, content: &[u8]) -> Vec<u8> {
    let mut bytes = b"!<arch>\n".to_vec();
    for (name, content) in [("debian-binary", b"2.0\n".as_slice()), (name, content)] {
        write!(bytes, "{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, "100644", content.len()).unwrap();
        bytes.extend(content);
        bytes.resize(bytes.len().next_multiple_of(2), b'\n');
    }
    bytes
}
