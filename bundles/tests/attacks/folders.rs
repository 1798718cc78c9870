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

/// Attacks on bundles.
pub(crate) fn bundles() -> Vec<Attack> {
    read("bundles/tests/attacks")
}

/// Attacks inside layers, on hosts.
pub(crate) fn layers() -> Vec<Attack> {
    read("installer/agent/tests/attacks")
}

/// All of them as a table in Markdown.
pub(crate) fn table() -> String {
    let row = |place: &str, one: Attack| {
        let Attack { folder, deed, outcome } = one;
        format!("| [{folder}](../{place}/{folder}/README.md) | {deed} | {outcome} |\n")
    };
    let mut table = "| attack | what is done | what must happen |\n|---|---|---|\n".to_owned();
    table.extend(bundles().into_iter().map(|one| row("bundles/tests/attacks", one)));
    table.extend(layers().into_iter().map(|one| row("installer/agent/tests/attacks", one)));
    table
}

/// The attacks below a folder, sorted. Panics where a folder lacks its page, its tests or its place in `main.rs`.
fn read(folder: &str) -> Vec<Attack> {
    let mut places = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().map(|above| above.join(folder));
    let folder = places.find(|place| place.is_dir()).unwrap();
    let main = fs_err::read_to_string(folder.join("main.rs")).unwrap();
    let entries = fs_err::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut attacks: Vec<_> = entries.filter(|path| path.is_dir()).map(|path| attack(&path, &main)).collect();
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
