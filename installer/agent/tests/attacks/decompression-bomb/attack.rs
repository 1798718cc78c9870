use std::io::Write as _;

use qiji_agent::layer::room;

use crate::victim::{Layer, Victim, bomb, holds};

const TOO_MUCH: &str = "the layer unpacks to far more than its size";

#[test]
fn in_one_file() {
    let victim = Victim::new();
    let layer = bomb(b'0', "zeros", 256 << 20);
    assert!(layer.len() < 64 << 10);
    victim.refuses(&[&layer], TOO_MUCH);
}

#[test]
fn in_many_files() {
    let victim = Victim::new();
    let piece = vec![0; 1 << 20];
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    for number in 0..100 {
        let mut entry = Layer::new().file(&format!("part-{number}"), &piece).tar();
        entry.truncate(entry.len() - 1024);
        encoder.write_all(&entry).unwrap();
    }
    victim.refuses(&[&encoder.finish().unwrap()], TOO_MUCH);
}

#[test]
fn with_a_window_of_gigabytes() {
    let victim = Victim::new();
    // RFC 8878, 3.1.1.1.2: exponent 31 - 10 of a window of 2 GiB, and one block of zeros that repeat.
    let frame = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 21 << 3, 0x03, 0xff, 0xff, 0x00];
    victim.refuses(&[&frame], "cannot unpack blob");
}

#[test]
fn behind_the_last_entry_nothing_is_unpacked() {
    let victim = Victim::new();
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.write_all(&Layer::new().file("tool", b"good").tar()).unwrap();
    for _ in 0..100 {
        encoder.write_all(&vec![0; 1 << 20]).unwrap();
    }
    let place = victim.unpack(&[&encoder.finish().unwrap()]).unwrap();
    assert!(holds(&place.join("tool"), b"good"));
}

#[test]
fn there_is_room_for_what_compresses_well() {
    assert_eq!(room(0), 64 << 20);
    assert_eq!(room(10 << 20), 2000 << 20);
    assert_eq!(room(u64::MAX), u64::MAX);
}
