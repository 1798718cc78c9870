//! Unpacking layers into a folder that then holds exactly them.
//!
//! Flow: read the layers from the staging store, each hashed while it is read → unpack into a scratch folder beside the place → sync →
//! write a stamp (layers, and the scratch folder's inode) → exchange scratch and place → remove the former one if it was ours.
//! What a layer may hold is said in [`crate::layer`]; of one that is refused nothing is left.
//! A check compares stamp and inode, so it costs two small reads however large the folder is.

use std::io::BufReader;
use std::path::{Path, PathBuf};

use qiji_blueprint::Digest;
use qiji_plan::BlobRef;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde::{Deserialize, Serialize};
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use super::Checked;
use crate::fault::Fault;
use crate::host::Task;
use crate::layer;
use crate::record::remove_tree;
use crate::root::{self, crash_point};
use crate::store::HashingReader;

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    layers: Vec<Digest>,
    device: u64,
    inode: u64,
}

fn stamp_path(task: Task<'_>, into: &str) -> PathBuf {
    task.host.root.state("unpacked").join(Digest::of(into.as_bytes()).short())
}

fn digests(layers: &[BlobRef]) -> Vec<Digest> {
    layers.iter().map(|layer| layer.digest).collect()
}

fn stamp_of(task: Task<'_>, into: &str) -> Result<Option<Stamp>, Fault> {
    let text = root::read_text(&stamp_path(task, into))?;
    Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
}

pub(super) fn check(task: Task<'_>, layers: &[BlobRef], into: &str) -> Checked {
    let place = task.host.root.path(into)?;
    let Some(found) = root::look(&place)? else { return Ok(Some(format!("{into} is missing"))) };
    let wanted = Stamp { layers: digests(layers), device: found.dev(), inode: found.ino() };
    let same = stamp_of(task, into)? == Some(wanted);
    Ok((!same).then(|| format!("{into} holds other layers")))
}

pub(super) fn unpack(task: Task<'_>, layers: &[BlobRef], into: &str) -> Result<bool, Fault> {
    if check(task, layers, into)?.is_none() {
        return Ok(false);
    }
    let host = task.host;
    let place = host.root.path(into)?;
    let name =
        place.file_name().ok_or_else(|| Fault::new("cannot unpack into /"))?.to_string_lossy().into_owned();
    let scratch = place.with_file_name(format!(".{name}.qiji-unpack"));
    host.record.make_parents(&place)?;
    host.record.before_path(&scratch, true)?;
    remove_tree(&scratch)?;
    crash_point();
    fs_err::create_dir(&scratch)?;
    fs_err::set_permissions(&scratch, std::fs::Permissions::from_mode(0o755))?;
    if let Err(fault) = unpack_layers(task, layers, into, &scratch) {
        // What could be unpacked of a layer that is refused may fill the disk. The first fault counts.
        let _ = remove_tree(&scratch);
        return Err(fault);
    }
    rustix::fs::syncfs(fs_err::File::open(&scratch)?)?;
    put_in_place(task, layers, into, &scratch, &place)?;
    Ok(true)
}

fn put_in_place(
    task: Task<'_>,
    layers: &[BlobRef],
    into: &str,
    scratch: &Path,
    place: &Path,
) -> Result<(), Fault> {
    let host = task.host;
    host.record.before_path(place, true)?;
    move_aside_if_foreign(task, into, place)?;
    let found = fs_err::metadata(scratch)?;
    let stamp = Stamp { layers: digests(layers), device: found.dev(), inode: found.ino() };
    root::make_state_folder(&host.root.state("unpacked"), 0o700)?;
    crash_point();
    root::write_whole(&stamp_path(task, into), 0o600, &serde_json::to_vec(&stamp)?)?;
    if root::look(place)?.is_some() {
        if renameat_with(CWD, scratch, CWD, place, RenameFlags::EXCHANGE).is_ok() {
            remove_tree(scratch)?;
        } else {
            remove_tree(place)?;
            crash_point();
            fs_err::rename(scratch, place)?;
        }
    } else {
        fs_err::rename(scratch, place)?;
    }
    crash_point();
    Ok(root::sync_folder(place.parent().unwrap_or(Path::new("/")))?)
}

/// What was there before qiji came is kept beside, under the name that the record gives it.
fn move_aside_if_foreign(task: Task<'_>, into: &str, place: &Path) -> Result<(), Fault> {
    let aside = task.host.root.path(&format!("{into}.qiji-before"))?;
    let ours = root::look(&stamp_path(task, into))?.is_some();
    if ours || root::look(place)?.is_none() || root::look(&aside)?.is_some() {
        return Ok(());
    }
    crash_point();
    Ok(fs_err::rename(place, &aside)?)
}

fn unpack_layers(task: Task<'_>, layers: &[BlobRef], into: &str, scratch: &Path) -> Result<(), Fault> {
    for layer in layers {
        unpack_layer(task, layer, scratch).map_err(|fault| {
            fault.within(format!("cannot unpack blob {} into {into}", layer.digest.short()))
        })?;
        crash_point();
    }
    Ok(())
}

fn unpack_layer(task: Task<'_>, layer: &BlobRef, scratch: &Path) -> Result<(), Fault> {
    let mut source = HashingReader::new(task.host.store.open(layer)?);
    let buffered = BufReader::with_capacity(128 << 10, &mut source);
    layer::unpack(buffered, layer.size, scratch, task.cancelled)?;
    source.finish(layer)
}
