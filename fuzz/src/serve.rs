//! Requests to the registry over a bundle.

use std::sync::OnceLock;

use hyper::header::{CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, StatusCode, Uri};
use qiji_bundle::serve::{Content, Registry};

use crate::sample::{bundle, verify};

fn registry() -> &'static Registry {
    static REGISTRY: OnceLock<Registry> = OnceLock::new();
    REGISTRY.get_or_init(|| Registry::new(verify(bundle().to_vec()).unwrap()).unwrap())
}

/// A request as lines: method and target, then headers.
fn parse(text: &str) -> Option<(Method, Uri, HeaderMap)> {
    let mut lines = text.split('\n');
    let (method, target) = lines.next()?.split_once(' ')?;
    let headers = lines.filter_map(|line| {
        let (name, value) = line.split_once(": ")?;
        Some((HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_str(value).ok()?))
    });
    Some((method.parse().ok()?, target.parse().ok()?, headers.collect()))
}

/// Answers have as many bytes as they say, of what is in the bundle; refusals say why.
pub(crate) fn request(data: &[u8]) {
    let Some((method, uri, headers)) = str::from_utf8(data).ok().and_then(parse) else { return };
    let response = registry().answer(&method, &uri, &headers);
    let size = match response.body() {
        Content::Bytes(bytes) => bytes.len() as u64,
        Content::Blob { digest, range } => {
            let whole = registry().bundle().blob_size(digest).expect("it is a blob of the bundle");
            assert!(range.start <= range.end && range.end <= whole, "{range:?} of {whole}");
            range.end - range.start
        }
    };
    let has_body = method != Method::HEAD && response.status() != StatusCode::NOT_MODIFIED;
    let told = response.headers().get(CONTENT_LENGTH).map(|told| told.to_str().unwrap().to_owned());
    assert!(!has_body || told == Some(size.to_string()), "{response:?}");
    assert!(!response.status().is_server_error(), "{response:?}");
}

pub(crate) fn request_seeds() -> Vec<Vec<u8>> {
    let root = registry().bundle().root();
    let blob = format!("/v2/etcd/blobs/{root}");
    let requests = [
        "GET /v2/".to_owned(),
        "GET /v2/_catalog?n=1&last=bundles%2Fdemo".to_owned(),
        "GET /v2/etcd/tags/list?n=2".to_owned(),
        "HEAD /v2/qiji.local/etcd/manifests/3.7.3-0\naccept: */*".to_owned(),
        "GET /v2/etcd/manifests/3.7.3-0?ns=qiji.local".to_owned(),
        format!("GET /v2/bundles/demo/referrers/{root}?artifactType=a%2Fb"),
        format!("GET {blob}\nrange: bytes=0-0"),
        format!("GET {blob}\nrange: bytes=-1\nif-range: \"{root}\""),
        format!("GET {blob}\nrange: bytes=18446744073709551615-"),
        format!("GET {blob}\nif-none-match: \"x\", \"{root}\""),
        "POST /v2/etcd/blobs/uploads/".to_owned(),
    ];
    requests.map(String::into_bytes).to_vec()
}
