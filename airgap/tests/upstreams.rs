//! What others say of an image: found, kept, fetched again, and held to keys.

#![allow(clippy::unwrap_used, reason = "a helper of a test may panic as the test may")]

mod support;

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use qiji_airgap::{EndorseError, Endorsement, ImageKey, Settings, assemble, endorse};
use qiji_blueprint::Digest;
use qiji_blueprint::lock::{Image, ImageContent, Lock, Source};
use qiji_blueprint::site::{Arch, Role};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};
use support::layout::Layout;
use support::registry::{Content, MANIFEST, bytes, descriptor};
use support::{Bench, Reply, Server, artifact, wanted};

const APP: &str = "team/app";
const SIMPLE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const SIGNED: &str = "https://sigstore.dev/cosign/sign/v1";
const BUILT: &str = "https://slsa.dev/provenance/v1";

/// A pair of keys of either kind.
enum Pair {
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl Pair {
    fn p256() -> Self {
        let algorithm = &ECDSA_P256_SHA256_ASN1_SIGNING;
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        Self::P256(EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random).unwrap())
    }

    fn ed25519() -> Self {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Self::Ed25519(Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap())
    }

    fn sign(&self, message: &[u8]) -> String {
        match self {
            Self::P256(pair) => STANDARD.encode(pair.sign(&SystemRandom::new(), message).unwrap()),
            Self::Ed25519(pair) => STANDARD.encode(pair.sign(message)),
        }
    }

    /// The public key as OpenSSL writes it: everything before the key's own bytes is the same for all of a kind.
    fn public(&self, name: &str) -> ImageKey {
        let (prefix, key) = match self {
            Self::P256(pair) => {
                ("MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE", STANDARD.encode(&pair.public_key().as_ref()[1..]))
            }
            Self::Ed25519(pair) => {
                let whole =
                    [&STANDARD.decode("MCowBQYDK2VwAyEA").unwrap(), pair.public_key().as_ref()].concat();
                ("", STANDARD.encode(whole))
            }
        };
        let whole = format!("{prefix}{key}");
        let lines: Vec<_> =
            whole.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
        let text = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n"));
        ImageKey::from_pem(name, &text).unwrap()
    }
}

/// What a manifest with one layer says.
struct Note {
    kind: &'static str,
    layer: Vec<u8>,
    annotations: Value,
    subject: Option<Digest>,
}

impl Note {
    fn new(kind: &'static str, layer: &[u8], subject: Option<Digest>) -> Self {
        Self { kind, layer: layer.to_owned(), annotations: json!({}), subject }
    }

    /// cosign's own form: a payload, and a signature of it as its annotation.
    fn signature(pair: &Pair, subject: &Digest) -> Self {
        let payload = bytes(&json!({ "critical": {
            "identity": { "docker-reference": "" },
            "image": { "docker-manifest-digest": subject.to_string() },
            "type": "cosign container image signature",
        }, "optional": null }));
        let annotations = json!({ "dev.cosignproject.cosign/signature": pair.sign(&payload) });
        Self { annotations, ..Self::new(SIMPLE, &payload, None) }
    }

    /// A sigstore bundle with a statement.
    fn statement(pair: &Pair, subject: Digest, predicate: &str) -> Self {
        let statement = bytes(&json!({
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{ "digest": { "sha256": subject.hex() } }],
            "predicateType": predicate,
            "predicate": {},
        }));
        let kind = "application/vnd.in-toto+json";
        let mut message = format!("DSSEv1 {} {kind} {} ", kind.len(), statement.len()).into_bytes();
        message.extend(&statement);
        let bundle = bytes(&json!({ "mediaType": BUNDLE, "dsseEnvelope": {
            "payload": STANDARD.encode(&statement), "payloadType": kind, "signatures": [{ "sig": pair.sign(&message) }],
        } }));
        Self::new(BUNDLE, &bundle, Some(subject))
    }

    fn manifest(&self) -> Vec<u8> {
        let mut layer = descriptor(self.kind, &self.layer);
        layer["annotations"] = self.annotations.clone();
        let mut manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": descriptor("application/vnd.oci.empty.v1+json", b"{}"),
            "layers": [layer],
        });
        if let Some(subject) = self.subject {
            manifest["subject"] = json!({ "mediaType": MANIFEST, "digest": subject.to_string(), "size": 1 });
        }
        bytes(&manifest)
    }
}

/// A registry with an image of two architectures, and what is said of it.
struct Shop {
    content: Content,
    index: Digest,
    manifests: Vec<Digest>,
}

impl Shop {
    fn new() -> Self {
        let mut content = Content::default();
        let (index, manifests) = content.index(APP, &["arm64", "amd64"], &["v1"]);
        let manifests = manifests.iter().map(|manifest| Digest::of(manifest)).collect();
        Self { content, index: Digest::of(&index), manifests }
    }

    /// Adds a manifest with one layer.
    fn add(&mut self, said: &Note, tag: &[&str]) -> Digest {
        for blob in [b"{}".as_slice(), &said.layer] {
            self.content.blob(APP, blob);
        }
        self.content.manifest(APP, &said.manifest(), tag)
    }

    /// As `cosign sign` did before its third version: under a tag.
    fn sign(&mut self, pair: &Pair, subject: Digest) -> Digest {
        let tag = format!("sha256-{}.sig", subject.hex());
        self.add(&Note::signature(pair, &subject), &[&tag])
    }

    /// As it does now: by reference to what it is about.
    fn state(&mut self, pair: &Pair, subject: Digest, predicate: &str) -> Digest {
        self.add(&Note::statement(pair, subject, predicate), &[])
    }

    /// Lists what refers to a digest: by the interface for that, or under the tag of a registry without it.
    fn refer(&mut self, subject: Digest, referrers: &[Digest], has_interface: bool) {
        let entries: Vec<_> = referrers
            .iter()
            .map(|digest| {
                json!({
                    "mediaType": MANIFEST, "digest": digest.to_string(), "size": 1,
                })
            })
            .collect();
        let list = bytes(&json!({ "schemaVersion": 2, "manifests": entries }));
        if has_interface {
            self.content.paths.insert(format!("/v2/{APP}/referrers/{subject}"), list);
        } else {
            self.content.manifest(APP, &list, &[&format!("sha256-{}", subject.hex())]);
        }
    }

    async fn serve(self) -> Server {
        Server::plain_at(|base| self.content.serve(base)).await
    }
}

/// Locks the image in a registry for both architectures.
async fn lock(bench: &Bench, server: &Server) -> Lock {
    lock_from(bench, &Source::Oci { reference: format!("127.0.0.1:{}/{APP}:v1", server.port) }).await
}

/// Locks the image for both architectures.
async fn lock_from(bench: &Bench, source: &Source) -> Lock {
    let artifacts = [Arch::Amd64, Arch::Arm64].map(|arch| qiji_blueprint::lock::Artifact {
        arch,
        ..artifact("r.example/team/app:v1", (), vec![source.clone()])
    });
    let images = [Arch::Amd64, Arch::Arm64].map(|arch| Image {
        name: "r.example/team/app:v1".to_owned(),
        arch,
        roles: vec![Role::Worker],
        content: ImageContent::Copied { artifact: "r.example/team/app:v1".to_owned() },
    });
    let mut wanted = wanted(artifacts.into());
    wanted.images = images.into();
    bench.fetcher.resolve(&wanted).await.unwrap().lock
}

fn keys(keys: Vec<ImageKey>) -> BTreeMap<String, Vec<ImageKey>> {
    BTreeMap::from([("r.example/team/app:v1".to_owned(), keys)])
}

fn names(lock: &Lock) -> Vec<String> {
    lock.upstreams.iter().map(|one| one.name.clone()).collect()
}

#[tokio::test]
async fn signatures_of_both_forms_are_kept_fetched_again_and_checked() {
    let (old, new) = (Pair::p256(), Pair::ed25519());
    let mut shop = Shop::new();
    let index = shop.index;
    let by_tag = shop.sign(&old, index);
    let stated = shop.state(&new, index, SIGNED);
    let built = shop.state(&new, shop.manifests[1], BUILT);
    let of_built = shop.add(&Note::new("text/plain", b"of the attestation", Some(built)), &[]);
    shop.refer(index, &[stated], true);
    shop.refer(shop.manifests[1], &[built], false);
    shop.refer(built, &[of_built], true);
    let (amd64, server) = (shop.manifests[1], shop.serve().await);
    let bench = Bench::new(Settings::default());
    let lock = lock(&bench, &server).await;
    let at = |tag: &str| format!("r.example/team/app:{tag}");
    let mut expected = vec![
        at("v1"),
        at(&format!("sha256-{}.sig", index.hex())),
        at(&format!("sha256-{}.{}", index.hex(), stated.short())),
        at(&format!("sha256-{}.{}", amd64.hex(), built.short())),
        at(&format!("sha256-{}.{}", built.hex(), of_built.short())),
    ];
    expected.sort();
    assert_eq!(names(&lock), expected);
    assert_eq!(Lock::parse("x.lock", &lock.to_kdl()).unwrap(), lock);

    let found =
        endorse(&bench.store, &lock, &keys(vec![old.public("old.pub"), new.public("new.pub")])).unwrap();
    let said = |key: &str, predicate: Option<&str>| Endorsement {
        image: at("v1"),
        key: key.to_owned(),
        predicate: predicate.map(str::to_owned),
    };
    assert_eq!(found, [said("new.pub", None), said("new.pub", Some(BUILT)), said("old.pub", None)]);

    // Another store gets all of it from the lock alone.
    let again = Bench::new(Settings::default());
    again.fetcher.fetch(&lock).await.unwrap();
    let assembled = assemble(&again.store, &lock).unwrap();
    let blobs: BTreeMap<_, _> =
        assembled.upstreams.iter().map(|one| (one.manifest.digest, one.blobs.len())).collect();
    assert_eq!(blobs, BTreeMap::from([(index, 0), (by_tag, 2), (stated, 2), (built, 2), (of_built, 2)]));
    assert_eq!(endorse(&again.store, &lock, &keys(vec![old.public("old.pub")])).unwrap().len(), 1);
}

#[tokio::test]
async fn a_key_that_did_not_sign_is_told_for_each_architecture() {
    let (signer, other) = (Pair::p256(), Pair::p256());
    let mut shop = Shop::new();
    let amd64 = shop.manifests[1];
    shop.sign(&signer, amd64);
    let attested = shop.state(&other, shop.index, BUILT);
    shop.refer(shop.index, &[attested], true);
    let server = shop.serve().await;
    let bench = Bench::new(Settings::default());
    let lock = lock(&bench, &server).await;
    let refused = |pair: &Pair| match endorse(&bench.store, &lock, &keys(vec![pair.public("a.pub")])) {
        Err(EndorseError::Unsigned(lacking)) => {
            lacking.iter().map(|one| (one.arch, one.found)).collect::<Vec<_>>()
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(&signer), [(Arch::Arm64, 1)], "only one architecture was signed");
    assert_eq!(refused(&other), [(Arch::Amd64, 1), (Arch::Arm64, 1)], "an attestation is no signature");
    assert!(endorse(&bench.store, &lock, &BTreeMap::new()).unwrap().is_empty(), "no key, no check");
}

#[tokio::test]
async fn what_is_signed_must_be_what_is_locked() {
    let signer = Pair::p256();
    let mut shop = Shop::new();
    let other = shop.content.image("team/other", "s390x", &[]);
    let unsigned = shop.content.image("team/other", "riscv64", &[]);
    // A good signature of something else, under the tag of this image.
    let tag = format!("sha256-{}.sig", shop.index.hex());
    shop.add(&Note::signature(&signer, &Digest::of(&other)), &[&tag]);
    // And a good one of the index.
    let real = shop.state(&signer, shop.index, SIGNED);
    shop.refer(shop.index, &[real], true);
    let server = shop.serve().await;
    let bench = Bench::new(Settings::default());
    let mut lock = lock(&bench, &server).await;
    let keys = keys(vec![signer.public("a.pub")]);
    assert_eq!(endorse(&bench.store, &lock, &keys).unwrap().len(), 1);
    // An index vouches only for what it lists.
    let pin = bench.store.put(&unsigned).unwrap();
    lock.artifacts[0].pin = pin;
    assert!(
        matches!(endorse(&bench.store, &lock, &keys), Err(EndorseError::Unsigned(lacking)) if lacking.len() == 1)
    );
}

#[tokio::test]
async fn attestations_inside_an_index_are_kept() {
    let mut shop = Shop::new();
    let amd64 = shop.manifests[1];
    let attested = shop.add(&Note::new("application/vnd.in-toto+json", b"built by", None), &[]);
    let of_another = shop.add(&Note::new("application/vnd.in-toto+json", b"of another", None), &[]);
    let mut index: Value =
        serde_json::from_slice(&shop.content.paths[&format!("/v2/{APP}/manifests/v1")]).unwrap();
    for (digest, about) in [(attested, amd64), (of_another, Digest::of(b"not here"))] {
        let manifest = shop.content.paths[&format!("/v2/{APP}/manifests/{digest}")].clone();
        let mut entry = descriptor(MANIFEST, &manifest);
        entry["platform"] = json!({ "os": "unknown", "architecture": "unknown" });
        entry["annotations"] = json!({
            "vnd.docker.reference.type": "attestation-manifest",
            "vnd.docker.reference.digest": about.to_string(),
        });
        index["manifests"].as_array_mut().unwrap().push(entry);
    }
    shop.content.manifest(APP, &bytes(&index), &["v1"]);
    let server = shop.serve().await;
    let bench = Bench::new(Settings::default());
    let lock = lock(&bench, &server).await;
    let expected = format!("r.example/team/app:sha256-{}.{}", amd64.hex(), attested.short());
    assert_eq!(names(&lock), [expected, "r.example/team/app:v1".to_owned()]);
}

/// Makes a layout of the image and notes; `list` changes how a note is listed. Gives the digest of the image's index.
fn layout(root: &Path, notes: &[Note], list: impl Fn(usize, &mut Value)) -> Digest {
    let mut layout = Layout::new(root);
    let manifests = layout.index("v1", &["arm64", "amd64"]);
    // As oras does it: every manifest is listed.
    layout.list(descriptor(MANIFEST, &manifests[1]));
    for (number, note) in notes.iter().enumerate() {
        let manifest = note.manifest();
        for blob in [b"{}".as_slice(), &note.layer, &manifest] {
            layout.blob(blob);
        }
        let mut entry = descriptor(MANIFEST, &manifest);
        list(number, &mut entry);
        layout.list(entry);
    }
    index_of(root)
}

/// Digest of a layout's first entry.
fn index_of(root: &Path) -> Digest {
    let list: Value = serde_json::from_slice(&fs_err::read(root.join("index.json")).unwrap()).unwrap();
    list["manifests"][0]["digest"].as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_layout_has_its_signatures_by_reference_by_tag_and_as_cosign_saves_them() {
    let (signer, folder) = (Pair::p256(), tempfile::tempdir().unwrap());
    let plain = layout(&folder.path().join("plain"), &[], |_, _| {});
    layout(&folder.path().join("refer"), &[Note::statement(&signer, plain, SIGNED)], |_, _| {});
    let tag = format!("sha256-{}.sig", plain.hex());
    let tagged = |_: usize, entry: &mut Value| {
        entry["annotations"] = json!({ "org.opencontainers.image.ref.name": tag });
    };
    layout(&folder.path().join("tagged"), &[Note::signature(&signer, &plain)], tagged);
    let saved = |number: usize, entry: &mut Value| {
        let kind = ["dev.cosignproject.cosign/sigs", "dev.cosignproject.cosign/atts"][number];
        entry["annotations"] = json!({ "kind": kind });
    };
    let notes =
        [Note::signature(&signer, &plain), Note { subject: None, ..Note::statement(&signer, plain, BUILT) }];
    layout(&folder.path().join("saved"), &notes, saved);

    for (path, kept, vouched) in [("plain", 1, 0), ("refer", 2, 1), ("tagged", 2, 1), ("saved", 3, 2)] {
        let settings = || Settings { folders: vec![folder.path().to_owned()], ..Settings::default() };
        let bench = Bench::new(settings());
        let lock = lock_from(&bench, &Source::Archive { path: path.to_owned(), image: None }).await;
        assert_eq!(lock.upstreams.len(), kept, "{path}");
        let again = Bench::new(settings());
        again.fetcher.fetch(&lock).await.unwrap();
        assert_eq!(assemble(&again.store, &lock).unwrap().upstreams.len(), kept, "{path}");
        let found = endorse(&again.store, &lock, &keys(vec![signer.public("a.pub")]));
        assert_eq!(found.map_or(0, |found| found.len()), vouched, "{path}");
    }
}

#[tokio::test]
async fn an_index_that_was_put_together_is_not_kept() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("apart");
    let mut layout = Layout::new(&root);
    for arch in ["amd64", "arm64"] {
        let mut entry = descriptor(MANIFEST, &layout.image(arch));
        entry["platform"] = json!({ "os": "linux", "architecture": arch });
        layout.list(entry);
    }
    let bench = Bench::new(Settings { folders: vec![folder.path().to_owned()], ..Settings::default() });
    let lock = lock_from(&bench, &Source::Archive { path: "apart".to_owned(), image: None }).await;
    assert_eq!((lock.artifacts.len(), lock.upstreams.len()), (2, 0));
}

#[tokio::test]
async fn pages_are_followed_and_other_hosts_are_not() {
    let mut shop = Shop::new();
    let (index, one) = (shop.index, shop.add(&Note::new("text/plain", b"one", Some(Digest::of(b"x"))), &[]));
    let two = shop.add(&Note::new("text/plain", b"two", Some(Digest::of(b"x"))), &[]);
    let list = |digest: &Digest| {
        bytes(&json!({ "manifests": [{ "mediaType": MANIFEST, "digest": digest.to_string(), "size": 1 }] }))
    };
    let path = format!("/v2/{APP}/referrers/{index}");
    let next = format!("<{path}?last=1>; rel=\"next\"");
    shop.content.first.insert(path.clone(), vec![Reply::bytes(&list(&one)).header("link", &next); 2]);
    shop.content.paths.insert(format!("{path}?last=1"), list(&two));
    shop.content.paths.insert(path.clone(), list(&one));
    let server = shop.serve().await;
    let bench = Bench::new(Settings::default());
    assert_eq!(lock(&bench, &server).await.upstreams.len(), 3);

    let mut shop = Shop::new();
    let away = "<https://elsewhere.example/v2/x>; rel=\"next\"";
    shop.content.first.insert(path, vec![Reply::bytes(&list(&one)).header("link", away); 9]);
    let server = shop.serve().await;
    let reference = format!("127.0.0.1:{}/{APP}:v1", server.port);
    let wanted = wanted(vec![artifact("r.example/team/app:v1", (), vec![Source::Oci { reference }])]);
    let error = bench.fetcher.resolve(&wanted).await.unwrap_err();
    assert!(error.to_string().contains("a next page must be on the same host"), "{error}");
}

#[test]
fn what_is_no_key_is_refused() {
    let rsa = "-----BEGIN PUBLIC KEY-----\nMFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAKj34GkxFhD90vcNLYLInFEX6Ppy1tPf\n9Cnzj4p4WGeKLs1Pt8QuKUpRKfFLfRYC9AIKjbJTWit+CqvjWYzvQwECAwEAAQ==\n-----END PUBLIC KEY-----\n";
    for text in ["", "hello", rsa] {
        let error = ImageKey::from_pem("x.pub", text).unwrap_err();
        assert!(error.to_string().starts_with("x.pub is not a public key in PEM"), "{error}");
    }
}
