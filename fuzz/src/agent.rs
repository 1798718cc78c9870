//! What agents read: the installer's frames, and layers.

use std::io::Write as _;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;

use arbitrary::{Arbitrary, Unstructured};
use qiji_agent::layer;
use qiji_agent::wire::{self, FromAgent, Hello, Json, PROTOCOL, Request, ToAgent};
use qiji_blueprint::Digest;
use qiji_plan::{BlobRef, Step};
use tempfile::TempDir;

use crate::sample::scratch;

/// Bytes as a stream of frames in either direction.
pub(crate) fn frames(data: &[u8]) {
    let mut stream = data;
    while let Ok(Some(body)) = wire::read_frame(&mut stream) {
        if let Ok((message, data)) = wire::decode::<ToAgent>(&body) {
            assert!(data <= body.len());
            let _ = wire::encode(&message, &body[body.len() - data..]).unwrap();
            if let ToAgent::Request { request: Request::Check { steps }, .. } = message {
                let _ = steps.unpack::<Vec<Step>>();
            }
        }
        if let Ok((message, _)) = wire::decode::<FromAgent>(&body) {
            let _ = format!("{message:?}");
        }
    }
}

pub(crate) fn frame_seeds() -> Vec<Vec<u8>> {
    let blob = BlobRef { digest: Digest::of(b"blob"), size: 4 };
    let steps = Json::pack(&serde_json::json!([])).unwrap();
    let hello = Hello { protocol: PROTOCOL, version: "1".to_owned(), digest: Some(blob.digest) };
    let request = |request| ToAgent::Request { id: 1, request };
    let messages = [
        ToAgent::Hello(hello.clone()),
        request(Request::Facts),
        request(Request::Check { steps: steps.clone() }),
        request(Request::Apply { step: steps.clone(), values: steps }),
        request(Request::BlobStatus { blobs: vec![blob] }),
        request(Request::PutBlob { blob, offset: 0 }),
        ToAgent::Data { id: 1 },
        ToAgent::Ping,
    ];
    let each = messages.iter().map(|message| wire::encode(message, b"data").unwrap());
    let mut seeds: Vec<_> = each.collect();
    seeds.push(seeds.concat());
    seeds.push(wire::encode(&FromAgent::Hello(hello), &[]).unwrap());
    seeds
}

/// A scratch folder with something beside it that must stay as it is.
struct World(TempDir);

impl World {
    fn get() -> &'static Self {
        static WORLD: OnceLock<World> = OnceLock::new();
        WORLD.get_or_init(|| {
            let folder = scratch();
            fs_err::create_dir(folder.path().join("outside")).unwrap();
            fs_err::write(folder.path().join("outside/file"), "as it was").unwrap();
            Self(folder)
        })
    }

    /// Unpacks layers over one another, and looks whether anything was touched.
    fn unpack(&self, layers: &[Vec<u8>]) {
        let scratch = self.0.path().join("scratch");
        fs_err::create_dir(&scratch).unwrap();
        for layer in layers {
            let size = layer.len() as u64;
            if let Err(fault) = layer::unpack(layer.as_slice(), size, &scratch, &AtomicBool::new(false)) {
                assert!(!fault.to_string().is_empty());
                break;
            }
        }
        check(&scratch);
        fs_err::remove_dir_all(&scratch).unwrap();
        let beside: Vec<_> =
            fs_err::read_dir(self.0.path()).unwrap().map(|one| one.unwrap().file_name()).collect();
        assert_eq!(beside, ["outside"]);
        assert_eq!(fs_err::read_dir(self.0.path().join("outside")).unwrap().count(), 1);
        assert_eq!(fs_err::read(self.0.path().join("outside/file")).unwrap(), b"as it was");
    }
}

/// Requires that only files, folders and links are below a folder.
fn check(folder: &Path) {
    for entry in fs_err::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let kind = path.symlink_metadata().unwrap().file_type();
        assert!(kind.is_file() || kind.is_dir() || kind.is_symlink(), "{}", path.display());
        if kind.is_dir() {
            check(&path);
        }
    }
}

/// Bytes as a layer.
pub(crate) fn layer(data: &[u8]) {
    World::get().unpack(&[data.to_vec()]);
}

pub(crate) fn layer_seeds() -> Vec<Vec<u8>> {
    let entries = [
        (b'5', "d/", ""),
        (b'0', "d/f", ""),
        (b'2', "d/l", "f"),
        (b'1', "d/h", "d/f"),
        (b'0', "d/.wh.f", ""),
    ];
    let tar: Vec<u8> =
        entries.iter().flat_map(|&(kind, path, target)| entry(kind, path, target, b"")).collect();
    let long = [entry(b'L', "././@LongLink", "", b"a/long/name"), entry(b'0', "n", "", b"content")].concat();
    let pax = [entry(b'x', "pax", "", b"14 path=a/name\n"), entry(b'0', "n", "", b"content")].concat();
    let mut seeds = vec![zstd::encode_all(tar.as_slice(), 1).unwrap(), tar, long, pax];
    seeds.iter_mut().skip(1).for_each(|seed| seed.extend([0; 1024]));
    seeds
}

/// One entry of a layer, made of parts that lead to trouble.
#[derive(Debug, Arbitrary)]
struct Choice {
    kind: u8,
    path: [u8; 4],
    target: [u8; 4],
    size: u8,
    next_layer: bool,
}

const KINDS: [u8; 10] = *b"0000125L6S";
/// Nothing here leads to a place that matters, even if it were followed.
const PARTS: [&str; 12] =
    ["a", "b", "c", "..", ".", "", "outside", "file", ".wh.a", ".wh..", ".wh..wh..opq", "a"];

/// Layers that are well-formed and want to get out.
pub(crate) fn layer_entries(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let Ok(choices) = input.arbitrary::<Vec<Choice>>() else { return };
    let mut layers = vec![Vec::new()];
    for choice in choices.iter().take(64) {
        let path = |parts: [u8; 4]| {
            let count = usize::from(parts[0] % 4);
            let parts = parts[1..].iter().take(count).map(|&part| PARTS[usize::from(part) % PARTS.len()]);
            parts.collect::<Vec<_>>().join("/")
        };
        let content = vec![b'x'; usize::from(choice.size) * 3];
        let kind = KINDS[usize::from(choice.kind) % KINDS.len()];
        let content = if matches!(kind, b'0' | b'L') { &content[..] } else { b"" };
        layers.last_mut().unwrap().extend(entry(kind, &path(choice.path), &path(choice.target), content));
        if choice.next_layer {
            layers.push(Vec::new());
        }
    }
    layers.truncate(8);
    World::get().unpack(&layers);
}

/// A header with a right sum, and its content.
fn entry(kind: u8, path: &str, target: &str, content: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o700);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_entry_type(tar::EntryType::new(kind));
    header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
    header.as_mut_bytes()[157..157 + target.len()].copy_from_slice(target.as_bytes());
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.write_all(content).unwrap();
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}
