use std::collections::BTreeMap;

use qiji_blueprint::Digest;
use qiji_bundle::{BundleSpec, Class, Division, Parity, split};

use crate::fixture::{Store, sample};
use crate::victim::Victim;

const SECTOR: usize = 4096;
/// Where a check sector has the checks of its rows, and its own.
const CHECKS: usize = 64;
const OWN_CHECK: usize = 4064;

/// Volumes by the ends of their names.
type Volumes = BTreeMap<String, Vec<u8>>;

/// The sample with more in it, on volumes of 16 KiB with one of parity.
fn volumes(victim: &Victim, version: &str) -> Volumes {
    let (mut spec, store): (BundleSpec, Store) = sample();
    version.clone_into(&mut spec.version);
    let more = (0..60_000_u32).flat_map(u32::to_le_bytes).zip(version.bytes().cycle().skip(4));
    spec.documents.push(("more".to_owned(), more.map(|(byte, other)| byte ^ other).collect()));
    let (bundle, _) = victim.vendor.write("whole.qiji", &spec, &store);
    let folder = tempfile::tempdir().unwrap();
    let division = Division { volume_size: 16 * SECTOR as u64, parity: Parity::Volumes(1) };
    split(&bundle, &folder.path().join("x.qiji"), division, &mut |_| ()).unwrap();
    let files = fs_err::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
    let name = |path: &std::path::Path| path.extension().unwrap().to_str().unwrap().to_owned();
    files.map(|path| (name(&path), fs_err::read(&path).unwrap())).collect()
}

fn sha256(bytes: &[u8]) -> Vec<u8> {
    hex::decode(Digest::of(bytes).hex()).unwrap()
}

/// Changes both check sectors of a volume of one frame, and makes their own checks anew.
fn rewrite(volume: &mut [u8], change: impl Fn(&mut [u8])) {
    for at in [0, volume.len() - SECTOR] {
        let sector = &mut volume[at..at + SECTOR];
        change(sector);
        let own = sha256(&sector[..OWN_CHECK]);
        sector[OWN_CHECK..].copy_from_slice(&own);
    }
}

/// Changes a byte of a row, and makes all checks of its volume anew.
fn forge(volume: &mut [u8], row: usize) {
    let start = SECTOR * (1 + row);
    volume[start + 99] ^= 1;
    let check = sha256(&volume[start..start + SECTOR]);
    rewrite(volume, |sector| sector[CHECKS + 8 * row..][..8].copy_from_slice(&check[..8]));
}

#[test]
fn a_row_with_checks_made_anew() {
    let victim = Victim::new();
    let good = volumes(&victim, "1.2.3");
    assert!(victim.verify_volumes(&good).is_ok(), "the volumes are good before they are forged");
    for name in ["001", "002", "003"] {
        let mut forged = good.clone();
        forge(forged.get_mut(name).unwrap(), 5);
        victim.refuses_volumes(&forged).untrustworthy("");
    }
}

#[test]
fn parity_that_restores_something_else() {
    let victim = Victim::new();
    let mut forged = volumes(&victim, "1.2.3");
    forged.remove("002");
    assert!(victim.verify_volumes(&forged).is_ok(), "a lost volume is restored");
    forge(forged.get_mut("p01").unwrap(), 5);
    victim.refuses_volumes(&forged).untrustworthy("blob sha256:");
}

#[test]
fn a_volume_of_another_bundle_of_the_same_vendor() {
    let victim = Victim::new();
    let (mut mixed, other) = (volumes(&victim, "1.2.3"), volumes(&victim, "1.2.4"));
    mixed.remove("p01");
    mixed.insert("002".to_owned(), other["002"].clone());
    victim.refuses_volumes(&mixed).untrustworthy("volume");
    // The same, said to be of the set.
    let identity = mixed["001"][8..52].to_vec();
    rewrite(mixed.get_mut("002").unwrap(), |sector| sector[8..52].copy_from_slice(&identity));
    victim.refuses_volumes(&mixed).untrustworthy("");
}

#[test]
fn numbers_beyond_all_bounds() {
    let victim = Victim::new();
    let good = volumes(&victim, "1.2.3");
    let changes: [(usize, &[u8]); 7] = [
        (40, &[0xff; 8]),
        (40, &[0; 8]),
        (48, &[0xff; 2]),
        (48, &[0; 2]),
        (50, &[0xff; 2]),
        (52, &[0xff; 2]),
        (56, &[0xff; 8]),
    ];
    for (at, bytes) in changes {
        let mut forged = good.clone();
        for volume in forged.values_mut() {
            rewrite(volume, |sector| sector[at..at + bytes.len()].copy_from_slice(bytes));
        }
        let refusal = victim.refuses_volumes(&forged);
        assert!([Class::Malformed, Class::Untrustworthy].contains(&refusal.class()), "at {at}");
    }
}
