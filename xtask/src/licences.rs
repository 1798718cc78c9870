//! `cargo xtask licences`: makes `airgap/sources/licences.txt` again, from the modules themselves.
//!
//! 1. For each recipe and architecture, Go says which modules are in its programs, where their content lies, and its hash.
//! 2. The licence files at the root of each module are compared with the texts that SPDX has. All that are found hold at once.
//! 3. A file that is no such text as a whole was read by a person, and stands in [`READ`] with what it says.
//!
//! Run it after a recipe's modules have changed; a bundle tells of the modules that the table does not know.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use fs_err as fs;
use kdl::{KdlDocument, KdlNode};
use spdx::detection::scan::Scanner;
use spdx::detection::{Store, TextData};

use crate::run::quiet;
use crate::{places, setup};

const ARCHITECTURES: [&str; 4] = ["amd64", "arm64", "loong64", "riscv64"];

/// The texts that are looked for. A shorter list than SPDX's, because among hundreds of texts some are nearly another.
const TEXTS: [&str; 26] = [
    "0BSD",
    "AGPL-3.0-only",
    "Apache-2.0",
    "BSD-1-Clause",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSD-4-Clause",
    "BSL-1.0",
    "CC-BY-4.0",
    "CC-BY-SA-4.0",
    "CC0-1.0",
    "EPL-2.0",
    "GPL-2.0-only",
    "GPL-3.0-only",
    "ISC",
    "LGPL-2.1-only",
    "LGPL-3.0-only",
    "MIT",
    "MIT-0",
    "MPL-2.0",
    "MulanPSL-2.0",
    "OFL-1.1",
    "PostgreSQL",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// How near to a text a file must be. Apache-2.0 without its appendix is at 0.88.
const CONFIDENCE: f32 = 0.88;

/// Modules whose file is several texts with words between them, and what a person read there.
const READ: [(&str, &str); 5] = [
    // Cloudflare's and, for what comes from Go, Google's, both of three clauses.
    ("github.com/cloudflare/circl", "BSD-3-Clause"),
    // Its own, that of the files it took from others, and s2's.
    ("github.com/klauspost/compress", "Apache-2.0 AND BSD-3-Clause AND MIT"),
    // libyaml's for the files that were ported from it, and its own.
    ("go.yaml.in/yaml/v3", "Apache-2.0 AND MIT"),
    ("gopkg.in/yaml.v3", "Apache-2.0 AND MIT"),
    // Its own, Go's for a file from there, and those of go-yaml.
    ("sigs.k8s.io/yaml", "Apache-2.0 AND BSD-3-Clause AND MIT"),
];

const HEAD: &str =
    "# Licences of the Go modules that the recipes are built from: module, version, hash, SPDX expression.
# Made by `cargo xtask licences` from the modules themselves; do not edit by hand.
";

/// A module as Go names it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Module {
    path: String,
    version: String,
    sum: String,
    folder: PathBuf,
}

/// Makes the table.
pub(crate) fn run() -> Result<()> {
    let sources = places::workspace().join("airgap/sources");
    let mut modules = BTreeSet::new();
    for entry in fs::read_dir(&sources)? {
        let folder = entry?.path();
        if folder.join("recipe.kdl").exists() {
            modules.extend(modules_of(&folder)?);
        }
    }
    let mut table = HEAD.to_owned();
    let store = texts()?;
    let mut unknown = Vec::new();
    for module in &modules {
        match licence(&store, module)? {
            Some(licence) => {
                let Module { path, version, sum, .. } = module;
                table.extend([format!("{path} {version} {sum} {licence}\n")]);
            }
            None => unknown.push(format!("{} {}: {}", module.path, module.version, module.folder.display())),
        }
    }
    ensure!(
        unknown.is_empty(),
        "read these and add them to READ in xtask/src/licences.rs:\n{}",
        unknown.join("\n")
    );
    let path = sources.join("licences.txt");
    fs::write(&path, table)?;
    println!("{}: {} modules", path.display(), modules.len());
    Ok(())
}

/// The modules that are in the programs of a recipe, on any architecture.
fn modules_of(recipe: &Path) -> Result<BTreeSet<Module>> {
    let text = fs::read_to_string(recipe.join("recipe.kdl"))?;
    let document = KdlDocument::parse(&text).with_context(|| format!("{} is not KDL", recipe.display()))?;
    let build = document.get("go-build").and_then(KdlNode::children).context("a recipe has no go-build")?;
    let outputs = build.nodes().iter().filter(|node| node.name().value() == "output");
    let packages = outputs.filter_map(|node| node.get("package")?.as_string().map(str::to_owned));
    let tags = build.get("tags").map(words).unwrap_or_default();
    let cgo = build.get("cgo").and_then(|node| node.get(0)?.as_bool()).unwrap_or(false);
    let packages: Vec<_> = packages.collect();
    let mut modules = BTreeSet::new();
    for arch in ARCHITECTURES {
        let mut list = Command::new("go");
        list.current_dir(recipe)
            .args(["list", "-deps", "-tags", &tags.join(","), "-f", FORMAT])
            .args(&packages);
        list.env("PATH", setup::path()).envs([("GOOS", "linux"), ("GOARCH", arch), ("GOWORK", "off")]);
        list.envs([("GOFLAGS", "-mod=readonly"), ("CGO_ENABLED", if cgo { "1" } else { "0" })]);
        modules.extend(quiet(&mut list)?.lines().filter_map(module));
    }
    Ok(modules)
}

/// Of each package the module that it is in, and of a module that another stands in for, that one.
const FORMAT: &str = "{{with .Module}}{{with .Replace}}{{.Path}}\t{{.Version}}\t{{.Sum}}\t{{.Dir}}{{else}}{{.Path}}\t{{.Version}}\t{{.Sum}}\t{{.Dir}}{{end}}{{end}}";

/// A line of the list; nothing for Go's own library and for our own module, which has no hash.
fn module(line: &str) -> Option<Module> {
    let words: Vec<_> = line.split('\t').collect();
    let [path, version, sum, folder] = words.as_slice() else { return None };
    let whole = !version.is_empty() && !sum.is_empty();
    let own = |text: &&str| (*text).to_owned();
    whole.then(|| Module {
        path: own(path),
        version: own(version),
        sum: own(sum),
        folder: PathBuf::from(folder),
    })
}

fn words(node: &KdlNode) -> Vec<String> {
    node.entries().iter().filter_map(|entry| entry.value().as_string().map(str::to_owned)).collect()
}

fn texts() -> Result<Store> {
    let known: BTreeMap<_, _> = spdx::text::LICENSE_TEXTS.iter().copied().collect();
    let mut store = Store::new();
    for id in TEXTS {
        let text = known.get(id).with_context(|| format!("SPDX has no text of {id}"))?;
        store.add_license(id.to_owned(), TextData::from(*text));
    }
    Ok(store)
}

/// The expression of a module; nothing where a file of it is no text that SPDX has.
fn licence(store: &Store, module: &Module) -> Result<Option<String>> {
    if let Some((_, read)) = READ.iter().find(|(path, _)| *path == module.path) {
        return Ok(Some((*read).to_owned()));
    }
    let scanner = Scanner::new(store).confidence_threshold(CONFIDENCE).optimize(true);
    let mut found = BTreeSet::new();
    for file in licence_files(&module.folder)? {
        let text = TextData::from(String::from_utf8_lossy(&fs::read(&file)?).as_ref());
        let result = scanner.scan(&text);
        let Some(whole) = result.license else { return Ok(None) };
        found.insert(whole.name.to_owned());
        found.extend(result.containing.iter().map(|one| one.license.name.to_owned()));
    }
    if found.is_empty() {
        bail!("{} {} has no licence file in {}", module.path, module.version, module.folder.display());
    }
    Ok(Some(found.into_iter().collect::<Vec<_>>().join(" AND ")))
}

/// The files that a licence is in by custom. That of the documentation says nothing of the program.
fn licence_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_uppercase();
        let named =
            ["LICENSE", "LICENCE", "COPYING", "UNLICENSE"].iter().any(|start| name.starts_with(start));
        let other = path.extension().is_some_and(|end| end == "docs" || end == "go");
        if named && path.is_file() && !other {
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
    fn licences_are_known_by_their_text() {
        let folder = tempfile::tempdir().unwrap();
        let module = Module {
            path: "example.org/x".to_owned(),
            version: "v1.0.0".to_owned(),
            sum: "h1:".to_owned(),
            folder: folder.path().to_owned(),
        };
        let store = texts().unwrap();
        assert!(licence(&store, &module).is_err(), "there is no file yet");
        let known: BTreeMap<_, _> = spdx::text::LICENSE_TEXTS.iter().copied().collect();
        let text = format!("Copyright 2020 Somebody\n\n{}", known["BSD-3-Clause"]);
        fs::write(folder.path().join("LICENSE"), text).unwrap();
        fs::write(folder.path().join("license.mit"), known["MIT"]).unwrap();
        fs::write(folder.path().join("LICENSE.docs"), "as you like").unwrap();
        assert_eq!(licence(&store, &module).unwrap().as_deref(), Some("BSD-3-Clause AND MIT"));
        fs::write(folder.path().join("COPYING"), "as you like").unwrap();
        assert_eq!(licence(&store, &module).unwrap(), None);
    }

    #[test]
    fn lines_of_the_list_are_read() {
        let found = module("k8s.io/api\tv0.36.3\th1:x=\t/cache/k8s.io/api").unwrap();
        assert_eq!((found.path.as_str(), found.folder), ("k8s.io/api", PathBuf::from("/cache/k8s.io/api")));
        assert_eq!(module("qiji.dev/sources/etcd\t\t\t/here"), None);
        assert_eq!(module(""), None);
    }
}
