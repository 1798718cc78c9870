//! How long the quickstart's bundle takes to lock, build and verify, and how big it is.
//!
//! Each way of building has a store of its own that begins empty, so that nothing is at hand but what is said to be: Go's
//! build cache as earlier builds left it, or an empty one as well. Downloads come from the network or from Go's module cache.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fs_err as fs;
use serde_json::Value;

use super::Peaks;
use super::measure::{Measured, measure, time};
use super::table::{Row, megabytes, ratio, row, seconds};
use crate::demo::{Made, qiji};
use crate::run::quiet;

/// Runs of each of the two programs that verification is compared with.
const VERIFY_RUNS: usize = 9;

/// Size and content of the bundle.
pub(crate) fn size(made: &Made) -> Result<Vec<Row>> {
    let bytes = fs::metadata(&made.bundle)?.len();
    let content = inspect(made)?;
    let count = |name: &str| content[name].as_array().map_or(0, Vec::len);
    let members = quiet(Command::new("tar").arg("-tf").arg(&made.bundle))?;
    let blobs = members.lines().filter(|line| line.starts_with("blobs/") && !line.ends_with('/')).count();
    let inside = format!("{} images, {} packages, {blobs} blobs", count("images"), count("packages"));
    Ok(vec![
        row(
            "bundle of the quickstart site, amd64, everything included",
            format!("{} ({bytes} bytes)", megabytes(bytes)),
            "≤ 150 MB",
        ),
        row("what is in it", inside, ""),
    ])
}

/// What `qiji inspect` says of the bundle.
pub(crate) fn inspect(made: &Made) -> Result<Value> {
    let text =
        quiet(qiji(made).arg("inspect").arg(&made.bundle).arg("--trust").arg(&made.trust).arg("--json"))?;
    serde_json::from_str(&text).context("qiji inspect gave no JSON")
}

/// Locks and builds from an empty store and again from the same one; with `cold`, from an empty Go build cache too.
pub(crate) fn build(made: &Made, cold: bool, logs: &Path, peaks: &mut Peaks) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    if cold {
        let works = Works::new(made, logs, true)?;
        let took = works.lock_and_build("cold", peaks)?;
        rows.push(row("lock and build, empty store and empty Go build cache", took.text(), ""));
    }
    let works = Works::new(made, logs, false)?;
    let first = works.lock_and_build("empty-store", peaks)?;
    rows.push(row("lock and build, empty store, filled Go build cache", first.text(), ""));
    let warm = works.lock_and_build("warm", peaks)?;
    rows.push(row("lock and build again, same store", warm.text(), ""));
    rows.push(row("bundles of all these builds", "the same bytes", "the same bytes"));
    Ok(rows)
}

/// A store and a copy of the site that go away with it.
struct Works<'a> {
    made: &'a Made,
    folder: tempfile::TempDir,
    site: PathBuf,
    logs: &'a Path,
    cold: bool,
}

/// What locking and building took.
struct Took {
    lock: Duration,
    build: Duration,
}

impl Took {
    fn text(&self) -> String {
        let whole = seconds(&[self.lock + self.build]);
        format!("{whole} (lock {}, build {})", seconds(&[self.lock]), seconds(&[self.build]))
    }
}

impl<'a> Works<'a> {
    fn new(made: &'a Made, logs: &'a Path, cold: bool) -> Result<Self> {
        let folder = tempfile::tempdir_in(logs)?;
        let site = folder.path().join("quickstart.kdl");
        fs::copy(&made.site, &site)?;
        Ok(Self { made, folder, site, logs, cold })
    }

    fn lock_and_build(&self, name: &str, peaks: &mut Peaks) -> Result<Took> {
        let output = self.folder.path().join("bench.qiji");
        let lock = self.run("lock", name, peaks, |_| ())?;
        let build = self.run("build", name, peaks, |command| {
            command.arg("--output").arg(&output).arg("--key").arg(&self.made.key);
        })?;
        let same = quiet(Command::new("cmp").arg(&self.made.bundle).arg(&output));
        ensure!(same.is_ok(), "the build `{name}` gave other bytes than {}", self.made.bundle.display());
        Ok(Took { lock: lock.wall, build: build.wall })
    }

    fn run(
        &self,
        verb: &'static str,
        name: &str,
        peaks: &mut Peaks,
        more: impl FnOnce(&mut Command),
    ) -> Result<Measured> {
        println!("{verb}, {name}");
        let mut command = qiji(self.made);
        command.arg(verb).arg(&self.site).arg("--store").arg(self.folder.path().join("store"));
        if self.cold {
            command.env("GOCACHE", self.folder.path().join("go-build"));
        }
        more(&mut command);
        let measured = measure(&mut command, "qiji", &self.logs.join(format!("{verb}-{name}.log")))?;
        peaks.note(verb, measured);
        Ok(measured)
    }
}

/// Verifies the bundle and hashes it with openssl, by turns, so that whatever else goes on meets both.
pub(crate) fn verify(made: &Made, logs: &Path, peaks: &mut Peaks) -> Result<Vec<Row>> {
    println!("verify, {VERIFY_RUNS} times by turns with openssl");
    let verify = || {
        let mut command = qiji(made);
        command.arg("verify").arg(&made.bundle).arg("--trust").arg(&made.trust);
        command
    };
    let openssl = || {
        let mut command = Command::new("openssl");
        command.args(["dgst", "-sha256"]).arg(&made.bundle);
        command
    };
    // This one is for the memory; it also brings the file into the page cache, for both.
    peaks.note("verify", measure(&mut verify(), "qiji", &logs.join("verify.log"))?);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..VERIFY_RUNS {
        ours.push(time(&mut verify())?);
        theirs.push(time(&mut openssl())?);
    }
    Ok(vec![
        row("verify", seconds(&ours), ""),
        row("`openssl dgst -sha256` of the same file", seconds(&theirs), ""),
        row("verify, as a ratio to openssl", ratio(&ours, &theirs), ""),
    ])
}
