//! Reading files out of a Debian package (`deb(5)`: an `ar` archive with a compressed `data.tar`).
//!
//! A member is named by its path, with or without a leading `./`, in which one `*` may stand for any characters but `/`. Paths are compared as on a
//! merged-`/usr` system: `lib/x` and `usr/lib/x` are one. Links are followed inside the package. What it names must come down to exactly one
//! regular file.
//!
//! The package is streamed, twice for one member: once for its table, once for the content.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};

use liblzma::read::XzDecoder;
use tar::EntryType;

/// Links followed before they count as a loop.
const MAX_LINKS: usize = 16;

/// Most bytes of a `control` file.
const CONTROL_LIMIT: u64 = 1 << 20;

/// What a path in a package is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    File { size: u64 },
    Link { target: String },
    Other,
}

/// The paths of a package.
pub(crate) struct Table {
    entries: BTreeMap<String, Kind>,
}

impl Table {
    /// Reads the table of a package.
    pub(crate) fn read(package: impl Read) -> io::Result<Self> {
        let mut entries = BTreeMap::new();
        each_entry(package, |path, entry| {
            let target = entry.link_name()?.map(|target| target.to_string_lossy().into_owned());
            let kind = match (entry.header().entry_type(), target) {
                (EntryType::Regular | EntryType::Continuous, _) => Kind::File { size: entry.size() },
                (EntryType::Symlink, Some(target)) => Kind::Link { target: beside(&path, &target) },
                (EntryType::Link, Some(target)) => Kind::Link { target },
                _ => Kind::Other,
            };
            entries.insert(path, kind);
            Ok(true)
        })?;
        Ok(Self { entries })
    }

    /// The one regular file that `member` names, and its size.
    pub(crate) fn find(&self, member: &str) -> Result<(String, u64), String> {
        let pattern = normal(member);
        let matches = self.entries.keys().filter(|path| glob(&pattern, path));
        let mut files = BTreeSet::new();
        for path in matches {
            files.extend(self.follow(path)?);
        }
        let mut files = files.into_iter();
        match (files.next(), files.next()) {
            (Some(file), None) => Ok(file),
            (None, _) => Err(format!("no file {member} is in it")),
            (Some((first, _)), Some((second, _))) => {
                Err(format!("{member} names more than one file in it: {first}, {second}"))
            }
        }
    }

    /// The regular file that `path` is or leads to; none where it is a folder.
    fn follow(&self, path: &str) -> Result<Option<(String, u64)>, String> {
        let mut at = path.to_owned();
        for _ in 0..MAX_LINKS {
            match self.entries.get(&at) {
                Some(Kind::File { size }) => return Ok(Some((at, *size))),
                Some(Kind::Link { target }) => at = normal(target),
                Some(Kind::Other) => return Ok(None),
                None => return Err(format!("{path} in it leads to {at}, which is not in it")),
            }
        }
        Err(format!("{path} in it leads through more than {MAX_LINKS} links"))
    }
}

/// Copies the regular file at a path that [`Table::find`] gave.
pub(crate) fn copy_file(
    package: impl Read,
    path: &str,
    mut write: impl FnMut(&mut dyn Read) -> io::Result<()>,
) -> io::Result<()> {
    let mut copied = None;
    each_entry(package, |at, entry| {
        if at == path {
            copied = Some(write(entry)?);
        }
        Ok(copied.is_none())
    })?;
    copied.ok_or_else(|| io::Error::other(format!("{path} is gone from it")))
}

/// The package's `control` file, as text.
pub(crate) fn control(package: impl Read) -> io::Result<String> {
    let mut text = Vec::new();
    each_entry_of("control.tar", package, |path, entry| {
        if path == "control" {
            entry.take(CONTROL_LIMIT).read_to_end(&mut text)?;
        }
        Ok(path != "control")
    })?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Calls `visit` with path and content of each regular file.
pub(crate) fn each_file(
    package: impl Read,
    mut visit: impl FnMut(&str, &mut dyn Read) -> io::Result<()>,
) -> io::Result<()> {
    each_entry(package, |path, entry| {
        if entry.header().entry_type().is_file() {
            visit(&path, entry)?;
        }
        Ok(true)
    })
}

type Entry<'e, 'a> = tar::Entry<'e, Box<dyn Read + 'a>>;

/// Calls `visit` with each entry of `data.tar` until it says no.
fn each_entry(
    package: impl Read,
    visit: impl FnMut(String, &mut Entry<'_, '_>) -> io::Result<bool>,
) -> io::Result<()> {
    each_entry_of("data.tar", package, visit)
}

/// Calls `visit` with each entry of the archive of that name, compressed or not, until it says no.
fn each_entry_of(
    archive: &str,
    package: impl Read,
    mut visit: impl FnMut(String, &mut Entry<'_, '_>) -> io::Result<bool>,
) -> io::Result<()> {
    let mut members = ar::Archive::new(package);
    while let Some(member) = members.next_entry() {
        let member = member?;
        let name = String::from_utf8_lossy(member.header().identifier()).trim_end_matches('/').to_owned();
        let data: Box<dyn Read + '_> = match name.strip_prefix(archive) {
            Some(".xz") => Box::new(XzDecoder::new(member)),
            Some(".zst") => Box::new(zstd::Decoder::new(member)?),
            Some(".gz") => Box::new(flate2::read::GzDecoder::new(member)),
            Some("") => Box::new(member),
            _ => continue,
        };
        let mut data = tar::Archive::new(data);
        for entry in data.entries()? {
            let mut entry = entry?;
            let path = normal(&entry.path()?.to_string_lossy());
            if !visit(path, &mut entry)? {
                break;
            }
        }
        return Ok(());
    }
    Err(io::Error::other(format!("it has no {archive} that can be read")))
}

/// A path as the table has it: relative, without `.` and `..`, under `usr/` where merged systems have it.
pub(crate) fn normal(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let merged = parts.len() > 1 && (matches!(parts[0], "bin" | "sbin") || parts[0].starts_with("lib"));
    let path = parts.join("/");
    if merged { format!("usr/{path}") } else { path }
}

/// What a symbolic link at `path` points to, from the package's root.
fn beside(path: &str, target: &str) -> String {
    match path.rsplit_once('/') {
        Some((folder, _)) if !target.starts_with('/') => format!("{folder}/{target}"),
        _ => target.to_owned(),
    }
}

/// Whether `path` matches a pattern with at most one `*`.
fn glob(pattern: &str, path: &str) -> bool {
    let Some((head, end)) = pattern.split_once('*') else {
        return pattern == path;
    };
    let middle = path.strip_prefix(head).and_then(|rest| rest.strip_suffix(end));
    middle.is_some_and(|middle| !middle.contains('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(entries: &[(&str, Kind)]) -> Table {
        Table { entries: entries.iter().map(|(path, kind)| (normal(path), kind.clone())).collect() }
    }

    fn link(target: &str) -> Kind {
        Kind::Link { target: target.to_owned() }
    }

    #[test]
    fn a_member_is_found_through_links_stars_and_merged_usr() {
        let file = Kind::File { size: 7 };
        let all = table(&[
            ("./lib/x86_64-linux-gnu/libx.so.0.2.0", file.clone()),
            ("./lib/x86_64-linux-gnu/libx.so.0", link("lib/x86_64-linux-gnu/libx.so.0.2.0")),
            ("./usr/sbin/tool", link("/etc/alternatives/tool")),
            ("./usr/sbin/loop", link("usr/sbin/loop")),
            ("./usr/share", Kind::Other),
        ]);
        let found = Ok(("usr/lib/x86_64-linux-gnu/libx.so.0.2.0".to_owned(), 7));
        for member in
            ["lib/x86_64-linux-gnu/libx.so.0", "./usr/lib/*/libx.so.0", "usr/lib/x86_64-linux-gnu/libx.so*"]
        {
            assert_eq!(all.find(member), found, "{member}");
        }
        assert!(
            all.find("usr/*/libx.so.0").unwrap_err().contains("no file"),
            "a star does not cross folders"
        );
        assert!(all.find("usr/share").unwrap_err().contains("no file"));
        assert!(all.find("usr/sbin/tool").unwrap_err().contains("etc/alternatives/tool"));
        assert!(all.find("usr/sbin/loop").unwrap_err().contains("links"));
    }

    #[test]
    fn a_star_that_names_two_files_is_refused() {
        let all = table(&[("a/1", Kind::File { size: 1 }), ("a/2", Kind::File { size: 2 })]);
        assert!(all.find("a/*").unwrap_err().contains("more than one file"));
    }
}
