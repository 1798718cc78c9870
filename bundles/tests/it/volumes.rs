//! A bundle on volumes survives what its parity allows, and whatever is more is refused with a report.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fmt, io};

use proptest::prelude::*;
use qiji_bundle::{
    BundleSpec, Class, Division, FileMedium, Medium, PackageEntry, Parity, RAW_FILE, SplitError,
    SplitVolumes, Untrusted, VerifyError, VolumeSet, split,
};

use crate::fixture::{Bench, Store};
use crate::medium::Counting;

const SECTOR: usize = 4096;

/// A bundle of `kib` KiB in a file, and a folder for its volumes.
struct Shelf {
    bench: Bench,
    bundle: PathBuf,
    bytes: Vec<u8>,
}

impl Shelf {
    fn new(kib: usize) -> Self {
        let bench = Bench::new();
        let mut store = Store::default();
        let mut word = 7_u64;
        let content: Vec<u8> = (0..kib * 128)
            .flat_map(|_| {
                word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                word.to_be_bytes()
            })
            .collect();
        let packages = content.chunks(300_000).enumerate().map(|(index, part)| PackageEntry {
            name: format!("part-{index}"),
            version: "1".to_owned(),
            arch: qiji_blueprint::site::Arch::Amd64,
            roles: vec![],
            blobs: vec![store.add(RAW_FILE, part)],
        });
        let packages = packages.collect();
        let spec = BundleSpec {
            name: "shelf".to_owned(),
            version: "1".to_owned(),
            packages,
            ..BundleSpec::default()
        };
        let (bundle, _) = bench.write("whole.qiji", &spec, &store);
        let bytes = fs_err::read(&bundle).unwrap();
        fs_err::create_dir(bench.path("discs")).unwrap();
        Self { bench, bundle, bytes }
    }

    fn folder(&self) -> PathBuf {
        self.bench.path("discs")
    }

    fn volume(&self, suffix: &str) -> PathBuf {
        self.folder().join(format!("x.qiji.{suffix}"))
    }

    fn split(&self, volume_size: usize, parity: u16) -> SplitVolumes {
        let division = Division { volume_size: volume_size as u64, parity: Parity::Volumes(parity) };
        split(&self.bundle, &self.folder().join("x.qiji"), division, &mut |_| ()).unwrap()
    }

    fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let files = fs_err::read_dir(self.folder()).unwrap().map(|entry| entry.unwrap().path());
        files.map(|file| (file.clone(), fs_err::read(file).unwrap())).collect()
    }

    /// Verifies the set, and gives what is said about its volumes.
    fn verify(&self, path: &Path) -> Result<String, VerifyError> {
        let bundle = self.bench.verify(path)?;
        let volumes = bundle.volumes().unwrap();
        volumes.survey_parity(&mut |_| ());
        Ok(volumes.health().to_string().replace(&format!("{}/", self.folder().display()), ""))
    }

    fn report(&self) -> String {
        self.verify(&self.folder()).unwrap()
    }

    fn repair(&self) {
        let bundle = self.bench.verify(&self.folder()).unwrap();
        let volumes = bundle.volumes().unwrap();
        volumes.survey_parity(&mut |_| ());
        volumes.repair(&mut |_| ()).unwrap();
    }

    fn refused(&self) -> String {
        let error = self.verify(&self.folder()).unwrap_err();
        assert_eq!(error.class(), Class::Untrustworthy, "{error}");
        error.to_string().replace(&format!("{}/", self.folder().display()), "")
    }
}

fn change(file: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs_err::read(file).unwrap();
    change(&mut bytes);
    fs_err::write(file, bytes).unwrap();
}

#[test]
fn a_set_reads_as_the_bundle_and_is_the_same_each_time() {
    let shelf = Shelf::new(5000);
    let written = shelf.split(1 << 20, 2);
    assert_eq!((written.shape.data, written.shape.parity), (5, 2));
    let first = shelf.files();
    assert_eq!(first.len(), 7);
    for (file, size) in &written.files {
        assert_eq!(first[file].len() as u64, *size);
        assert!(*size <= 1 << 20);
    }
    let set = VolumeSet::open(&shelf.folder()).unwrap();
    let mut bytes = vec![0; shelf.bytes.len()];
    set.read_exact_at(&mut bytes, 0).unwrap();
    assert!(bytes == shelf.bytes);
    set.join(&shelf.bench.path("joined.qiji"), &mut |_| ()).unwrap();
    assert!(fs_err::read(shelf.bench.path("joined.qiji")).unwrap() == shelf.bytes);
    assert_eq!(shelf.report(), "");
    for name in ["discs", "discs/x.qiji", "discs/x.qiji.001", "discs/x.qiji.p02"] {
        assert_eq!(shelf.verify(&shelf.bench.path(name)).unwrap(), "");
    }
    shelf.split(1 << 20, 2);
    assert!(shelf.files() == first);
}

#[test]
fn rows_of_data_volumes_are_the_bundle_in_order() {
    let shelf = Shelf::new(5000);
    shelf.split(3 << 20, 0);
    let mut joined: Vec<u8> = Vec::new();
    for suffix in ["001", "002"] {
        let bytes = fs_err::read(shelf.volume(suffix)).unwrap();
        for frame in bytes.chunks(502 * SECTOR) {
            joined.extend(&frame[SECTOR..frame.len() - SECTOR]);
        }
    }
    joined.truncate(shelf.bytes.len());
    assert!(joined == shelf.bytes);
}

#[test]
fn lost_volumes_are_restored_and_written_again_when_asked() {
    let shelf = Shelf::new(3000);
    shelf.split(1 << 20, 2);
    let whole = shelf.files();
    for lost in [["001", "002"], ["003", "p01"], ["p01", "p02"], ["002", "p02"]] {
        for suffix in lost {
            fs_err::remove_file(shelf.volume(suffix)).unwrap();
        }
        let report = shelf.report();
        for suffix in lost {
            assert!(report.contains(&format!("(x.qiji.{suffix}) is missing")), "{report}");
        }
        assert_eq!(report.lines().count(), 2);
        assert_eq!(shelf.files().len(), whole.len() - 2);
        assert_eq!(shelf.verify(&shelf.volume(lost[0])).unwrap(), report);
        shelf.repair();
        assert!(shelf.files() == whole);
    }
}

#[test]
fn bad_sectors_of_several_volumes_are_told_and_restored() {
    let shelf = Shelf::new(9000);
    shelf.split(3 << 20, 1);
    let whole = shelf.files();
    change(&shelf.volume("001"), |bytes| bytes[7 * SECTOR + 5] ^= 1);
    change(&shelf.volume("002"), |bytes| bytes[100 * SECTOR..103 * SECTOR].fill(0));
    change(&shelf.volume("p01"), |bytes| bytes[9 * SECTOR] ^= 0x80);
    let expected = "volume 001 (x.qiji.001) is damaged in bytes 28672 to 32767\n\
                    volume 002 (x.qiji.002) is damaged in bytes 409600 to 421887\n\
                    parity volume p01 (x.qiji.p01) is damaged in bytes 36864 to 40959\n";
    assert_eq!(shelf.report(), expected);
    shelf.repair();
    assert!(shelf.files() == whole);
}

#[test]
fn a_damaged_check_sector_costs_nothing_and_two_cost_a_frame() {
    let shelf = Shelf::new(9000);
    shelf.split(3 << 20, 1);
    let whole = shelf.files();
    change(&shelf.volume("001"), |bytes| bytes[..SECTOR].fill(0));
    change(&shelf.volume("003"), |bytes| bytes[501 * SECTOR] ^= 1);
    assert_eq!(shelf.report().lines().count(), 2);
    change(&shelf.volume("001"), |bytes| bytes[501 * SECTOR..503 * SECTOR].fill(0));
    assert!(
        shelf
            .report()
            .starts_with("volume 001 (x.qiji.001) is damaged in bytes 0 to 4095, 2052096 to 2060287\n"),
        "{}",
        shelf.report()
    );
    shelf.repair();
    assert!(shelf.files() == whole);
}

#[test]
fn truncated_and_lengthened_volumes_are_restored() {
    let shelf = Shelf::new(3000);
    shelf.split(1 << 20, 1);
    let whole = shelf.files();
    change(&shelf.volume("002"), |bytes| bytes.truncate(100_000));
    assert!(
        shelf.report().starts_with("volume 002 (x.qiji.002) is damaged in bytes 98304 to "),
        "{}",
        shelf.report()
    );
    shelf.repair();
    change(&shelf.volume("002"), |bytes| bytes.extend(b"more"));
    assert!(shelf.report().contains("volume 002 (x.qiji.002) is damaged in bytes "), "{}", shelf.report());
    shelf.repair();
    change(&shelf.volume("001"), Vec::clear);
    let report = shelf.report();
    assert!(
        report.contains("(x.qiji.001) is missing") && report.contains("x.qiji.001 is no volume"),
        "{report}"
    );
    fs_err::remove_file(shelf.volume("001")).unwrap();
    shelf.repair();
    assert!(shelf.files() == whole);
}

#[test]
fn names_do_not_matter_and_volumes_of_other_sets_are_told() {
    let shelf = Shelf::new(3000);
    shelf.split(1 << 20, 1);
    let third = fs_err::read(shelf.volume("003")).unwrap();
    fs_err::rename(shelf.volume("001"), shelf.volume("009")).unwrap();
    fs_err::rename(shelf.volume("002"), shelf.volume("001")).unwrap();
    fs_err::rename(shelf.volume("009"), shelf.volume("002")).unwrap();
    assert_eq!(shelf.report(), "");

    let other = Shelf::new(2990);
    other.split(1 << 20, 1);
    fs_err::copy(other.volume("003"), shelf.volume("003")).unwrap();
    fs_err::copy(shelf.volume("001"), shelf.volume("007")).unwrap();
    let report = shelf.report();
    assert!(report.contains("volume 003 (x.qiji.003) is missing"), "{report}");
    assert!(
        report.contains("x.qiji.003 is volume 003 of another set, of the bundle with sha256:"),
        "{report}"
    );
    assert!(report.contains("x.qiji.007 is volume 002 once more"), "{report}");
    let bundle = shelf.bench.verify(&shelf.folder()).unwrap();
    let error = bundle.volumes().unwrap().repair(&mut |_| ()).unwrap_err().to_string();
    assert!(error.contains("of another set") && error.contains("003"), "{error}");
    fs_err::remove_file(shelf.volume("003")).unwrap();
    fs_err::remove_file(shelf.volume("007")).unwrap();
    shelf.repair();
    assert!(fs_err::read(shelf.volume("003")).unwrap() == third);
}

#[test]
fn more_damage_than_parity_is_refused_and_told() {
    let shelf = Shelf::new(5000);
    shelf.split(1 << 20, 1);
    change(&shelf.volume("001"), |bytes| bytes[20 * SECTOR] ^= 1);
    change(&shelf.volume("001"), |bytes| bytes[90 * SECTOR] ^= 1);
    change(&shelf.volume("002"), |bytes| bytes[20 * SECTOR] ^= 1);
    change(&shelf.volume("p01"), |bytes| bytes[20 * SECTOR] ^= 1);
    let refused = shelf.refused();
    assert!(
        refused.contains(
            "at one place 3 volumes are lost or damaged, and parity is there for 1: 3 parity volumes would be needed"
        ),
        "{refused}"
    );
    assert!(
        refused.contains("volume 001 (x.qiji.001) is damaged in bytes 81920 to 86015; volume 002"),
        "{refused}"
    );
    assert!(!refused.contains("x.qiji.003"), "{refused}");
    fs_err::remove_file(shelf.volume("004")).unwrap();
    let refused = shelf.refused();
    assert!(
        refused.contains("4 parity volumes would be needed")
            && refused.contains("volume 004 (x.qiji.004) is missing"),
        "{refused}"
    );
}

#[test]
fn without_parity_every_byte_counts() {
    let shelf = Shelf::new(2000);
    shelf.split(1 << 20, 0);
    change(&shelf.volume("002"), |bytes| bytes[20 * SECTOR] ^= 1);
    assert!(shelf.refused().contains("volume 002 (x.qiji.002) is damaged in bytes 81920 to 86015"));
    fs_err::remove_file(shelf.volume("001")).unwrap();
    let refused = shelf.refused();
    assert!(refused.contains("2 parity volumes would be needed"), "{refused}");
}

#[test]
fn folders_without_a_set_are_another_kind_of_wrong() {
    let shelf = Shelf::new(2000);
    let refused = |path: &Path| {
        let error = shelf.bench.verify(path).unwrap_err();
        assert_eq!(error.class(), Class::Malformed, "{error}");
        error.to_string()
    };
    assert!(refused(&shelf.folder()).contains("holds no volume of a bundle"));
    fs_err::write(shelf.volume("001"), "not a volume").unwrap();
    assert!(refused(&shelf.volume("001")).contains("is no volume"));
    shelf.split(1 << 20, 0);
    fs_err::write(shelf.folder().join("y.qiji.001"), "of another").unwrap();
    assert!(refused(&shelf.folder()).contains("of several bundles"));
    assert_eq!(shelf.verify(&shelf.volume("002")).unwrap(), "");
}

#[test]
fn what_cannot_be_split_is_told() {
    let shelf = Shelf::new(5000);
    let stem = shelf.folder().join("x.qiji");
    let fail = |volume_size, parity| {
        let division = Division { volume_size, parity };
        split(&shelf.bundle, &stem, division, &mut |_| ()).map(|written| written.shape).unwrap_err()
    };
    for volume_size in [0, 8191, 3 * 4096] {
        assert!(matches!(fail(volume_size, Parity::Volumes(0)), SplitError::TooSmall { .. }));
    }
    let too_much = SplitError::TooMuchParity { parity: 4, data: 3 };
    assert_eq!(fail(2 << 20, Parity::Volumes(4)).to_string(), too_much.to_string());
    assert!(shelf.files().is_empty());
    shelf.split(1 << 20, 0);
    let error = fail(2 << 20, Parity::Percent(30));
    assert!(matches!(&error, SplitError::InTheWay(files) if files.len() == 2), "{error}");
}

/// A medium on which some sectors cannot be read.
#[derive(Debug)]
struct Scratched<M> {
    medium: M,
    bad: Vec<u64>,
}

impl<M: Medium + fmt::Debug> Medium for Scratched<M> {
    fn size(&self) -> u64 {
        self.medium.size()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let sectors = offset / 4096..(offset + buffer.len() as u64).div_ceil(4096);
        if self.bad.iter().any(|bad| sectors.contains(bad)) {
            return Err(io::Error::other("input/output error"));
        }
        self.medium.read_at(buffer, offset)
    }
}

#[test]
fn sectors_that_cannot_be_read_are_restored() {
    let shelf = Shelf::new(3000);
    let written = shelf.split(1 << 20, 1);
    let media = written.files.iter().enumerate().map(|(index, (file, _))| {
        let medium = FileMedium::open(file).unwrap();
        let bad = if index == 1 { vec![0, 30, 31, 200] } else { vec![] };
        (file.clone(), Ok(Arc::new(Scratched { medium, bad }) as Arc<dyn Medium>))
    });
    let set = Arc::new(VolumeSet::over(shelf.folder().join("x.qiji"), media).unwrap());
    Untrusted::over_volumes(Arc::clone(&set), Path::new("a disc"))
        .unwrap()
        .verify(&shelf.bench.trusted(), &mut |_| ())
        .unwrap();
    let report = set.health().to_string();
    assert!(report.contains("is damaged in bytes 0 to 4095, 122880 to 131071, 819200 to 823295"), "{report}");
}

#[test]
fn volumes_are_read_front_to_back() {
    let shelf = Shelf::new(20_000);
    let written = shelf.split(8 << 20, 1);
    let media: Vec<(PathBuf, Arc<Counting<FileMedium>>)> = written
        .files
        .iter()
        .map(|(file, _)| (file.clone(), Arc::new(Counting::new(FileMedium::open(file).unwrap()))))
        .collect();
    let counted =
        media.iter().map(|(file, medium)| (file.clone(), Ok(Arc::clone(medium) as Arc<dyn Medium>)));
    let set = Arc::new(VolumeSet::over(shelf.folder().join("x.qiji"), counted).unwrap());
    let untrusted = Untrusted::over_volumes(Arc::clone(&set), Path::new("discs")).unwrap();
    untrusted.verify(&shelf.bench.trusted(), &mut |_| ()).unwrap();
    set.survey_parity(&mut |_| ());
    for (file, medium) in media {
        assert!(medium.steps_back() <= 10, "{} steps back in {}", medium.steps_back(), file.display());
        assert!(medium.bytes() < 2 * medium.size(), "{} bytes of {}", medium.bytes(), medium.size());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever is hit: as long as no row has lost more sectors than there are parity volumes, the bundle comes back byte for byte, and so do the volumes.
    #[test]
    fn random_damage_is_restored_exactly_when_it_can_be(
        parity in 1_u16..4,
        hits in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 1_usize..6, any::<u8>()), 1..40),
    ) {
        let shelf = Shelf::new(3000);
        let written = shelf.split(700_000, parity);
        let whole = shelf.files();
        let mut damaged: BTreeMap<usize, u32> = BTreeMap::new();
        let mut seen = std::collections::BTreeSet::new();
        for (volume, at, count, value) in &hits {
            let (file, size) = &written.files[volume.index(written.files.len())];
            let sectors = usize::try_from(*size).unwrap() / SECTOR;
            let first = 1 + at.index(sectors - 2);
            for sector in first..(first + count).min(sectors - 1) {
                change(file, |bytes| bytes[sector * SECTOR + usize::from(*value)] ^= value | 1);
                if seen.insert((file.clone(), sector)) {
                    *damaged.entry(sector).or_default() += 1;
                } else {
                    // Hit again: it may have become what it was. Then it does not count.
                    let same = whole[file][sector * SECTOR..(sector + 1) * SECTOR] == fs_err::read(file).unwrap()[sector * SECTOR..(sector + 1) * SECTOR];
                    if same {
                        seen.remove(&(file.clone(), sector));
                        *damaged.get_mut(&sector).unwrap() -= 1;
                    }
                }
            }
        }
        let worst = damaged.values().copied().max().unwrap_or(0);
        if worst <= u32::from(parity) {
            shelf.repair();
            prop_assert!(shelf.files() == whole);
        } else {
            // Where only parity is hit too often, the bundle itself may still be read.
            let data_row = |row: &usize| seen.iter().any(|(file, sector)| sector == row && !file.extension().unwrap().to_str().unwrap().starts_with('p'));
            let hopeless = damaged.iter().any(|(row, count)| *count > u32::from(parity) && data_row(row));
            prop_assert_eq!(shelf.verify(&shelf.folder()).is_err(), hopeless);
        }
    }
}
