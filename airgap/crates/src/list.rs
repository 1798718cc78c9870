//! From the lines of `cargo tree` to the list of crates.

use std::io::Write;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use serde::Serialize;

use crate::Error;

/// What `cargo tree` prints of a crate: name, version and, of a local one, its folder; then its licence.
pub(crate) const FORMAT: &str = "{p}\t{l}";

/// Format 1 of `cargo auditable`: procedural macros count as build dependencies.
const REVISION: u32 = 1;

/// Crates by name and version; the root is the program.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct List {
    packages: Vec<Package>,
    format: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Package {
    name: String,
    version: String,
    source: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    dependencies: Vec<usize>,
    #[serde(skip_serializing_if = "is_false")]
    root: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    license: String,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

/// Reads the lines.
pub(crate) fn read(text: &str) -> Result<List, Error> {
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let lines = lines.map(line).collect::<Result<Vec<_>, _>>()?;
    if lines.iter().filter(|(depth, _)| *depth == 0).count() != 1 {
        return Err(Error::Line("the tree".to_owned()));
    }
    let mut packages: Vec<Package> = lines.iter().map(|(_, package)| package.clone()).collect();
    packages.sort();
    packages.dedup();
    let place = |package: &Package| packages.binary_search(package).unwrap_or_default();
    let mut edges = vec![Vec::new(); packages.len()];
    let mut above: Vec<usize> = Vec::new();
    for (depth, package) in &lines {
        let own = place(package);
        above.truncate(*depth);
        if let Some(&parent) = above.last() {
            edges[parent].push(own);
        }
        above.push(own);
    }
    for (package, mut dependencies) in packages.iter_mut().zip(edges) {
        dependencies.sort_unstable();
        dependencies.dedup();
        package.dependencies = dependencies;
    }
    Ok(List { packages, format: REVISION })
}

/// `2serde v1.0.229 (*)<tab>MIT OR Apache-2.0`: depth, name, version, where it lies; `(*)` where its own lines are not repeated.
fn line(text: &str) -> Result<(usize, Package), Error> {
    let fault = || Error::Line(text.to_owned());
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(fault)?;
    let depth = text[..digits].parse().map_err(|_| fault())?;
    let (named, rest) = text[digits..].split_once('\t').ok_or_else(fault)?;
    let mut words = named.split(' ');
    let name = words.next().filter(|name| !name.is_empty()).ok_or_else(fault)?;
    let version = words.next().and_then(|word| word.strip_prefix('v')).ok_or_else(fault)?;
    let place = words.find(|word| word.starts_with('(') && *word != "(*)");
    let source = match place {
        None => "crates.io",
        Some(place) if place.contains("git+") => "git",
        Some(place) if place.starts_with("(/") => "local",
        Some(_) => "registry",
    };
    let license = rest.trim_end_matches("(*)").trim().to_owned();
    let (name, version) = (name.to_owned(), version.to_owned());
    Ok((depth, Package { name, version, source, dependencies: Vec::new(), root: depth == 0, license }))
}

/// The list as the section holds it.
pub(crate) fn packed(list: &List) -> Vec<u8> {
    // Plain data, and a vector that takes every byte: neither can fail.
    let text = serde_json::to_vec(list).unwrap_or_default();
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&text).and_then(|()| encoder.finish()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TREE: &str = "0top v0.1.0 (/home/me/top)\tApache-2.0\n1b v2.0.0\tMIT/Apache-2.0\n2a v1.0.0+x\tMIT\n\
        1c v1.0.0 (https://example.org/c?rev=1#1234)\t\n2b v2.0.0\tMIT/Apache-2.0 (*)\n";

    #[test]
    fn crates_licences_and_edges_are_read() {
        let list = read(TREE).unwrap();
        let told: Vec<_> =
            list.packages.iter().map(|one| (one.name.as_str(), one.source, &one.dependencies[..])).collect();
        let expected: [(_, _, &[usize]); 4] = [
            ("a", "crates.io", &[]),
            ("b", "crates.io", &[0]),
            ("c", "registry", &[1]),
            ("top", "local", &[1, 2]),
        ];
        assert_eq!(told, expected);
        assert_eq!(list.packages[1].license, "MIT/Apache-2.0");
        let text = serde_json::to_string(&list).unwrap();
        assert!(text.contains("\"root\":true") && !text.contains("/home/me"), "{text}");
    }

    #[test]
    fn what_is_not_a_line_of_the_tree_is_refused() {
        for text in ["a v1", "0a v1", "0a 1\tMIT", "0\tMIT", "top v1\tMIT", "", "0a v1\tMIT\n0b v1\tMIT"] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
