use tar::EntryType;

use crate::fixture;
use crate::forge::{self, Special};
use crate::victim::Victim;

#[test]
fn of_each_extension() {
    let victim = Victim::new();
    let good = forge::members(&victim.vendor);
    let pax = b"27 GNU.sparse.realsize=9999\n19 path=index.json\n".as_slice();
    for (kind, content) in [
        (EntryType::GNUSparse, b"".as_slice()),
        (EntryType::GNULongName, b"index.json\0"),
        (EntryType::GNULongLink, b"index.json\0"),
        (EntryType::XHeader, pax),
        (EntryType::XGlobalHeader, pax),
    ] {
        for place in [0, 1, good.len() - 2, good.len() - 1] {
            let special = Special { name: &good[place].0, kind, target: "", content };
            victim
                .refuses(&forge::with_special(&good, place, &special))
                .untrustworthy("the header of member ");
        }
    }
}

#[test]
fn a_size_in_base_256() {
    let victim = Victim::new();
    let good = fixture::join(&forge::members(&victim.vendor));
    for size in [12_u64, 1 << 40, u64::MAX] {
        let mut bad = good.clone();
        let mut block: [u8; 512] = bad[..512].try_into().unwrap();
        block[124..136].fill(if size == u64::MAX { 0xff } else { 0 });
        block[124] = 0x80;
        block[128..136].copy_from_slice(&size.to_be_bytes());
        bad[..512].copy_from_slice(&fixture::sum(block));
        victim.refuses(&bad).untrustworthy("the header of member 1 at byte 0");
    }
}
