//! A Helm chart that lies in `tests/charts/app`, as `helm package` would make an archive of it, and where charts are had.

use std::path::{Path, PathBuf};

use flate2::write::GzEncoder;
use qiji_blueprint::lock::{Chart, Source};
use serde_json::json;

use super::pin;
use super::registry::{Content, MANIFEST, bytes, descriptor};

/// Media types of a chart in a registry.
pub(crate) const CONFIG: &str = "application/vnd.cncf.helm.config.v1+json";
pub(crate) const CONTENT: &str = "application/vnd.cncf.helm.chart.content.v1.tar+gzip";

/// The chart's folder.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/charts/app")
}

/// The chart as an archive, with some of its files changed, or added, or taken away where there is no text.
pub(crate) fn archive(changes: &[(&str, Option<&str>)]) -> Vec<u8> {
    let mut files: std::collections::BTreeMap<String, Vec<u8>> = std::collections::BTreeMap::new();
    let mut folders = vec![folder()];
    while let Some(inner) = folders.pop() {
        for entry in fs_err::read_dir(inner).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder()).unwrap().to_str().unwrap().to_owned();
                files.insert(name, fs_err::read(&path).unwrap());
            }
        }
    }
    for (name, text) in changes {
        match text {
            Some(text) => drop(files.insert((*name).to_owned(), text.as_bytes().to_vec())),
            None => drop(files.remove(*name)),
        }
    }
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    for (name, content) in &files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, format!("app/{name}"), content.as_slice()).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap()
}

/// A chart of this version from these sources.
pub(crate) fn chart(version: &str, sources: Vec<Source>) -> Chart<()> {
    let name = "app".to_owned();
    Chart { name: name.clone(), chart: name, version: version.to_owned(), pin: (), sources, values: vec![] }
}

/// A registry with the archive under a tag.
pub(crate) fn registry(archive: &[u8], tag: &str) -> Content {
    let mut content = Content::default();
    let config = bytes(&json!({ "name": "app", "version": "1.2.3", "apiVersion": "v2" }));
    let manifest = bytes(&json!({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": descriptor(CONFIG, &config),
        "layers": [descriptor("application/vnd.cncf.helm.chart.provenance.v1.prov", b"prov"), descriptor(CONTENT, archive)],
    }));
    content.blob("charts/app", &config);
    content.blob("charts/app", archive);
    content.manifest("charts/app", &manifest, &[tag]);
    content
}

/// What a repository of charts has below `/stable`: an index, and the archive.
pub(crate) fn repository(archive: &[u8], digest: &str) -> std::collections::HashMap<String, Vec<u8>> {
    let index = format!(
        "apiVersion: v1\nentries:\n  app:\n  - name: app\n    version: 1.2.3\n    digest: {digest}\n    urls:\n    - files/app-1.2.3.tgz\n  \
         - name: app\n    version: 1.2.2\n    urls: []\ngenerated: \"2026-01-01T00:00:00Z\"\n"
    );
    [("/stable/index.yaml", index.into_bytes()), ("/stable/files/app-1.2.3.tgz", archive.to_vec())]
        .map(|(path, body)| (path.to_owned(), body))
        .into()
}

/// The digest of an archive as an index has it.
pub(crate) fn hex(archive: &[u8]) -> String {
    pin(archive).digest.hex()
}
