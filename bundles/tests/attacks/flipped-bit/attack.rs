use std::ops::Range;
use std::sync::Arc;
use std::thread;

use qiji_bundle::Class;

use crate::fixture::Bench;
use crate::forge::{Flipped, Members};
use crate::victim::{Victim, names_something, verify_medium};
use crate::{fixture, forge};

/// Fields of a ustar header (POSIX.1-2017, `pax`, "ustar Interchange Format").
const FIELDS: [(&str, Range<usize>); 17] = [
    ("name", 0..100),
    ("mode", 100..108),
    ("uid", 108..116),
    ("gid", 116..124),
    ("size", 124..136),
    ("mtime", 136..148),
    ("checksum", 148..156),
    ("type", 156..157),
    ("link", 157..257),
    ("magic", 257..263),
    ("version", 263..265),
    ("user", 265..297),
    ("group", 297..329),
    ("major", 329..337),
    ("minor", 337..345),
    ("prefix", 345..500),
    ("filler", 500..512),
];

/// Name of a place and its bytes in the file.
type Place = (String, Range<usize>);

/// Each structural place of a bundle.
fn places(members: &Members) -> Vec<Place> {
    let mut places = Vec::new();
    let mut start = 0;
    for (name, content) in members {
        let header =
            FIELDS.map(|(field, at)| (format!("{field} of {name}"), start + at.start..start + at.end));
        places.extend(header);
        let (from, to) = (start + 512, start + 512 + content.len());
        start = to.next_multiple_of(512);
        places.push((format!("content of {name}"), from..to));
        places.push((format!("padding of {name}"), to..start));
    }
    places.push(("first end block".to_owned(), start..start + 512));
    places.push(("second end block".to_owned(), start + 512..start + 1024));
    places
}

#[test]
fn at_each_structural_place() {
    let victim = Victim::new();
    let members = forge::members(&victim.vendor);
    let good = fixture::join(&members);
    victim.verify(&good).unwrap();
    let places = places(&members);
    assert_eq!(places.last().unwrap().1.end, good.len());
    for (name, place) in places.iter().filter(|(_, place)| !place.is_empty()) {
        for at in [place.start, place.start + place.len() / 2, place.end - 1] {
            for bit in [0x01, 0x80] {
                let mut bad = good.clone();
                bad[at] ^= bit;
                let refusal = victim.refuses(&bad);
                refusal.untrustworthy("");
                assert!(!refusal.message().is_empty(), "{name}");
            }
        }
    }
}

#[test]
fn the_message_names_the_image_the_member_or_the_bytes() {
    let victim = Victim::new();
    let good = victim.vendor.sample();
    let at = |needle: &[u8]| good.windows(needle.len()).position(|window| window == needle).unwrap();
    let flipped = |at: usize| {
        let mut bad = good.clone();
        bad[at] ^= 4;
        victim.refuses(&bad)
    };
    let refusal = flipped(at(b"etcd for amd64"));
    assert!(refusal.message().starts_with("blob sha256:"), "{}", refusal.message());
    refusal.untrustworthy(" of image qiji.local/etcd:3.7.3-0 (amd64) is damaged, in bytes ");
    flipped(at(b"\x7fELF agent")).untrustworthy(" of package agent 0.1.0 (amd64) is damaged");
    flipped(at(b"site \"demo\"")).untrustworthy(" of document site.kdl is damaged");
    flipped(at(b"org.opencontainers")).untrustworthy("");
    flipped(at(br#""payload":"#) + 12).untrustworthy("the signature");
    flipped(good.len() - 1).untrustworthy("the end of the file is damaged at byte ");
    flipped(good.len() - 1025).untrustworthy("the padding after oci-layout is damaged, in bytes ");
    flipped(0).untrustworthy("the header of member 1 at byte 0 (after the start) is damaged");
}

#[test]
fn in_every_byte() {
    let bench = Bench::new();
    let good = Arc::new(bench.sample());
    thread::scope(|scope| {
        for first in 0..2 {
            let (bench, good) = (&bench, &good);
            scope.spawn(move || (first..good.len()).step_by(2).for_each(|at| flip(bench, good, at)));
        }
    });
}

/// Flips one bit of a byte, a different one for each.
fn flip(bench: &Bench, good: &Arc<Vec<u8>>, at: usize) {
    let medium = Flipped { good: Arc::clone(good), at, bit: 1 << (at / 2 % 8) };
    let error = verify_medium(bench, Arc::new(medium)).map(drop).expect_err(&format!("byte {at}"));
    assert_eq!(error.class(), Class::Untrustworthy, "byte {at}: {error}");
    assert!(names_something(&error.to_string()), "byte {at}: {error}");
}
