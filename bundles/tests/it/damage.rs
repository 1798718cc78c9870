//! Blobs are hashed by several threads; what is told must not depend on which is first.

use fs_err::os::unix::fs::FileExt as _;
use qiji_bundle::BundleSpec;

use crate::fixture::{Bench, Store};

/// Documents from none to several buffers long, each of other bytes; so many that a fast medium is read in several places.
pub(crate) fn large() -> (BundleSpec, Store) {
    let sizes = [0, 1, 511, 1 << 20, (1 << 20) + 1, 3 << 20, 70_000, 5 << 20, 2 << 20, 999];
    let documents =
        (b'a'..).zip(sizes).map(|(letter, size)| (char::from(letter).to_string(), vec![letter; size]));
    let spec = BundleSpec {
        name: "large".to_owned(),
        version: "1.0.0".to_owned(),
        documents: documents.collect(),
        ..BundleSpec::default()
    };
    (spec, Store::default())
}

#[test]
fn a_bundle_of_many_buffers_holds() {
    let bench = Bench::new();
    let (spec, store) = large();
    let (path, written) = bench.write("large.qiji", &spec, &store);
    let mut seen = 0;
    let untrusted = qiji_bundle::Untrusted::open(&path).unwrap();
    untrusted.verify(&bench.trusted(), &mut |progress| seen = progress.done).unwrap();
    assert_eq!(seen, written.size);
}

#[test]
fn of_several_damaged_blobs_the_first_in_the_file_is_told() {
    let bench = Bench::new();
    let (spec, store) = large();
    let (path, _) = bench.write("large.qiji", &spec, &store);
    let bytes = fs_err::read(&path).unwrap();
    let file = fs_err::OpenOptions::new().write(true).open(&path).unwrap();
    let told = || bench.verify(&path).map(|_| ()).unwrap_err().to_string();
    let mut places: Vec<usize> = spec
        .documents
        .iter()
        .filter(|(_, content)| content.len() > 60_000)
        .map(|(_, content)| bytes.windows(9_000).position(|window| window == &content[..9_000]).unwrap())
        .collect();
    places.sort_unstable();
    let mut alone = Vec::new();
    for &place in &places {
        file.write_all_at(&[bytes[place] ^ 1], place as u64).unwrap();
        alone.push(told());
        file.write_all_at(&bytes[place..=place], place as u64).unwrap();
    }
    // From the last to the first, so that each is the first of those that are damaged by then.
    for (&place, message) in places.iter().zip(&alone).rev() {
        file.write_all_at(&[bytes[place] ^ 1], place as u64).unwrap();
        for _ in 0..20 {
            assert_eq!(told(), *message);
        }
    }
}
