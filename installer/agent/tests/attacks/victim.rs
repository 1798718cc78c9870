//! A host on which an agent unpacks what the attacker made, with other files around.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use qiji_agent::deeds;
use qiji_agent::fault::Fault;
use qiji_agent::host::{Host, Task};
use qiji_agent::root::Root;
use qiji_blueprint::Digest;
use qiji_plan::{Action, BlobRef, Step, StepId};
use tar::{EntryType, Header};
use tempfile::TempDir;

use crate::tree::{Tree, tree};

/// See the module. The host's file tree is a folder; beside it lies what no layer may reach.
pub(crate) struct Victim {
    world: TempDir,
    host: Host,
    before: Tree,
}

impl Victim {
    pub(crate) fn new() -> Self {
        let world = tempfile::tempdir().unwrap();
        for folder in ["host/etc", "host/opt/qiji", "host/var/lib/qiji/blobs", "outside"] {
            fs_err::create_dir_all(world.path().join(folder)).unwrap();
        }
        for file in ["host/etc/passwd", "outside/passwd"] {
            fs_err::write(world.path().join(file), "root:x:0:0::/root:/bin/sh\n").unwrap();
        }
        let host = Host::new(Root::at(world.path().join("host")));
        host.lock("run", "site").unwrap();
        let mut victim = Self { world, host, before: Tree::new() };
        victim.before = victim.look();
        victim
    }

    /// Everything but the folder that the agent keeps for itself.
    fn look(&self) -> Tree {
        tree(self.world.path(), &self.path("host/var/lib/qiji"))
    }

    /// A path beside the host's file tree, or in it below `host`.
    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.world.path().join(below)
    }

    /// Has the agent unpack these layers over one another.
    pub(crate) fn unpack(&self, layers: &[&[u8]]) -> Result<PathBuf, Fault> {
        let blobs = layers.iter().map(|bytes| self.stage(bytes)).collect();
        self.apply(blobs)
    }

    /// Puts a blob into the staging store, as if it had arrived there.
    pub(crate) fn stage(&self, bytes: &[u8]) -> BlobRef {
        let blob = BlobRef { digest: Digest::of(bytes), size: bytes.len() as u64 };
        fs_err::write(self.host.store.path(&blob.digest), bytes).unwrap();
        blob
    }

    pub(crate) fn apply(&self, layers: Vec<BlobRef>) -> Result<PathBuf, Fault> {
        let step = Step {
            id: StepId("h1/unpack".to_owned()),
            host: "h1".to_owned(),
            title: "unpack".to_owned(),
            needs: Vec::new(),
            only_if_pending: Vec::new(),
            action: Action::Unpack { layers, into: "/opt/qiji/tools".to_owned() },
            verify: Vec::new(),
            clean_first: Vec::new(),
            timeout_s: 600,
        };
        let deadline = Instant::now() + Duration::from_mins(10);
        let task = Task { host: &self.host, log: &|_| {}, cancelled: &AtomicBool::new(false), deadline };
        deeds::apply(task, &step, &BTreeMap::new()).map(|_| self.path("host/opt/qiji/tools"))
    }

    /// Requires that the last of these layers is refused with a message that says `expected`, and that nothing is left of any.
    pub(crate) fn refuses(&self, layers: &[&[u8]], expected: &str) {
        let fault = self.unpack(layers).map(drop).unwrap_err();
        self.unharmed(&fault, expected);
    }

    pub(crate) fn unharmed(&self, fault: &Fault, expected: &str) {
        let message = fault.to_string();
        assert!(message.contains(expected), "`{message}` does not say `{expected}`");
        assert!(message.contains("cannot unpack blob "), "{message}");
        assert!(message.contains(" into /opt/qiji/tools"), "{message}");
        assert!(!message.contains(char::is_control), "{message:?}");
        assert_eq!(self.look(), self.before, "files were touched");
    }
}

/// A layer in the making.
pub(crate) struct Layer(Vec<u8>);

impl Layer {
    pub(crate) fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds an entry of any kind, with its path and its target as they are.
    pub(crate) fn entry(mut self, kind: u8, path: &str, target: &str, content: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(if kind == b'5' { 0o755 } else { 0o666 });
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_entry_type(EntryType::new(kind));
        header.set_device_major(1).unwrap();
        header.set_device_minor(3).unwrap();
        let bytes = header.as_mut_bytes();
        bytes[..path.len()].copy_from_slice(path.as_bytes());
        bytes[157..157 + target.len()].copy_from_slice(target.as_bytes());
        header.set_cksum();
        self.0.extend(header.as_bytes());
        self.0.extend(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub(crate) fn file(self, path: &str, content: &[u8]) -> Self {
        self.entry(b'0', path, "", content)
    }

    pub(crate) fn link(self, path: &str, target: &str) -> Self {
        self.entry(b'2', path, target, b"")
    }

    pub(crate) fn tar(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }

    /// The same, compressed.
    pub(crate) fn zstd(self) -> Vec<u8> {
        zstd::encode_all(self.tar().as_slice(), 3).unwrap()
    }
}

/// A compressed layer with one entry that is `size` equal bytes long.
pub(crate) fn bomb(kind: u8, path: &str, size: u64) -> Vec<u8> {
    let empty = Layer::new().entry(kind, path, "", b"").tar();
    let mut header = Header::new_gnu();
    header.as_mut_bytes().copy_from_slice(&empty[..512]);
    header.set_size(size);
    header.set_cksum();
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.write_all(header.as_bytes()).unwrap();
    let piece = vec![b'a'; 1 << 20];
    for _ in 0..size >> 20 {
        encoder.write_all(&piece).unwrap();
    }
    encoder.write_all(&[0; 1024]).unwrap();
    encoder.finish().unwrap()
}

/// Whether a file of the tree holds this.
pub(crate) fn holds(path: &Path, content: &[u8]) -> bool {
    fs_err::read(path).unwrap() == content
}
