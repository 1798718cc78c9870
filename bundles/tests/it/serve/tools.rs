//! `skopeo` and `openssl` as clients.

use std::process::Command;

use serde_json::Value;

use super::Stock;

fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program)
        .args(args)
        .output()
        .unwrap_or_else(|error| panic!("{program} cannot be started ({error}): apt install {program}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?} failed: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn skopeo_pulls_images_of_all_architectures() {
    let stock = Stock::new();
    let server = stock.serve();
    let trusted = stock.bench.path("trusted");
    fs_err::create_dir(&trusted).unwrap();
    fs_err::write(trusted.join("ca.crt"), &server.authority.pem).unwrap();
    let trusted = trusted.to_str().unwrap();
    let target = stock.bench.path("pulled");
    let image = format!("docker://{}/qiji.local/etcd:3.7.3-0", server.address);
    let to = format!("dir:{}", target.display());
    run("skopeo", &["copy", "--all", "--preserve-digests", "--src-cert-dir", trusted, &image, &to]);
    let index: Value = serde_json::from_slice(&fs_err::read(target.join("manifest.json")).unwrap()).unwrap();
    assert_eq!(index["manifests"].as_array().unwrap().len(), 2);
    let layers = stock.bundle.images(None).filter(|image| image.name.starts_with("qiji.local/etcd"));
    for layer in layers.flat_map(|image| &image.layers) {
        let bytes = fs_err::read(target.join(layer.digest.hex())).unwrap();
        assert_eq!(qiji_blueprint::Digest::of(&bytes), layer.digest);
    }
    let tags =
        run("skopeo", &["list-tags", "--cert-dir", trusted, &format!("docker://{}/etcd", server.address)]);
    let tags: Value = serde_json::from_str(&tags).unwrap();
    assert_eq!(tags["Tags"], serde_json::json!(["only-there"]));
}

#[test]
fn openssl_shows_the_fingerprint_that_is_told_and_trusts_the_server() {
    let stock = Stock::new();
    let server = stock.serve();
    let ca = stock.bench.path("ca.pem");
    fs_err::write(&ca, &server.authority.pem).unwrap();
    let ca = ca.to_str().unwrap();
    let shown = run("openssl", &["x509", "-in", ca, "-noout", "-fingerprint", "-sha256"]);
    assert!(shown.trim().ends_with(&server.authority.fingerprint), "{shown}");
    let address = server.address.to_string();
    let args = [
        "s_client",
        "-connect",
        &address,
        "-CAfile",
        ca,
        "-verify_return_error",
        "-verify_ip",
        "127.0.0.1",
        "-brief",
    ];
    let output = Command::new("openssl").args(args).stdin(std::process::Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("Verification: OK"), "{said}");
}
