//! Packing: `qiji build` from a warm store, by turns with `tar c | zstd -3 -T0` of the same inputs.
//!
//! The inputs are the files that the bundle carries, each layer that several artifacts share once. The warm store holds layers as they were
//! compressed when they were first needed: packing again is what is compared, as after a change of the site file.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, ensure};
use fs_err as fs;

use super::Peaks;
use super::build::inspect;
use super::measure::{measure, time};
use super::table::{Row, float, megabytes, ratio, row, seconds};
use crate::demo::{Made, qiji};

/// Runs of each of the two ways.
const RUNS: usize = 5;

/// Times and sizes of both ways.
pub(crate) fn pack(made: &Made, logs: &Path, peaks: &mut Peaks) -> Result<Vec<Row>> {
    println!("pack, {RUNS} times by turns with tar and zstd");
    let folder = tempfile::tempdir_in(logs)?;
    let inputs = folder.path().join("inputs");
    let bytes = unpack(made, &inputs)?;
    let (bundle, archive) = (folder.path().join("again.qiji"), folder.path().join("inputs.tar.zst"));
    let build = || {
        let mut command = qiji(made);
        command.arg("build").arg(&made.site).arg("--output").arg(&bundle).arg("--key").arg(&made.key);
        command
    };
    let tar = || {
        let mut command = Command::new("sh");
        command.arg("-c").arg("tar -c -C \"$0\" . | zstd -3 -T0 -q -f -o \"$1\"").arg(&inputs).arg(&archive);
        command
    };
    peaks.note("build", measure(&mut build(), "qiji", &logs.join("pack.log"))?);
    time(&mut tar())?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        ours.push(time(&mut build())?);
        theirs.push(time(&mut tar())?);
    }
    let (own, other) = (fs::metadata(&bundle)?.len(), fs::metadata(&archive)?.len());
    Ok(vec![
        row("what is packed", megabytes(bytes), ""),
        row("pack from a warm store (`qiji build`)", seconds(&ours), ""),
        row("`tar c \\| zstd -3 -T0` of the same inputs", seconds(&theirs), ""),
        row("pack, time as a ratio to tar and zstd", ratio(&ours, &theirs), "≤ 1.0"),
        row("pack, size as a ratio to tar and zstd", format!("{:.2}", float(own) / float(other)), "≤ 0.75"),
    ])
}

/// Puts the content of every layer, each once, into a folder. Gives how many bytes that are.
fn unpack(made: &Made, inputs: &Path) -> Result<u64> {
    let content = inspect(made)?;
    let mut digests: Vec<String> = Vec::new();
    for kind in ["images", "packages"] {
        for entry in content[kind].as_array().into_iter().flatten() {
            let layers = entry["layers"].as_array().into_iter().flatten();
            digests.extend(layers.filter_map(|layer| layer["digest"].as_str()).map(str::to_owned));
        }
    }
    digests.sort();
    digests.dedup();
    ensure!(!digests.is_empty(), "qiji inspect names no layer in {content}");
    let mut bytes = 0;
    for digest in &digests {
        bytes += one(&made.bundle, digest.trim_start_matches("sha256:"), inputs)?;
    }
    Ok(bytes)
}

/// A layer becomes a folder, any other blob a file.
fn one(bundle: &Path, hex: &str, inputs: &Path) -> Result<u64> {
    fs::create_dir_all(inputs)?;
    let blob = inputs.join(hex);
    let mut out = Command::new("tar");
    out.arg("-xOf")
        .arg(bundle)
        .arg(format!("blobs/sha256/{hex}"))
        .stdout(fs::File::create(&blob)?.into_file());
    ensure!(out.status()?.success(), "tar does not find {hex} in the bundle");
    let start = fs::read(&blob)?.get(..4) == Some(&[0x28, 0xb5, 0x2f, 0xfd]);
    if start {
        let folder = inputs.join(format!("{hex}.layer"));
        fs::create_dir_all(&folder)?;
        let mut tar = Command::new("tar");
        tar.arg("--zstd").arg("-xf").arg(&blob).arg("-C").arg(&folder);
        ensure!(tar.stdin(Stdio::null()).status()?.success(), "layer {hex} cannot be unpacked");
        fs::remove_file(&blob)?;
        return size(&folder);
    }
    size(&blob)
}

fn size(path: &Path) -> Result<u64> {
    let about = fs::symlink_metadata(path)?;
    if !about.is_dir() {
        return Ok(about.len());
    }
    fs::read_dir(path)?.try_fold(0, |sum, entry| Ok(sum + size(&entry?.path())?))
}
