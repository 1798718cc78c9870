//! What is written is read back, whatever it is, and the same contents give the same bytes.

use std::io::{Read, Seek, SeekFrom};

use proptest::prelude::*;
use qiji_blueprint::Digest;
use qiji_blueprint::site::{Arch, Role};
use qiji_bundle::sbom::Description;
use qiji_bundle::{
    Blob, BundleSpec, CHART_ARCHIVE, CHART_VALUES, ChartEntry, ImageEntry, PackageEntry, SignatureState,
    SigningKey, TrustedKeys, Untrusted, VerifyingReader, WriteError,
};

use crate::fixture::{Bench, LAYER, Store, join, layer, program, sample, split};

fn read_all(mut reader: VerifyingReader) -> Vec<u8> {
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn the_sample_comes_back() {
    let bench = Bench::new();
    let (spec, store) = sample();
    let (path, written) = bench.write("sample.qiji", &spec, &store);
    assert_eq!(fs_err::metadata(&path).unwrap().len(), written.size);
    assert!(!bench.path("sample.qiji.partial").exists());

    let bundle = bench.verify(&path).unwrap();
    assert_eq!((bundle.name(), bundle.version(), bundle.root()), ("demo", "1.2.3", written.root));
    assert_eq!(bundle.signers(), [bench.key.public().id()]);
    assert_eq!(bundle.images(None).count(), 3);
    let arm: Vec<_> = bundle.images(Some(Arch::Arm64)).map(|image| image.name.as_str()).collect();
    assert_eq!(arm, ["qiji.local/etcd:3.7.3-0"]);
    let packages: Vec<_> = bundle.packages(Arch::Amd64).map(|package| package.name.as_str()).collect();
    assert_eq!(packages, ["agent", "kubernetes"]);
    assert_eq!(bundle.package("kubernetes", Arch::Amd64).unwrap().roles, [Role::ControlPlane, Role::Worker]);
    assert!(bundle.package("kubernetes", Arch::Arm64).is_none());
    assert_eq!(bundle.document("site.kdl").unwrap().unwrap(), b"site \"demo\"\n");
    assert!(bundle.document("nothing").unwrap().is_none());
    for (digest, bytes) in &store.0 {
        assert_eq!(read_all(bundle.blob(digest).unwrap()), *bytes);
    }
}

#[test]
fn blobs_are_read_at_any_offset_by_several_threads() {
    let bench = Bench::new();
    let mut store = Store::default();
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|index| u8::try_from(index % 251).unwrap()).collect();
    let blob = store.add(LAYER, &bytes);
    let package = PackageEntry {
        name: "big".to_owned(),
        version: "1".to_owned(),
        arch: Arch::Amd64,
        roles: vec![],
        blobs: vec![blob.clone()],
    };
    let spec = BundleSpec {
        name: "big".to_owned(),
        version: "1".to_owned(),
        packages: vec![package],
        ..BundleSpec::default()
    };
    let bundle = bench.verify(&bench.write("big.qiji", &spec, &store).0).unwrap();
    std::thread::scope(|scope| {
        for part in 0..8_usize {
            let (bundle, bytes, digest) = (bundle.clone(), &bytes, blob.digest);
            scope.spawn(move || {
                let offset = part * 300_001;
                let mut range = bundle.open_blob_at(&digest, offset as u64).unwrap();
                let mut found = vec![0; 100_000];
                range.read_exact(&mut found).unwrap();
                assert_eq!(found, bytes[offset..offset + 100_000]);
                range.seek(SeekFrom::End(-3)).unwrap();
                let mut tail = Vec::new();
                range.read_to_end(&mut tail).unwrap();
                assert_eq!(tail, bytes[bytes.len() - 3..]);
                assert_eq!(read_all(bundle.blob(&digest).unwrap()), *bytes);
            });
        }
    });
}

#[test]
fn a_blob_that_changes_after_verifying_is_found_when_it_is_read() {
    let bench = Bench::new();
    let (spec, store) = sample();
    let (path, _) = bench.write("sample.qiji", &spec, &store);
    let bundle = bench.verify(&path).unwrap();
    let mut bytes = fs_err::read(&path).unwrap();
    let at = bytes.windows(10).position(|window| window == b"\x7fELF agent").unwrap();
    bytes[at] ^= 1;
    fs_err::write(&path, &bytes).unwrap();
    let agent = bundle.package("agent", Arch::Amd64).unwrap().blobs[0].digest;
    let error = bundle.blob(&agent).unwrap().read_to_end(&mut Vec::new()).unwrap_err();
    assert!(error.to_string().contains("of package agent 0.1.0 (amd64) is damaged"), "{error}");
}

#[test]
fn the_order_of_lists_has_no_effect() {
    let bench = Bench::new();
    let (mut spec, store) = sample();
    let first = fs_err::read(bench.write("first.qiji", &spec, &store).0).unwrap();
    spec.images.reverse();
    spec.packages.reverse();
    spec.documents.reverse();
    for image in &mut spec.images {
        image.roles.reverse();
    }
    assert!(first == fs_err::read(bench.write("second.qiji", &spec, &store).0).unwrap());
}

#[test]
fn headers_are_those_of_the_specification() {
    let bytes = Bench::new().sample();
    assert!(join(&split(&bytes)) == bytes);
}

#[test]
fn blobs_are_stored_once() {
    let bench = Bench::new();
    let (spec, store) = sample();
    let bundle = bench.verify(&bench.write("sample.qiji", &spec, &store).0).unwrap();
    let summary = bundle.inspect(&bench.trusted());
    let kubernetes = summary.packages.iter().find(|package| package.name == "kubernetes").unwrap();
    assert_eq!(kubernetes.layers[0].used_by, 2);
    assert_eq!(summary.logical_bytes - summary.stored_bytes, kubernetes.bytes);
    assert!(summary.verified && summary.signatures[0].state == SignatureState::Trusted);
    let text = summary.to_string();
    assert!(text.starts_with("demo 1.2.3 (verified)\n"), "{text}");
    assert!(text.contains("1 layers, 1 shared; control-plane,worker"), "{text}");
}

#[test]
fn an_unverified_bundle_says_so() {
    let bench = Bench::new();
    let (spec, store) = sample();
    let (path, _) = bench.write("sample.qiji", &spec, &store);
    let summary = Untrusted::open(&path).unwrap().inspect(None);
    assert!(summary.to_string().contains("not verified") && !summary.verified);
    assert_eq!(summary.signatures[0].state, SignatureState::Unknown);
}

#[test]
fn progress_ends_at_the_total() {
    let bench = Bench::new();
    let (spec, store) = sample();
    let path = bench.path("sample.qiji");
    let mut last = None;
    let written =
        qiji_bundle::write(&spec, &store, &[&bench.key], &path, &mut |now| last = Some(now)).unwrap();
    let end = qiji_bundle::Progress { done: written.size, total: written.size };
    assert_eq!(last, Some(end));
    last = None;
    Untrusted::open(&path).unwrap().verify(&bench.trusted(), &mut |now| last = Some(now)).unwrap();
    assert_eq!(last, Some(end));
}

#[test]
fn k_of_n_signatures() {
    let bench = Bench::new();
    let (spec, store) = sample();
    let keys = [(); 3].map(|()| SigningKey::generate().unwrap());
    let path = bench.path("two.qiji");
    qiji_bundle::write(&spec, &store, &[&keys[0], &keys[1]], &path, &mut |_| ()).unwrap();
    let verify = |threshold| {
        let trusted = TrustedKeys::new(keys.iter().map(SigningKey::public), threshold).unwrap();
        Untrusted::open(&path).unwrap().verify(&trusted, &mut |_| ())
    };
    assert_eq!(verify(2).unwrap().signers().len(), 2);
    let error = verify(3).unwrap_err();
    assert_eq!(error.class().exit_status(), 4);
    assert!(error.to_string().contains("2 of the 3 needed signatures"), "{error}");
}

#[test]
fn a_source_that_lies_is_found_and_leaves_nothing_behind() {
    let bench = Bench::new();
    let (spec, mut store) = sample();
    let digest = spec.packages[1].blobs[0].digest;
    let good = store.0[&digest].clone();
    let mut flipped = good.clone();
    flipped[3] ^= 1;
    for bad in [flipped, good[..5].to_vec(), [&good[..], b"x"].concat()] {
        store.0.insert(digest, bad);
        let path = bench.path("bad.qiji");
        let error = qiji_bundle::write(&spec, &store, &[&bench.key], &path, &mut |_| ()).unwrap_err();
        assert!(matches!(error, WriteError::Differs { .. }), "{error}");
        assert!(error.to_string().contains("package agent"), "{error}");
        assert!(fs_err::read_dir(bench.folder.path()).unwrap().next().is_none());
    }
}

#[test]
fn all_faults_of_a_spec_are_told_at_once() {
    let bench = Bench::new();
    let (mut spec, store) = sample();
    spec.name = "../demo".to_owned();
    spec.documents.push(("site.kdl".to_owned(), vec![]));
    spec.packages.push(spec.packages[0].clone());
    spec.images[0].name = "no tag".to_owned();
    let error = qiji_bundle::write(&spec, &store, &[&bench.key], &bench.path("x"), &mut |_| ()).unwrap_err();
    let WriteError::Spec(faults) = error else { panic!("{error}") };
    assert_eq!(faults.len(), 4, "{faults:?}");
}

#[test]
fn an_image_that_lists_other_layers_than_its_manifest_is_refused() {
    let bench = Bench::new();
    let (mut spec, store) = sample();
    spec.images[0].layers = spec.images[1].layers.clone();
    let error = qiji_bundle::write(&spec, &store, &[&bench.key], &bench.path("x"), &mut |_| ()).unwrap_err();
    assert!(error.to_string().contains("other layers than listed"), "{error}");
}

/// Number in the name, architecture, roles, and the bytes of each layer.
type Entry = (u8, Arch, Vec<Role>, Vec<Vec<u8>>);

/// Names, architectures and contents of a random bundle.
#[derive(Debug, Clone)]
struct Random {
    images: Vec<Entry>,
    packages: Vec<Entry>,
    /// Archive and values.
    charts: Vec<(u8, Vec<Vec<u8>>)>,
    documents: Vec<(u8, Vec<u8>)>,
}

fn random() -> impl Strategy<Value = Random> {
    let arch = || prop::sample::select(Arch::ALL.to_vec());
    let roles = || prop::sample::subsequence(vec![Role::ControlPlane, Role::Worker], 0..=2);
    let bytes = || prop::collection::vec(any::<u8>(), 0..1_600);
    let blobs = || prop::collection::vec(bytes(), 1..3);
    let entries = || prop::collection::vec((0..4_u8, arch(), roles(), blobs()), 0..6);
    let charts = prop::collection::vec((0..9_u8, blobs()), 0..3);
    (entries(), entries(), charts, prop::collection::vec((0..9_u8, bytes()), 0..4))
        .prop_map(|(images, packages, charts, documents)| Random { images, packages, charts, documents })
}

/// A chart whose first blob is its archive.
fn chart(store: &mut Store, name: &str, blobs: &[Vec<u8>]) -> ChartEntry {
    let types = std::iter::once(CHART_ARCHIVE).chain(std::iter::repeat(CHART_VALUES));
    let blobs = blobs.iter().zip(types).map(|(blob, kind)| store.add(kind, blob)).collect();
    ChartEntry { name: name.to_owned(), version: "1.0.0+x".to_owned(), blobs }
}

fn spec_of(random: &Random) -> (BundleSpec, Store) {
    let mut store = Store::default();
    let mut spec =
        BundleSpec { name: "random".to_owned(), version: "0.0.1+a~b".to_owned(), ..BundleSpec::default() };
    for (name, arch, roles, blobs) in &random.images {
        let name = format!("localhost:5000/i/{name}:v1");
        if !spec.images.iter().any(|image| image.name == name && image.arch == *arch) {
            let layers: Vec<_> = blobs.iter().map(|blob| layer("file", blob)).collect();
            spec.images.push(store.image(&name, *arch, roles, &layers));
        }
    }
    for (name, arch, roles, blobs) in &random.packages {
        let (name, arch, roles) = (format!("p{name}"), *arch, roles.clone());
        if !spec.packages.iter().any(|package| package.name == name && package.arch == arch) {
            let blobs = blobs.iter().map(|blob| store.add(LAYER, blob)).collect();
            spec.packages.push(PackageEntry { name, version: "1".to_owned(), arch, roles, blobs });
        }
    }
    for (name, blobs) in &random.charts {
        let name = format!("c{name}");
        if !spec.charts.iter().any(|chart| chart.name == name) {
            spec.charts.push(chart(&mut store, &name, blobs));
        }
    }
    let images = spec.images.iter().map(|image| Description::of_image(image, vec![]));
    let packages = spec.packages.iter().map(|package| Description::of_package(package, vec![program()]));
    let charts = spec.charts.iter().map(|chart| Description::of_chart(chart, vec![program()]));
    spec.sboms = images
        .chain(packages)
        .chain(charts)
        .step_by(2)
        .map(|one| (one.subject.clone(), one.to_spdx()))
        .collect();
    for (name, bytes) in &random.documents {
        let name = format!("d{name}");
        if !spec.documents.iter().any(|(known, _)| *known == name) {
            spec.documents.push((name, bytes.clone()));
        }
    }
    (spec, store)
}

fn sorted<T: Ord + Clone>(list: &[T]) -> Vec<T> {
    let mut list = list.to_vec();
    list.sort();
    list
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_contents_come_back_and_are_reproducible(random in random(), seed in any::<u64>()) {
        let bench = Bench::new();
        let (mut spec, store) = spec_of(&random);
        let (path, _) = bench.write("one.qiji", &spec, &store);
        let one = fs_err::read(&path).unwrap();
        let bundle = bench.verify(&path).unwrap();
        let images: Vec<ImageEntry> = bundle.images(None).cloned().collect();
        prop_assert_eq!(images, sorted(&spec.images));
        for arch in Arch::ALL {
            let found: Vec<PackageEntry> = bundle.packages(arch).cloned().collect();
            let wanted: Vec<_> = spec.packages.iter().filter(|package| package.arch == arch).cloned().collect();
            prop_assert_eq!(found, sorted(&wanted));
        }
        prop_assert_eq!(bundle.charts().cloned().collect::<Vec<_>>(), sorted(&spec.charts));
        let found: Vec<_> = bundle.sboms().unwrap().into_iter().map(|one| one.description.unwrap().subject).collect();
        prop_assert_eq!(found, sorted(&spec.sboms.iter().map(|(subject, _)| subject.clone()).collect::<Vec<_>>()));
        for (name, bytes) in &spec.documents {
            prop_assert_eq!(&bundle.document(name).unwrap().unwrap(), bytes);
        }
        let blobs = spec.packages.iter().flat_map(|package| &package.blobs);
        let blobs = blobs.chain(spec.charts.iter().flat_map(|chart| &chart.blobs));
        for Blob { digest, .. } in blobs.chain(spec.images.iter().flat_map(ImageEntry::blobs)) {
            prop_assert_eq!(Digest::of(&read_all(bundle.blob(digest).unwrap())), *digest);
        }
        let turn = |length: usize| if length == 0 { 0 } else { usize::try_from(seed % 1_000).unwrap() % length };
        let (images, packages) = (turn(spec.images.len()), turn(spec.packages.len()));
        spec.images.rotate_left(images);
        spec.packages.rotate_left(packages);
        spec.charts.reverse();
        spec.documents.reverse();
        spec.sboms.reverse();
        prop_assert!(one == fs_err::read(bench.write("two.qiji", &spec, &store).0).unwrap());
    }
}
