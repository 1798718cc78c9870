//! A registry that speaks the distribution protocol: tags, indexes, bearer tokens, blobs that break off.

#![allow(clippy::unwrap_used, reason = "a helper of a test may panic as the test may")]

mod support;

use std::collections::HashMap;

use qiji_airgap::{SourceError, assemble};
use qiji_blueprint::Digest;
use qiji_blueprint::lock::{Image, ImageContent, Source};
use qiji_blueprint::site::Arch;
use serde_json::json;
use support::{Asked, Bench, Reply, Server, artifact, noise, pin, wanted};

/// An image for amd64 and one for arm64 under `/v2/team/app`, tag `v1`. Gives the paths and the amd64 manifest's digest.
fn image() -> (HashMap<String, Vec<u8>>, Digest) {
    let mut paths = HashMap::new();
    let mut manifests = Vec::new();
    for arch in ["arm64", "amd64"] {
        let (config, layer) = (json!({"architecture": arch}).to_string().into_bytes(), noise(90_000));
        let descriptor = |kind: &str, body: &[u8]| json!({"mediaType": kind, "digest": Digest::of(body).to_string(), "size": body.len()});
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
            "layers": [descriptor("application/vnd.oci.image.layer.v1.tar+gzip", &layer)],
        })
        .to_string()
        .into_bytes();
        for body in [config, layer] {
            paths.insert(format!("/v2/team/app/blobs/{}", Digest::of(&body)), body);
        }
        let mut entry = descriptor("application/vnd.oci.image.manifest.v1+json", &manifest);
        entry["platform"] = json!({"os": "linux", "architecture": arch});
        manifests.push(entry);
        paths.insert(format!("/v2/team/app/manifests/{}", Digest::of(&manifest)), manifest);
    }
    let amd64 = manifests[1]["digest"].as_str().unwrap().parse().unwrap();
    let index = json!({"schemaVersion": 2, "manifests": manifests}).to_string().into_bytes();
    paths.insert("/v2/team/app/manifests/v1".to_owned(), index);
    (paths, amd64)
}

/// Answers like a registry that wants a token; the first transfer of each blob is cut.
fn registry(paths: HashMap<String, Vec<u8>>) -> impl Fn(&Asked, usize) -> Reply + Send + Sync + 'static {
    let port = std::sync::OnceLock::new();
    move |asked, before| {
        if let Some(query) = asked.path.strip_prefix("/token?") {
            assert!(query.contains("scope=repository%3Ateam%2Fapp%3Apull") && query.contains("service=test"));
            return Reply::bytes(br#"{"token":"t0"}"#);
        }
        if let Some(told) = asked.path.strip_prefix("/port/") {
            port.set(told.to_owned()).unwrap();
            return Reply::status(204);
        }
        if asked.authorization.as_deref() != Some("Bearer t0") {
            let realm = format!("http://127.0.0.1:{}/token", port.get().unwrap());
            return Reply::status(401).header(
                "www-authenticate",
                &format!("Bearer realm=\"{realm}\",service=\"test\",scope=\"repository:team/app:pull\""),
            );
        }
        match paths.get(&asked.path) {
            Some(body) if asked.path.contains("/blobs/") && before == 0 => {
                Reply::file(body, asked).cut_after(body.len() / 2)
            }
            Some(body) => Reply::file(body, asked),
            None => Reply::status(404),
        }
    }
}

async fn start(paths: HashMap<String, Vec<u8>>) -> Server {
    let server = Server::plain(registry(paths)).await;
    // The registry names its own address in a challenge.
    let bench = Bench::new(qiji_airgap::Settings { tries: 1, ..Default::default() });
    let tell = support::https(server.url(&format!("/port/{}", server.port)));
    bench.fetcher.resolve(&wanted(vec![artifact("port", (), vec![tell])])).await.unwrap_err();
    server
}

fn oci(server: &Server, rest: &str) -> Vec<Source> {
    vec![Source::Oci { reference: format!("127.0.0.1:{}/team/{rest}", server.port) }]
}

#[tokio::test]
async fn a_tag_is_pinned_to_its_architectures_manifest_and_fetched_whole() {
    let (paths, amd64) = image();
    let server = start(paths).await;
    let bench = Bench::new(qiji_airgap::Settings::default());
    let found =
        bench.fetcher.resolve(&wanted(vec![artifact("app", (), oci(&server, "app:v1"))])).await.unwrap();
    let mut lock = found.lock;
    assert_eq!(lock.artifacts[0].pin.digest, amd64);
    assert_eq!(lock.artifacts[0].sources, oci(&server, &format!("app:v1@{amd64}")));
    bench.fetcher.fetch(&lock).await.unwrap();
    let ranges = server.asked().iter().filter(|asked| asked.range.is_some()).count();
    assert_eq!(ranges, 2, "both blobs were cut and went on");
    let content = ImageContent::Copied { artifact: "app".to_owned() };
    lock.images = vec![Image { name: "x/app:v1".to_owned(), arch: Arch::Amd64, roles: vec![], content }];
    let assembled = assemble(&bench.store, &lock).unwrap();
    assert_eq!(assembled.images[0].manifest.digest, amd64);
    assert_eq!(bench.read(&assembled.images[0].layers[0].digest), noise(90_000));

    let before = server.asked().len();
    bench.fetcher.fetch(&lock).await.unwrap();
    assert_eq!(server.asked().len(), before, "a whole image is not asked for again");
    bench.store.discard(&assembled.images[0].layers[0].digest).unwrap();
    bench.fetcher.fetch(&lock).await.unwrap();
    assert_eq!(bench.read(&assembled.images[0].layers[0].digest), noise(90_000), "a lost layer comes back");
}

#[tokio::test]
async fn a_manifest_that_is_not_the_locked_one_is_refused() {
    let (mut paths, amd64) = image();
    let other = paths["/v2/team/app/manifests/v1"].clone();
    paths.insert(format!("/v2/team/app/manifests/{amd64}"), other.clone());
    let server = start(paths).await;
    let bench = Bench::new(qiji_airgap::Settings::default());
    let app = artifact("app", (), oci(&server, &format!("app:v1@{amd64}")));
    let error = bench.fetcher.resolve(&wanted(vec![app])).await.unwrap_err();
    let cause = &error.failures[0].attempts[0].cause;
    assert!(
        matches!(cause, SourceError::WrongDigest { found, .. } if *found == pin(&other).digest),
        "{error}"
    );
}

#[tokio::test]
async fn an_image_without_the_architecture_says_which_ones_it_has() {
    let (paths, _) = image();
    let server = start(paths).await;
    let bench = Bench::new(qiji_airgap::Settings::default());
    let mut app = artifact("app", (), oci(&server, "app:v1"));
    app.arch = Arch::Loong64;
    let text = bench.fetcher.resolve(&wanted(vec![app])).await.unwrap_err().to_string();
    assert!(text.contains("no linux/loong64 image, only linux/arm64, linux/amd64"), "{text}");
}
