//! Container images into containerd, through `ctr`.
//!
//! An OCI image layout (image-spec, image-layout.md) that holds exactly these images is streamed into
//! `ctr images import`, which unpacks them. They are labelled as pinned, since no registry could give them back. Each goes by its tag and by its digests,
//! as pods may name it: containerd's CRI looks for a name with a tag and a digest under the digest alone.
//! A check asks containerd for its list, once for all images of the step.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use qiji_plan::{BlobRef, FoundImage, ImportedImage};

use super::Checked;
use crate::fault::Fault;
use crate::host::Task;
use crate::program::Program;
use crate::root;

/// Namespace of Kubernetes' images in containerd.
const NAMESPACE: &str = "k8s.io";
/// Label that keeps kubelet from removing an image (containerd, internal/cri/labels).
const PINNED: &str = "io.cri-containerd.pinned=pinned";

/// Image name → (digest, pinned).
type Listed = BTreeMap<String, (String, bool)>;

/// Reads what `ctr images ls` prints.
fn parse_list(text: &str) -> Listed {
    let parse = |line: &str| {
        let mut words = line.split_whitespace();
        let (name, _kind, digest) = (words.next()?, words.next()?, words.next()?);
        Some((name.to_owned(), (digest.to_owned(), line.contains(PINNED))))
    };
    text.lines().skip(1).filter_map(parse).collect()
}

/// What containerd has, or why it does not say.
fn list(task: Task<'_>, ctr: &str, socket: &str) -> Result<Result<Listed, &'static str>, Fault> {
    if root::look(&task.host.root.path(socket)?)?.is_none() {
        return Ok(Err("containerd does not run"));
    }
    let listed = task.ask(&[ctr, "--address", socket, "--namespace", NAMESPACE, "images", "ls"]);
    Ok(match listed {
        Ok(listed) if listed.status.success() => Ok(parse_list(&String::from_utf8_lossy(&listed.stdout))),
        _ => Err("containerd does not answer"),
    })
}

/// The images that bundles brought, in the order of their names.
pub(crate) fn found(task: Task<'_>, ctr: &str, socket: &str) -> Result<Vec<FoundImage>, Fault> {
    Ok(ours(list(task, ctr, socket)?.map_err(Fault::new)?))
}

/// Those that were pinned, under the names that they were given: the references that containerd's CRI adds, by digests alone, are left out.
fn ours(listed: Listed) -> Vec<FoundImage> {
    let named = |name: &str| !name.starts_with("sha256:") && !name.contains('@');
    let ours = listed.into_iter().filter(|(name, (_, pinned))| *pinned && named(name));
    ours.filter_map(|(name, (digest, _))| Some(FoundImage { name, digest: digest.parse().ok()? })).collect()
}

pub(super) fn check(task: Task<'_>, images: &[ImportedImage], ctr: &str, socket: &str) -> Checked {
    let there = match list(task, ctr, socket)? {
        Ok(there) => there,
        Err(why) => return Ok(Some(why.to_owned())),
    };
    let missing: Vec<&str> =
        images.iter().filter(|image| !is_there(&there, image)).map(|image| image.name.as_str()).collect();
    Ok(match missing.as_slice() {
        [] => None,
        [one] => Some(format!("{one} is not imported")),
        [first, rest @ ..] => Some(format!("{first} and {} more are not imported", rest.len())),
    })
}

fn is_there(there: &Listed, image: &ImportedImage) -> bool {
    names(image).all(|name| {
        let found = there.get(name);
        found.is_some_and(|(digest, pinned)| *pinned && *digest == image.manifest.digest.to_string())
    })
}

/// All names of an image.
fn names(image: &ImportedImage) -> impl Iterator<Item = &str> {
    std::iter::once(&image.name).chain(&image.by_digest).map(String::as_str)
}

pub(super) fn import(
    task: Task<'_>,
    images: &[ImportedImage],
    ctr: &str,
    socket: &str,
) -> Result<bool, Fault> {
    if check(task, images, ctr, socket)?.is_none() {
        return Ok(false);
    }
    for blob in blobs_of(images) {
        if !task.host.store.has(&blob)? {
            return Err(Fault::new(format!(
                "blob {} of an image is not in the staging store",
                blob.digest.short()
            )));
        }
    }
    let argv = [
        ctr,
        "--address",
        socket,
        "--namespace",
        NAMESPACE,
        "images",
        "import",
        "--local",
        "--label",
        PINNED,
        "-",
    ]
    .map(str::to_owned);
    let program = Program {
        argv: &argv,
        env: &BTreeMap::new(),
        stdin: Some(Box::new(|to| write_layout(task, images, to))),
        deadline: task.deadline,
        cancelled: task.cancelled,
        log: Some(task.log),
    };
    program.run(&task.host.running)?.succeeded(&argv)?;
    match check(task, images, ctr, socket)? {
        None => Ok(true),
        Some(still) => Err(Fault::new(format!("{still}, though importing went well"))),
    }
}

fn blobs_of(images: &[ImportedImage]) -> BTreeSet<BlobRef> {
    images
        .iter()
        .flat_map(|image| std::iter::once(image.manifest).chain(image.blobs.iter().copied()))
        .collect()
}

/// Writes the layout as a tar: `oci-layout` and `index.json` first, then each blob once.
fn write_layout(task: Task<'_>, images: &[ImportedImage], to: &mut dyn Write) -> io::Result<()> {
    let mut tar = tar::Builder::new(io::BufWriter::with_capacity(128 << 10, to));
    add_bytes(&mut tar, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    add_bytes(&mut tar, "index.json", &index(task, images)?)?;
    for blob in blobs_of(images) {
        let file = task.host.store.open(&blob).map_err(io::Error::other)?;
        let name = format!("blobs/sha256/{}", blob.digest.hex());
        tar.append_data(&mut header(blob.size), name, file)?;
    }
    tar.into_inner()?.flush()
}

fn header(size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

fn add_bytes(tar: &mut tar::Builder<impl Write>, name: &str, bytes: &[u8]) -> io::Result<()> {
    tar.append_data(&mut header(bytes.len() as u64), name, bytes)
}

/// The index of the layout: each manifest under each of its image's names.
fn index(task: Task<'_>, images: &[ImportedImage]) -> io::Result<Vec<u8>> {
    let mut manifests = Vec::new();
    for image in images {
        let media_type = media_type(task, image)?;
        manifests.extend(names(image).map(|name| {
            serde_json::json!({
                "mediaType": media_type,
                "digest": image.manifest.digest.to_string(),
                "size": image.manifest.size,
                "annotations": { "io.containerd.image.name": name, "org.opencontainers.image.ref.name": name },
            })
        }));
    }
    let index = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": manifests,
    });
    serde_json::to_vec(&index).map_err(io::Error::other)
}

/// What kind of manifest it is, in its own words.
fn media_type(task: Task<'_>, image: &ImportedImage) -> io::Result<String> {
    let file = task.host.store.open(&image.manifest).map_err(io::Error::other)?;
    let manifest: serde_json::Value = serde_json::from_reader(io::BufReader::new(file))?;
    Ok(manifest["mediaType"].as_str().unwrap_or("application/vnd.oci.image.manifest.v1+json").to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_ctr_is_read() {
        let text = "REF TYPE DIGEST SIZE PLATFORMS LABELS\n\
            qiji.local/pause:3.10 application/vnd.oci.image.manifest.v1+json sha256:ab 1.0 MiB linux/amd64 io.cri-containerd.pinned=pinned\n\
            qiji.local/other:1 application/vnd.oci.image.manifest.v1+json sha256:cd 1.0 MiB linux/amd64 -\n";
        let list = parse_list(text);
        assert_eq!(list["qiji.local/pause:3.10"], ("sha256:ab".to_owned(), true));
        assert_eq!(list["qiji.local/other:1"], ("sha256:cd".to_owned(), false));
    }

    #[test]
    fn what_bundles_brought_is_told_from_other_images_and_from_references() {
        let digest = qiji_blueprint::Digest::of(b"manifest");
        let line =
            |name: &str, labels: &str| (name.to_owned(), (digest.to_string(), labels.contains("pinned")));
        let listed = Listed::from([
            line("qiji.local/pause:3.10", "pinned"),
            line("registry.site:5000/other:1", ""),
            line(&format!("sha256:{}", digest.hex()), "pinned"),
            line(&format!("qiji.local/pause@{digest}"), "pinned"),
        ]);
        assert_eq!(ours(listed), [FoundImage { name: "qiji.local/pause:3.10".to_owned(), digest }]);
    }
}
