//! Sets of volumes: damaged ones, which parity must restore, and forged ones, whose check sectors fit what they hold.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use arbitrary::{Arbitrary, Unstructured};
use qiji_blueprint::Digest;
use qiji_bundle::{Division, Parity, Untrusted, VolumeSet, split};
use tempfile::TempDir;

use crate::sample::{bundle, scratch, trusted};

/// Bytes of a sector (`docs/volume-format.md`).
const SECTOR: usize = 4096;
/// Where the seal of a check sector starts.
const SEAL: usize = SECTOR - 32;
/// Parity volumes of the sample.
const PARITY: u16 = 2;

/// What is done to a volume.
#[derive(Debug, Arbitrary)]
enum Deed<'a> {
    /// Bytes are overwritten.
    Write { at: u32, bytes: &'a [u8] },
    /// The end is cut off.
    Cut { length: u32 },
    /// The file is gone.
    Remove,
    /// Another volume's bytes under this one's name.
    Swap { other: u8 },
}

#[derive(Debug, Arbitrary)]
struct Change<'a> {
    volume: u8,
    deed: Deed<'a>,
}

/// The sample cut into volumes, in memory.
struct Sample {
    folder: TempDir,
    files: Vec<(PathBuf, Vec<u8>)>,
}

impl Sample {
    fn get() -> &'static Self {
        static SAMPLE: OnceLock<Sample> = OnceLock::new();
        SAMPLE.get_or_init(|| {
            let folder = scratch();
            let whole = folder.path().join("whole");
            fs_err::write(&whole, bundle()).unwrap();
            let volumes = folder.path().join("volumes");
            fs_err::create_dir(&volumes).unwrap();
            let division = Division { volume_size: 6 * SECTOR as u64, parity: Parity::Volumes(PARITY) };
            let cut = split(&whole, &volumes.join("sample.qiji"), division, &mut |_| ()).unwrap();
            let files = cut.files.into_iter().map(|(path, _)| (path.clone(), fs_err::read(path).unwrap()));
            Self { files: files.collect(), folder }
        })
    }

    /// Applies changes and puts the files there. Gives which volumes were changed.
    fn lay(&self, changes: &[Change<'_>], seal: bool) -> BTreeSet<usize> {
        let mut files: Vec<_> = self.files.iter().map(|(_, bytes)| Some(bytes.clone())).collect();
        let mut hit = BTreeSet::new();
        for Change { volume, deed } in changes {
            let volume = usize::from(*volume) % files.len();
            hit.insert(volume);
            let other = match deed {
                Deed::Swap { other } => self.files[usize::from(*other) % self.files.len()].1.clone(),
                _ => Vec::new(),
            };
            let Some(bytes) = &mut files[volume] else { continue };
            match deed {
                Deed::Write { at, bytes: new } => write(bytes, *at, new),
                Deed::Cut { length } => bytes.truncate(*length as usize % (bytes.len() + 1)),
                Deed::Remove => files[volume] = None,
                Deed::Swap { .. } => *bytes = other,
            }
        }
        for ((path, _), bytes) in self.files.iter().zip(&mut files) {
            match bytes {
                Some(bytes) => {
                    if seal {
                        reseal(bytes);
                    }
                    fs_err::write(path, bytes).unwrap();
                }
                None if path.exists() => fs_err::remove_file(path).unwrap(),
                None => {}
            }
        }
        hit
    }

    fn volumes(&self) -> PathBuf {
        self.folder.path().join("volumes")
    }
}

fn write(bytes: &mut [u8], at: u32, new: &[u8]) {
    let at = at as usize % (bytes.len() + 1);
    let count = new.len().min(bytes.len() - at);
    bytes[at..at + count].copy_from_slice(&new[..count]);
}

/// Makes the seals of all sectors that begin as check sectors do right again.
fn reseal(bytes: &mut [u8]) {
    for sector in bytes.chunks_exact_mut(SECTOR).filter(|sector| sector.starts_with(b"QIJIVOL1")) {
        let seal = Digest::of(&sector[..SEAL]);
        sector[SEAL..].copy_from_slice(seal.as_bytes());
    }
}

/// Reads all that can be read of a set. Gives whether the bundle is whole.
fn read(folder: &Path) -> bool {
    let Ok(set) = VolumeSet::open(folder).map(Arc::new) else { return false };
    let opened = Untrusted::over_volumes(Arc::clone(&set), folder);
    let verified = opened.and_then(|bundle| bundle.verify(&trusted(), &mut |_| ()));
    set.survey_parity(&mut |_| ());
    let text = set.health().to_string();
    assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
    verified.is_ok_and(|verified| verified.size() == bundle().len() as u64)
}

/// Damage of any kind. As long as no more volumes are hit than there is parity, the bundle is restored.
pub(crate) fn damaged(data: &[u8]) {
    let Ok(changes) = Unstructured::new(data).arbitrary::<Vec<Change<'_>>>() else { return };
    let sample = Sample::get();
    let hit = sample.lay(&changes, false);
    let whole = read(&sample.volumes());
    assert!(whole || hit.len() > usize::from(PARITY), "{hit:?} of the volumes were not restored");
}

/// Whatever a check sector says, with a seal that holds.
pub(crate) fn forged(data: &[u8]) {
    let Ok(changes) = Unstructured::new(data).arbitrary::<Vec<Change<'_>>>() else { return };
    let sample = Sample::get();
    sample.lay(&changes, true);
    read(&sample.volumes());
}
