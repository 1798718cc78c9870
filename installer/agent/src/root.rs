//! Where the agent looks and writes: `/` on a host, a folder in a test. Every path goes through here.
//!
//! Also the writes that survive being cut short: a file is written beside its place, synced and renamed; a line is
//! appended in one write and synced. After a crash a file is the old one or the new one, and a last line that was cut off is ignored.

use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::fault::Fault;

/// Folder that holds all that the agent keeps.
pub const STATE: &str = "/var/lib/qiji";

/// The host's file tree, or a folder that stands for it.
#[derive(Debug, Clone)]
pub struct Root(PathBuf);

impl Root {
    /// The host itself.
    pub fn host() -> Self {
        Self::at("/")
    }

    /// A folder that stands for it.
    pub fn at(folder: impl Into<PathBuf>) -> Self {
        Self(folder.into())
    }

    /// Whether this is the host itself.
    pub fn is_host(&self) -> bool {
        self.0 == Path::new("/")
    }

    /// Where an absolute path lies.
    ///
    /// # Errors
    /// The path is not absolute, or climbs by `..`.
    pub fn path(&self, absolute: &str) -> Result<PathBuf, Fault> {
        let mut path = self.0.clone();
        let mut parts = Path::new(absolute).components();
        if parts.next() != Some(Component::RootDir) {
            return Err(Fault::new(format!("`{absolute}` is not an absolute path")));
        }
        for part in parts {
            match part {
                Component::Normal(name) => path.push(name),
                _ => return Err(Fault::new(format!("`{absolute}` is not a plain path"))),
            }
        }
        Ok(path)
    }

    /// A path that is known to be well-formed, such as `/proc/mounts`.
    pub fn known(&self, absolute: &str) -> PathBuf {
        self.0.join(absolute.trim_start_matches('/'))
    }

    /// A path inside the agent's own folder.
    pub fn state(&self, below: &str) -> PathBuf {
        self.known(STATE).join(below)
    }

    /// The same path as a host would name it.
    pub fn shown(&self, path: &Path) -> String {
        let below = path.strip_prefix(&self.0).unwrap_or(path);
        Path::new("/").join(below).display().to_string()
    }
}

/// A place in the code where a test may end the process, as if the host had lost power there.
///
/// Counts its calls, and ends the process by SIGKILL at the one that `QIJI_AGENT_DIE_AT` names. Only in builds with debug assertions.
pub fn crash_point() {
    #[cfg(debug_assertions)]
    {
        use std::sync::atomic::{AtomicU64, Ordering};
        static PASSED: AtomicU64 = AtomicU64::new(0);
        let Ok(fatal) = std::env::var("QIJI_AGENT_DIE_AT") else { return };
        if PASSED.fetch_add(1, Ordering::SeqCst) + 1 == fatal.parse().unwrap_or(u64::MAX) {
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
            std::thread::sleep(std::time::Duration::from_secs(10));
        }
    }
}

/// Where a new file is written before it is renamed.
pub fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.qiji-new"))
}

/// Writes a file beside its place, syncs it and renames it there; its folder must exist.
pub fn write_whole(path: &Path, mode: u32, content: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let beside = beside(path);
    if let Err(fault) = fs_err::remove_file(&beside)
        && fault.kind() != io::ErrorKind::NotFound
    {
        return Err(fault);
    }
    let mut options = fs_err::OpenOptions::new();
    fs_err::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = (|| {
        let mut file = options.write(true).create_new(true).open(&beside)?;
        crash_point();
        file.write_all(content)?;
        file.set_permissions(std::fs::Permissions::from_mode(mode))?;
        file.sync_all()?;
        crash_point();
        fs_err::rename(&beside, path)
    })();
    if written.is_err() {
        let _ = fs_err::remove_file(&beside);
    }
    written?;
    crash_point();
    sync_folder(folder)
}

/// Makes the names in a folder last.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    fs_err::File::open(folder)?.sync_all()
}

/// Makes a folder and its parents, 0755, when they are not there; the last one gets `mode`.
pub fn make_state_folder(path: &Path, mode: u32) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    fs_err::create_dir_all(path)?;
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(mode))
}

/// Appends one line of JSON to a file (0600) and syncs it.
pub fn append_line<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    let mut line = serde_json::to_vec(value).map_err(io::Error::other)?;
    line.push(b'\n');
    let mut options = std::fs::OpenOptions::new();
    options.create(true).append(true).read(true).mode(0o600);
    let mut file = fs_err::OpenOptions::from_options(options).open(path)?;
    if cut_off(path)? {
        line.insert(0, b'\n');
    }
    crash_point();
    file.write_all(&line)?;
    file.sync_all()?;
    crash_point();
    sync_folder(path.parent().unwrap_or(Path::new("/")))
}

/// Whether the last line lacks its end.
fn cut_off(path: &Path) -> io::Result<bool> {
    use std::io::{Read, Seek, SeekFrom};
    let mut file = fs_err::File::open(path)?;
    if file.metadata()?.len() == 0 {
        return Ok(false);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

/// The values of a file of JSON lines; a line that was cut off by a crash is left out. Nothing where there is no file.
pub fn read_lines<T: DeserializeOwned>(path: &Path) -> io::Result<Vec<T>> {
    match fs_err::read(path) {
        Ok(bytes) => Ok(bytes
            .split(|byte| *byte == b'\n')
            .filter_map(|line| serde_json::from_slice(line).ok())
            .collect()),
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(fault) => Err(fault),
    }
}

/// Reads a small file as text; nothing where there is none.
pub fn read_text(path: &Path) -> io::Result<Option<String>> {
    match fs_err::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(fault) => Err(fault),
    }
}

/// What is at a path, links not followed; nothing where there is nothing.
pub fn look(path: &Path) -> io::Result<Option<std::fs::Metadata>> {
    match fs_err::symlink_metadata(path) {
        Ok(found) => Ok(Some(found)),
        Err(fault) if matches!(fault.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(fault) => Err(fault),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_below_the_root() {
        let root = Root::at("/tmp/x");
        assert_eq!(root.path("/etc/hosts").unwrap(), Path::new("/tmp/x/etc/hosts"));
        assert!(root.path("etc").is_err());
        assert!(root.path("/etc/../../y").is_err());
        assert_eq!(root.shown(Path::new("/tmp/x/etc")), "/etc");
    }

    #[test]
    fn a_line_cut_off_by_a_crash_does_not_spoil_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lines");
        append_line(&path, &1).unwrap();
        fs_err::write(&path, "1\n{\"half").unwrap();
        append_line(&path, &2).unwrap();
        assert_eq!(read_lines::<u32>(&path).unwrap(), [1, 2]);
    }
}
