//! The recipes of our own Go mains (`airgap/sources/`), which are part of the program.
//!
//! A recipe is a folder with `go.mod`, `go.sum`, Go files and a `recipe.kdl`:
//!
//! ```kdl
//! go-build module="qiji.dev/sources/runc" {
//!   upstream "github.com/opencontainers/runc" version="1.5.2"
//!   output "runc" package="github.com/opencontainers/runc"
//!   cgo #true
//!   needs "libseccomp-dev"
//!   tags "seccomp" "netgo"
//!   ldflags "-s" "-w"
//! }
//! ```
//!
//! What makes a build what it is (its *key*) covers every file but prose and tests, so that a build is done again exactly when it would
//! come out otherwise.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use include_dir::{Dir, include_dir};
use kdl::{KdlDocument, KdlNode};

use crate::error::SourceError;

static EMBEDDED: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/sources");

/// Where recipes come from.
pub(crate) struct Recipes {
    folder: Option<PathBuf>,
}

/// A recipe, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Recipe {
    pub(crate) name: String,
    /// Files by relative path.
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    /// Package to build, by output.
    pub(crate) outputs: BTreeMap<String, String>,
    pub(crate) cgo: bool,
    /// Debian names of the development packages that the C part needs.
    pub(crate) needs: Vec<String>,
    pub(crate) tags: Vec<String>,
    pub(crate) ldflags: Vec<String>,
}

impl Recipes {
    /// The embedded ones, or those of `folder`.
    pub(crate) fn new(folder: Option<PathBuf>) -> Self {
        Self { folder }
    }

    /// Reads the recipe of that name.
    pub(crate) fn get(&self, name: &str) -> Result<Recipe, SourceError> {
        let what = || format!("recipe {name}");
        let malformed = |reason: String| SourceError::Malformed { what: what(), reason };
        if name.is_empty() || name.starts_with('.') || name.contains('/') {
            return Err(malformed("it is not the name of a recipe".to_owned()));
        }
        let files = match &self.folder {
            Some(folder) => on_disk(&folder.join(name)),
            None => Ok(EMBEDDED.get_dir(name).map(embedded).unwrap_or_default()),
        };
        let files = files.map_err(|source| SourceError::Local { path: PathBuf::from(name), source })?;
        let text = files.get("recipe.kdl").ok_or_else(|| malformed("there is no recipe.kdl".to_owned()))?;
        let text = String::from_utf8_lossy(text).into_owned();
        parse(name, &text, files).map_err(malformed)
    }
}

/// Whether a file has a part in the build.
fn matters(path: &str) -> bool {
    let is = |end: &str| path.to_ascii_lowercase().ends_with(end);
    !is(".md") && !is("_test.go")
}

fn embedded(folder: &Dir<'static>) -> BTreeMap<String, Vec<u8>> {
    fn walk(folder: &Dir<'static>, root: &Path, into: &mut BTreeMap<String, Vec<u8>>) {
        for file in folder.files() {
            let path = file.path().strip_prefix(root).unwrap_or(file.path()).to_string_lossy().into_owned();
            if matters(&path) {
                into.insert(path, file.contents().to_vec());
            }
        }
        folder.dirs().for_each(|inner| walk(inner, root, into));
    }
    let mut files = BTreeMap::new();
    walk(folder, folder.path(), &mut files);
    files
}

fn on_disk(root: &Path) -> io::Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs_err::read_dir(&folder)? {
            let path = entry?.path();
            let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
            if path.is_dir() {
                folders.push(path);
            } else if matters(&name) {
                files.insert(name, fs_err::read(&path)?);
            }
        }
    }
    Ok(files)
}

fn parse(name: &str, text: &str, files: BTreeMap<String, Vec<u8>>) -> Result<Recipe, String> {
    let document = KdlDocument::parse(text).map_err(|error| format!("recipe.kdl is not KDL: {error}"))?;
    let build = document.get("go-build").ok_or("recipe.kdl has no go-build")?;
    let mut recipe = Recipe {
        name: name.to_owned(),
        files,
        outputs: BTreeMap::new(),
        cgo: false,
        needs: Vec::new(),
        tags: Vec::new(),
        ldflags: Vec::new(),
    };
    for node in build.children().map(KdlDocument::nodes).unwrap_or_default() {
        match node.name().value() {
            "upstream" => {}
            "output" => {
                let output = words(node)?.into_iter().next().ok_or("an output has no name")?;
                let package = node.get("package").and_then(kdl::KdlValue::as_string);
                let package = package.ok_or_else(|| format!("output {output} has no package"))?;
                recipe.outputs.insert(output, package.to_owned());
            }
            "cgo" => {
                recipe.cgo =
                    node.get(0).and_then(kdl::KdlValue::as_bool).ok_or("cgo is neither #true nor #false")?;
            }
            "needs" => recipe.needs.extend(words(node)?),
            "tags" => recipe.tags.extend(words(node)?),
            "ldflags" => recipe.ldflags.extend(words(node)?),
            other => return Err(format!("recipe.kdl says `{other}`, which is not known")),
        }
    }
    Ok(recipe)
}

/// The arguments of a node, which must be strings.
fn words(node: &KdlNode) -> Result<Vec<String>, String> {
    let arguments = node.entries().iter().filter(|entry| entry.name().is_none());
    arguments
        .map(|entry| entry.value().as_string().map(str::to_owned))
        .collect::<Option<_>>()
        .ok_or_else(|| format!("an argument of `{}` is not a string", node.name().value()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_embedded_recipe_can_be_read() {
        let recipes = Recipes::new(None);
        let named: Vec<_> =
            EMBEDDED.dirs().filter(|dir| dir.get_file(dir.path().join("recipe.kdl")).is_some()).collect();
        assert!(named.len() >= 8, "only {} recipes are embedded", named.len());
        for folder in named {
            let recipe = recipes.get(&folder.path().to_string_lossy()).unwrap();
            assert!(!recipe.outputs.is_empty(), "{} has no output", recipe.name);
            assert!(recipe.files.contains_key("go.mod") && recipe.files.contains_key("go.sum"));
            assert!(recipe.files.keys().all(|path| matters(path)));
        }
        let plugins = recipes.get("cni-plugins").unwrap();
        assert!(plugins.files.contains_key("flannel/main.go"), "files of inner folders are missing");
    }

    #[test]
    fn what_is_not_known_is_refused() {
        let refuse = |text: &str| parse("x", text, BTreeMap::new()).unwrap_err();
        assert!(refuse("go-build {\n patch \"x\"\n}").contains("patch"));
        assert!(refuse("other").contains("go-build"));
        assert!(refuse("go-build {\n cgo \"yes\"\n}").contains("cgo"));
        assert!(refuse("go-build {\n output \"x\"\n}").contains("package"));
    }
}
