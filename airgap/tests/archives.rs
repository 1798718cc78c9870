//! Images from local files: layouts, and archives that the real `skopeo` has made of them.

#![allow(clippy::unwrap_used, reason = "a helper of a test may panic as the test may")]

mod support;

use std::io::Read as _;
use std::path::{Path, PathBuf};

use qiji_airgap::{Assembled, FetchErrors, Resolved, Settings, SourceError, assemble};
use qiji_blueprint::Digest;
use qiji_blueprint::lock::{Image, ImageContent, Lock, Source};
use qiji_blueprint::site::Arch;
use support::layout::{Layout, layer_tar, run};
use support::registry::MANIFEST;
use support::{Bench, artifact, wanted};

/// A layout in a folder of its own.
struct Sample {
    folder: tempfile::TempDir,
    /// Manifests for amd64 and arm64.
    manifests: Vec<Vec<u8>>,
}

impl Sample {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("layout");
        let manifests = Layout::new(&root).index("r.example/team/app:v1", &["amd64", "arm64"]);
        Self { folder, manifests }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Makes an archive of the image for one architecture, or for all.
    fn skopeo(&self, arch: &str, kind: &str, file: &str, name: &str) {
        let from = format!("oci:{}:r.example/team/app:v1", self.path("layout").display());
        let to = format!("{kind}:{}:{name}", self.path(file).display());
        let which = if arch == "all" { vec!["--multi-arch", "all"] } else { vec![] };
        let platform = if arch == "all" { "amd64" } else { arch };
        let mut arguments = vec![
            "--insecure-policy",
            "--override-os",
            "linux",
            "--override-arch",
            platform,
            "copy",
            "--quiet",
        ];
        arguments.extend(which);
        run("skopeo", &[arguments.as_slice(), &[&from, &to]].concat());
    }

    fn bench(&self) -> Bench {
        Bench::new(Settings { folders: vec![self.folder.path().to_owned()], ..Settings::default() })
    }

    fn digest(&self, arch: usize) -> Digest {
        Digest::of(&self.manifests[arch])
    }
}

fn archive(path: &str, image: Option<&str>) -> Vec<Source> {
    vec![Source::Archive { path: path.to_owned(), image: image.map(str::to_owned) }]
}

async fn resolve(bench: &Bench, arch: Arch, sources: Vec<Source>) -> Result<Resolved, FetchErrors> {
    let mut app = artifact("app", (), sources);
    app.arch = arch;
    bench.fetcher.resolve(&wanted(vec![app])).await
}

/// Fetches into a store that has nothing yet, and puts the image together.
async fn fetch(sample: &Sample, mut lock: Lock) -> Result<(Assembled, Bench), FetchErrors> {
    let bench = sample.bench();
    bench.fetcher.fetch(&lock).await?;
    let (arch, content) = (lock.artifacts[0].arch, ImageContent::Copied { artifact: "app".to_owned() });
    lock.images = vec![Image { name: "x/app:v1".to_owned(), arch, roles: vec![], content }];
    Ok((assemble(&bench.store, &lock).unwrap(), bench))
}

#[tokio::test]
async fn a_layout_and_its_archive_give_the_same_bytes() {
    let sample = Sample::new();
    sample.skopeo("all", "oci-archive", "all.tar", "v1");
    run("gzip", &["--keep", sample.path("all.tar").to_str().unwrap()]);
    for path in ["layout", "all.tar", "all.tar.gz"] {
        for (arch, at) in [(Arch::Amd64, 0), (Arch::Arm64, 1)] {
            let lock = resolve(&sample.bench(), arch, archive(path, None)).await.unwrap().lock;
            assert_eq!(lock.artifacts[0].pin.digest, sample.digest(at), "{path}");
            let (assembled, bench) = fetch(&sample, lock).await.unwrap();
            let layer = bench.read(&assembled.images[0].layers[0].digest);
            let mut tar = Vec::new();
            flate2::read::GzDecoder::new(layer.as_slice()).read_to_end(&mut tar).unwrap();
            assert_eq!(tar, layer_tar(arch.as_str()), "{path}");
        }
    }
}

#[tokio::test]
async fn dockers_archive_gets_the_same_manifest_each_time() {
    let sample = Sample::new();
    sample.skopeo("arm64", "docker-archive", "docker.tar", "r.example/team/app:v1");
    let lock = resolve(&sample.bench(), Arch::Arm64, archive("docker.tar", None)).await.unwrap().lock;
    let again =
        resolve(&sample.bench(), Arch::Arm64, archive("docker.tar", Some("r.example/team/app:v1"))).await;
    assert_eq!(again.unwrap().lock.artifacts[0].pin, lock.artifacts[0].pin);
    let (assembled, bench) = fetch(&sample, lock).await.unwrap();
    let image = &assembled.images[0];
    assert_eq!(image.manifest.media_type, MANIFEST);
    assert_eq!(image.layers[0].media_type, "application/vnd.oci.image.layer.v1.tar+zstd");
    let layer = bench.read(&image.layers[0].digest);
    assert_eq!(zstd::decode_all(layer.as_slice()).unwrap(), layer_tar("arm64"));
    let config: serde_json::Value = serde_json::from_slice(&bench.read(&image.config.digest)).unwrap();
    assert_eq!((&config["architecture"], &config["config"]["Cmd"][0]), (&"arm64".into(), &"/x".into()));

    let error = resolve(&sample.bench(), Arch::Amd64, archive("docker.tar", None)).await.unwrap_err();
    assert!(error.to_string().contains("no linux/amd64 image, only linux/arm64"), "{error}");
}

#[tokio::test]
async fn an_archive_of_several_images_is_asked_for_one_by_name() {
    let sample = Sample::new();
    let root = sample.path("several");
    let mut layout = Layout::new(&root);
    layout.index("r.example/a:v1", &["amd64"]);
    let other = layout.image("amd64");
    layout.name(MANIFEST, &other, "other");
    let bench = sample.bench();
    let one = resolve(&bench, Arch::Amd64, archive("several", Some("r.example/b:other"))).await.unwrap();
    assert_eq!(one.lock.artifacts[0].pin.digest, Digest::of(&other));
    for (image, told) in [
        (None, "say which: other, r.example/a:v1"),
        (Some("r.example/a:v2"), "no image r.example/a:v2, only other"),
    ] {
        let text = resolve(&bench, Arch::Amd64, archive("several", image)).await.unwrap_err().to_string();
        assert!(text.contains(told), "{text}");
    }
}

/// Changes one byte in the middle of the longest run of bytes that a predicate holds for: the content of the layer.
fn damage(path: &Path, needle: &[u8]) {
    let mut bytes = fs_err::read(path).unwrap();
    let at = bytes.windows(needle.len()).position(|window| window == needle).unwrap();
    bytes[at + needle.len() / 2] ^= 1;
    fs_err::write(path, bytes).unwrap();
}

#[tokio::test]
async fn a_damaged_archive_is_refused_by_the_name_of_its_part() {
    let sample = Sample::new();
    sample.skopeo("amd64", "docker-archive", "docker.tar", "r.example/team/app:v1");
    sample.skopeo("all", "oci-archive", "oci.tar", "v1");
    let lock = resolve(&sample.bench(), Arch::Amd64, archive("oci.tar", None)).await.unwrap().lock;
    let gzip = fs_err::read_dir(sample.path("layout/blobs/sha256"))
        .unwrap()
        .map(|entry| fs_err::read(entry.unwrap().path()).unwrap());
    let layer = gzip.filter(|bytes| bytes.starts_with(&[0x1f, 0x8b])).find(|bytes| {
        let mut tar = Vec::new();
        flate2::read::GzDecoder::new(bytes.as_slice()).read_to_end(&mut tar).unwrap();
        tar == layer_tar("amd64")
    });
    damage(&sample.path("oci.tar"), &layer.unwrap());
    damage(&sample.path("docker.tar"), b"built for amd64\nbuilt for amd64\n");
    let in_oci = fetch(&sample, lock).await.map(drop).unwrap_err();
    let in_docker = resolve(&sample.bench(), Arch::Amd64, archive("docker.tar", None)).await.unwrap_err();
    for error in [in_oci, in_docker] {
        let cause = &error.failures[0].attempts[0].cause;
        assert!(matches!(cause, SourceError::WrongDigest { what, .. } if what.contains("member")), "{error}");
    }
}

#[tokio::test]
async fn what_is_no_archive_of_images_is_told() {
    let sample = Sample::new();
    fs_err::write(sample.path("noise.tar"), [7; 4096]).unwrap();
    fs_err::write(sample.path("empty.tar"), [0; 1024]).unwrap();
    fs_err::create_dir(sample.path("bare")).unwrap();
    for (path, told) in [
        ("noise.tar", "not a whole tar"),
        ("empty.tar", "neither an OCI image layout"),
        ("bare", "neither an OCI image layout"),
        ("nowhere.tar", "none of the folders searched"),
        ("../layout", "stays in its folder"),
    ] {
        let text = resolve(&sample.bench(), Arch::Amd64, archive(path, None)).await.unwrap_err().to_string();
        assert!(text.contains(told), "{path}: {text}");
    }
}
