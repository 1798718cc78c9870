use std::sync::Arc;
use std::thread;

use qiji_blueprint::site::Arch;
use qiji_bundle::{Class, PackageEntry};

use crate::fixture::{Bench, LAYER, sample};
use crate::forge::{Flipped, Random};
use crate::victim::{names_something, verify_medium};

const PLACES: u64 = 10_000;
const THREADS: u64 = 2;

/// The sample with two layers that are no multiple of any buffer.
fn larger(bench: &Bench) -> Vec<u8> {
    let (mut spec, mut store) = sample();
    let mut random = Random(0x9e37_79b9);
    for (name, size) in [("large", 300_001), ("larger", 1_100_123)] {
        let blob = store.add(LAYER, &random.bytes(size));
        spec.packages.push(PackageEntry {
            name: name.to_owned(),
            version: "1".to_owned(),
            arch: Arch::Amd64,
            roles: vec![],
            blobs: vec![blob],
        });
    }
    fs_err::read(bench.write("larger.qiji", &spec, &store).0).unwrap()
}

#[test]
fn at_ten_thousand_places() {
    let bench = Bench::new();
    let good = Arc::new(larger(&bench));
    thread::scope(|scope| {
        for number in 0..THREADS {
            let (bench, good) = (&bench, &good);
            scope.spawn(move || {
                let mut random = Random(number + 1);
                for _ in 0..PLACES / THREADS {
                    flip(
                        bench,
                        Flipped {
                            good: Arc::clone(good),
                            at: random.below(good.len()),
                            bit: 1 << random.below(8),
                        },
                    );
                }
            });
        }
    });
}

fn flip(bench: &Bench, medium: Flipped) {
    let what = format!("byte {}, bit {:#x}", medium.at, medium.bit);
    let error = verify_medium(bench, Arc::new(medium)).map(drop).expect_err(&what);
    assert_eq!(error.class(), Class::Untrustworthy, "{what}: {error}");
    assert!(names_something(&error.to_string()), "{what}: {error}");
}
