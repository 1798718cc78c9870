//! What others say of images in a bundle: kept byte for byte, shown, compared, served.

use hyper::header::HeaderMap;
use hyper::{Method, StatusCode};
use qiji_blueprint::Digest;
use qiji_blueprint::site::Arch;
use qiji_bundle::diff::compare;
use qiji_bundle::serve::{Content, Registry};
use qiji_bundle::{Blob, BundleSpec, UpstreamEntry, WriteError};
use serde_json::Value;

use crate::fixture::{Bench, LAYER, MANIFEST, Store, descriptor, layer, sample};
use crate::reader::read;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const PAYLOAD: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const APP: &str = "r.example/team/app";

/// A manifest with one layer that is about `subject`.
fn said(store: &mut Store, name: String, content: &[u8], subject: &Blob) -> UpstreamEntry {
    let config = store.add("application/vnd.oci.empty.v1+json", b"{}");
    let payload = store.add(PAYLOAD, content);
    let text = format!(
        r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{},"layers":[{}],"subject":{}}}"#,
        descriptor(&config),
        descriptor(&payload),
        descriptor(subject)
    );
    UpstreamEntry { name, manifest: store.add(MANIFEST, text.as_bytes()), blobs: vec![config, payload] }
}

/// The sample with an image from elsewhere, its index, which lists another architecture as well, and a signature of that.
fn with_upstreams(index_type: &str, content: &[u8]) -> (BundleSpec, Store) {
    let (mut spec, mut store) = sample();
    let image = store.image(&format!("{APP}:v1"), Arch::Amd64, &[], &[layer("app", b"an app")]);
    let absent = Blob { media_type: MANIFEST.to_owned(), digest: Digest::of(b"not here"), size: 8 };
    let list = format!(
        r#"{{"schemaVersion":2,"mediaType":"{index_type}","manifests":[{},{}]}}"#,
        descriptor(&image.manifest),
        descriptor(&absent)
    );
    let index = store.add(index_type, list.as_bytes());
    let tag = format!("{APP}:sha256-{}.sig", index.digest.hex());
    spec.upstreams.push(said(&mut store, tag, content, &index));
    spec.upstreams.push(UpstreamEntry { name: image.name.clone(), manifest: index, blobs: vec![] });
    spec.images.push(image);
    (spec, store)
}

#[test]
fn they_are_kept_shown_and_read_by_others() {
    for index_type in [INDEX, DOCKER_INDEX] {
        let bench = Bench::new();
        let (spec, store) = with_upstreams(index_type, b"signed");
        let (path, _) = bench.write("one.qiji", &spec, &store);
        let bundle = bench.verify(&path).unwrap();
        let inspection = bundle.inspect(&bench.trusted());
        let shown: Vec<_> =
            inspection.upstreams.iter().map(|one| (one.name.as_str(), one.kind.as_str())).collect();
        let (signature, index) = (&spec.upstreams[0], &spec.upstreams[1]);
        assert_eq!(shown, [(signature.name.as_str(), PAYLOAD), (index.name.as_str(), index_type)]);
        assert!(inspection.to_string().contains("\nof images, by others\n"), "{inspection}");
        let key = bench.path("key.pub");
        fs_err::write(&key, bench.key.public().to_pem()).unwrap();
        let (status, text) = read(&path, &[&key]);
        assert_eq!(status, Some(0), "{text}");
    }
}

#[test]
fn another_signature_is_a_difference() {
    let bench = Bench::new();
    let sides = [&b"signed"[..], b"again!"].map(|content| {
        let (spec, store) = with_upstreams(INDEX, content);
        let (path, _) = bench.write("side.qiji", &spec, &store);
        bench.verify(&path).unwrap().side().holdings().unwrap()
    });
    let changes: Vec<_> = compare(&sides[0], &sides[1]).iter().map(ToString::to_string).collect();
    assert!(
        matches!(changes.as_slice(), [one] if one.starts_with(&format!("~ {APP}:sha256-"))),
        "{changes:?}"
    );
}

/// Status, digest and JSON body of an answer.
fn ask(registry: &Registry, path: &str) -> (StatusCode, String, Value) {
    let answer = registry.answer(&Method::GET, &path.parse().unwrap(), &HeaderMap::new());
    let digest =
        answer.headers().get("docker-content-digest").map(|value| value.to_str().unwrap().to_owned());
    let body = match answer.body() {
        Content::Bytes(bytes) => serde_json::from_slice(bytes).unwrap(),
        Content::Blob { .. } => Value::Null,
    };
    (answer.status(), digest.unwrap_or_default(), body)
}

#[test]
fn an_image_is_pulled_by_what_was_signed() {
    let bench = Bench::new();
    let (spec, store) = with_upstreams(INDEX, b"signed");
    let (path, _) = bench.write("one.qiji", &spec, &store);
    let registry = Registry::new(bench.verify(&path).unwrap()).unwrap();
    let (signature, index) = (&spec.upstreams[0].manifest.digest, &spec.upstreams[1].manifest.digest);
    let (status, digest, _) = ask(&registry, "/v2/team/app/manifests/v1");
    assert_eq!((status, digest), (StatusCode::OK, index.to_string()));
    let tag = format!("/v2/team/app/manifests/sha256-{}.sig?ns=r.example", index.hex());
    assert_eq!(ask(&registry, &tag).1, signature.to_string());
    let (_, _, referrers) = ask(&registry, &format!("/v2/team/app/referrers/{index}"));
    assert_eq!(referrers["manifests"][0]["digest"], signature.to_string());
    let image = spec.images.last().unwrap().manifest.digest;
    assert_eq!(ask(&registry, &format!("/v2/team/app/manifests/{image}")).0, StatusCode::OK);
    let absent = Digest::of(b"not here");
    assert_eq!(ask(&registry, &format!("/v2/team/app/manifests/{absent}")).0, StatusCode::NOT_FOUND);
}

#[test]
fn what_is_about_no_image_is_not_written() {
    let bench = Bench::new();
    let (mut spec, mut store) = with_upstreams(INDEX, b"signed");
    let (signature, index) = (spec.upstreams[0].clone(), spec.upstreams[1].clone());
    let mut add =
        |name: String, from: &UpstreamEntry| spec.upstreams.push(UpstreamEntry { name, ..from.clone() });
    add(signature.name.clone(), &signature);
    add("r.example/other:v1".to_owned(), &signature);
    add("no name".to_owned(), &signature);
    add(format!("{APP}:index"), &index);
    let layer = store.add(LAYER, b"x");
    spec.upstreams.push(UpstreamEntry {
        name: format!("{APP}:layer"),
        manifest: layer,
        blobs: signature.blobs,
    });
    let error = qiji_bundle::write(&spec, &store, &[], &bench.path("no.qiji"), &mut |_| ()).unwrap_err();
    let WriteError::Spec(faults) = error else { panic!("{error}") };
    let words = [
        "is there twice",
        "there is no image in that repository",
        "the name is not of the form",
        "there is no image in that repository",
        "has the name of an image",
        "is not a type of manifest",
    ];
    let mut left: Vec<_> = faults.iter().collect();
    for word in words {
        let at = left.iter().position(|fault| fault.contains(word));
        left.remove(at.unwrap_or_else(|| panic!("{word} not in {left:#?}")));
    }
    assert!(left.is_empty(), "{left:#?}");
}
