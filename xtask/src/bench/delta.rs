//! What a delta takes: four steps from one bundle to the next, each beside the same step by whole layers.
//!
//! 1. The releases of Kubernetes before and after: `qiji` as it would be with that release in its catalogue is made from a copy of this workspace, with its
//!    Go module brought to that version, and builds its own bundle of the quickstart site. The first time takes a quarter of an hour each.
//! 2. An extension: the same site with one image more. A line: the same site with another range of addresses for pods.
//! 3. For each step: the inventory of the old bundle, the delta against it, the bundle rebuilt from it, which must be the same bytes as the new one.
//!
//! By whole layers a step takes the blobs that the old bundle does not have, as they are: what a registry would have to be sent.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use fs_err as fs;
use qiji_blueprint::Digest;
use serde_json::json;

use super::Peaks;
use super::measure::{Measured, measure};
use super::table::{Row, float, megabytes, row, seconds};
use crate::demo::{Made, qiji};
use crate::run::{quiet, run as run_program};
use crate::{places, setup};

/// The release that the workspace has.
const PRESENT: &str = "1.36.3";
/// Files that name the release.
const NAMING: [&str; 5] = [
    "airgap/sources/kubernetes/go.mod",
    "airgap/sources/kubernetes/recipe.kdl",
    "blueprints/catalogue/components/kubernetes.kdl",
    "blueprints/catalogue/cores.kdl",
    "blueprints/examples/quickstart.kdl",
];

/// Measures all steps.
pub(crate) fn delta(made: &Made, logs: &Path, peaks: &mut Peaks) -> Result<Vec<Row>> {
    let before = release("1.36.1", made)?;
    let after = release("1.37.2", made)?;
    let folder = tempfile::tempdir_in(logs)?;
    let image = extension(folder.path())?;
    let text = fs::read_to_string(&made.site)?;
    let line = text.replacen("10.244.0.0/16", "10.245.0.0/16", 1);
    let platform = "  platform {\n    image \"extension.example/tool:1\" { archive \"tool.tar\" }\n  }\n";
    let more = text.replacen("  cluster ", &format!("{platform}\n  cluster "), 1);
    let line = variant(made, folder.path(), "line", &line)?;
    let more = variant(made, folder.path(), "extension", &more)?;
    let extension_aim = "≤ the extension and 1 %";
    let steps = [
        ("Kubernetes 1.36.1 to 1.36.3", &before, &made.bundle, "≤ 30 %"),
        ("Kubernetes 1.36.3 to 1.37.2", &made.bundle, &after, "≤ 60 %"),
        ("one extension added", &made.bundle, &more, extension_aim),
        ("one line of configuration changed", &made.bundle, &line, "≤ 0.1 MB"),
    ];
    let mut rows = vec![row("the extension of a step below", megabytes(fs::metadata(image)?.len()), "")];
    for (name, old, new, aim) in steps {
        println!("delta: {name}");
        rows.extend(Step { made, folder: folder.path(), logs, old, new }.rows(name, aim, peaks)?);
    }
    Ok(rows)
}

/// The bundle of the quickstart site as the `qiji` of another release of Kubernetes builds it.
fn release(version: &str, made: &Made) -> Result<PathBuf> {
    println!("delta: the release of qiji with Kubernetes {version}");
    let folder = places::scratch("bench").join(format!("release-{version}"));
    let workspace = folder.join("workspace");
    copy_workspace(&workspace)?;
    for name in NAMING {
        rename(&workspace.join(name), version)?;
    }
    let mut tidy = Command::new("go");
    tidy.args(["mod", "tidy"]).current_dir(workspace.join("airgap/sources/kubernetes"));
    quiet(tidy.env("GOFLAGS", "-mod=mod").env("PATH", setup::path()))?;
    let target = places::scratch("bench").join("release-target");
    let mut build = Command::new(env!("CARGO"));
    build.current_dir(&workspace).env("CARGO_TARGET_DIR", &target);
    build.args(["build", "--quiet", "--release", "--target", places::PRODUCT_TARGET]);
    run_program(build.args(["--package", "qiji", "--package", "qiji-agent", "--package", "qiji-pause"]))?;
    let site = folder.join("quickstart.kdl");
    fs::copy(workspace.join("blueprints/examples/quickstart.kdl"), &site)?;
    let bundle = folder.join("quickstart.qiji");
    let own = target.join(places::PRODUCT_TARGET).join("release/qiji");
    lock_and_build(&own, made, &site, &bundle, None)?;
    Ok(bundle)
}

/// Copies what belongs to the workspace: what git has, and what it would take.
fn copy_workspace(to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    let mut copy = Command::new("sh");
    copy.current_dir(places::workspace()).arg("-c").arg(
        "git ls-files -z --cached --others --exclude-standard | tar -c --null --ignore-failed-read -T - | tar -x -C \"$0\"",
    );
    quiet(copy.arg(to)).map(drop)
}

/// Puts one release in the place of the present one, in all the ways in which it is written.
fn rename(path: &Path, version: &str) -> Result<()> {
    let text = fs::read_to_string(path)?;
    let below = |version: &str| version.strip_prefix("1.").map(|rest| format!("0.{rest}"));
    let minor = |version: &str| version.split('.').nth(1).map(|minor| format!("gitMinor={minor}"));
    let pairs = [
        (Some(PRESENT.to_owned()), Some(version.to_owned())),
        (below(PRESENT), below(version)),
        (minor(PRESENT), minor(version)),
    ];
    let renamed = pairs.into_iter().try_fold(text, |text, (from, to)| Some(text.replace(&from?, &to?)));
    Ok(fs::write(path, renamed.context("a release has three numbers")?)?)
}

fn lock_and_build(
    program: &Path,
    made: &Made,
    site: &Path,
    bundle: &Path,
    artifacts: Option<&Path>,
) -> Result<()> {
    for verb in ["lock", "build"] {
        let mut command = Command::new(program);
        command.env("QIJI_PASSPHRASE_FILE", &made.passphrase).env("PATH", setup::path());
        command.arg(verb).arg(site);
        if let Some(folder) = artifacts {
            command.arg("--artifacts").arg(folder).arg("--artifacts").arg(places::product());
        }
        if verb == "build" {
            command.arg("--output").arg(bundle).arg("--key").arg(&made.key);
        }
        run_program(&mut command)?;
    }
    Ok(())
}

/// The bundle of the site with another text.
fn variant(made: &Made, folder: &Path, name: &str, text: &str) -> Result<PathBuf> {
    let own = folder.join(name);
    fs::create_dir_all(&own)?;
    let (site, bundle) = (own.join("quickstart.kdl"), own.join("quickstart.qiji"));
    fs::write(&site, text)?;
    lock_and_build(&places::qiji(), made, &site, &bundle, Some(folder))?;
    Ok(bundle)
}

/// An archive of an image whose one layer is a real program: Go's own tool.
fn extension(folder: &Path) -> Result<PathBuf> {
    let root = quiet(Command::new("go").args(["env", "GOROOT"]).env("PATH", setup::path()))?;
    let layout = folder.join("layout");
    fs::create_dir_all(layout.join("blobs/sha256"))?;
    let layer = folder.join("layer.tar");
    let mut tar = Command::new("tar");
    tar.arg("-cf").arg(&layer).arg("-C").arg(Path::new(root.trim()).join("bin")).arg("go");
    quiet(&mut tar)?;
    let content = fs::read(&layer)?;
    let packed = folder.join("layer.tar.zst");
    quiet(Command::new("zstd").args(["-9", "-q", "-o"]).arg(&packed).arg(&layer))?;
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": { "Entrypoint": ["/go"] },
        "rootfs": { "type": "layers", "diff_ids": [Digest::of(&content)] },
    });
    let config = blob(&layout, "application/vnd.oci.image.config.v1+json", config.to_string().as_bytes())?;
    let layer = blob(&layout, "application/vnd.oci.image.layer.v1.tar+zstd", &fs::read(packed)?)?;
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({ "schemaVersion": 2, "mediaType": kind, "config": config, "layers": [layer] });
    let manifest = blob(&layout, kind, manifest.to_string().as_bytes())?;
    fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
    let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
    fs::write(layout.join("index.json"), index.to_string())?;
    let archive = folder.join("tool.tar");
    quiet(Command::new("tar").arg("-cf").arg(&archive).arg("-C").arg(&layout).arg("."))?;
    Ok(archive)
}

/// Writes a blob of a layout, and gives its descriptor.
fn blob(layout: &Path, kind: &str, bytes: &[u8]) -> Result<serde_json::Value> {
    let digest = Digest::of(bytes);
    fs::write(layout.join("blobs/sha256").join(digest.hex()), bytes)?;
    Ok(json!({ "mediaType": kind, "digest": digest, "size": bytes.len() }))
}

/// One step from an old bundle to a new one.
struct Step<'a> {
    made: &'a Made,
    folder: &'a Path,
    logs: &'a Path,
    old: &'a Path,
    new: &'a Path,
}

impl Step<'_> {
    fn rows(&self, name: &str, aim: &'static str, peaks: &mut Peaks) -> Result<Vec<Row>> {
        let path = |name: &str| self.folder.join(name);
        let (inventory, delta, rebuilt) = (path("inventory"), path("delta.qiji"), path("rebuilt.qiji"));
        self.run("inventory", |command| {
            command.arg(self.old).arg("--output").arg(&inventory);
        })?;
        let built = self.run("delta", |command| {
            command.arg(self.new).arg("--against").arg(&inventory).arg("--base").arg(self.old);
            command.arg("--output").arg(&delta).arg("--key").arg(&self.made.key);
        })?;
        let applied = self.run("rebuild", |command| {
            command.arg(&delta).arg("--base").arg(self.old).arg("--trust").arg(&self.made.trust);
            command.arg("--output").arg(&rebuilt);
        })?;
        peaks.note("delta", built);
        peaks.note("rebuild", applied);
        quiet(Command::new("cmp").arg(self.new).arg(&rebuilt))
            .context("the rebuilt bundle is not the new one")?;
        let size = |path: &Path| Ok::<u64, anyhow::Error>(fs::metadata(path)?.len());
        let (full, small, layers) = (size(self.new)?, size(&delta)?, self.by_layers()?);
        fs::remove_file(rebuilt)?;
        let part = |bytes: u64| format!("{} ({:.1} %)", megabytes(bytes), 100.0 * float(bytes) / float(full));
        let time = |wall: Duration| seconds(&[wall]);
        let took = format!("{} and {}", time(built.wall), time(applied.wall));
        Ok(vec![
            row(format!("{name}: delta, of {}", megabytes(full)), part(small), aim),
            row(format!("{name}: by whole layers"), part(layers), ""),
            row(format!("{name}: time to make the delta and to apply it"), took, ""),
        ])
    }

    fn run(&self, verb: &str, more: impl FnOnce(&mut Command)) -> Result<Measured> {
        let mut command = qiji(self.made);
        command.arg(verb);
        more(&mut command);
        measure(&mut command, "qiji", &self.logs.join(format!("delta-{verb}.log")))
    }

    /// Bytes of the new bundle's blobs that the old one does not have.
    fn by_layers(&self) -> Result<u64> {
        let (old, new) = (blobs(self.old)?, blobs(self.new)?);
        Ok(new.iter().filter(|(name, _)| !old.contains_key(*name)).map(|(_, size)| size).sum())
    }
}

/// Name and size of each blob of a bundle, by `tar`.
fn blobs(bundle: &Path) -> Result<BTreeMap<String, u64>> {
    let list = quiet(Command::new("tar").arg("-tvf").arg(bundle))?;
    let blob = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let name = words.last().filter(|name| name.starts_with("blobs/") && !name.ends_with('/'))?;
        Some(((*name).to_owned(), words.get(2)?.parse().ok()?))
    };
    Ok(list.lines().filter_map(blob).collect())
}
