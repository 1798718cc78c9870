//! The folders of attacks: each holds a page and tests that are part of the build.

use std::path::Path;

/// What the page of an attack says.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Attack {
    /// Name of the folder.
    pub(crate) folder: String,
    /// What is done.
    pub(crate) deed: String,
    /// What must happen.
    pub(crate) outcome: String,
}

/// The attacks below a folder, sorted. Panics where a folder lacks its page, its tests or its place in `main`.
pub(crate) fn read(folder: &Path, main: &str) -> Vec<Attack> {
    let entries = fs_err::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut attacks: Vec<_> = entries.filter(|path| path.is_dir()).map(|path| attack(&path, main)).collect();
    attacks.sort();
    attacks
}

fn attack(path: &Path, main: &str) -> Attack {
    let folder = path.file_name().unwrap().to_str().unwrap().to_owned();
    let tests = fs_err::read_to_string(path.join("attack.rs")).unwrap();
    assert!(tests.contains("#[test]") || tests.contains("#[tokio::test]"), "{folder} has no test");
    assert!(main.contains(&format!("#[path = \"{folder}/attack.rs\"]")), "{folder} is not in main.rs");
    let page = fs_err::read_to_string(path.join("README.md")).unwrap();
    assert!((3..=8).contains(&page.lines().count()), "{folder}/README.md is not of 3 to 8 lines");
    let mut parts = page.split("\n\n").map(|part| part.trim().replace('\n', " "));
    let (title, deed, outcome) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
    assert!(title.starts_with("# ") && parts.next().is_none(), "{folder}/README.md has another form");
    let outcome = outcome.strip_prefix("Must happen: ").expect(&folder).to_owned();
    Attack { folder, deed, outcome }
}
