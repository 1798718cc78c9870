//! Every target over its seeds, on the compiler that the product is built with and without a fuzzer.

use qiji_fuzz::TARGETS;

#[test]
fn every_target_reads_its_seeds_whole_cut_and_damaged() {
    for target in TARGETS {
        for mut seed in (target.seeds)() {
            (target.run)(&seed);
            let half = seed.len() / 2;
            (target.run)(&seed[..half]);
            if let Some(byte) = seed.get_mut(half) {
                *byte ^= 0x20;
                (target.run)(&seed);
            }
        }
    }
}

#[test]
fn names_are_unique() {
    let mut names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), TARGETS.len());
}
