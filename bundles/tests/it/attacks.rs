//! Somebody who can write files, but has no trusted key.

use qiji_blueprint::Digest;
use qiji_bundle::{Blob, Class, SigningKey, TrustedKeys, Untrusted, seal};
use serde_json::Value;
use sm3::{Digest as _, Sm3};

use crate::fixture::{Bench, MANIFEST, blob_name, join, sample, split};

const ENVELOPE: &str = "application/vnd.dsse.envelope.v1+json";
const EMPTY: &str = r#"{"mediaType":"application/vnd.oci.empty.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2}"#;

const IN_TOTO: &str = "application/vnd.in-toto+json";

type Members = Vec<(String, Vec<u8>)>;

fn members_of(bench: &Bench) -> Members {
    split(&bench.sample())
}

fn refused(bench: &Bench, members: &Members, expected: &str) {
    let error = bench.verify_members(members).map(|_| ()).unwrap_err();
    assert_eq!(error.class(), Class::Untrustworthy, "{error}");
    assert!(error.to_string().contains(expected), "`{error}` does not say `{expected}`");
}

fn index(members: &Members) -> Value {
    let (_, bytes) = members.iter().find(|(name, _)| name == "index.json").unwrap();
    serde_json::from_slice(bytes).unwrap()
}

fn blob(members: &Members, descriptor: &Value) -> Vec<u8> {
    let name = format!("blobs/sha256/{}", &descriptor["digest"].as_str().unwrap()["sha256:".len()..]);
    members.iter().find(|(found, _)| *found == name).unwrap().1.clone()
}

fn insert(members: &mut Members, bytes: &[u8]) {
    members.retain(|(name, _)| *name != blob_name(bytes));
    members.push((blob_name(bytes), bytes.to_vec()));
    members.sort();
}

fn remove(members: &mut Members, bytes: &[u8]) {
    members.retain(|(name, _)| *name != blob_name(bytes));
}

/// The signature's manifest and envelope.
fn signature(members: &Members) -> (Vec<u8>, Vec<u8>) {
    let manifest = blob(members, &index(members)["manifests"][1]);
    let parsed: Value = serde_json::from_slice(&manifest).unwrap();
    let envelope = blob(members, &parsed["layers"][0]);
    (manifest, envelope)
}

/// Takes the signature out, or puts another envelope in its place, with everything else as it must be.
fn resign(mut members: Members, envelope: Option<&[u8]>) -> Members {
    let text =
        String::from_utf8(members.iter().find(|(name, _)| name == "index.json").unwrap().1.clone()).unwrap();
    let (manifest, old) = signature(&members);
    remove(&mut members, &manifest);
    remove(&mut members, &old);
    let descriptor = |bytes: &[u8]| {
        format!(
            r#"{{"mediaType":"{MANIFEST}","digest":"{}","size":{},"artifactType":"{ENVELOPE}"}}"#,
            Digest::of(bytes),
            bytes.len()
        )
    };
    let before = descriptor(&manifest);
    assert!(text.contains(&before));
    let after = envelope.map(|envelope| {
        let root = &index(&members)["manifests"][0];
        let layer = format!(r#"{{"mediaType":"{ENVELOPE}","digest":"{}","size":{}}}"#, Digest::of(envelope), envelope.len());
        let new = format!(
            r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","artifactType":"{ENVELOPE}","config":{EMPTY},"layers":[{layer}],"subject":{{"mediaType":"application/vnd.oci.image.index.v1+json","digest":{},"size":{}}}}}"#,
            root["digest"], root["size"]
        );
        insert(&mut members, envelope);
        insert(&mut members, new.as_bytes());
        descriptor(new.as_bytes())
    });
    let text = match after {
        Some(after) => text.replace(&before, &after),
        None => text.replace(&format!("{before},"), ""),
    };
    members.iter_mut().find(|(name, _)| name == "index.json").unwrap().1 = text.into_bytes();
    members
}

fn statement(root: &[u8], name: &str) -> String {
    let (sha256, sm3) = (Digest::of(root).hex(), hex::encode(Sm3::digest(root)));
    format!(
        r#"{{"_type":"https://in-toto.io/Statement/v1","subject":[{{"name":"{name}","digest":{{"sha256":"{sha256}","sm3":"{sm3}"}}}}],"predicateType":"https://qiji.dev/bundle/v1","predicate":{{"created-by":"somebody","name":"{name}","version":"1.2.3","edition":"enterprise","channel":"stable"}}}}"#
    )
}

/// The bytes of the root index.
fn root(members: &Members) -> Vec<u8> {
    blob(members, &index(members)["manifests"][0])
}

#[test]
fn an_unknown_key() {
    let bench = Bench::new();
    let other = Bench::new();
    let members = split(&other.sample());
    let error = bench.verify_members(&members).unwrap_err();
    assert_eq!(error.class().exit_status(), 4);
    let text = error.to_string();
    for key in [bench.key.public().id(), other.key.public().id()] {
        assert!(text.contains(&key.to_string()), "{text}");
    }
    assert!(error.hint().contains("--trust"));
}

#[test]
fn no_signature() {
    let bench = Bench::new();
    let members = resign(members_of(&bench), None);
    refused(&bench, &members, "index.json is wrong: it names no statement");
    let text = statement(&root(&members_of(&bench)), "demo");
    let envelope = seal(IN_TOTO, text.as_bytes(), &[]);
    let members = resign(members_of(&bench), Some(&envelope));
    refused(&bench, &members, "the bundle is not signed");
    let path = bench.path("unsigned.qiji");
    fs_err::write(&path, join(&members)).unwrap();
    assert!(Untrusted::open(&path).unwrap().inspect(None).to_string().contains("not signed"));
}

#[test]
fn a_statement_of_another_release_holds() {
    let bench = Bench::new();
    let members = members_of(&bench);
    let text = statement(&root(&members), "demo");
    let envelope = seal(IN_TOTO, text.as_bytes(), &[&bench.key]);
    bench.verify_members(&resign(members, Some(&envelope))).unwrap();
}

#[test]
fn a_good_signature_over_another_root() {
    let bench = Bench::new();
    let members = members_of(&bench);
    let (mut spec, store) = sample();
    spec.version = "1.2.4".to_owned();
    let other = split(&fs_err::read(bench.write("other.qiji", &spec, &store).0).unwrap());
    let (_, envelope) = signature(&other);
    refused(&bench, &resign(members, Some(&envelope)), "it names root sha256:");
}

#[test]
fn a_good_signature_over_another_name_or_type() {
    let bench = Bench::new();
    let members = members_of(&bench);
    let text = statement(&root(&members), "other");
    let envelope = seal(IN_TOTO, text.as_bytes(), &[&bench.key]);
    refused(&bench, &resign(members.clone(), Some(&envelope)), "it is about other 1.2.3");
    let text = statement(&root(&members), "demo");
    let envelope = seal("text/plain", text.as_bytes(), &[&bench.key]);
    refused(&bench, &resign(members, Some(&envelope)), "its type is `text/plain`");
}

#[test]
fn a_signature_in_another_keys_name() {
    let bench = Bench::new();
    let members = members_of(&bench);
    let thief = SigningKey::generate().unwrap();
    let text = statement(&root(&members), "demo");
    let envelope = String::from_utf8(seal(IN_TOTO, text.as_bytes(), &[&thief])).unwrap();
    let envelope = envelope.replace(&thief.public().id().to_string(), &bench.key.public().id().to_string());
    refused(&bench, &resign(members, Some(envelope.as_bytes())), "does not hold");
}

#[test]
fn a_statement_with_the_sm3_of_another_root() {
    let bench = Bench::new();
    let members = members_of(&bench);
    let (right, wrong) = (hex::encode(Sm3::digest(root(&members))), hex::encode(Sm3::digest(b"other")));
    let text = statement(&root(&members), "demo").replace(&right, &wrong);
    let envelope = seal(IN_TOTO, text.as_bytes(), &[&bench.key]);
    refused(&bench, &resign(members, Some(&envelope)), "or not in canonical form");
}

#[test]
fn a_statement_that_names_another_edition() {
    let bench = Bench::new();
    let members = members_of(&bench);
    let text = statement(&root(&members), "demo").replace("enterprise", "community");
    let envelope = seal(IN_TOTO, text.as_bytes(), &[&bench.key]);
    refused(&bench, &resign(members, Some(&envelope)), "it is about demo 1.2.3 community");
}

#[test]
fn one_key_that_signs_twice() {
    let bench = Bench::new();
    let other = SigningKey::generate().unwrap();
    let members = members_of(&bench);
    let text = statement(&root(&members), "demo");
    let envelope = String::from_utf8(seal(IN_TOTO, text.as_bytes(), &[&bench.key])).unwrap();
    let start = envelope.find("[{\"keyid\"").unwrap() + 1;
    let once = envelope[start..envelope.len() - 2].to_owned();
    let id = bench.key.public().id().to_string();
    let trusted = TrustedKeys::new([bench.key.public(), other.public()], 2).unwrap();
    for (twice, expected) in [
        (format!("{once},{once}"), "not in canonical form"),
        (format!("{},{once}", once.replace(&id, &id.to_uppercase())), "is not 64 hexadecimal digits"),
    ] {
        let path = bench.path("twice.qiji");
        let changed = resign(members.clone(), Some(envelope.replace(&once, &twice).as_bytes()));
        fs_err::write(&path, join(&changed)).unwrap();
        let opened = Untrusted::open(&path).and_then(|bundle| bundle.verify(&trusted, &mut |_| ()));
        let error = opened.unwrap_err();
        assert_eq!(error.class(), Class::Untrustworthy, "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn the_manifest_of_a_signature_for_another_root() {
    let bench = Bench::new();
    let mut members = members_of(&bench);
    let (manifest, _) = signature(&members);
    let (mut spec, store) = sample();
    spec.version = "2.0.0".to_owned();
    let other = split(&fs_err::read(bench.write("other.qiji", &spec, &store).0).unwrap());
    let (other_manifest, other_envelope) = signature(&other);
    let (before, after) = (Digest::of(&manifest).to_string(), Digest::of(&other_manifest).to_string());
    let index = members.iter_mut().find(|(name, _)| name == "index.json").unwrap();
    index.1 = String::from_utf8(index.1.clone()).unwrap().replace(&before, &after).into_bytes();
    remove(&mut members, &manifest);
    insert(&mut members, &other_manifest);
    insert(&mut members, &other_envelope);
    refused(&bench, &members, "its manifest is not the one for this root");
}

#[test]
fn swapped_and_doubled_members() {
    let bench = Bench::new();
    let good = members_of(&bench);
    for index in 0..good.len() - 1 {
        let mut members = good.clone();
        members.swap(index, index + 1);
        let error = bench.verify_members(&members).unwrap_err();
        assert_eq!(error.class(), Class::Untrustworthy, "{error}");
        let mut members = good.clone();
        members.insert(index, members[index].clone());
        let error = bench.verify_members(&members).unwrap_err();
        assert_eq!(error.class(), Class::Untrustworthy, "{error}");
    }
}

#[test]
fn one_blob_under_the_name_of_another() {
    let bench = Bench::new();
    let mut members = members_of(&bench);
    let (first, second) = (members[0].1.clone(), members[1].1.clone());
    members[0].1 = second;
    members[1].1 = first;
    let error = bench.verify_members(&members).unwrap_err();
    assert_eq!(error.class(), Class::Untrustworthy, "{error}");
}

#[test]
fn an_extra_blob_and_a_missing_one() {
    let bench = Bench::new();
    let good = members_of(&bench);
    let mut members = good.clone();
    insert(&mut members, b"stowaway");
    refused(&bench, &members, "belongs to nothing in the bundle");
    for index in 0..good.len() {
        let mut members = good.clone();
        members.remove(index);
        let error = bench.verify_members(&members).unwrap_err();
        assert_eq!(error.class(), Class::Untrustworthy, "{error}");
    }
}

#[test]
fn names_that_are_paths_elsewhere() {
    let bench = Bench::new();
    let good = members_of(&bench);
    for name in
        ["../etc/passwd", "/etc/passwd", "blobs/sha256/../../x", "blobs/sha512/00", "zz", "blobs/sha256/AB"]
    {
        let mut members = good.clone();
        members.insert(0, (name.to_owned(), b"x".to_vec()));
        let error = bench.verify_members(&members).unwrap_err();
        assert_eq!(error.class(), Class::Untrustworthy, "{name}: {error}");
        let mut members = good.clone();
        members.push((name.to_owned(), b"x".to_vec()));
        let error = bench.verify_members(&members).unwrap_err();
        assert_eq!(error.class(), Class::Untrustworthy, "{name}: {error}");
    }
}

/// Rewrites the root with a valid digest everywhere, as its author could: rules hold even for what is signed.
fn with_root(bench: &Bench, change: impl Fn(String) -> String) -> Members {
    let mut members = members_of(bench);
    let old = blob(&members, &index(&members)["manifests"][0]);
    let new = change(String::from_utf8(old.clone()).unwrap()).into_bytes();
    assert_ne!(old, new);
    remove(&mut members, &old);
    insert(&mut members, &new);
    let (before, after) = (
        format!(r#""digest":"{}","size":{}"#, Digest::of(&old), old.len()),
        format!(r#""digest":"{}","size":{}"#, Digest::of(&new), new.len()),
    );
    let index = members.iter_mut().find(|(name, _)| name == "index.json").unwrap();
    index.1 = String::from_utf8(index.1.clone()).unwrap().replace(&before, &after).into_bytes();
    members
}

#[test]
fn a_root_must_keep_the_rules() {
    let bench = Bench::new();
    let members =
        with_root(&bench, |root| root.replace(r#""dev.qiji.name":"demo""#, r#""dev.qiji.name":"../demo""#));
    refused(&bench, &members, "is not a DNS name");
    let members = with_root(&bench, |root| format!("{root} "));
    refused(&bench, &members, "not in canonical form");
    let members =
        with_root(&bench, |root| root.replacen(r#"{"schemaVersion":2,"#, r#"{"schemaVersion":2,"x":1,"#, 1));
    refused(&bench, &members, "not in canonical form");
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let members = with_root(&bench, |root| root.replacen('{', &format!(r#"{{"x":{deep},"#), 1));
    refused(&bench, &members, "not in canonical form");
    let members = with_root(&bench, |root| {
        root.replacen("\"annotations\":{", &format!("\"annotations\":{{\"x\":{deep},"), 1)
    });
    refused(&bench, &members, "it is unreadable");
    let large = format!("\"{}\"", "x".repeat(5 << 20));
    let members = with_root(&bench, |root| root.replacen('{', &format!(r#"{{"x":{large},"#), 1));
    refused(&bench, &members, "larger than 4 MiB");
}

#[test]
fn another_version_of_the_format() {
    let bench = Bench::new();
    let members =
        with_root(&bench, |root| root.replace(r#""dev.qiji.format":"1""#, r#""dev.qiji.format":"2""#));
    let error = bench.verify_members(&members).unwrap_err();
    assert_eq!(error.class(), Class::Malformed, "{error}");
    assert!(error.to_string().contains("is a bundle of format 2"), "{error}");
}

#[test]
fn sealed_documents_of_other_kinds() {
    let (key, other) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
    let sealed = seal("application/json", b"{}", &[&key]);
    let trust = |key: &SigningKey| TrustedKeys::new([key.public()], 1).unwrap();
    let open = |trusted| qiji_bundle::open_envelope(&sealed, "application/json", &trusted);
    assert_eq!(open(trust(&key)).unwrap(), b"{}");
    assert_eq!(open(trust(&other)).unwrap_err().class(), Class::Untrustworthy);
    assert!(qiji_bundle::open_envelope(&sealed, "text/plain", &trust(&key)).is_err());
}

#[test]
fn a_blob_of_the_wrong_size_in_a_descriptor() {
    let bench = Bench::new();
    let (spec, _) = sample();
    let Blob { digest, size, .. } = spec.images[0].manifest.clone();
    let members = with_root(&bench, |root| {
        let right = format!(r#""digest":"{digest}","size":{size}"#);
        root.replace(&right, &format!(r#""digest":"{digest}","size":{}"#, size + 1))
    });
    refused(&bench, &members, "of image qiji.local/kube-proxy:v1.36.3 (amd64) has");
}
