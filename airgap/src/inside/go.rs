//! What a Go program says of itself: its build information, as Go's `debug/buildinfo` reads it.
//!
//! The section holds 14 bytes of magic, the size of a pointer, flags, and from byte 32 on two strings, each with its length before it
//! (a `uvarint`): the version of Go, and lines of tab-separated words between two marks of 16 bytes. A line `dep` names a module that is
//! in the program, a line `=>` after it the one that stands in for it.
//!
//! Licences come from a table that is part of this program and was made from the modules themselves (`cargo xtask licences`). A line of it holds for
//! one version and one hash of a module's content, the same hash that the build information has: it says nothing of other bytes.
//!
//! Limits: programs made by Go 1.17 and older are written in another way and are not read.

use std::collections::HashMap;
use std::sync::LazyLock;

use qiji_blueprint::part::{Part, PartKind};

const MAGIC: &[u8] = b"\xff Go buildinf:";
const HEADER: usize = 32;
const INLINE_STRINGS: u8 = 2;
/// Marks around the lines.
const MARK: usize = 16;
/// Whose modules are ours.
const OWN: &str = "qiji.dev/";
/// What makes a program another one, of all that is told of a build.
const TOLD: [&str; 9] =
    ["-tags", "-trimpath", "CGO_ENABLED", "GOAMD64", "GOARCH", "GOARM64", "GOOS", "GORISCV64", "GOFIPS140"];

/// The table of licences, as it stands in the sources.
pub(super) const TABLE: &str = include_str!("../../sources/licences.txt");

/// A program's build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Build {
    /// Go's version and its settings, in one line.
    pub(super) how: String,
    /// Modules, Go's own library among them.
    pub(super) modules: Vec<Part>,
}

/// Reads the section `.go.buildinfo`.
pub(super) fn read(section: &[u8]) -> Option<Build> {
    let header = section.get(..HEADER)?;
    if !header.starts_with(MAGIC) || header[15] & INLINE_STRINGS == 0 {
        return None;
    }
    let mut rest = &section[HEADER..];
    let version = text(&mut rest)?;
    let lines = text(&mut rest)?;
    let lines = lines.get(MARK..lines.len().checked_sub(MARK)?).unwrap_or_default();
    Some(build(&String::from_utf8_lossy(version), &String::from_utf8_lossy(lines)))
}

/// Cuts a string off.
fn text<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let size = usize::try_from(uvarint(rest)?).ok()?;
    let (head, tail) = rest.split_at_checked(size)?;
    *rest = tail;
    Some(head)
}

/// Cuts a number off: seven bits a byte, the lowest first.
fn uvarint(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..63).step_by(7) {
        let (&byte, tail) = rest.split_first()?;
        *rest = tail;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn build(version: &str, lines: &str) -> Build {
    let mut modules = vec![library(version)];
    let mut how = vec![version.to_owned()];
    for line in lines.lines() {
        let words: Vec<_> = line.split('\t').collect();
        match words.as_slice() {
            ["mod" | "dep", path, version, sum @ ..] => {
                modules.push(module(path, version, sum.first().copied()));
            }
            ["=>", path, version, sum @ ..] => {
                modules.pop();
                modules.push(module(path, version, sum.first().copied()));
            }
            ["build", setting] if TOLD.iter().any(|name| setting.split('=').next() == Some(name)) => {
                how.push((*setting).to_owned());
            }
            _ => {}
        }
    }
    Build { how: how.join(" "), modules }
}

/// Go's own library. `go1.26.3 X:experiments` is a version, too.
fn library(version: &str) -> Part {
    let version = version.split(' ').next().unwrap_or_default();
    let version = version.strip_prefix("go").unwrap_or(version).to_owned();
    Part {
        kind: PartKind::GoModule,
        name: "stdlib".to_owned(),
        version,
        licence: Some("BSD-3-Clause".to_owned()),
    }
}

fn module(path: &str, version: &str, sum: Option<&str>) -> Part {
    let licence = if path.starts_with(OWN) {
        Some(env!("CARGO_PKG_LICENSE").to_owned())
    } else {
        let known = LICENCES.get(&(path, version));
        known.filter(|known| sum.is_some_and(|sum| sum == known.sum)).map(|known| known.licence.to_owned())
    };
    let version = if version == "(devel)" { "" } else { version };
    Part { kind: PartKind::GoModule, name: path.to_owned(), version: version.to_owned(), licence }
}

/// What the table says of a module.
struct Known {
    sum: &'static str,
    licence: &'static str,
}

static LICENCES: LazyLock<HashMap<(&str, &str), Known>> = LazyLock::new(|| {
    let lines = TABLE.lines().filter(|line| !line.starts_with('#'));
    let entries = lines.filter_map(|line| {
        let mut words = line.splitn(4, ' ');
        let (path, version, sum, licence) = (words.next()?, words.next()?, words.next()?, words.next()?);
        Some(((path, version), Known { sum, licence }))
    });
    entries.collect()
});

#[cfg(test)]
mod tests {
    use super::*;

    fn section(version: &str, lines: &str) -> Vec<u8> {
        let mut section = [MAGIC, &[8, INLINE_STRINGS]].concat();
        section.resize(HEADER, 0);
        let lines = format!("{0}{lines}{0}", "m".repeat(MARK));
        for text in [version, &lines] {
            let [low, high] = [text.len() & 0x7f, text.len() >> 7].map(|part| u8::try_from(part).unwrap());
            section.extend(if high == 0 { vec![low] } else { vec![low | 0x80, high] });
            section.extend(text.as_bytes());
        }
        section
    }

    #[test]
    fn modules_replacements_and_settings_are_read() {
        let lines = "path\tx\nmod\tqiji.dev/sources/x\t(devel)\t\ndep\ta.b/c\tv1.0.0\th1:x=\ndep\tk8s.io/api\tv0.0.0\n\
            =>\tk8s.io/api\tv0.36.3\th1:y=\nbuild\t-compiler=gc\nbuild\tGOARCH=amd64\n";
        let build = read(&section("go1.26.3 X:loopvar", lines)).unwrap();
        assert_eq!(build.how, "go1.26.3 X:loopvar GOARCH=amd64");
        let named: Vec<_> =
            build.modules.iter().map(|one| (one.name.as_str(), one.version.as_str())).collect();
        let expected = [
            ("stdlib", "1.26.3"),
            ("qiji.dev/sources/x", ""),
            ("a.b/c", "v1.0.0"),
            ("k8s.io/api", "v0.36.3"),
        ];
        assert_eq!(named, expected);
        assert_eq!(build.modules[1].licence.as_deref(), Some("Apache-2.0"));
        assert_eq!(build.modules[2].licence, None);
    }

    #[test]
    fn a_licence_is_told_only_of_the_very_bytes_it_was_found_in() {
        let (&(path, version), known) = LICENCES.iter().next().unwrap();
        assert_eq!(module(path, version, Some(known.sum)).licence.as_deref(), Some(known.licence));
        assert_eq!(module(path, version, Some("h1:other=")).licence, None);
        assert_eq!(module(path, version, None).licence, None);
    }

    #[test]
    fn the_table_holds_expressions_only() {
        assert!(LICENCES.len() > 300, "only {} modules are known", LICENCES.len());
        for ((path, version), known) in LICENCES.iter() {
            let normal = super::super::licence::normal(known.licence);
            assert_eq!(normal.as_deref(), Some(known.licence), "{path} {version}");
            assert!(known.sum.starts_with("h1:"), "{path} {version}");
        }
    }

    #[test]
    fn damage_is_no_build() {
        let whole = section("go1.26.3", "dep\ta\tv1\n");
        for size in 0..whole.len() {
            assert_eq!(read(&whole[..size]), None, "{size} bytes");
        }
        let mut endless = whole;
        endless[HEADER..].fill(0xff);
        assert_eq!(read(&endless), None);
    }
}
