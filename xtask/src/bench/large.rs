//! A bundle of 4 GiB: what memory writing, verifying and serving it take, and how fast it is verified and served.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::measure::{measure, time};
use super::serve;
use super::table::{Row, megabytes, ratio, row, seconds};
use crate::places;
use crate::run::run as run_program;

/// MiB of the bundle.
const SIZE: &str = "4096";
/// Runs of each of the two programs.
const RUNS: usize = 3;

/// Writes the bundle with the library, verifies it with the product by turns with openssl, and serves it.
pub(crate) fn large(logs: &Path) -> Result<Vec<Row>> {
    println!("a bundle of 4 GiB");
    let mut build = Command::new(env!("CARGO"));
    build.current_dir(places::workspace());
    build.args(["build", "--quiet", "--release", "--package", "qiji-bundle", "--example", "measure"]);
    run_program(&mut build)?;
    let folder = tempfile::tempdir_in(logs)?;
    let mut writer = Command::new(places::target().join("release/examples/measure"));
    let written = measure(writer.arg(folder.path()).arg(SIZE), "measure", &logs.join("large.log"))?;
    let (bundle, trust) = (folder.path().join("large.qiji"), folder.path().join("large.key.pub"));
    let verify = || {
        let mut command = Command::new(places::qiji());
        command.arg("verify").arg(&bundle).arg("--trust").arg(&trust);
        command
    };
    let openssl = || {
        let mut command = Command::new("openssl");
        command.args(["dgst", "-sha256"]).arg(&bundle);
        command
    };
    let verified = measure(&mut verify(), "qiji", &logs.join("large-verify.log"))?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        ours.push(time(&mut verify())?);
        theirs.push(time(&mut openssl())?);
    }
    let mut rows = vec![
        row("verify a bundle of 4 GiB (blobs of 128 MiB)", seconds(&ours), ""),
        row("verify it, as a ratio to openssl", ratio(&ours, &theirs), "≤ 0.6"),
        row("peak memory, writing 4 GiB", megabytes(written.peak_kib * 1024), "< 64 MB"),
        row("peak memory of qiji, verifying 4 GiB", megabytes(verified.peak_kib * 1024), "< 64 MB"),
    ];
    rows.extend(serve::serve(&bundle, &trust)?);
    Ok(rows)
}
