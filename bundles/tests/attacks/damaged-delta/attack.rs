use std::path::{Path, PathBuf};

use qiji_bundle::{
    Against, BundleSpec, Class, Delta, DeltaError, Inventory, OldBundles, Untrusted, write_delta,
};

use crate::fixture::{Store, sample};
use crate::victim::Victim;

/// Places that are changed, one after another.
const PLACES: usize = 150;

/// The sample in a version, with a document that changes a little.
fn release(version: &str) -> (BundleSpec, Store) {
    let (mut spec, store) = sample();
    version.clone_into(&mut spec.version);
    let lines = (0..4_000).map(|number| format!("{} {version}\n", number * number));
    spec.documents.push(("lines".to_owned(), lines.collect::<String>().into_bytes()));
    (spec, store)
}

/// The old bundle, the new one, and the delta between them.
struct Step {
    old: PathBuf,
    new: Vec<u8>,
    delta: Vec<u8>,
}

fn step(victim: &Victim) -> Step {
    let ((old_spec, old_store), (spec, store)) = (release("1.2.3"), release("1.2.4"));
    let (old, _) = victim.vendor.write("old.qiji", &old_spec, &old_store);
    let (new, _) = victim.vendor.write("new.qiji", &spec, &store);
    let opened = Untrusted::open(&old).unwrap();
    let mut inventory = Inventory::default();
    inventory.add(&opened).unwrap();
    let held = OldBundles(vec![opened]);
    let against = Against { inventory: &inventory, old: &held, whole_where_missing: false };
    let path = victim.vendor.path("delta.qiji");
    write_delta(&spec, &store, &[&victim.vendor.key], &against, &path, &mut |_| ()).unwrap();
    Step { old, new: fs_err::read(new).unwrap(), delta: fs_err::read(path).unwrap() }
}

/// What comes of a good delta and an old bundle.
fn rebuilt(victim: &Victim, step: &Step, old: &Path) -> Result<Vec<u8>, Class> {
    let refused = |error: &DeltaError| {
        assert!(!error.to_string().contains(char::is_control), "{error}");
        error.class()
    };
    let delta = Delta::open(&victim.verify(&step.delta).unwrap()).map_err(|error| refused(&error))?;
    let old = Untrusted::open(old).map_err(|error| error.class())?;
    let out = victim.vendor.path("rebuilt.qiji");
    let done = delta.rebuild(&OldBundles(vec![old]), &out, &mut |_| ());
    assert_eq!(done.is_ok(), out.exists(), "a bundle is written where it is whole, and else nothing");
    done.map_err(|error| refused(&error))?;
    let bytes = fs_err::read(&out).unwrap();
    fs_err::remove_file(out).unwrap();
    Ok(bytes)
}

#[test]
fn at_any_place_of_the_delta() {
    let victim = Victim::new();
    let step = step(&victim);
    for number in 0..PLACES {
        let mut delta = step.delta.clone();
        let at = delta.len() * number / PLACES;
        delta[at] ^= 0x10;
        victim.refuses(&delta).untrustworthy("");
    }
}

#[test]
fn at_any_place_of_the_old_bundle() {
    let victim = Victim::new();
    let step = step(&victim);
    let good = fs_err::read(&step.old).unwrap();
    assert_eq!(rebuilt(&victim, &step, &step.old).unwrap(), step.new);
    let changed = victim.vendor.path("changed.qiji");
    let mut refused = 0;
    for number in 0..PLACES {
        let mut old = good.clone();
        let at = old.len() * number / PLACES;
        old[at] ^= 0x10;
        fs_err::write(&changed, old).unwrap();
        match rebuilt(&victim, &step, &changed) {
            Ok(bytes) => assert_eq!(bytes, step.new, "at {at}"),
            Err(class) => {
                assert_eq!(class, Class::Untrustworthy, "at {at}");
                refused += 1;
            }
        }
    }
    assert!(refused > PLACES / 2, "only {refused} places mattered");
}
