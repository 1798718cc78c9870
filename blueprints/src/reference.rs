//! The references of the site language and of the lock, printed from the tables that the parsers themselves use.

use std::fmt::Write as _;

use crate::language;
use crate::lock_text;
use crate::typed::{Child, Times, Word, usage};

/// The reference of the site language as Markdown: `docs/language.md`.
pub fn reference() -> String {
    print(include_str!("reference.md"), &language::FILE)
}

/// The reference of the lock as Markdown: `docs/lock-format.md`.
pub fn lock() -> String {
    print(include_str!("lock.md"), &lock_text::FILE)
}

fn print(opening: &str, file: &'static Word) -> String {
    let mut out = opening.to_owned();
    let mut words: Vec<(&'static Word, Vec<&'static str>)> = Vec::new();
    gather(file, &mut words);
    for (word, homes) in &words {
        section(&mut out, word, homes, &words);
    }
    out
}

/// Every word once, in the order in which the table leads to it, with the words in whose blocks it may stand.
fn gather(parent: &'static Word, words: &mut Vec<(&'static Word, Vec<&'static str>)>) {
    for child in parent.children {
        if let Some((_, homes)) = words.iter_mut().find(|(word, _)| std::ptr::eq(*word, child.word)) {
            if !homes.contains(&parent.name) {
                homes.push(parent.name);
            }
            continue;
        }
        words.push((child.word, vec![parent.name]));
        gather(child.word, words);
    }
}

fn section(out: &mut String, word: &Word, homes: &[&str], words: &[(&'static Word, Vec<&str>)]) {
    let homes: Vec<_> = homes
        .iter()
        .map(|home| if home.is_empty() { "the file".to_owned() } else { format!("`{home}`") })
        .collect();
    let _ = write!(
        out,
        "\n## `{}`\n\n{}\n\n{}\n\nStands in: {}.",
        word.name,
        word.doc,
        usage(word),
        homes.join(", ")
    );
    if !word.default.is_empty() {
        let _ = write!(out, " Where it is not written: {}.", word.default);
    }
    out.push('\n');
    values(out, word);
    if !word.children.is_empty() {
        out.push_str("\nIn its block:\n\n| word | how often | meaning |\n|---|---|---|\n");
        for Child { word, times } in word.children {
            let first = word.doc.split_inclusive(". ").next().unwrap_or_default().trim_end();
            let (name, anchor) = (word.name, anchor(word, words));
            let _ = writeln!(out, "| [`{name}`](#{anchor}) | {} | {first} |", often(*times));
        }
    }
}

/// What a page calls the heading of a word: those of the same name are numbered from the second on.
fn anchor(word: &Word, words: &[(&'static Word, Vec<&str>)]) -> String {
    let same = words.iter().filter(|(other, _)| other.name == word.name);
    match same.take_while(|(other, _)| !std::ptr::eq(*other, word)).count() {
        0 => word.name.to_owned(),
        number => format!("{}-{number}", word.name),
    }
}

fn values(out: &mut String, word: &Word) {
    if word.arguments.is_empty() && word.properties.is_empty() {
        return;
    }
    out.push_str("\n| value | what it is | must be | default |\n|---|---|---|---|\n");
    for one in word.arguments {
        let name = format!("{}{}", one.name.to_uppercase(), if one.many { " …" } else { "" });
        let _ = writeln!(out, "| {name} | {} | {} | required |", one.doc, one.kind.describe());
    }
    for one in word.properties {
        let default = if one.required { "required" } else { one.default };
        let _ = writeln!(out, "| `{}=` | {} | {} | {default} |", one.name, one.doc, one.kind.describe());
    }
}

const fn often(times: Times) -> &'static str {
    match times {
        Times::Once => "once",
        Times::AtMostOnce => "at most once",
        Times::AtLeastOnce => "once or more",
        Times::Any => "any number",
    }
}
