//! What others make of our files: `skopeo`, `openssl` and `tar`.

use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use qiji_bundle::{KeyKind, Passphrase, PublicKey, SigningKey, TrustedKeys, open_envelope};
use serde_json::Value;

use crate::fixture::{Bench, sample, split};

/// Output of a tool that must be there and must succeed.
fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program)
        .args(args)
        .output()
        .unwrap_or_else(|error| panic!("{program} cannot be started ({error}): apt install {program}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?} failed: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn skopeo_reads_images() {
    let bench = Bench::new();
    let (spec, store) = sample();
    let (path, _) = bench.write("sample.qiji", &spec, &store);
    for (image, arch) in [
        ("qiji.local/kube-proxy:v1.36.3", "amd64"),
        ("qiji.local/etcd:3.7.3-0", "amd64"),
        ("qiji.local/etcd:3.7.3-0", "arm64"),
    ] {
        let reference = format!("oci-archive:{}:{image}", text(&path));
        let found: Value = serde_json::from_str(&run(
            "skopeo",
            &["--override-os", "linux", "--override-arch", arch, "inspect", &reference],
        ))
        .unwrap();
        assert_eq!(found["Architecture"], arch, "{found}");
        let entry =
            spec.images.iter().find(|entry| entry.name == image && entry.arch.as_str() == arch).unwrap();
        assert_eq!(found["Layers"][0], entry.layers[0].digest.to_string());
    }
}

#[test]
fn openssl_reads_our_keys_and_we_read_its() {
    let bench = Bench::new();
    let secret = bench.path("secret");
    fs_err::write(&secret, "correct horse\n").unwrap();
    let passphrase = Passphrase::from_file(&secret).unwrap();
    let passin = format!("file:{}", text(&secret));
    for kind in KeyKind::ALL {
        let (ours, theirs) = (bench.path(&format!("{kind}-ours")), bench.path(&format!("{kind}-theirs")));
        let public = SigningKey::generate_kind(kind).unwrap().save(&ours, &passphrase).unwrap();
        let found = run("openssl", &["pkey", "-in", text(&ours), "-passin", &passin, "-pubout"]);
        assert_eq!(found, public.to_pem());

        let kind = kind.as_str();
        run(
            "openssl",
            &["genpkey", "-algorithm", kind, "-aes-256-cbc", "-pass", &passin, "-out", text(&theirs)],
        );
        let loaded = SigningKey::load(&theirs, &passphrase).unwrap();
        assert_eq!(loaded.public().kind().as_str(), kind);
        let found = run("openssl", &["pkey", "-in", text(&theirs), "-passin", &passin, "-pubout"]);
        assert_eq!(found, loaded.public().to_pem());
        assert_eq!(PublicKey::from_pem(&found), Some(loaded.public()));
    }
}

#[test]
fn openssl_verifies_the_signature_and_names_the_key() {
    let bench = Bench::new();
    let members = split(&bench.sample());
    let envelopes = members.iter().filter_map(|(_, bytes)| serde_json::from_slice::<Value>(bytes).ok());
    let envelope = envelopes.into_iter().find(|value| value["payloadType"].is_string()).unwrap();
    let payload = STANDARD.decode(envelope["payload"].as_str().unwrap()).unwrap();
    let kind = envelope["payloadType"].as_str().unwrap();
    let message = pae(kind, &payload);
    let signature = STANDARD.decode(envelope["signatures"][0]["sig"].as_str().unwrap()).unwrap();

    let (message_file, signature_file) = (bench.path("message"), bench.path("signature"));
    let (public, der) = (bench.path("key.pub"), bench.path("key.der"));
    fs_err::write(&message_file, message).unwrap();
    fs_err::write(&signature_file, signature).unwrap();
    fs_err::write(&public, bench.key.public().to_pem()).unwrap();
    let answer = run(
        "openssl",
        &[
            "pkeyutl",
            "-verify",
            "-rawin",
            "-pubin",
            "-inkey",
            text(&public),
            "-sigfile",
            text(&signature_file),
            "-in",
            text(&message_file),
        ],
    );
    assert!(answer.contains("Signature Verified Successfully"), "{answer}");

    run("openssl", &["pkey", "-pubin", "-in", text(&public), "-outform", "DER", "-out", text(&der)]);
    let id = run("openssl", &["dgst", "-sha256", "-r", text(&der)]);
    assert_eq!(envelope["signatures"][0]["keyid"].as_str(), id.split(' ').next());
    assert_eq!(id.split(' ').next().unwrap(), bench.key.public().id().to_string());
}

/// DSSE's encoding of what is signed.
fn pae(kind: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

#[test]
fn we_accept_what_openssl_signs_with_sm2() {
    let bench = Bench::new();
    let (key, message, signature) = (bench.path("key"), bench.path("message"), bench.path("signature"));
    run("openssl", &["genpkey", "-algorithm", "sm2", "-out", text(&key)]);
    fs_err::write(&message, pae("text/plain", b"hello")).unwrap();
    let sealed_by = |signer_id: &str| {
        let id = format!("distid:{signer_id}");
        let how = ["pkeyutl", "-sign", "-rawin", "-digest", "sm3", "-pkeyopt", &id];
        let files = ["-inkey", text(&key), "-in", text(&message), "-out", text(&signature)];
        run("openssl", &[&how[..], &files[..]].concat());
        STANDARD.encode(fs_err::read(&signature).unwrap())
    };
    let public = PublicKey::from_pem(&run("openssl", &["pkey", "-in", text(&key), "-pubout"])).unwrap();
    let trusted = TrustedKeys::new([public.clone()], 1).unwrap();
    let open = |sig: &str| {
        let payload = STANDARD.encode("hello");
        let envelope = format!(
            r#"{{"payloadType":"text/plain","payload":"{payload}","signatures":[{{"keyid":"{}","sig":"{sig}"}}]}}"#,
            public.id()
        );
        open_envelope(envelope.as_bytes(), "text/plain", &trusted)
    };
    assert_eq!(open(&sealed_by("1234567812345678")).unwrap(), b"hello");
    let error = open(&sealed_by("somebody@example.com")).unwrap_err();
    assert!(error.to_string().contains("does not hold"), "{error}");
}

#[test]
fn tar_lists_and_unpacks_it() {
    let bench = Bench::new();
    let (spec, store) = sample();
    let (path, _) = bench.write("sample.qiji", &spec, &store);
    let list = run("tar", &["-tvf", text(&path)]);
    assert!(list.lines().all(|line| line.starts_with("-rw-r--r-- 0/0 ")), "{list}");
    let out = bench.path("out");
    fs_err::create_dir(&out).unwrap();
    run("tar", &["-xf", text(&path), "-C", text(&out)]);
    let names = fs_err::read_dir(out.join("blobs/sha256")).unwrap().map(|entry| entry.unwrap().path());
    for blob in names {
        let sum = run("sha256sum", &[text(&blob)]);
        assert!(blob.to_str().unwrap().ends_with(sum.split(' ').next().unwrap()));
    }
}
