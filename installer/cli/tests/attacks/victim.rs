//! Somebody at a terminal: a home, a folder to work in, a medium that was carried in, and little memory.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::fixture::Bench;
use crate::forge::{self, Members};
use crate::tree::tree;

/// Most bytes of address space that the program gets.
const MEMORY: u64 = 512 << 20;

/// See the module.
pub(crate) struct Victim {
    pub(crate) vendor: Bench,
    world: TempDir,
}

impl Victim {
    pub(crate) fn new() -> Self {
        let (vendor, world) = (Bench::new(), tempfile::tempdir().unwrap());
        for folder in ["scratch", "media", "work", "home/.ssh"] {
            fs_err::create_dir_all(world.path().join(folder)).unwrap();
        }
        fs_err::write(world.path().join("home/.ssh/authorized_keys"), "").unwrap();
        fs_err::write(world.path().join("work/vendor.pub"), vendor.key.public().to_pem()).unwrap();
        Self { vendor, world }
    }

    /// Where the bundle lies that is given to the program.
    pub(crate) fn bundle(&self) -> PathBuf {
        self.world.path().join("media/given.qiji")
    }

    /// Runs the program on the bundle, and requires that nothing but the scratch folder is touched.
    fn qiji(&self, args: &[&str]) -> Output {
        let path = |name: &str| self.world.path().join(name);
        let before = tree(self.world.path(), &path("scratch"));
        let output = Command::new("prlimit")
            .arg(format!("--as={MEMORY}"))
            .arg(env!("CARGO_BIN_EXE_qiji"))
            .args(args)
            .current_dir(path("work"))
            .env("HOME", path("home"))
            .env("TMPDIR", path("scratch"))
            .env_remove("XDG_CACHE_HOME")
            .env_remove("XDG_STATE_HOME")
            .output()
            .unwrap();
        assert!(before == tree(self.world.path(), &path("scratch")), "files were touched");
        output
    }

    pub(crate) fn accepts(&self) {
        let output = self.qiji(&["verify", "../media/given.qiji", "--trust", "vendor.pub"]);
        assert!(output.status.success(), "{output:?}");
    }

    /// Requires this exit status, and one line on standard error that says `expected`, with a hint below.
    pub(crate) fn refuses(&self, status: i32, expected: &str) {
        for verb in ["verify", "install"] {
            let output = self.qiji(&[verb, "../media/given.qiji", "--trust", "vendor.pub"]);
            let text = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(status), "{verb}: {text}");
            assert!(
                text.starts_with("error: ") && text.contains(expected),
                "`{text}` does not say `{expected}`"
            );
            assert!(text.contains("\n  hint: "), "{text}");
            assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
            assert!(output.stdout.is_empty(), "{:?}", output.stdout);
        }
    }
}

/// A root that lists one index under many names, each of which lists one manifest many times: a file of a few megabytes that says of itself that
/// its documents have terabytes.
pub(crate) fn amplified(vendor: &Bench) -> Members {
    let manifest = forge::manifest(&forge::members(vendor), "qiji.local/kube-proxy:v1.36.3");
    let index = "application/vnd.oci.image.index.v1+json";
    let image = "application/vnd.oci.image.manifest.v1+json";
    let (inner, filler) = (list(image, &manifest, 2_000), "x".repeat(3_000_000));
    let inner =
        format!(r#"{{"schemaVersion":2,"mediaType":"{index}","manifests":[{inner}],"x":"{filler}"}}"#);
    let mut members = forge::with_root(vendor, |root| {
        let (head, _) = root.split_once("\"manifests\":[").unwrap();
        let (_, tail) = root.rsplit_once("],\"annotations\"").unwrap();
        format!("{head}\"manifests\":[{}],\"annotations\"{tail}", list(index, inner.as_bytes(), 10_000))
    });
    forge::insert(&mut members, inner.as_bytes());
    forge::insert(&mut members, &manifest);
    members
}

/// Descriptors of one document under many names.
fn list(kind: &str, listed: &[u8], count: u32) -> String {
    let mut entries = String::new();
    for number in 0..count {
        let name = format!("qiji.local/copy-{number}:v1");
        let reference = forge::reference(listed);
        write!(
            entries,
            r#"{{"mediaType":"{kind}",{reference},"platform":{{"architecture":"amd64","os":"linux"}},"annotations":{{"dev.qiji.roles":"","org.opencontainers.image.ref.name":"{name}"}}}},"#
        )
        .unwrap();
    }
    entries.trim_end_matches(',').to_owned()
}
