//! Texts in KDL: sites, locks, catalogues.

use std::sync::OnceLock;

use qiji_blueprint::lock::{Artifact, Lock, Pinned};
use qiji_blueprint::{Catalogue, Digest, Faults, check, print};

fn builtin() -> &'static Catalogue {
    static CATALOGUE: OnceLock<Catalogue> = OnceLock::new();
    CATALOGUE.get_or_init(Catalogue::builtin)
}

/// Faults must be fit to show, in colour and without.
fn shown<T>(result: Result<T, Faults>) -> Option<T> {
    match result {
        Ok(good) => Some(good),
        Err(faults) => {
            assert!(!faults.render(false, 100).is_empty());
            None
        }
    }
}

/// A text as a site. What is printed of a good one is the same site.
pub(crate) fn site(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let Some(checked) = shown(check("site.kdl", text, builtin())) else { return };
    let printed = print(&checked.site);
    let again = shown(check("printed.kdl", &printed, builtin())).unwrap_or_else(|| panic!("{printed}"));
    assert_eq!(again.site, checked.site, "{printed}");
    let _ = builtin().wanted(&checked.site);
}

const SITES: [&str; 3] = [
    include_str!("../../blueprints/examples/quickstart.kdl"),
    include_str!("../../blueprints/examples/ha.kdl"),
    include_str!("../../blueprints/examples/gov-multi-chip.kdl"),
];

pub(crate) fn site_seeds() -> Vec<Vec<u8>> {
    SITES.map(|text| text.as_bytes().to_vec()).to_vec()
}

/// A text as a lock. What is written of a good one is read as the same lock.
pub(crate) fn lock(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let Some(lock) = shown(Lock::parse("site.lock", text)) else { return };
    let written = lock.to_kdl();
    let again = Lock::parse("written.lock", &written).unwrap_or_else(|_| panic!("{written}"));
    assert_eq!(again, lock, "{written}");
    assert_eq!(again.to_kdl(), written);
}

/// The lock of a small site, with made-up digests, shortened so that it can be changed all over.
pub(crate) fn lock_seeds() -> Vec<Vec<u8>> {
    let site = check("quickstart.kdl", SITES[0], builtin()).unwrap().site;
    let wanted = builtin().wanted(&site).unwrap();
    let pin = |name: &str| Pinned { digest: Digest::of(name.as_bytes()), size: name.len() as u64 };
    let artifacts = wanted.artifacts.into_iter().map(|one| Artifact {
        pin: pin(&one.name),
        name: one.name,
        version: one.version,
        arch: one.arch,
        sources: one.sources,
    });
    let mut lock = Lock {
        site: wanted.site,
        version: wanted.version,
        site_digest: wanted.site_digest,
        artifacts: artifacts.collect(),
        layers: wanted.layers,
        images: wanted.images,
        packages: wanted.packages,
        charts: wanted.charts,
        upstreams: Vec::new(),
    };
    let whole = lock.to_kdl();
    lock.images.truncate(2);
    lock.packages.truncate(2);
    vec![whole.into_bytes(), lock.to_kdl().into_bytes()]
}

/// A text as a part of a catalogue.
pub(crate) fn catalogue(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    shown(builtin().clone().add("own.kdl", text));
}

pub(crate) fn catalogue_seeds() -> Vec<Vec<u8>> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../blueprints/catalogue");
    let mut seeds = Vec::new();
    let mut folders = vec![std::path::PathBuf::from(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs_err::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "kdl") {
                seeds.push(fs_err::read(path).unwrap());
            }
        }
    }
    seeds
}
