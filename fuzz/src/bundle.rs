//! Bundles, whole and document by document; statements, envelopes, deltas and inventories.

use std::fs::File;
use std::io::Write as _;
use std::sync::OnceLock;

use arbitrary::{Arbitrary, Unstructured};
use qiji_blueprint::Digest;
use qiji_bundle::sbom::Description;
use qiji_bundle::{Inventory, VerifyError, fuzzing, open_envelope, seal};
use serde_json::Value;
use sm3::Digest as _;

use crate::sample::fixture::{self, blob_name, join, split};
use crate::sample::{bundle, key, opened, trusted, verify};

const IN_TOTO: &str = "application/vnd.in-toto+json";

/// A refusal must be fit to show.
fn shown<T>(result: Result<T, VerifyError>) -> Option<T> {
    match result {
        Ok(good) => Some(good),
        Err(error) => {
            let text = error.to_string();
            assert!(!text.contains(char::is_control) && text.len() < 32_000, "{text:?}");
            None
        }
    }
}

/// Any bytes as a file.
pub(crate) fn open(data: &[u8]) {
    if shown(verify(data.to_vec())).is_some() {
        assert!(data == bundle(), "bytes that nobody signed were accepted");
    }
}

pub(crate) fn open_seeds() -> Vec<Vec<u8>> {
    let good = bundle();
    let mut members = split(good);
    members.truncate(1);
    vec![good.to_vec(), join(&members), join(&split(good)[split(good).len() - 2..]), good[..2048].to_vec()]
}

/// A change of one document.
#[derive(Debug, Arbitrary)]
struct Edit<'a> {
    document: u8,
    at: u16,
    remove: u8,
    insert: &'a [u8],
}

/// Edits of the sample's documents, with right digests, headers and signature, so that each document is reached.
pub(crate) fn documents(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let Ok(edits) = input.arbitrary::<Vec<Edit<'_>>>() else { return };
    let mut parts = Parts::of(bundle());
    for edit in &edits {
        parts.edit(edit);
    }
    parts.relink();
    shown(verify(parts.join()));
}

/// A bundle taken apart: documents from the lowest to `index.json`, and all other blobs.
struct Parts {
    documents: Vec<Vec<u8>>,
    before: Vec<Vec<u8>>,
    others: Vec<Vec<u8>>,
    layout: Vec<u8>,
}

impl Parts {
    fn of(bundle: &[u8]) -> Self {
        let mut members = split(bundle);
        let layout = members.pop().unwrap().1;
        let index = members.pop().unwrap().1;
        let is_document = |bytes: &[u8]| {
            serde_json::from_slice::<Value>(bytes).is_ok_and(|value| value.get("schemaVersion").is_some())
        };
        let (mut documents, others): (Vec<_>, Vec<_>) =
            members.into_iter().map(|(_, bytes)| bytes).partition(|bytes| is_document(bytes));
        documents.push(index);
        // What refers to another comes after it.
        let depth = |bytes: &Vec<u8>| depth(bytes, &documents);
        let mut sorted = documents.clone();
        sorted.sort_by_key(depth);
        Self { before: sorted.clone(), documents: sorted, others, layout }
    }

    fn edit(&mut self, edit: &Edit<'_>) {
        let count = self.documents.len();
        let document = &mut self.documents[usize::from(edit.document) % count];
        let start = usize::from(edit.at) % (document.len() + 1);
        let end = (start + usize::from(edit.remove)).min(document.len());
        document.splice(start..end, edit.insert.iter().copied());
    }

    /// Puts new digests into all that refers to a changed document.
    fn relink(&mut self) {
        for at in 0..self.documents.len() {
            let (old, new) = (reference(&self.before[at]), reference(&self.documents[at]));
            for later in &mut self.documents[at + 1..] {
                *later = replaced(later, old.as_bytes(), new.as_bytes());
            }
        }
        self.sign();
    }

    /// Puts a statement about the new root into the place of the old one, where the signature's manifest still names its envelope.
    fn sign(&mut self) {
        let is_root = |bytes: &&Vec<u8>| bytes.windows(15).any(|window| window == b"dev.qiji.format");
        let Some(root) = self.documents.iter().rev().find(is_root) else { return };
        let old_root = self.before.iter().rev().find(is_root).unwrap();
        let is_envelope = |bytes: &&mut Vec<u8>| bytes.starts_with(br#"{"payloadType""#);
        let Some(envelope) = self.others.iter_mut().find(is_envelope) else { return };
        let parsed: Value = serde_json::from_slice(envelope).unwrap();
        let statement = base64(parsed["payload"].as_str().unwrap());
        let digests = |bytes: &[u8]| (Digest::of(bytes).hex(), hex::encode(sm3::Sm3::digest(bytes)));
        let ((old_sha256, old_sm3), (sha256, sm3)) = (digests(old_root), digests(root));
        let statement = statement.replace(&old_sha256, &sha256).replace(&old_sm3, &sm3);
        let new = seal(IN_TOTO, statement.as_bytes(), &[key()]);
        let old = std::mem::replace(envelope, new.clone());
        for at in 0..self.documents.len() {
            let before = self.documents[at].clone();
            self.documents[at] = replaced(&before, reference(&old).as_bytes(), reference(&new).as_bytes());
            if self.documents[at] != before {
                let (old, new) = (reference(&before), reference(&self.documents[at]));
                let last = self.documents.len() - 1;
                self.documents[last] = replaced(&self.documents[last], old.as_bytes(), new.as_bytes());
            }
        }
    }

    fn join(mut self) -> Vec<u8> {
        let index = self.documents.pop().unwrap();
        let blobs = self.documents.into_iter().chain(self.others);
        let mut members: Vec<_> = blobs.map(|bytes| (blob_name(&bytes), bytes)).collect();
        members.sort();
        members.dedup();
        members.push(("index.json".to_owned(), index));
        members.push(("oci-layout".to_owned(), self.layout));
        join(&members)
    }
}

/// How many documents lie below this one.
fn depth(bytes: &[u8], all: &[Vec<u8>]) -> usize {
    let below = all.iter().filter(|other| contains(bytes, reference(other).as_bytes()));
    below.map(|other| 1 + depth(other, all)).max().unwrap_or(0)
}

fn reference(bytes: &[u8]) -> String {
    format!(r#""digest":"{}","size":{}"#, Digest::of(bytes), bytes.len())
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(at) = rest.windows(from.len()).position(|window| window == from) {
        out.extend(&rest[..at]);
        out.extend(to);
        rest = &rest[at + from.len()..];
    }
    out.extend(rest);
    out
}

fn base64(text: &str) -> String {
    use base64::Engine as _;
    String::from_utf8(base64::engine::general_purpose::STANDARD.decode(text).unwrap()).unwrap()
}

/// The statement in the sample's envelope.
fn good_statement() -> String {
    let envelope = split(bundle()).into_iter().find(|(_, bytes)| bytes.starts_with(br#"{"payloadType""#));
    let parsed: Value = serde_json::from_slice(&envelope.unwrap().1).unwrap();
    base64(parsed["payload"].as_str().unwrap())
}

/// Any payload, signed with the trusted key, in the place of the sample's statement.
pub(crate) fn statement(data: &[u8]) {
    with_envelope(&seal(IN_TOTO, data, &[key()]));
}

pub(crate) fn statement_seeds() -> Vec<Vec<u8>> {
    let good = good_statement();
    vec![good.clone().into_bytes(), good.replace("1.2.3", "2.0.0").into_bytes(), b"{}".to_vec()]
}

/// The sample with another envelope.
fn with_envelope(envelope: &[u8]) {
    let mut parts = Parts::of(bundle());
    let place = parts.others.iter_mut().find(|bytes| bytes.starts_with(br#"{"payloadType""#)).unwrap();
    let old = std::mem::replace(place, envelope.to_vec());
    let (from, to) = (reference(&old), reference(envelope));
    for document in &mut parts.documents {
        *document = replaced(document, from.as_bytes(), to.as_bytes());
    }
    for at in 0..parts.documents.len() - 1 {
        let (old, new) = (reference(&parts.before[at]), reference(&parts.documents[at]));
        let last = parts.documents.len() - 1;
        parts.documents[last] = replaced(&parts.documents[last], old.as_bytes(), new.as_bytes());
    }
    shown(verify(parts.join()));
}

/// Any bytes as an envelope: alone, and in the place of the sample's.
pub(crate) fn envelope(data: &[u8]) {
    if let Ok(payload) = open_envelope(data, IN_TOTO, &trusted()) {
        assert_eq!(payload, good_statement().as_bytes(), "a payload that nobody signed was accepted");
    }
    with_envelope(data);
}

pub(crate) fn envelope_seeds() -> Vec<Vec<u8>> {
    let sealed = |keys: &[_]| seal(IN_TOTO, good_statement().as_bytes(), keys);
    vec![sealed(&[key()]), sealed(&[]), seal("text/plain", b"", &[key()])]
}

/// Any bytes as an inventory.
pub(crate) fn inventory(data: &[u8]) {
    if let Ok(inventory) = Inventory::parse(data) {
        let bytes = inventory.to_bytes();
        assert_eq!(Inventory::parse(&bytes).unwrap().to_bytes(), bytes);
    }
}

pub(crate) fn inventory_seeds() -> Vec<Vec<u8>> {
    let mut inventory = Inventory::default();
    inventory.add(&opened(bundle().to_vec()).unwrap()).unwrap();
    vec![inventory.to_bytes()]
}

/// Any bytes as a bill of materials. What is written of a good one is read as the same.
pub(crate) fn sbom(data: &[u8]) {
    if let Ok(description) = Description::from_spdx(data) {
        let written = description.to_spdx();
        assert_eq!(Description::from_spdx(&written).unwrap(), description);
    }
}

pub(crate) fn sbom_seeds() -> Vec<Vec<u8>> {
    fixture::sample().0.sboms.into_iter().map(|(_, bytes)| bytes).collect()
}

/// Any bytes as the recipe of a delta.
pub(crate) fn recipe(data: &[u8]) {
    for patches in [0, 3] {
        if let Ok(bytes) = fuzzing::recipe(data, patches) {
            assert_eq!(bytes, data);
        }
    }
}

pub(crate) fn recipe_seeds() -> Vec<Vec<u8>> {
    let digest = Digest::of(b"blob");
    let old = format!(r#"{{"digest":"{digest}","size":4,"content":4}}"#);
    let patched = |at: u64, length: u64| {
        format!(
            r#"{{"digest":"{digest}","size":4,"at":{at},"length":{length},"content":4,"packing":"plain","old":[{old}]}}"#
        )
    };
    let base = format!(r#"{{"name":"demo","version":"1.0.0","root":"{digest}"}}"#);
    let recipe = |held: &str, patched_blobs: &str, index: &str| {
        format!(
            r#"{{"delta":1,"root":"{digest}","bases":[{base}],"zstd":10507,"held":[{held}],"whole":[],"patched":[{patched_blobs}],"index":{index}}}"#
        )
    };
    let listed = format!(r#"{{"digest":"{digest}","size":4}}"#);
    vec![
        recipe(&listed, "", &patched(0, 3)).into_bytes(),
        recipe("", &patched(0, 1), &patched(1, 2)).into_bytes(),
    ]
}

/// The old content that patches start from.
fn old_content() -> &'static [u8] {
    static OLD: OnceLock<Vec<u8>> = OnceLock::new();
    OLD.get_or_init(|| (0..5_000_u32).flat_map(|number| (number * number).to_le_bytes()).collect())
}

/// A file in memory with this content.
fn file(content: &[u8]) -> File {
    let mut file = tempfile::tempfile_in("/dev/shm").or_else(|_| tempfile::tempfile()).unwrap();
    file.write_all(content).unwrap();
    file
}

/// Any bytes as a patch, compressed by themselves and not.
pub(crate) fn patch(data: &[u8]) {
    static OLD: OnceLock<File> = OnceLock::new();
    let old = OLD.get_or_init(|| file(old_content()));
    for size in [0, 100, 20_000] {
        for patch in [data.to_vec(), zstd::encode_all(data, 1).unwrap()] {
            if let Ok(new) = fuzzing::apply_patch(old, &patch, size) {
                assert_eq!(new.len() as u64, size);
            }
        }
    }
}

pub(crate) fn patch_seeds() -> Vec<Vec<u8>> {
    let mut new = old_content().to_vec();
    new.splice(100..200, *b"other content");
    new[10_000] ^= 1;
    new.truncate(20_000);
    new.resize(20_000, 7);
    let patch = fuzzing::make_patch(&file(old_content()), &file(&new), &file(b"")).unwrap();
    vec![zstd::decode_all(patch.as_slice()).unwrap(), patch]
}
