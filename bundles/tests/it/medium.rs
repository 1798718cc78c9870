//! Reading goes one way: a disc that is slow to seek is not sent back and forth, however much the bundle holds.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use std::{fmt, io};

use qiji_blueprint::site::Arch;
use qiji_bundle::{BundleSpec, FileMedium, Medium, PackageEntry, Untrusted};

use crate::damage::large;
use crate::fixture::{Bench, LAYER, Store, layer};

/// A file that keeps count of how it is read.
#[derive(Debug)]
pub(crate) struct Counting<M> {
    medium: M,
    position: Mutex<u64>,
    back: AtomicU64,
    bytes: AtomicU64,
    /// Time that each read takes at least.
    delay: Duration,
}

impl<M> Counting<M> {
    pub(crate) fn new(medium: M) -> Self {
        Self {
            medium,
            position: Mutex::new(0),
            back: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            delay: Duration::ZERO,
        }
    }

    /// How often a read started before the end of the one before it.
    pub(crate) fn steps_back(&self) -> u64 {
        self.back.load(Ordering::Relaxed)
    }

    /// Bytes that were read.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl<M: Medium + fmt::Debug> Medium for Counting<M> {
    fn size(&self) -> u64 {
        self.medium.size()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        std::thread::sleep(self.delay);
        let count = self.medium.read_at(buffer, offset)?;
        let mut position = self.position.lock().unwrap();
        self.back.fetch_add(u64::from(offset < *position), Ordering::Relaxed);
        self.bytes.fetch_add(count as u64, Ordering::Relaxed);
        *position = offset + count as u64;
        Ok(count)
    }
}

/// Images of two architectures, with a package beside each.
pub(crate) fn crowd(count: usize) -> (BundleSpec, Store) {
    let mut store = Store::default();
    let (mut images, mut packages) = (Vec::new(), Vec::new());
    for number in 0..count {
        for arch in [Arch::Amd64, Arch::Arm64] {
            let content = vec![u8::try_from(number % 256).unwrap(); 5_000 + number * 3];
            let tar = layer(&format!("file-{number}-{arch}"), &content);
            images.push(store.image(
                &format!("qiji.local/image-{number}:v1"),
                arch,
                &[],
                std::slice::from_ref(&tar),
            ));
            let (name, version) = (format!("package-{number}"), "1".to_owned());
            packages.push(PackageEntry {
                name,
                version,
                arch,
                roles: vec![],
                blobs: vec![store.add(LAYER, &tar)],
            });
        }
    }
    let spec = BundleSpec {
        name: "crowd".to_owned(),
        version: "1".to_owned(),
        images,
        packages,
        ..BundleSpec::default()
    };
    (spec, store)
}

#[test]
fn verifying_steps_back_a_few_times_whatever_the_bundle_holds() {
    let bench = Bench::new();
    let mut seen = Vec::new();
    for count in [1, 40] {
        let (spec, store) = crowd(count);
        let (path, written) = bench.write("crowd.qiji", &spec, &store);
        let medium = Arc::new(Counting::new(FileMedium::open(&path).unwrap()));
        let bundle = Untrusted::over(Arc::clone(&medium) as _, Path::new("a disc")).unwrap();
        bundle.verify(&bench.trusted(), &mut |_| ()).unwrap();
        assert!(medium.bytes() < 2 * written.size, "{} of {}", medium.bytes(), written.size);
        seen.push(medium.steps_back());
    }
    // Where the signature lies among the blobs, by the digests of a new key each time, makes a difference of one or two.
    assert!(seen.iter().all(|&steps| steps <= 10), "{seen:?}");
}

#[test]
fn a_slow_medium_is_read_in_one_direction_however_large_it_is() {
    let bench = Bench::new();
    let (spec, store) = large();
    let (path, _) = bench.write("large.qiji", &spec, &store);
    let mut counting = Counting::new(FileMedium::open(&path).unwrap());
    counting.delay = Duration::from_millis(5);
    let medium = Arc::new(counting);
    let bundle = Untrusted::over(Arc::clone(&medium) as _, Path::new("a disc")).unwrap();
    bundle.verify(&bench.trusted(), &mut |_| ()).unwrap();
    assert!(medium.steps_back() <= 10, "{}", medium.steps_back());
}
