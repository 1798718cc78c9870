//! The attacker's tools: taking bundles apart and putting them together wrongly, with digests made right again wherever that needs no key.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use qiji_blueprint::Digest;
use qiji_bundle::Medium;
use serde_json::Value;
use tar::EntryType;

use crate::fixture::{self, Bench, blob_name, split};

/// Name and content of each member.
pub(crate) type Members = Vec<(String, Vec<u8>)>;

/// The members of the sample, as the vendor wrote and signed it.
pub(crate) fn members(vendor: &Bench) -> Members {
    split(&vendor.sample())
}

/// The content of `index.json`.
pub(crate) fn index(members: &Members) -> Value {
    serde_json::from_slice(&find(members, "index.json")).unwrap()
}

/// The content of a member.
pub(crate) fn find(members: &Members, name: &str) -> Vec<u8> {
    members.iter().find(|(found, _)| found == name).unwrap().1.clone()
}

/// The blob that a descriptor names.
pub(crate) fn blob(members: &Members, descriptor: &Value) -> Vec<u8> {
    find(members, &format!("blobs/sha256/{}", &descriptor["digest"].as_str().unwrap()["sha256:".len()..]))
}

/// The root index.
pub(crate) fn root(members: &Members) -> Vec<u8> {
    blob(members, &index(members)["manifests"][0])
}

/// The manifest of an image that the root lists without an index.
pub(crate) fn manifest(members: &Members, image: &str) -> Vec<u8> {
    let root: Value = serde_json::from_slice(&root(members)).unwrap();
    let entries = root["manifests"].as_array().unwrap();
    let named = |entry: &&Value| entry["annotations"]["org.opencontainers.image.ref.name"] == image;
    blob(members, entries.iter().find(named).unwrap())
}

/// Adds a blob at its place.
pub(crate) fn insert(members: &mut Members, bytes: &[u8]) {
    remove(members, bytes);
    members.push((blob_name(bytes), bytes.to_vec()));
    members.sort();
}

/// Takes a blob out.
pub(crate) fn remove(members: &mut Members, bytes: &[u8]) {
    members.retain(|(name, _)| *name != blob_name(bytes));
}

/// How descriptors name a blob.
pub(crate) fn reference(bytes: &[u8]) -> String {
    format!(r#""digest":"{}","size":{}"#, Digest::of(bytes), bytes.len())
}

/// Puts `new` in the place of the blob `old`, and its digest into all that refers to it, up to `index.json`.
pub(crate) fn replace(members: &mut Members, old: &[u8], new: &[u8]) {
    assert_ne!(old, new);
    remove(members, old);
    insert(members, new);
    let (before, after) = (reference(old), reference(new));
    while let Some(at) = members.iter().position(|(_, bytes)| refers(bytes, &before)) {
        let (name, bytes) = members[at].clone();
        let changed = String::from_utf8(bytes.clone()).unwrap().replace(&before, &after);
        match name.as_str() {
            "index.json" => members[at].1 = changed.into_bytes(),
            _ => replace(members, &bytes, changed.as_bytes()),
        }
    }
}

fn refers(bytes: &[u8], reference: &str) -> bool {
    str::from_utf8(bytes).is_ok_and(|text| text.contains(reference))
}

/// The sample with its root changed, and with right digests everywhere but in the signed statement.
pub(crate) fn with_root(vendor: &Bench, change: impl Fn(String) -> String) -> Members {
    let mut members = members(vendor);
    let old = root(&members);
    replace(&mut members, &old, change(String::from_utf8(old.clone()).unwrap()).as_bytes());
    members
}

/// A member that is no regular file.
pub(crate) struct Special<'a> {
    pub(crate) name: &'a str,
    pub(crate) kind: EntryType,
    /// Target, of a link.
    pub(crate) target: &'a str,
    pub(crate) content: &'a [u8],
}

/// A bundle with one more member before the one at `place`.
pub(crate) fn with_special(members: &Members, place: usize, special: &Special<'_>) -> Vec<u8> {
    let mut header = fixture::header(special.name, special.content.len() as u64, special.kind);
    header[157..157 + special.target.len()].copy_from_slice(special.target.as_bytes());
    let mut bytes = fixture::join(&members[..place]);
    bytes.truncate(bytes.len() - 1024);
    bytes.extend(fixture::sum(header));
    bytes.extend(special.content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes.extend(fixture::join(&members[place..]));
    bytes
}

/// Numbers that look random and are the same in each run (xorshift64*, Vigna 2016).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        usize::try_from(number).unwrap() % limit
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| u8::try_from(self.below(256)).unwrap()).collect()
    }
}

/// A good bundle with one bit that is read wrongly.
#[derive(Debug)]
pub(crate) struct Flipped {
    pub(crate) good: Arc<Vec<u8>>,
    pub(crate) at: usize,
    pub(crate) bit: u8,
}

impl Medium for Flipped {
    fn size(&self) -> u64 {
        self.good.len() as u64
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let start = usize::try_from(offset).unwrap().min(self.good.len());
        let count = buffer.len().min(self.good.len() - start);
        buffer[..count].copy_from_slice(&self.good[start..start + count]);
        if let Some(byte) = self.at.checked_sub(start).and_then(|at| buffer[..count].get_mut(at)) {
            *byte ^= self.bit;
        }
        Ok(count)
    }
}

/// A medium of any size that holds some bytes at its start and some at its end, and zeros between. Counts what is read.
#[derive(Debug, Default)]
pub(crate) struct Hole {
    pub(crate) head: Vec<u8>,
    pub(crate) zeros: u64,
    pub(crate) tail: Vec<u8>,
    read: AtomicU64,
}

impl Hole {
    pub(crate) fn new(head: Vec<u8>, zeros: u64, tail: Vec<u8>) -> Self {
        Self { head, zeros, tail, read: AtomicU64::new(0) }
    }

    /// Bytes that were read.
    pub(crate) fn bytes_read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }
}

impl Medium for Hole {
    fn size(&self) -> u64 {
        self.head.len() as u64 + self.zeros + self.tail.len() as u64
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let tail_at = self.head.len() as u64 + self.zeros;
        let left = self.size().saturating_sub(offset);
        let count = usize::try_from(left).unwrap().min(buffer.len());
        for (place, byte) in (offset..).zip(&mut buffer[..count]) {
            let head = usize::try_from(place).ok().and_then(|at| self.head.get(at));
            let tail = place.checked_sub(tail_at).and_then(|at| self.tail.get(usize::try_from(at).ok()?));
            *byte = head.or(tail).copied().unwrap_or(0);
        }
        self.read.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}
