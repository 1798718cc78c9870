//! The files of an archive or of a folder, by name, for reading.
//!
//! A tar is indexed once by its headers; contents are read where they lie. One that is compressed with gzip is unpacked into the store's scratch
//! space first. Names are only ever compared, never used as paths of this machine, but for a folder, where a name must stay below it.

use std::collections::HashMap;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

use fs_err::File;

use super::DOCUMENT_LIMIT;
use crate::store::{CHUNK, Store};

/// Members that a tar may have; more than that is no archive of images.
const MEMBER_LIMIT: usize = 1 << 20;

/// What an archive may unpack to: so many times its size, or this many bytes where that is more.
const UNPACKED_RATIO: u64 = 200;
const UNPACKED_LEAST: u64 = 64 << 20;

/// Links that are followed from one name to the file.
const LINK_LIMIT: usize = 8;

/// See the module.
pub(crate) enum Files {
    /// A folder.
    Folder(PathBuf),
    /// A tar.
    Tar(Tar),
}

/// An indexed tar.
pub(crate) struct Tar {
    file: PathBuf,
    members: HashMap<String, Member>,
    /// Holds the unpacked file, where there was one to unpack.
    _scratch: Option<tempfile::TempDir>,
}

enum Member {
    File { offset: u64, size: u64 },
    Link { to: String },
}

impl Files {
    /// Opens an archive or a folder.
    pub(super) fn open(path: &Path, store: &Store) -> io::Result<Self> {
        if path.is_dir() {
            return Ok(Self::Folder(path.to_owned()));
        }
        let mut magic = [0; 2];
        let count = File::open(path)?.read(&mut magic)?;
        if count < 2 {
            return Err(io::Error::other("it is empty"));
        }
        if magic != [0x1f, 0x8b] {
            return Tar::index(path.to_owned(), None).map(Self::Tar);
        }
        let scratch = store.scratch().map_err(io::Error::other)?;
        let unpacked = scratch.path().join("archive.tar");
        unpack(File::open(path)?, &mut File::create(&unpacked)?)?;
        Tar::index(unpacked, Some(scratch)).map(Self::Tar)
    }

    /// Whether there is a file of that name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.find(name).is_ok()
    }

    /// A file, and its size.
    pub(super) fn open_file(&self, name: &str) -> io::Result<(Box<dyn Read + Send>, u64)> {
        let (path, offset, size) = self.find(name)?;
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(offset))?;
        Ok((Box::new(BufReader::with_capacity(CHUNK, file).take(size)), size))
    }

    /// A small file whole.
    pub(super) fn document(&self, name: &str) -> io::Result<Vec<u8>> {
        let (mut reader, size) = self.open_file(name)?;
        if size > DOCUMENT_LIMIT {
            return Err(io::Error::other(format!("{name} has {size} bytes, more than it may have")));
        }
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Path, offset and size of a file.
    fn find(&self, name: &str) -> io::Result<(PathBuf, u64, u64)> {
        let missing = || io::Error::new(io::ErrorKind::NotFound, format!("it has no {name}"));
        match self {
            Self::Folder(root) => {
                let inside = Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
                let path = root.join(name);
                let known = fs_err::metadata(&path).ok().filter(|known| inside && known.is_file());
                Ok((path, 0, known.ok_or_else(missing)?.len()))
            }
            Self::Tar(tar) => {
                let (offset, size) = tar.find(name).ok_or_else(missing)?;
                Ok((tar.file.clone(), offset, size))
            }
        }
    }
}

/// Unpacks gzip, up to a limit.
fn unpack(from: File, to: &mut File) -> io::Result<()> {
    let most = UNPACKED_LEAST.max(UNPACKED_RATIO.saturating_mul(from.metadata()?.len()));
    let content = flate2::read::MultiGzDecoder::new(BufReader::with_capacity(CHUNK, from));
    if io::copy(&mut content.take(most + 1), to)? > most {
        return Err(io::Error::other(format!(
            "it unpacks to more than {most} bytes, which no archive of images does"
        )));
    }
    Ok(())
}

impl Tar {
    fn index(path: PathBuf, scratch: Option<tempfile::TempDir>) -> io::Result<Self> {
        let file = File::open(&path)?;
        let end = file.metadata()?.len();
        let mut archive = tar::Archive::new(file);
        let mut members = HashMap::new();
        for entry in archive.entries_with_seek()? {
            let entry = entry.map_err(|error| io::Error::other(format!("it is not a whole tar: {error}")))?;
            let name = plain(&String::from_utf8_lossy(&entry.path_bytes()));
            let kind = entry.header().entry_type();
            let member = if kind.is_file() {
                let (offset, size) = (entry.raw_file_position(), entry.size());
                if offset.checked_add(size).is_none_or(|until| until > end) {
                    return Err(io::Error::other(format!("it ends in the middle of {name}")));
                }
                Member::File { offset, size }
            } else if let (true, Some(to)) =
                (kind.is_symlink() || kind.is_hard_link(), entry.link_name_bytes())
            {
                let to = String::from_utf8_lossy(&to);
                let parent = name.rsplit_once('/').map_or("", |(parent, _)| parent);
                let to = if kind.is_symlink() { format!("{parent}/{to}") } else { to.into_owned() };
                Member::Link { to: plain(&to) }
            } else {
                continue;
            };
            members.insert(name, member);
            if members.len() > MEMBER_LIMIT {
                return Err(io::Error::other("it has too many members"));
            }
        }
        Ok(Self { file: path, members, _scratch: scratch })
    }

    fn find(&self, name: &str) -> Option<(u64, u64)> {
        let mut name = name;
        for _ in 0..LINK_LIMIT {
            match self.members.get(name)? {
                Member::File { offset, size } => return Some((*offset, *size)),
                Member::Link { to } => name = to,
            }
        }
        None
    }
}

/// A member's name without `.` and with `..` worked out, as far as it stays inside.
fn plain(name: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn tar(links: &[(&str, &str)]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (name, content) in [("./a/one", "1"), ("two", "22")] {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            tar.append_data(&mut header, name, content.as_bytes()).unwrap();
        }
        for (name, to) in links {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_size(0);
            tar.append_link(&mut header, name, to).unwrap();
        }
        tar.into_inner().unwrap()
    }

    fn open(bytes: &[u8]) -> (io::Result<Files>, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.tar");
        fs_err::write(&path, bytes).unwrap();
        let store = Store::open(folder.path().join("store")).unwrap();
        (Files::open(&path, &store), folder)
    }

    #[test]
    fn members_are_found_by_plain_names_and_through_links() {
        let links = [("b/link", "../a/one"), ("loop", "loop"), ("out", "../../../etc/passwd")];
        let (files, _folder) = open(&tar(&links));
        let files = files.unwrap();
        assert_eq!(files.document("a/one").unwrap(), b"1");
        assert_eq!(files.document("b/link").unwrap(), b"1");
        for name in ["loop", "out", "nothing", "../two"] {
            assert_eq!(files.document(name).unwrap_err().kind(), io::ErrorKind::NotFound, "{name}");
        }
    }

    #[test]
    fn a_compressed_archive_is_read_like_a_plain_one() {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&tar(&[])).unwrap();
        let (files, _folder) = open(&gzip.finish().unwrap());
        assert_eq!(files.unwrap().document("two").unwrap(), b"22");
    }

    #[test]
    fn an_archive_that_unpacks_to_far_more_than_its_size_is_refused() {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        let zeros = vec![0; 1 << 20];
        (0..=UNPACKED_LEAST >> 20).for_each(|_| gzip.write_all(&zeros).unwrap());
        let bomb = gzip.finish().unwrap();
        assert!(UNPACKED_RATIO * (bomb.len() as u64) < UNPACKED_LEAST, "{}", bomb.len());
        let error = open(&bomb).0.err().unwrap();
        assert!(error.to_string().contains("unpacks to more than"), "{error}");
    }

    #[test]
    fn a_broken_archive_is_told() {
        for bytes in [&b""[..], b"no tar at all, but long enough to be looked at", &[0x1f, 0x8b, 0, 0]] {
            assert!(open(bytes).0.is_err(), "{bytes:?}");
        }
        let whole = tar(&[]);
        assert!(open(&whole[..512]).0.is_err());
    }

    #[test]
    fn a_folder_gives_nothing_outside_it() {
        let (_, folder) = open(b"x");
        let store = Store::open(folder.path().join("store")).unwrap();
        fs_err::create_dir(folder.path().join("in")).unwrap();
        let files = Files::open(&folder.path().join("in"), &store).unwrap();
        assert!(!files.has("../x.tar") && !files.has("/etc/passwd") && !files.has(""));
    }
}
