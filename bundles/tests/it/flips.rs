//! Damage: whatever byte is changed, and wherever the file is cut, the bundle is refused with exit status 4 and a message that says where.

use fs_err::os::unix::fs::FileExt as _;
use qiji_bundle::{Class, VerifyError};

use crate::fixture::Bench;

/// The message after the path, having checked that the class is right.
fn refused(error: &VerifyError, what: &str) -> String {
    assert_eq!(error.class(), Class::Untrustworthy, "{what}: {error}");
    assert_eq!(error.class().exit_status(), 4);
    let text = error.to_string();
    text.split_once(".qiji: ").expect("the message starts with the path").1.to_owned()
}

/// A message names an artifact, a member, or a place in the file.
fn names_something(message: &str) -> bool {
    let words = [
        "image ",
        "package ",
        "document ",
        "the root index",
        "the signature",
        "the empty configuration",
        "index.json",
        "oci-layout",
        "blobs/sha256/",
        "header of member",
        "the end of the file",
    ];
    words.iter().any(|word| message.contains(word))
}

#[test]
fn every_single_byte_counts() {
    std::thread::scope(|scope| {
        for half in 0..2 {
            scope.spawn(move || flip_every_second_byte(half));
        }
    });
}

/// Flips one bit of every second byte, a different one each time, in place.
fn flip_every_second_byte(first: usize) {
    let bench = Bench::new();
    let good = bench.sample();
    let path = bench.path("sample.qiji");
    bench.verify(&path).unwrap();
    let file = fs_err::OpenOptions::new().write(true).open(&path).unwrap();
    for offset in (first..good.len()).step_by(2) {
        let bit = 1 << (offset / 2 % 8);
        let what = format!("byte {offset} of {}, bit {bit:#x}", good.len());
        file.write_all_at(&[good[offset] ^ bit], offset as u64).unwrap();
        let error = bench.verify(&path).map(|_| ()).expect_err(&what);
        let message = refused(&error, &what);
        assert!(names_something(&message), "{what}: {message}");
        file.write_all_at(&good[offset..=offset], offset as u64).unwrap();
    }
    bench.verify(&path).unwrap();
}

#[test]
fn a_damaged_layer_is_told_by_its_image() {
    let bench = Bench::new();
    let mut bytes = bench.sample();
    let at = bytes.windows(14).position(|window| window == b"etcd for amd64").unwrap();
    bytes[at] ^= 1;
    let message = refused(&bench.verify_bytes(&bytes).unwrap_err(), "layer");
    assert!(message.starts_with("blob sha256:"), "{message}");
    assert!(message.contains(" of image qiji.local/etcd:3.7.3-0 (amd64) is damaged, in bytes "), "{message}");
}

#[test]
fn cut_anywhere() {
    let bench = Bench::new();
    let good = bench.sample();
    let lengths = (0..good.len()).step_by(512).chain([good.len() - 1, good.len() - 511, 2_049, 700]);
    for length in lengths {
        let error = bench.verify_bytes(&good[..length]).map(|_| ()).unwrap_err();
        // What is shorter than the smallest tar is no bundle at all.
        let expected = if length < 1_536 { Class::Malformed } else { Class::Untrustworthy };
        assert_eq!(error.class(), expected, "cut to {length}: {error}");
    }
}

#[test]
fn bytes_after_the_end() {
    let bench = Bench::new();
    let good = bench.sample();
    for extra in [vec![0], vec![0; 512], vec![0; 10_240], b"more".to_vec()] {
        let bytes = [&good[..], &extra].concat();
        let message = refused(&bench.verify_bytes(&bytes).unwrap_err(), "appended");
        assert!(message.contains("bytes follow the last block"), "{message}");
    }
}

#[test]
fn what_never_was_a_bundle_is_another_class() {
    let bench = Bench::new();
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(3);
    tar.append_data(&mut header, "hello", &b"abc"[..]).unwrap();
    let others = [vec![], b"hello".to_vec(), vec![0; 10_240], vec![0xaa; 4_096], tar.into_inner().unwrap()];
    for bytes in others {
        let error = bench.verify_bytes(&bytes).unwrap_err();
        assert_eq!(error.class(), Class::Malformed, "{error}");
        assert_eq!(error.class().exit_status(), 2);
    }
    let error = bench.verify(&bench.path("nothing.qiji")).unwrap_err();
    assert_eq!(error.class(), Class::Malformed, "{error}");
}

#[test]
fn damage_at_the_start_or_the_end_alone_is_still_damage() {
    let bench = Bench::new();
    let good = bench.sample();
    let mut start = good.clone();
    start[..512].fill(0xff);
    refused(&bench.verify_bytes(&start).unwrap_err(), "start");
    let mut end = good.clone();
    let tail = good.len() - 4_096;
    end[tail..].fill(0xff);
    refused(&bench.verify_bytes(&end).unwrap_err(), "end");
}
