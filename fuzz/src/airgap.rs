//! What comes from registries and Debian mirrors.

use std::io::Write as _;

use qiji_airgap::{Store, fuzzing};
use qiji_blueprint::Digest;

use crate::sample::scratch;

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

/// Bytes as an archive of images.
pub(crate) fn image_archive(data: &[u8]) {
    let folder = scratch();
    let (file, store) =
        (folder.path().join("archive.tar"), Store::open(folder.path().join("store")).unwrap());
    fs_err::write(&file, data).unwrap();
    fuzzing::image_archive(&file, &store);
}

/// A layout, what `docker save` wrote, and a tar with a link.
pub(crate) fn image_archive_seeds() -> Vec<Vec<u8>> {
    let layer = archive(&[("file", b"content")]);
    let diff_id = Digest::of(&layer);
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":["{diff_id}"]}}}}"#
    );
    let pin = |bytes: &[u8]| format!(r#""digest":"{}","size":{}"#, Digest::of(bytes), bytes.len());
    let manifest = format!(
        r#"{{"schemaVersion":2,"config":{{"mediaType":"application/vnd.oci.image.config.v1+json",{}}},"layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar",{}}}]}}"#,
        pin(config.as_bytes()),
        pin(&layer)
    );
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"application/vnd.oci.image.manifest.v1+json",{}}}]}}"#,
        pin(manifest.as_bytes())
    );
    let blobs = [config.as_bytes(), manifest.as_bytes(), &layer];
    let blobs = blobs.map(|bytes| (format!("blobs/sha256/{}", Digest::of(bytes).hex()), bytes));
    let mut members: Vec<(&str, &[u8])> = blobs.iter().map(|(name, bytes)| (name.as_str(), *bytes)).collect();
    members.extend([("index.json", index.as_bytes()), ("oci-layout", b"{}".as_slice())]);
    let layout = archive(&members);
    let saved = br#"[{"Config":"c.json","RepoTags":["a:1"],"Layers":["a/layer.tar"]}]"#;
    let docker = archive(&[("c.json", config.as_bytes()), ("a/layer.tar", &layer), ("manifest.json", saved)]);
    vec![gzipped(&docker), docker, layout, linked()]
}

fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, content) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, *content).unwrap();
    }
    tar.into_inner().unwrap()
}

fn linked() -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut link = tar::Header::new_gnu();
    link.set_entry_type(tar::EntryType::Symlink);
    link.set_size(0);
    tar.append_link(&mut link, "manifest.json", "a/manifest.json").unwrap();
    tar.into_inner().unwrap()
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

/// Bytes as the index of a repository of charts.
pub(crate) fn chart_index(data: &[u8]) {
    fuzzing::chart_index(data);
}

pub(crate) fn chart_index_seeds() -> Vec<Vec<u8>> {
    let index = "apiVersion: v1\nentries:\n  app:\n  - &one\n    version: 1.0.0\n    urls: [app-1.0.0.tgz]\n    digest: \"ab\"\n  - <<: *one\n    version: v1.0.1\n";
    vec![index.as_bytes().to_vec(), br#"{"entries":{"app":[{"version":"1.0.0"}]}}"#.to_vec()]
}

/// A chart with another one in it.
fn chart() -> Vec<u8> {
    let metadata: &[u8] = b"apiVersion: v2\nname: app\nversion: 1.0.0\nannotations: {licenses: MIT}\n";
    let inner = gzipped(&archive(&[("database/Chart.yaml", metadata)]));
    gzipped(&archive(&[("app/Chart.yaml", metadata), ("app/charts/database-1.0.0.tgz", &inner)]))
}

/// Bytes as a program, a chart, a package database and a `copyright` file, such as are in images and packages.
pub(crate) fn inside(data: &[u8]) {
    let folder = scratch();
    fuzzing::inside(data, &Store::open(folder.path()).unwrap());
}

pub(crate) fn inside_seeds() -> Vec<Vec<u8>> {
    let status = "Package: libc6\nStatus: install ok installed\nSource: glibc (2.41-1)\nVersion: 2.41-12\n\n";
    let copyright = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\nFiles: *\nLicense: GPL-2+ and Expat\n text\n\nLicense: Expat\n more\n";
    let alpine = "P:musl\nV:1.2.5-r0\nL:MIT\n\n";
    let mut seeds = [status, copyright, alpine].map(|text| text.as_bytes().to_vec()).to_vec();
    seeds.extend([program(), chart()]);
    seeds
}

/// The smallest program with a section that says how it was built, as Go lays it out.
fn program() -> Vec<u8> {
    let info = build_info(
        "go1.26",
        "path\tcmd\nmod\texample.com/m\tv1.0.0\th1:sum\ndep\tgolang.org/x/sys\tv0.1.0\th1:sum\n",
    );
    let names = b"\0.go.buildinfo\0.shstrtab\0";
    let sections = [(1_u32, 64, info.len()), (15, 64 + info.len(), names.len())];
    let table = 64 + info.len() + names.len();
    let mut bytes = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0".to_vec();
    bytes.resize(40, 0);
    bytes.extend((table as u64).to_le_bytes());
    for half in [0_u16, 0, 64, 0, 0, 64, 3, 2] {
        bytes.extend(half.to_le_bytes());
    }
    bytes.resize(64, 0);
    bytes.extend(&info);
    bytes.extend(names);
    bytes.extend([0; 64]);
    for (name, at, size) in sections {
        bytes.extend(name.to_le_bytes());
        bytes.extend(1_u32.to_le_bytes());
        bytes.extend([0; 16]);
        bytes.extend((at as u64).to_le_bytes());
        bytes.extend((size as u64).to_le_bytes());
        bytes.extend([0; 24]);
    }
    bytes
}

/// What `debug/buildinfo` of Go reads: magic, flags, then texts with their lengths.
fn build_info(version: &str, modules: &str) -> Vec<u8> {
    let mut bytes = b"\xff Go buildinf:\x08\x02".to_vec();
    bytes.resize(32, 0);
    let framed = format!("{}{modules}{}", "0".repeat(16), "0".repeat(16));
    for text in [version, &framed] {
        bytes.push(u8::try_from(text.len() & 0x7f).unwrap() | if text.len() > 0x7f { 0x80 } else { 0 });
        if text.len() > 0x7f {
            bytes.push(u8::try_from(text.len() >> 7).unwrap());
        }
        bytes.extend(text.as_bytes());
    }
    bytes
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
        writeln!(bytes, "{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`", 0, 0, 0, "100644", content.len()).unwrap();
        bytes.extend(content);
        bytes.resize(bytes.len().next_multiple_of(2), b'\n');
    }
    bytes
}
