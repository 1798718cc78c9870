//! What the files of a tree say: an image's layers, or the content of a Debian package.
//!
//! Files come one after another and are never all held: programs go through a scratch file, of everything else only the package databases of Debian
//! and Alpine and the `copyright` files are kept.
//!
//! Limits: a file that a later layer removes is counted still; languages other than Go and Rust are seen only as far as a package database has them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Seek, Write};

use qiji_blueprint::part::{Part, PartKind};

use super::copyright::{self, Licence, paragraphs};
use super::{elf, licence};
use crate::store::Store;

/// Most bytes of a text that is kept.
const TEXT_LIMIT: u64 = 32 << 20;

/// Gathers what files say.
pub(super) struct Tree<'a> {
    store: &'a Store,
    parts: BTreeSet<Part>,
    /// Package databases.
    debian: Vec<String>,
    alpine: Vec<String>,
    /// By package.
    copyrights: BTreeMap<String, String>,
}

impl<'a> Tree<'a> {
    pub(super) fn new(store: &'a Store) -> Self {
        Self {
            store,
            parts: BTreeSet::new(),
            debian: Vec::new(),
            alpine: Vec::new(),
            copyrights: BTreeMap::new(),
        }
    }

    /// Looks at one regular file; `path` is relative and plain.
    pub(super) fn file(&mut self, path: &str, content: &mut dyn Read) -> io::Result<()> {
        let folders: Vec<_> = path.split('/').collect();
        match folders.as_slice() {
            ["var", "lib", "dpkg", "status"] => self.debian.push(text(content)?),
            ["var", "lib", "dpkg", "status.d", name] if !name.ends_with(".md5sums") => {
                self.debian.push(text(content)?);
            }
            ["lib", "apk", "db", "installed"] | ["usr", "lib", "apk", "db", "installed"] => {
                self.alpine.push(text(content)?);
            }
            ["usr", "share", "doc", package, "copyright"] => {
                self.copyrights.insert((*package).to_owned(), text(content)?);
            }
            _ => self.program(content)?,
        }
        Ok(())
    }

    fn program(&mut self, content: &mut dyn Read) -> io::Result<()> {
        let mut start = Vec::new();
        content.take(elf::MAGIC.len() as u64).read_to_end(&mut start)?;
        if start != elf::MAGIC {
            return Ok(());
        }
        let scratch = self.store.scratch().map_err(io::Error::other)?;
        let path = scratch.path().join("program");
        let mut file = fs_err::OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        file.write_all(&start)?;
        io::copy(content, &mut file)?;
        file.rewind()?;
        let found = elf::read(file).map(|program| program.parts);
        self.parts.extend(found.into_iter().flatten());
        Ok(())
    }

    /// The licence of a Debian package, as far as its file was there.
    pub(super) fn licence_of(&self, package: &str) -> Licence {
        self.copyrights.get(package).map(|text| copyright::read(package, text)).unwrap_or_default()
    }

    /// All parts, and the texts that their licences need.
    pub(super) fn finish(mut self) -> (BTreeSet<Part>, BTreeMap<String, String>) {
        let mut texts = BTreeMap::new();
        for database in std::mem::take(&mut self.debian) {
            for stanza in paragraphs(&database) {
                let licence =
                    stanza.get("Package").map(|package| self.licence_of(package)).unwrap_or_default();
                if let Some(part) = debian(&stanza, licence.expression) {
                    self.parts.insert(part);
                    texts.extend(licence.texts);
                }
            }
        }
        let alpine = std::mem::take(&mut self.alpine);
        self.parts
            .extend(alpine.iter().flat_map(|database| paragraphs(database)).filter_map(|one| apk(&one)));
        (self.parts, texts)
    }
}

fn text(content: &mut dyn Read) -> io::Result<String> {
    let mut bytes = Vec::new();
    content.take(TEXT_LIMIT).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// An installed package of `dpkg`'s database (`deb-control(5)`).
pub(super) fn debian(stanza: &BTreeMap<String, String>, licence: Option<String>) -> Option<Part> {
    let installed = stanza.get("Status").is_none_or(|status| status.ends_with(" installed"));
    let (name, version) = (stanza.get("Package")?.clone(), stanza.get("Version")?.clone());
    installed.then_some(Part { kind: PartKind::Debian, name, version, licence })
}

/// A package of `apk`'s database: `P` name, `V` version, `L` licence.
fn apk(stanza: &BTreeMap<String, String>) -> Option<Part> {
    let licence = stanza.get("L").and_then(|text| licence::normal(text));
    Some(Part {
        kind: PartKind::Alpine,
        name: stanza.get("P")?.clone(),
        version: stanza.get("V")?.clone(),
        licence,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn package_databases_are_read_with_their_licences() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let mut tree = Tree::new(&store);
        let files = [
            (
                "var/lib/dpkg/status",
                "Package: libx\nStatus: install ok installed\nVersion: 1-2\n\nPackage: old\n\
                Status: deinstall ok config-files\nVersion: 1\n",
            ),
            ("var/lib/dpkg/status.d/base", "Package: base\nVersion: 3\n"),
            ("var/lib/dpkg/status.d/base.md5sums", "Package: no\nVersion: 3\n"),
            ("usr/share/doc/libx/copyright", "Format: x\n\nFiles: *\nLicense: Expat\n"),
            (
                "lib/apk/db/installed",
                "C:Q1=\nP:musl\nV:1.2.5-r0\nL:MIT\nF:lib\n\nP:odd\nV:1\nL:as you like\n",
            ),
            ("usr/bin/x", "#!/bin/sh"),
        ];
        for (path, content) in files {
            tree.file(path, &mut content.as_bytes()).unwrap();
        }
        let (parts, texts) = tree.finish();
        let told: Vec<_> =
            parts.iter().map(|one| (one.kind, one.name.as_str(), one.licence.as_deref())).collect();
        let expected = [
            (PartKind::Debian, "base", None),
            (PartKind::Debian, "libx", Some("MIT")),
            (PartKind::Alpine, "musl", Some("MIT")),
            (PartKind::Alpine, "odd", None),
        ];
        assert_eq!(told, expected);
        assert!(texts.is_empty());
    }
}
