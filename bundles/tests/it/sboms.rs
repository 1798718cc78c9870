//! Bills of materials in a bundle: found with what they are about, held to it, and refused where they do not fit.

use qiji_blueprint::Digest;
use qiji_blueprint::site::Arch;
use qiji_bundle::sbom::{Description, Subject};
use qiji_bundle::{Untrusted, WriteError};
use serde_json::Value;

use crate::fixture::{Bench, blob_name, join, program, sample, split};

fn kubernetes() -> Subject {
    Subject::Package { name: "kubernetes".to_owned(), arch: Arch::Amd64 }
}

#[test]
fn a_bundle_says_what_its_contents_are_made_of() {
    let bench = Bench::new();
    let (spec, store) = sample();
    let (path, _) = bench.write("sample.qiji", &spec, &store);
    let claimed = Untrusted::open(&path).unwrap().sboms().unwrap();
    let found = bench.verify(&path).unwrap().sboms().unwrap();
    let etcd = Subject::Image { name: "qiji.local/etcd:3.7.3-0".to_owned(), arch: Arch::Amd64 };
    for sboms in [&claimed, &found] {
        let subjects: Vec<_> = sboms.iter().map(|sbom| &sbom.entry.subject).collect();
        assert_eq!(subjects, [&etcd, &kubernetes()]);
        let description = sboms[1].description.as_ref().unwrap();
        assert_eq!(description.ingredients, [program()]);
        assert_eq!(description.licence().as_deref(), Some("Apache-2.0"));
    }
}

#[test]
fn each_refers_to_the_manifest_of_what_it_is_about() {
    let bench = Bench::new();
    let members = split(&bench.sample());
    let json = |name: &str| -> Value {
        serde_json::from_slice(&members.iter().find(|(found, _)| found == name).unwrap().1).unwrap()
    };
    let blob =
        |descriptor: &Value| json(&format!("blobs/sha256/{}", &descriptor["digest"].as_str().unwrap()[7..]));
    let root = blob(&json("index.json")["manifests"][0]);
    let listed = root["manifests"].as_array().unwrap();
    let sboms: Vec<_> = listed.iter().filter(|one| one["artifactType"] == "application/spdx+json").collect();
    assert_eq!(sboms.len(), 2);
    let package = listed.iter().find(|one| one["annotations"]["dev.qiji.name"] == "kubernetes").unwrap();
    let manifest = blob(sboms[1]);
    assert_eq!(manifest["subject"]["digest"], package["digest"]);
    let document = blob(&manifest["layers"][0]);
    let sum = &document["packages"][0]["checksums"][0]["checksumValue"];
    assert_eq!(format!("sha256:{}", sum.as_str().unwrap()), package["digest"].as_str().unwrap());
}

#[test]
fn one_that_is_about_nothing_or_comes_twice_is_not_written() {
    let bench = Bench::new();
    let (mut spec, store) = sample();
    let bytes = spec.sboms[0].1.clone();
    spec.sboms.push((Subject::Package { name: "none".to_owned(), arch: Arch::Amd64 }, bytes.clone()));
    spec.sboms.push((kubernetes(), bytes));
    let out = bench.path("bad.qiji");
    let error = qiji_bundle::write(&spec, &store, &[&bench.key], &out, &mut |_| ()).unwrap_err();
    let WriteError::Spec(faults) = error else { panic!("{error}") };
    assert_eq!(faults.len(), 2, "{faults:?}");
    assert!(faults.iter().any(|fault| fault.contains("there is no package none (amd64)")), "{faults:?}");
    assert!(faults.iter().any(|fault| fault.contains("kubernetes (amd64) is there twice")), "{faults:?}");
}

#[test]
fn one_that_is_moved_to_another_subject_is_refused() {
    let bench = Bench::new();
    let (spec, store) = sample();
    let (path, _) = bench.write("sample.qiji", &spec, &store);
    let mut members = split(&fs_err::read(path).unwrap());
    let (about, other) = (spec.images[2].manifest.digest, spec.images[0].manifest.digest);
    // The manifest of the bill of materials, then the root, then `index.json`, each with everything else as it must be.
    let sizes = (spec.images[2].manifest.size, spec.images[0].manifest.size);
    let subject = |digest: Digest, size: u64| format!(r#""digest":"{digest}","size":{size}}},"annotations""#);
    let (from, to) = (subject(about, sizes.0), subject(other, sizes.1));
    let mut changed = replace(
        &mut members,
        &format!(r#""subject":{{"mediaType":"application/vnd.oci.image.manifest.v1+json",{from}"#),
        |text| text.replace(&from, &to),
    );
    for _ in 0..2 {
        let (before, after) = changed;
        // As an artifact is listed: the signature refers to the root in another way, and stays as it was.
        let listed = |(digest, size): &Named| format!(r#""digest":"{digest}","size":{size},"artifactType""#);
        changed =
            replace(&mut members, &listed(&before), |text| text.replace(&listed(&before), &listed(&after)));
    }
    let path = bench.path("moved.qiji");
    fs_err::write(&path, join(&members)).unwrap();
    let error = Untrusted::open(&path).unwrap_err();
    assert!(error.to_string().contains("not in canonical form"), "{error}");
}

type Named = (String, usize);

/// Changes the one member that holds `needle`; gives its digest and size before and after.
fn replace(
    members: &mut [(String, Vec<u8>)],
    needle: &str,
    change: impl Fn(&str) -> String,
) -> (Named, Named) {
    let holds = |bytes: &[u8]| bytes.windows(needle.len()).any(|window| window == needle.as_bytes());
    let mut found: Vec<_> = members.iter_mut().filter(|(_, bytes)| holds(bytes)).collect();
    assert_eq!(found.len(), 1, "{needle}");
    let (name, bytes) = &mut *found[0];
    let before = (Digest::of(bytes).to_string(), bytes.len());
    *bytes = change(std::str::from_utf8(bytes).unwrap()).into_bytes();
    let after = (Digest::of(bytes).to_string(), bytes.len());
    assert_ne!(before, after);
    if name != "index.json" {
        *name = blob_name(bytes);
    }
    members.sort();
    (before, after)
}

#[test]
fn a_document_that_qiji_did_not_write_is_kept_and_told() {
    let bench = Bench::new();
    let (mut spec, store) = sample();
    spec.sboms = vec![(kubernetes(), b"{\"spdxVersion\":\"SPDX-2.3\"}".to_vec())];
    let (path, _) = bench.write("other.qiji", &spec, &store);
    let found = bench.verify(&path).unwrap().sboms().unwrap();
    assert!(found[0].description.is_err());
    assert_eq!(found[0].entry.blob.size, 26);
}

#[test]
fn a_package_is_described_the_same_whatever_the_order_of_its_roles() {
    let (spec, _) = sample();
    let mut turned = spec.packages[0].clone();
    turned.roles.reverse();
    let describe = |package| Description::of_package(package, vec![program()]).to_spdx();
    assert_eq!(describe(&turned), describe(&spec.packages[0]));
}
