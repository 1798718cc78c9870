//! Names of volumes: the bundle's with `.001`, `.002`, … for data and `.p01`, `.p02`, … for parity.
//!
//! Names are for people. Which volume a file is stands in the file; names only say which files to look at.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use super::geometry::Shape;

/// What stands in front of the dot and the suffix, where `path` has the suffix of a volume.
pub(crate) fn stem(path: &Path) -> Option<PathBuf> {
    let suffix = path.extension()?.to_str()?;
    let (digits, count) = suffix.strip_prefix('p').map_or((suffix, 3), |digits| (digits, 2));
    let fits = digits.len() == count && digits.bytes().all(|byte| byte.is_ascii_digit());
    fits.then(|| path.with_extension(""))
}

/// What people call a volume: `volume 002`, `parity volume p01`.
pub(crate) fn label(shape: &Shape, number: u16) -> String {
    let kind = if number < shape.data { "volume" } else { "parity volume" };
    format!("{kind} {}", suffix(shape, number))
}

/// The name of a volume's file.
pub(crate) fn file(stem: &Path, shape: &Shape, number: u16) -> PathBuf {
    let mut name = stem.as_os_str().to_owned();
    name.push(".");
    name.push(suffix(shape, number));
    name.into()
}

fn suffix(shape: &Shape, number: u16) -> String {
    match number.checked_sub(shape.data) {
        None => format!("{:03}", number + 1),
        Some(parity) => format!("p{:02}", parity + 1),
    }
}

/// Whether `path` names a set of volumes: a folder, one of the volumes, or what they have in common while there is no file of that name.
pub(crate) fn is_set(path: &Path) -> bool {
    if path.is_dir() {
        return true;
    }
    match (path.exists(), stem(path)) {
        (true, Some(_)) => !is_bundle(path),
        (true, None) => false,
        (false, stem) => beside(stem.as_deref().unwrap_or(path)).is_ok_and(|files| !files.is_empty()),
    }
}

/// Whether a file starts as whole bundles do.
fn is_bundle(path: &Path) -> bool {
    use std::io::Read as _;
    let mut start = [0; 13];
    fs_err::File::open(path).and_then(|mut file| file.read_exact(&mut start)).is_ok()
        && start == *b"blobs/sha256/"
}

/// The files that are volumes of `stem` by their names, sorted.
pub(crate) fn beside(stem: &Path) -> io::Result<Vec<PathBuf>> {
    let folder = stem.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut files = within(folder)?;
    files.retain(|file| file.file_stem() == stem.file_name());
    Ok(files)
}

/// All files of a folder that are volumes by their names, sorted.
pub(crate) fn within(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs_err::read_dir(folder)? {
        let path = if folder == OsStr::new(".") { entry?.file_name().into() } else { entry?.path() };
        if stem(&path).is_some() && !path.is_dir() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes_tell_volumes() {
        let stem_of = |name: &str| stem(Path::new(name)).map(|stem| stem.display().to_string());
        assert_eq!(stem_of("/a/b-1.2.3.qiji.001").as_deref(), Some("/a/b-1.2.3.qiji"));
        assert_eq!(stem_of("b.p99").as_deref(), Some("b"));
        for other in ["b-1.2.100", "b.qiji", "b.01", "b.0001", "b.p001", "b.p1", "b.q01", "001", "b.00a"] {
            let is_volume = other == "b-1.2.100";
            assert_eq!(stem_of(other).is_some(), is_volume, "{other}");
        }
    }

    #[test]
    fn a_set_is_named_in_several_ways() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs_err::write(path("x.qiji.002"), "volume").unwrap();
        fs_err::write(path("whole-1.2.100"), "blobs/sha256/00").unwrap();
        for set in ["", "x.qiji.002", "x.qiji.001", "x.qiji"] {
            assert!(is_set(&path(set)), "{set}");
        }
        for other in ["whole-1.2.100", "y.qiji", "y.qiji.001"] {
            assert!(!is_set(&path(other)), "{other}");
        }
    }
}
