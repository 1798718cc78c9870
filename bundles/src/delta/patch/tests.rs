use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};

use proptest::prelude::*;

use super::*;

fn file(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

fn patch(old: &[u8], new: &[u8]) -> Vec<u8> {
    let mut patch = Vec::new();
    make(&file(old), &file(new), &tempfile::tempfile().unwrap(), &mut patch).unwrap();
    patch
}

fn applied(old: &[u8], patch: &[u8], size: usize) -> io::Result<Vec<u8>> {
    let mut new = Vec::new();
    apply(&file(old), patch, size as u64, &mut new).map(|()| new)
}

/// Bytes without a pattern, the same for the same seed.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// One change of a content.
#[derive(Debug, Clone)]
enum Edit {
    Insert(usize, Vec<u8>),
    Remove(usize, usize),
    Move(usize, usize, usize),
    /// Adds to every so manieth byte of a part, as moved addresses do.
    Shift(usize, usize, usize, u8),
}

fn edit(content: &mut Vec<u8>, edit: &Edit) {
    let places = content.len() + 1;
    let place = |at: usize| at % places;
    match edit.clone() {
        Edit::Insert(at, bytes) => drop(content.splice(place(at)..place(at), bytes)),
        Edit::Remove(at, length) => {
            let at = place(at);
            content.drain(at..(at + length).min(content.len()));
        }
        Edit::Move(from, length, to) => {
            let from = place(from);
            let part: Vec<u8> = content.drain(from..(from + length).min(content.len())).collect();
            let to = to % (content.len() + 1);
            content.splice(to..to, part);
        }
        Edit::Shift(at, length, every, by) => {
            let part = content.iter_mut().skip(place(at)).take(length).step_by(every);
            part.for_each(|byte| *byte = byte.wrapping_add(by));
        }
    }
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let at = 0..300_000_usize;
    let length = prop_oneof![0..40_usize, 0..5000_usize, 0..150_000_usize];
    let one = prop_oneof![
        (at.clone(), 0..300_u64, length.clone())
            .prop_map(|(at, seed, length)| Edit::Insert(at, noise(seed, length))),
        (at.clone(), 0..3000_usize).prop_map(|(at, length)| Edit::Insert(at, vec![0; length])),
        (at.clone(), length.clone()).prop_map(|(at, length)| Edit::Remove(at, length)),
        (at.clone(), length.clone(), at.clone()).prop_map(|(from, length, to)| Edit::Move(from, length, to)),
        (at, length, 3..40_usize, 1..255_u8)
            .prop_map(|(at, length, every, by)| Edit::Shift(at, length, every, by)),
    ];
    prop::collection::vec(one, 0..8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn whatever_is_changed_comes_back(seed in 0..1000_u64, length in 0..300_000_usize, edits in edits()) {
        let old = noise(seed, length);
        let mut new = old.clone();
        for one in &edits {
            edit(&mut new, one);
        }
        let made = patch(&old, &new);
        prop_assert_eq!(&made, &patch(&old, &new), "it is another patch the second time");
        prop_assert!(applied(&old, &made, new.len()).unwrap() == new);
    }

    #[test]
    fn a_changed_patch_is_refused_or_gives_no_more_than_was_asked_for(
        at: prop::sample::Index, bit in 0..8_u8, cut: prop::sample::Index
    ) {
        let (old, blocks) = sample();
        let mut changed = blocks.clone();
        changed[at.index(blocks.len())] ^= 1 << bit;
        let size = 200_000;
        if let Ok(new) = applied(&old, &frame(&changed), size) {
            prop_assert_eq!(new.len(), size);
        }
        prop_assert!(applied(&old, &frame(&blocks[..cut.index(blocks.len())]), size).is_err(), "one that is cut off was taken");
    }

    #[test]
    fn noise_is_no_patch(seed in 0..1000_u64, length in 0..3000_usize, lengths in prop::array::uniform5(0..600_u32)) {
        let mut bytes: Vec<u8> = lengths.iter().flat_map(|length| length.to_le_bytes()).collect();
        bytes.extend(noise(seed, length));
        // Whether by chance it keeps the rules or not: nothing but an answer may come of it.
        drop(applied(&noise(1, 5000), &frame(&bytes), 4000));
        prop_assert!(applied(&noise(1, 5000), &bytes, 4000).is_err(), "noise was taken for a frame");
    }
}

/// An old content, and the blocks of a patch from it to one of 200,000 bytes.
fn sample() -> (Vec<u8>, Vec<u8>) {
    let old = noise(3, 180_000);
    let mut new = old.clone();
    edit(&mut new, &Edit::Shift(20_000, 90_000, 7, 9));
    edit(&mut new, &Edit::Insert(100_000, noise(4, 20_000)));
    let mut blocks = Vec::new();
    zstd::Decoder::new(&patch(&old, &new)[..]).unwrap().read_to_end(&mut blocks).unwrap();
    assert_eq!(new.len(), 200_000);
    (old, blocks)
}

fn frame(blocks: &[u8]) -> Vec<u8> {
    zstd::encode_all(blocks, 1).unwrap()
}

#[test]
fn what_only_moved_costs_next_to_nothing() {
    let (left, right) = (noise(1, 1_000_000), noise(2, 1_000_000));
    let made = patch(&[&left[..], &right].concat(), &[&right[..], &left].concat());
    assert!(made.len() < 200, "{} bytes", made.len());
}

#[test]
fn moved_addresses_cost_less_than_what_they_are_in() {
    let old = noise(1, 1_000_000);
    let mut new = old.clone();
    edit(&mut new, &Edit::Shift(0, 1_000_000, 60, 64));
    let made = patch(&old, &new);
    assert!(made.len() < 5_000, "{} bytes", made.len());
}

#[test]
fn contents_may_be_empty() {
    for (old, new) in [(&b""[..], &b""[..]), (b"", b"new"), (b"old", b"")] {
        assert_eq!(applied(old, &patch(old, new), new.len()).unwrap(), new);
    }
}

#[test]
fn another_size_than_was_asked_for_is_an_error() {
    let made = patch(b"", b"something");
    for (size, words) in [(8, "more bytes than the content has"), (10, "lacks 1 bytes")] {
        let error = applied(b"", &made, size).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
}

/// Numbers as LEB128, one section after another, with their lengths before them.
fn block(sections: [&[u64]; 3], values: &[u8], literals: &[u8]) -> Vec<u8> {
    let [moves, gaps, runs] = sections.map(|numbers| {
        let mut bytes = Vec::new();
        for &number in numbers {
            put_number(&mut bytes, number);
        }
        bytes
    });
    let all = [&moves[..], &gaps, &runs, values, literals];
    let lengths = all.iter().flat_map(|section| u32::try_from(section.len()).unwrap().to_le_bytes());
    lengths.chain(all.iter().flat_map(|section| section.iter().copied())).collect()
}

#[test]
fn a_patch_that_breaks_a_rule_is_told_which() {
    let far = zigzag(-1);
    let cases = [
        (block([&[0, 0, 5], &[], &[]], b"", b""), "outside the old content"),
        (block([&[0, far, 1], &[], &[]], b"", b""), "outside the old content"),
        (block([&[0, zigzag(i64::MIN / 2), 1], &[], &[]], b"", b""), "outside the old content"),
        (block([&[0, 0, 1 << 40], &[], &[]], b"", b""), "a move is too long"),
        (block([&[1 << 62, 0, 0], &[], &[]], b"", b""), "a move is too long"),
        (block([&[5, 0, 0], &[], &[]], b"", b"four"), "lacks literals"),
        (block([&[0, 0], &[], &[]], b"", b""), "a move is cut off"),
        (block([&[0, 0, 4], &[2], &[3]], b"abc", b""), "a run goes beyond its copy"),
        (block([&[0, 0, 4], &[2], &[2]], b"a", b""), "lacks values"),
        (block([&[0, 0, 4], &[1], &[]], b"", b""), "a run is cut off"),
        (block([&[0, 0, 4], &[4], &[1]], b"a", b""), "more than its moves use"),
        (
            block([&[0, 0, 4], &[u64::MAX >> 1, u64::MAX >> 1, u64::MAX >> 1], &[1, 1, 1]], b"abc", b""),
            "more than its moves use",
        ),
        (block([&[0, 0, 4], &[], &[]], b"", b"x"), "more than its moves use"),
        (u32::MAX.to_le_bytes().repeat(5), "a section is too long"),
        (vec![0; 19], "in the middle of a block"),
    ];
    for (blocks, words) in cases {
        let error = applied(b"old!", &frame(&blocks), 4).unwrap_err();
        assert!(error.to_string().contains(words), "{error} instead of {words}");
    }
    let good = frame(&block([&[0, 0, 4], &[1], &[2]], b"\x01\x02", b""));
    assert_eq!(applied(b"old!", &good, 4).unwrap(), b"omf!");
    let error = applied(b"old!", &[&good[..], b"x"].concat(), 4).unwrap_err();
    assert!(error.to_string().contains("bytes follow its end"), "{error}");
}

#[test]
fn a_bomb_ends_with_the_size_that_was_asked_for() {
    let first = block([&[0, 0, 4], &[], &[]], b"", b"");
    let again = block([&[0, zigzag(-4), 4], &[], &[]], b"", b"").repeat(5_000_000);
    let error = applied(b"old!", &frame(&[first, again].concat()), 1000).unwrap_err();
    assert!(error.to_string().contains("more bytes than the content has"), "{error}");
}

#[test]
fn a_frame_that_asks_for_a_large_window_is_refused() {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(27).unwrap();
    encoder.write_all(&block([&[0, 0, 4], &[], &[]], b"", b"")).unwrap();
    assert!(applied(b"old!", &encoder.finish().unwrap(), 4).is_err());
}

#[test]
fn a_patch_is_made_from_the_start_of_its_files() {
    let (mut old, mut new) = (file(b"whatever lies there before"), file(b"whatever lies there after"));
    new.rewind().unwrap();
    old.read_to_end(&mut Vec::new()).unwrap();
    let mut made = Vec::new();
    make(&old, &new, &tempfile::tempfile().unwrap(), &mut made).unwrap();
    assert_eq!(applied(b"whatever lies there before", &made, 25).unwrap(), b"whatever lies there after");
}
