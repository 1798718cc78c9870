//! What a bundle would change on hosts that say what they hold.
//!
//! Each host is compared with what the bundle has for its architecture and role; hosts that differ in the same way are told together. Of an image or a package
//! that a host holds in several versions, the bundle's own counts, else the last. What a host holds of which the bundle has no version is told as gone. Hosts
//! know neither licences nor parts, and of images no size.

use std::collections::{BTreeMap, BTreeSet};

use qiji_blueprint::Digest;
use qiji_blueprint::lock::is_tool;
use qiji_blueprint::site::{Arch, Role};

use super::files::{self, Files};
use super::{Change, Item, Key, Sort};
use crate::contents::{ImageEntry, PackageEntry, split_tag};
use crate::error::VerifyError;
use crate::read::Side;

/// What a host holds.
#[derive(Debug, Clone)]
pub struct HostHoldings {
    /// Its architecture.
    pub arch: Arch,
    /// Its role.
    pub role: Role,
    /// Full name of an image → digest of its manifest.
    pub images: BTreeMap<String, Digest>,
    /// Path of a file or link below the packages' folder, `NAME-VERSION/PATH` → what it is.
    pub files: BTreeMap<String, Item>,
}

/// A difference, and all it would take to tell it of one more host.
type Told = BTreeMap<(Key, Option<Item>, Option<Item>), Vec<String>>;

/// What the bundle would change on these hosts, by their names.
pub fn host_changes(
    hosts: &BTreeMap<String, HostHoldings>,
    to: Side<'_>,
) -> Result<Vec<Change>, VerifyError> {
    let mut unpacked = Unpacked { side: to, packages: BTreeMap::new() };
    let mut told = Told::new();
    for (name, host) in hosts {
        let items = images(host, to).into_iter().chain(unpacked.packages(host)?);
        for (key, from, to) in items.filter(|(_, from, to)| from != to) {
            told.entry((key, from, to)).or_default().push(name.clone());
        }
    }
    Ok(told.into_iter().map(|((key, from, to), hosts)| Change { key, from, to, hosts }).collect())
}

type Pair = (Key, Option<Item>, Option<Item>);

fn key(sort: Sort, name: impl Into<String>, host: &HostHoldings) -> Key {
    Key { sort, name: name.into(), arch: Some(host.arch), kind: None }
}

fn images(host: &HostHoldings, side: Side<'_>) -> Vec<Pair> {
    let entries: Vec<&ImageEntry> = side.images().filter(|image| image.arch == host.arch).collect();
    let known: BTreeSet<&str> = entries.iter().map(|image| split_tag(&image.name).0).collect();
    let mut found: BTreeMap<&str, BTreeMap<&str, &Digest>> = BTreeMap::new();
    for (name, digest) in &host.images {
        let (name, tag) = split_tag(name);
        found.entry(name).or_default().insert(tag, digest);
    }
    let item = |tag: &str, digest: &Digest| Item {
        version: tag.to_owned(),
        digest: Some(*digest),
        ..Item::default()
    };
    let wanted = entries.iter().filter(|image| image.roles.contains(&host.role)).map(|image| {
        let (name, tag) = split_tag(&image.name);
        let versions = found.get(name);
        let there = versions.and_then(|all| all.get_key_value(tag).or_else(|| all.last_key_value()));
        let from = there.map(|(tag, digest)| item(tag, digest));
        (key(Sort::Image, name, host), from, Some(item(tag, &image.manifest.digest)))
    });
    let gone = found.iter().filter(|(name, _)| !known.contains(*name)).filter_map(|(name, versions)| {
        let (tag, digest) = versions.last_key_value()?;
        Some((key(Sort::Image, *name, host), Some(item(tag, digest)), None))
    });
    wanted.chain(gone).collect()
}

/// The bundle's packages with their files; each is read once, for the first host that needs it.
struct Unpacked<'a> {
    side: Side<'a>,
    packages: BTreeMap<(&'a str, Arch), Files>,
}

impl<'a> Unpacked<'a> {
    fn files(&mut self, package: &'a PackageEntry) -> Result<&Files, VerifyError> {
        let name = (package.name.as_str(), package.arch);
        if !self.packages.contains_key(&name) {
            self.packages.insert(name, files::files(self.side, package)?);
        }
        Ok(&self.packages[&name])
    }

    fn packages(&mut self, host: &HostHoldings) -> Result<Vec<Pair>, VerifyError> {
        let side = self.side;
        let mut there = by_package(host, side);
        let mut pairs = Vec::new();
        for package in side.packages().filter(|package| is_for(package, host)) {
            let versions = there.remove(package.name.as_str()).unwrap_or_default();
            let own = versions.get_key_value(package.version.as_str());
            let found = own.or_else(|| versions.last_key_value());
            let version = |version: &str| Item { version: version.to_owned(), ..Item::default() };
            let from = found.map(|(found, _)| version(found));
            pairs.push((key(Sort::Package, &*package.name, host), from, Some(version(&package.version))));
            let none = Files::new();
            let (old, new) = (found.map_or(&none, |(_, files)| files), self.files(package)?);
            let paths: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
            pairs.extend(paths.into_iter().map(|path| {
                let name = format!("{}/{path}", package.name);
                (key(Sort::HostFile, name, host), old.get(path).cloned(), new.get(path).cloned())
            }));
        }
        pairs.extend(there.into_iter().filter_map(|(name, versions)| {
            let version = versions.last_key_value()?.0.clone();
            Some((key(Sort::Package, name, host), Some(Item { version, ..Item::default() }), None))
        }));
        Ok(pairs)
    }
}

/// Whether a package is unpacked on a host.
fn is_for(package: &PackageEntry, host: &HostHoldings) -> bool {
    package.arch == host.arch && package.roles.contains(&host.role) && !is_tool(&package.name)
}

/// Package → version → files, as the names of folders tell.
fn by_package<'a>(host: &'a HostHoldings, side: Side<'a>) -> BTreeMap<&'a str, BTreeMap<String, Files>> {
    let names: BTreeSet<&str> = side.packages().map(|package| package.name.as_str()).collect();
    let mut there: BTreeMap<&str, BTreeMap<String, Files>> = BTreeMap::new();
    for (path, item) in &host.files {
        let Some((folder, path)) = path.split_once('/') else { continue };
        let (name, version) = package(folder, &names);
        let files = there.entry(name).or_default().entry(version.to_owned()).or_default();
        files.insert(files::plain(path), item.clone());
    }
    there
}

/// Name and version of a package's folder: the longest name that the bundle knows, else what stands before the first number behind a hyphen.
fn package<'a>(folder: &'a str, names: &BTreeSet<&str>) -> (&'a str, &'a str) {
    let hyphens = || folder.match_indices('-').map(|(at, _)| (&folder[..at], &folder[at + 1..]));
    let known = hyphens().rfind(|(name, _)| names.contains(name));
    let numbered = || hyphens().find(|(_, version)| version.starts_with(|c: char| c.is_ascii_digit()));
    known.or_else(numbered).unwrap_or((folder, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_a_package_and_its_version() {
        let names = ["cni", "containerd", "containerd-shim"].into();
        let of = |folder: &'static str| package(folder, &names);
        assert_eq!(of("cni-1.9.1"), ("cni", "1.9.1"));
        assert_eq!(of("containerd-shim-2.3.0-rc.1"), ("containerd-shim", "2.3.0-rc.1"));
        assert_eq!(of("old-thing-2-1"), ("old-thing", "2-1"));
        assert_eq!(of("odd"), ("odd", ""));
    }
}
