//! Why two bundles are not the same bytes.
//!
//! Members of a bundle are sorted by digest, so the first byte that differs in the file says little: it is where two digests differ. What is told
//! here is the cause: the first artifact (in the order of `qiji inspect`) whose content differs, its first layer that does, and in it, once
//! decompressed, the first file of the tar that does, with its attributes or the bytes around the place.

use std::fmt::Write as _;
use std::io::{BufReader, Read};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use fs_err as fs;
use serde_json::Value;

use crate::{Product, Run};

/// Nothing where the files are equal, otherwise the reason in words.
pub fn difference(product: &Product, trust: &Path, left: &Path, right: &Path) -> Result<Option<String>> {
    let Some(offset) = first_byte(left, right)? else { return Ok(None) };
    let place = format!("the files differ from byte {offset}");
    let (ours, theirs) = (artifacts(product, trust, left)?, artifacts(product, trust, right)?);
    for (one, other) in ours.iter().zip(&theirs) {
        if one.name != other.name {
            return Ok(Some(format!("{place}: one has {}, the other {}", one.name, other.name)));
        }
        for (layer, other) in one.layers.iter().zip(&other.layers) {
            if layer != other {
                let cause = inside(&blob(left, layer)?, &blob(right, other)?)?;
                return Ok(Some(format!("{place}: in {}, {cause} (blobs {layer} and {other})", one.name)));
            }
        }
        if one.layers.len() != other.layers.len() {
            return Ok(Some(format!("{place}: {} has more layers in one", one.name)));
        }
    }
    let count = if ours.len() == theirs.len() { "no artifact differs" } else { "one has more artifacts" };
    Ok(Some(format!("{place}: {count}")))
}

/// Offset of the first byte in which two files differ; where one is the start of the other, that is the shorter one's end.
pub fn first_byte(left: &Path, right: &Path) -> Result<Option<u64>> {
    let mut left = BufReader::with_capacity(1 << 16, fs::File::open(left)?).bytes();
    let mut right = BufReader::with_capacity(1 << 16, fs::File::open(right)?).bytes();
    for offset in 0.. {
        match (left.next().transpose()?, right.next().transpose()?) {
            (None, None) => return Ok(None),
            (one, other) if one != other => return Ok(Some(offset)),
            _ => {}
        }
    }
    Ok(None)
}

/// Something in a bundle, with the digests of its content.
struct Artifact {
    name: String,
    layers: Vec<String>,
}

fn artifacts(product: &Product, trust: &Path, bundle: &Path) -> Result<Vec<Artifact>> {
    let mut inspect = Command::new(product.qiji());
    inspect.arg("inspect").arg(bundle).arg("--trust").arg(trust).arg("--json");
    let answer = Run::of(&mut inspect)?.expect(0)?;
    let content: Value = serde_json::from_str(&answer.stdout)?;
    let list = |kind: &str| content[kind].as_array().cloned().unwrap_or_default().into_iter();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let layered = ["packages", "images"].into_iter().flat_map(|kind| {
        list(kind).map(move |entry| Artifact {
            name: format!("{kind} {} {}", text(&entry["name"]), text(&entry["arch"])),
            layers: entry["layers"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|layer| text(&layer["digest"]))
                .collect(),
        })
    });
    let documents = list("documents").map(|entry| Artifact {
        name: format!("document {}", text(&entry["name"])),
        layers: vec![text(&entry["digest"])],
    });
    Ok(layered.chain(documents).collect())
}

/// The bytes of a blob, taken out by `tar`.
pub fn blob(bundle: &Path, digest: &str) -> Result<Vec<u8>> {
    let name = format!("blobs/sha256/{}", digest.trim_start_matches("sha256:"));
    let output = Command::new("tar").arg("-xOf").arg(bundle).arg(name).output()?;
    ensure!(output.status.success(), "tar: {}", String::from_utf8_lossy(&output.stderr));
    Ok(output.stdout)
}

/// How two blobs differ.
fn inside(left: &[u8], right: &[u8]) -> Result<String> {
    if !left.starts_with(&zstd::zstd_safe::MAGICNUMBER.to_le_bytes()) {
        return Ok(bytes(left, right));
    }
    let (left, right) = (zstd::decode_all(left)?, zstd::decode_all(right)?);
    if left == right {
        return Ok("the same content is compressed in another way".to_owned());
    }
    let (mut ours, mut theirs) = (tar::Archive::new(&left[..]), tar::Archive::new(&right[..]));
    for (one, other) in ours.entries()?.zip(theirs.entries()?) {
        if let Some(cause) = entries(one?, other?)? {
            return Ok(cause);
        }
    }
    Ok("one layer has more files".to_owned())
}

fn entries<R: Read>(mut one: tar::Entry<'_, R>, mut other: tar::Entry<'_, R>) -> Result<Option<String>> {
    let name = String::from_utf8_lossy(&one.path_bytes()).into_owned();
    if one.header().as_bytes() != other.header().as_bytes() {
        let about = |header: &tar::Header| {
            format!(
                "{} (mode {:o}, owner {}, size {}, time {})",
                String::from_utf8_lossy(&header.path_bytes()),
                header.mode().unwrap_or_default(),
                header.uid().unwrap_or_default(),
                header.size().unwrap_or_default(),
                header.mtime().unwrap_or_default()
            )
        };
        return Ok(Some(format!(
            "a layer has {} in one and {} in the other",
            about(one.header()),
            about(other.header())
        )));
    }
    let (mut left, mut right) = (Vec::new(), Vec::new());
    one.read_to_end(&mut left).context("cannot read a layer")?;
    other.read_to_end(&mut right).context("cannot read a layer")?;
    Ok((left != right).then(|| format!("the file {name}: {}", bytes(&left, &right))))
}

/// The first place at which two byte strings differ, with what stands around it.
fn bytes(left: &[u8], right: &[u8]) -> String {
    let place = left.iter().zip(right).position(|(one, other)| one != other);
    let place = place.unwrap_or_else(|| left.len().min(right.len()));
    let around = |bytes: &[u8]| {
        let window = bytes.get(place.saturating_sub(16)..).unwrap_or_default();
        window.iter().take(48).fold(String::new(), |mut text, byte| {
            let _infallible = write!(text, "{}", byte.escape_ascii());
            text
        })
    };
    format!("byte {place} differs: `{}` and `{}`", around(left), around(right))
}

#[cfg(test)]
mod tests {
    use super::{bytes, inside};

    fn layer(files: &[(&str, &str, u64)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, content, time) in files {
            let mut header = tar::Header::new_ustar();
            header.set_size(content.len() as u64);
            header.set_mtime(*time);
            builder.append_data(&mut header, name, content.as_bytes()).expect("memory takes it");
        }
        zstd::encode_all(&builder.into_inner().expect("memory takes it")[..], 3).expect("memory takes it")
    }

    #[test]
    fn a_file_that_differs_is_named_with_the_bytes_around_the_place() {
        let one = layer(&[("etc/a", "same", 0), ("etc/b", "built in /home/one", 0)]);
        let other = layer(&[("etc/a", "same", 0), ("etc/b", "built in /home/two", 0)]);
        let cause = inside(&one, &other).expect("both are layers");
        assert_eq!(cause, "the file etc/b: byte 15 differs: `built in /home/one` and `built in /home/two`");
    }

    #[test]
    fn attributes_that_differ_are_named() {
        let cause = inside(&layer(&[("a", "x", 1)]), &layer(&[("a", "x", 2)])).expect("both are layers");
        assert!(cause.contains("time 1) in one") && cause.contains("time 2) in the other"), "{cause}");
    }

    #[test]
    fn where_one_is_longer_its_end_is_the_place() {
        assert_eq!(bytes(b"ab", b"abc"), "byte 2 differs: `ab` and `abc`");
    }
}
