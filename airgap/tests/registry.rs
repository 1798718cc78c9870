//! Images from registries: tags, indexes, logins, mirrors, private authorities, and transfers that break off.

#![allow(clippy::unwrap_used, reason = "a helper of a test may panic as the test may")]

mod support;

use qiji_airgap::{FetchErrors, Resolved, Settings, SourceError, assemble};
use qiji_blueprint::Digest;
use qiji_blueprint::lock::{Image, ImageContent, Source};
use qiji_blueprint::site::Arch;
use serde_json::json;
use support::registry::{Content, Login, MANIFEST, bytes, descriptor};
use support::{Authority, Bench, Reply, Server, artifact, noise, pin, wanted};

const APP: &str = "team/app";

/// A registry with an image for arm64 and amd64 under the tag `v1`. Gives the amd64 manifest's digest.
fn content() -> (Content, Digest) {
    let mut content = Content::default();
    let (_, manifests) = content.index(APP, &["arm64", "amd64"], &["v1"]);
    (content, Digest::of(&manifests[1]))
}

async fn start(content: Content) -> Server {
    Server::plain_at(|base| content.serve(base)).await
}

fn oci(server: &Server, rest: &str) -> Vec<Source> {
    vec![Source::Oci { reference: format!("127.0.0.1:{}/team/{rest}", server.port) }]
}

async fn resolve(bench: &Bench, sources: Vec<Source>) -> Result<Resolved, FetchErrors> {
    bench.fetcher.resolve(&wanted(vec![artifact("app", (), sources)])).await
}

fn cause(error: &FetchErrors) -> &SourceError {
    &error.failures[0].attempts[0].cause
}

#[tokio::test]
async fn a_tag_is_pinned_to_its_architectures_manifest_and_fetched_whole() {
    let (content, amd64) = content();
    let server = start(Content { login: Login::Anonymous, cut_blobs: true, ..content }).await;
    let bench = Bench::new(Settings::default());
    let mut lock = resolve(&bench, oci(&server, "app:v1")).await.unwrap().lock;
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
async fn all_architectures_come_from_what_the_tag_meant_first() {
    let (mut content, _) = content();
    let path = format!("/v2/{APP}/manifests/v1");
    let first = Reply::bytes(&content.paths[&path]);
    // The tag moves after it was asked once.
    content.image(APP, "riscv64", &["v1"]);
    content.first.insert(path, vec![first]);
    let server = start(content).await;
    let bench = Bench::new(Settings::default());
    let mut arm = artifact("app", (), oci(&server, "app:v1"));
    arm.arch = Arch::Arm64;
    let both = wanted(vec![artifact("app", (), oci(&server, "app:v1")), arm]);
    assert_eq!(bench.fetcher.resolve(&both).await.unwrap().lock.artifacts.len(), 2);
}

#[tokio::test]
async fn a_manifest_that_is_not_the_locked_one_is_refused() {
    let (mut content, amd64) = content();
    let other = content.paths[&format!("/v2/{APP}/manifests/v1")].clone();
    content.paths.insert(format!("/v2/{APP}/manifests/{amd64}"), other.clone());
    let server = start(content).await;
    let bench = Bench::new(Settings::default());
    let error = resolve(&bench, oci(&server, &format!("app:v1@{amd64}"))).await.unwrap_err();
    assert!(
        matches!(cause(&error), SourceError::WrongDigest { found, .. } if *found == pin(&other).digest),
        "{error}"
    );
}

#[tokio::test]
async fn an_image_without_the_architecture_says_which_ones_it_has() {
    let (mut content, _) = content();
    content.image(APP, "s390x", &["single"]);
    let server = start(content).await;
    let bench = Bench::new(Settings::default());
    for (tag, has) in [("v1", "only linux/arm64, linux/amd64"), ("single", "only linux/s390x")] {
        let mut app = artifact("app", (), oci(&server, &format!("app:{tag}")));
        app.arch = Arch::Loong64;
        let error = bench.fetcher.resolve(&wanted(vec![app])).await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains(&format!("no linux/loong64 image, {has}")), "{text}");
        assert_eq!(error.lacking().len(), 1, "{text}");
    }
    let mut lacking = artifact("app", (), oci(&server, "app:v1"));
    lacking.arch = Arch::Loong64;
    let gone = artifact("gone", (), oci(&server, "gone:v1"));
    let error = bench.fetcher.resolve(&wanted(vec![lacking, gone])).await.unwrap_err();
    assert_eq!((error.failures.len(), error.lacking().len()), (2, 0), "one of them failed in another way");
}

/// Settings with a file of logins for the server's address.
fn logins(server: &Server, folder: &std::path::Path, login: &serde_json::Value) -> Settings {
    let path = folder.join("config.json");
    let file = json!({ "auths": { format!("127.0.0.1:{}", server.port): login } });
    fs_err::write(&path, file.to_string()).unwrap();
    Settings { registry_config: Some(path), tries: 1, ..Settings::default() }
}

/// Locks and fetches the image with a login.
async fn fetch_with(server: &Server, login: &serde_json::Value) -> Result<(), FetchErrors> {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::new(logins(server, folder.path(), login));
    let lock = resolve(&bench, oci(server, "app:v1")).await?.lock;
    bench.fetcher.fetch(&lock).await.map(drop)
}

#[tokio::test]
async fn every_kind_of_login_opens_its_registry_and_no_other() {
    let password = json!({ "username": "jo", "password": "s:3cret" });
    let auth = json!({ "auth": "am86czozY3JldA==" });
    let refresh = json!({ "identitytoken": "r3fresh" });
    let kinds = [Login::Basic("jo:s:3cret"), Login::Password("jo:s:3cret"), Login::Refresh("r3fresh")];
    for (kind, right) in kinds.into_iter().zip([[&password, &auth], [&password, &auth], [&refresh, &refresh]])
    {
        let server = start(Content { login: kind.clone(), ..content().0 }).await;
        for login in right {
            fetch_with(&server, login).await.unwrap_or_else(|error| panic!("{kind:?}: {error}"));
        }
        for wrong in
            [json!({ "username": "jo", "password": "gu3ss" }), json!({ "identitytoken": "gu3ss" }), json!({})]
        {
            let text = fetch_with(&server, &wrong).await.unwrap_err().to_string();
            assert!(text.contains("401") && text.contains("--registry-config"), "{kind:?}: {text}");
            assert!(!text.contains("gu3ss"), "{text}");
        }
    }
}

#[tokio::test]
async fn a_login_is_shown_to_its_own_registry_only() {
    let server = start(Content { login: Login::Anonymous, ..content().0 }).await;
    let other = start(content().0).await;
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::new(logins(&server, folder.path(), &json!({ "username": "jo", "password": "x" })));
    resolve(&bench, oci(&other, "app:v1")).await.unwrap();
    assert!(other.asked().iter().all(|asked| asked.authorization.is_none()));
}

#[tokio::test]
async fn a_token_that_runs_out_is_got_anew() {
    let server = start(Content { login: Login::Anonymous, token_uses: Some(1), ..content().0 }).await;
    let bench = Bench::new(Settings::default());
    let lock = resolve(&bench, oci(&server, "app:v1")).await.unwrap().lock;
    bench.fetcher.fetch(&lock).await.unwrap();
    let tokens = server.asked().iter().filter(|asked| asked.path.starts_with("/token")).count();
    let what = "index, manifest, manifest again, config, layer; and five questions for what is said of index and manifest";
    assert_eq!(tokens, 5 + 2 * 5, "{what}: one each");
}

#[tokio::test]
async fn a_registry_that_puts_off_is_asked_again() {
    let (mut content, amd64) = content();
    let put_off = |status| Reply::status(status).header("retry-after", "0");
    let layer = pin(&noise(90_000)).digest;
    content.first.insert(format!("/v2/{APP}/manifests/v1"), vec![put_off(429), put_off(503)]);
    content.first.insert(format!("/v2/{APP}/blobs/{layer}"), vec![put_off(429), put_off(502), put_off(500)]);
    let server = start(content).await;
    let bench = Bench::new(Settings::default());
    let lock = resolve(&bench, oci(&server, "app:v1")).await.unwrap().lock;
    assert_eq!(lock.artifacts[0].pin.digest, amd64);
    bench.fetcher.fetch(&lock).await.unwrap();

    let patience = Bench::new(Settings { tries: 2, ..Settings::default() });
    let (mut content, _) = self::content();
    content.first.insert(format!("/v2/{APP}/manifests/v1"), vec![put_off(429), put_off(429), put_off(429)]);
    let error = resolve(&patience, oci(&start(content).await, "app:v1")).await.unwrap_err();
    assert!(matches!(cause(&error), SourceError::Status { status: 429, .. }), "{error}");
}

/// Settings with a server that stands in for a registry that is not there.
fn mirrored(servers: &[&Server]) -> Settings {
    let mirror =
        |server: &&Server| format!("nowhere.invalid/team=127.0.0.1:{}/team", server.port).parse().unwrap();
    Settings { mirrors: servers.iter().map(mirror).collect(), tries: 1, ..Settings::default() }
}

#[tokio::test]
async fn mirrors_are_asked_in_order_and_held_to_the_digest() {
    let (good, amd64) = content();
    let (good, empty) = (start(good).await, start(Content::default()).await);
    let bench = Bench::new(mirrored(&[&empty, &good]));
    let source = || vec![Source::Oci { reference: "nowhere.invalid/team/app:v1".to_owned() }];
    let found = resolve(&bench, source()).await.unwrap();
    let name = format!("nowhere.invalid/team/app:v1@{amd64}");
    assert_eq!(
        found.lock.artifacts[0].sources,
        [Source::Oci { reference: name }],
        "the lock names no mirror"
    );
    assert!(found.provenance[0].source.contains("from mirror"), "{}", found.provenance[0].source);
    assert!(!empty.asked().is_empty());

    let (mut lying, _) = content();
    lying.paths.insert(format!("/v2/{APP}/manifests/{amd64}"), b"{}".to_vec());
    let lying = start(lying).await;
    let other = Bench::new(mirrored(&[&lying, &good]));
    let fetched = other.fetcher.fetch(&found.lock).await.unwrap();
    assert!(fetched.artifacts[0].source.as_ref().unwrap().contains(&good.port.to_string()));

    let text = Bench::new(mirrored(&[&lying])).fetcher.fetch(&found.lock).await.unwrap_err().to_string();
    assert!(text.contains("is locked") && text.contains("nowhere.invalid"), "{text}");
}

#[tokio::test]
async fn a_private_authority_is_trusted_only_where_it_is_named() {
    let authority = Authority::new();
    let (content, amd64) = content();
    let server = Server::tls(&authority, content.serve("")).await;
    let source = || vec![Source::Oci { reference: format!("localhost:{}/team/app:v1", server.port) }];
    let text = resolve(&Bench::new(Settings { tries: 1, ..Settings::default() }), source())
        .await
        .unwrap_err()
        .to_string();
    assert!(text.contains("https://localhost") && text.contains("certificate"), "{text}");
    assert!(server.asked().is_empty(), "nothing was said over a connection that is not trusted");
    let bench = Bench::new(authority.settings());
    let lock = resolve(&bench, source()).await.unwrap().lock;
    assert_eq!(lock.artifacts[0].pin.digest, amd64);
    bench.fetcher.fetch(&lock).await.unwrap();
}

#[tokio::test]
async fn what_is_no_image_is_refused() {
    let mut content = Content::default();
    let config = b"{}".to_vec();
    let chart = bytes(&json!({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": descriptor("application/vnd.cncf.helm.config.v1+json", &config), "layers": [],
    }));
    content.blob(APP, &config);
    content.manifest(APP, &chart, &["chart"]);
    content.manifest(APP, b"[1]", &["noise"]);
    let server = start(content).await;
    let bench = Bench::new(Settings { tries: 1, ..Settings::default() });
    for tag in ["chart", "noise"] {
        let error = resolve(&bench, oci(&server, &format!("app:{tag}"))).await.unwrap_err();
        assert!(matches!(cause(&error), SourceError::Malformed { .. }), "{error}");
    }
    let error = resolve(&bench, vec![Source::Oci { reference: "Not A Name".to_owned() }]).await.unwrap_err();
    assert!(error.to_string().contains("invalid reference"), "{error}");
}
