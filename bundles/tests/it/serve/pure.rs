//! Every endpoint, without a socket.

use std::io::Read as _;

use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Response, StatusCode};
use qiji_blueprint::Digest;
use qiji_blueprint::site::Arch;
use qiji_bundle::serve::{Content, Registry};
use serde_json::{Value, json};

use super::{LARGE, Stock};
use crate::fixture::MANIFEST;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

fn ask_with(registry: &Registry, method: &Method, path: &str, headers: &[(&str, &str)]) -> Response<Content> {
    let headers: HeaderMap = headers
        .iter()
        .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse::<HeaderValue>().unwrap()))
        .collect();
    registry.answer(method, &path.parse().unwrap(), &headers)
}

fn ask(registry: &Registry, path: &str) -> Response<Content> {
    ask_with(registry, &Method::GET, path, &[])
}

fn header<'r>(response: &'r Response<Content>, name: &str) -> &'r str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

fn json_of(response: &Response<Content>) -> Value {
    let Content::Bytes(bytes) = response.body() else { panic!("{response:?} is a blob") };
    assert_eq!(header(response, "content-length"), bytes.len().to_string());
    serde_json::from_slice(bytes).unwrap()
}

/// Status and error code of a refusal.
fn refusal(response: &Response<Content>) -> (u16, String) {
    let error = &json_of(response)["errors"][0];
    assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{error}");
    (response.status().as_u16(), error["code"].as_str().unwrap().to_owned())
}

/// The digest of the manifest that a path gives.
fn manifest(registry: &Registry, path: &str) -> String {
    let response = ask(registry, path);
    assert_eq!(response.status(), StatusCode::OK, "{path}");
    let digest = header(&response, "docker-content-digest").to_owned();
    let digest_of_body: Digest = digest.parse().unwrap();
    let size = registry.bundle().blob_size(&digest_of_body).unwrap();
    assert_eq!(*response.body(), Content::Blob { digest: digest_of_body, range: 0..size });
    assert_eq!(header(&response, "content-length"), size.to_string());
    digest
}

#[test]
fn it_says_that_it_is_a_registry() {
    let registry = Stock::new().registry();
    for path in ["/v2/", "/v2"] {
        let response = ask(&registry, path);
        assert_eq!((response.status(), json_of(&response)), (StatusCode::OK, json!({})));
        assert_eq!(header(&response, "docker-distribution-api-version"), "registry/2.0");
    }
}

#[test]
fn images_are_found_with_and_without_their_hosts() {
    let registry = Stock::new().registry();
    let by_path = manifest(&registry, "/v2/kube-proxy/manifests/v1.36.3");
    assert_eq!(manifest(&registry, "/v2/qiji.local/kube-proxy/manifests/v1.36.3"), by_path);
    assert_eq!(manifest(&registry, "/v2/kube-proxy/manifests/v1.36.3?ns=qiji.local"), by_path);
    assert_eq!(manifest(&registry, &format!("/v2/kube-proxy/manifests/{by_path}")), by_path);
    let single = ask(&registry, "/v2/kube-proxy/manifests/v1.36.3");
    assert_eq!(header(&single, "content-type"), MANIFEST);

    let unclear = ask(&registry, "/v2/etcd/manifests/3.7.3-0");
    assert_eq!(refusal(&unclear), (404, "MANIFEST_UNKNOWN".to_owned()));
    let (ours, theirs) = (
        manifest(&registry, "/v2/etcd/manifests/3.7.3-0?ns=qiji.local"),
        manifest(&registry, "/v2/etcd/manifests/3.7.3-0?ns=other.example:5000"),
    );
    assert_ne!(ours, theirs);
    assert_eq!(manifest(&registry, "/v2/other.example-5000/etcd/manifests/3.7.3-0"), theirs);
    let index = ask(&registry, "/v2/qiji.local/etcd/manifests/3.7.3-0");
    assert_eq!((header(&index, "content-type"), header(&index, "docker-content-digest")), (INDEX, &*ours));
    manifest(&registry, "/v2/etcd/manifests/only-there");
    for path in
        ["/v2/kube-proxy/manifests/v1.36.3?ns=docker.io", "/v2/nothing/manifests/v1", "/v2/nothing/tags/list"]
    {
        assert_eq!(refusal(&ask(&registry, path)), (404, "NAME_UNKNOWN".to_owned()));
    }
    assert_eq!(refusal(&ask(&registry, "/v2/etcd/manifests/v9")), (404, "MANIFEST_UNKNOWN".to_owned()));
    let blob_as_manifest = format!(
        "/v2/etcd/manifests/{}",
        registry.bundle().package("large", Arch::Amd64).unwrap().blobs[0].digest
    );
    assert_eq!(refusal(&ask(&registry, &blob_as_manifest)), (404, "MANIFEST_UNKNOWN".to_owned()));
}

#[test]
fn lists_come_whole_and_in_pages() {
    let registry = Stock::new().registry();
    let all = ["bundles/demo", "etcd", "kube-proxy", "other.example-5000/etcd", "qiji.local/etcd"];
    assert_eq!(json_of(&ask(&registry, "/v2/_catalog")), json!({ "repositories": all }));
    assert_eq!(registry.repositories().collect::<Vec<_>>(), all);
    let (mut seen, mut next) = (Vec::new(), "/v2/_catalog?n=2".to_owned());
    loop {
        let response = ask(&registry, &next);
        seen.extend(json_of(&response)["repositories"].as_array().unwrap().clone());
        let Some(link) = header(&response, "link").strip_prefix('<') else { break };
        next = link.strip_suffix(">; rel=\"next\"").unwrap().to_owned();
    }
    assert_eq!(seen, all);
    let tags = json_of(&ask(&registry, "/v2/other.example-5000/etcd/tags/list"));
    assert_eq!(tags, json!({ "name": "other.example-5000/etcd", "tags": ["3.7.3-0", "only-there"] }));
    assert_eq!(json_of(&ask(&registry, "/v2/etcd/tags/list"))["tags"], json!(["only-there"]));
    assert_eq!(json_of(&ask(&registry, "/v2/etcd/tags/list?n=0"))["tags"], json!([]));
    assert_eq!(refusal(&ask(&registry, "/v2/etcd/tags/list?n=x")).0, 400);
}

#[test]
fn blobs_are_given_whole_or_in_part() {
    let stock = Stock::new();
    let (registry, digest) = (stock.registry(), stock.large());
    let size = LARGE as u64;
    let path = format!("/v2/etcd/blobs/{digest}");
    let whole = ask(&registry, &path);
    assert_eq!(*whole.body(), Content::Blob { digest, range: 0..size });
    assert_eq!(
        (header(&whole, "accept-ranges"), header(&whole, "content-length")),
        ("bytes", &*size.to_string())
    );
    let etag = format!("\"{digest}\"");
    assert_eq!(header(&whole, "etag"), etag);

    let part = |headers: &[(&str, &str)]| ask_with(&registry, &Method::GET, &path, headers);
    let middle = part(&[("range", "bytes=100-199")]);
    assert_eq!(
        (middle.status(), middle.body()),
        (StatusCode::PARTIAL_CONTENT, &Content::Blob { digest, range: 100..200 })
    );
    assert_eq!(
        (header(&middle, "content-range"), header(&middle, "content-length")),
        (&*format!("bytes 100-199/{size}"), "100")
    );
    assert_eq!(*part(&[("range", "bytes=-1")]).body(), Content::Blob { digest, range: size - 1..size });
    assert_eq!(part(&[("range", "bytes=5-9"), ("if-range", &etag)]).status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(part(&[("range", "bytes=5-9"), ("if-range", "\"other\"")]).status(), StatusCode::OK);
    assert_eq!(part(&[("if-none-match", &etag)]).status(), StatusCode::NOT_MODIFIED);
    let outside = part(&[("range", &format!("bytes={size}-"))]);
    assert_eq!(refusal(&outside), (416, "RANGE_INVALID".to_owned()));
    assert_eq!(header(&outside, "content-range"), format!("bytes */{size}"));

    assert_eq!(refusal(&ask(&registry, "/v2/etcd/blobs/sha256:12")), (400, "DIGEST_INVALID".to_owned()));
    let unknown = format!("/v2/etcd/blobs/{}", Digest::of(b"unknown"));
    assert_eq!(refusal(&ask(&registry, &unknown)), (404, "BLOB_UNKNOWN".to_owned()));
    assert_eq!(refusal(&ask(&registry, &path.replace("etcd", "nothing"))), (404, "NAME_UNKNOWN".to_owned()));
}

#[test]
fn head_is_get_without_a_body() {
    let stock = Stock::new();
    let registry = stock.registry();
    let paths =
        ["/v2/", "/v2/_catalog", "/v2/kube-proxy/manifests/v1.36.3", "/v2/etcd/manifests/none", "/other"]
            .map(str::to_owned);
    for path in paths.into_iter().chain([format!("/v2/etcd/blobs/{}", stock.large())]) {
        let (get, head) = (ask(&registry, &path), ask_with(&registry, &Method::HEAD, &path, &[]));
        assert_eq!((get.status(), get.headers()), (head.status(), head.headers()), "{path}");
        assert_eq!(*head.body(), Content::Bytes(Vec::new()));
    }
    let large = format!("/v2/etcd/blobs/{}", stock.large());
    let in_part = ask_with(&registry, &Method::HEAD, &large, &[("range", "bytes=0-9")]);
    assert_eq!((in_part.status(), header(&in_part, "content-length")), (StatusCode::OK, &*LARGE.to_string()));
}

#[test]
fn nothing_can_be_written() {
    let registry = Stock::new().registry();
    for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
        for path in ["/v2/etcd/blobs/uploads/", "/v2/etcd/manifests/v1", "/"] {
            let response = ask_with(&registry, &method, path, &[]);
            assert_eq!(refusal(&response), (405, "UNSUPPORTED".to_owned()));
            assert_eq!(header(&response, "allow"), "GET, HEAD");
        }
    }
    assert_eq!(refusal(&ask(&registry, "/favicon.ico")).0, 404);
}

#[test]
fn the_signature_is_a_referrer_of_the_root() {
    let stock = Stock::new();
    let registry = stock.registry();
    let root = manifest(&registry, "/v2/bundles/demo/manifests/1.2.3");
    assert_eq!(root, stock.bundle.root().to_string());
    let path = format!("/v2/bundles/demo/referrers/{root}");
    let response = ask(&registry, &path);
    assert_eq!(header(&response, "content-type"), INDEX);
    let list = json_of(&response);
    let entries = list["manifests"].as_array().unwrap();
    let envelope = "application/vnd.dsse.envelope.v1+json";
    let signature = entries.iter().find(|entry| entry["artifactType"] == envelope).unwrap();
    manifest(&registry, &format!("/v2/bundles/demo/manifests/{}", signature["digest"].as_str().unwrap()));

    let filtered = ask(&registry, &format!("{path}?artifactType={}", envelope.replace('+', "%2B")));
    assert_eq!(header(&filtered, "oci-filters-applied"), "artifactType");
    assert_eq!(json_of(&filtered)["manifests"], json!([signature]));
    assert_eq!(json_of(&ask(&registry, &format!("{path}?artifactType=other")))["manifests"], json!([]));
    let nobody = json_of(&ask(&registry, &format!("/v2/etcd/referrers/{}", Digest::of(b"nobody"))));
    assert_eq!((&nobody["schemaVersion"], &nobody["manifests"]), (&json!(2), &json!([])));
    assert_eq!(refusal(&ask(&registry, "/v2/etcd/referrers/x")).0, 400);
}

#[test]
fn bills_of_materials_are_referrers_of_what_they_describe() {
    let stock = Stock::new();
    let registry = stock.registry();
    let etcd = stock.bundle.images(Some(Arch::Amd64)).find(|image| image.name == "qiji.local/etcd:3.7.3-0");
    let etcd = etcd.unwrap().manifest.digest;
    let list = json_of(&ask(&registry, &format!("/v2/etcd/referrers/{etcd}")));
    let [sbom] = list["manifests"].as_array().unwrap().as_slice() else { panic!("{list}") };
    assert_eq!(sbom["artifactType"], "application/spdx+json");
    assert_eq!(sbom["annotations"]["dev.qiji.name"], "qiji.local/etcd:3.7.3-0");
    manifest(&registry, &format!("/v2/etcd/manifests/{}", sbom["digest"].as_str().unwrap()));
}

#[test]
fn everything_in_the_bundle_is_reached_from_its_root() {
    let stock = Stock::new();
    let registry = stock.registry();
    let mut open = vec![manifest(&registry, "/v2/bundles/demo/manifests/1.2.3")];
    let mut seen = std::collections::BTreeSet::new();
    while let Some(digest) = open.pop() {
        manifest(&registry, &format!("/v2/bundles/demo/manifests/{digest}"));
        let mut bytes = Vec::new();
        stock.bundle.blob(&digest.parse().unwrap()).unwrap().read_to_end(&mut bytes).unwrap();
        let document: Value = serde_json::from_slice(&bytes).unwrap();
        let list = |name: &str| document[name].as_array().cloned().unwrap_or_default();
        for content in
            list("layers").iter().chain([&document["config"]]).filter(|content| content.is_object())
        {
            let path = format!("/v2/bundles/demo/blobs/{}", content["digest"].as_str().unwrap());
            assert_eq!(ask(&registry, &path).status(), StatusCode::OK);
        }
        open.extend(list("manifests").iter().map(|entry| entry["digest"].as_str().unwrap().to_owned()));
        seen.insert(digest);
    }
    assert!(seen.len() >= 12, "{seen:?}");
}
