//! The reference of the site language, printed from the table that the parser itself uses.

use std::fmt::Write as _;

use crate::language::FILE;
use crate::typed::{Child, Times, Word, usage};

const OPENING: &str = include_str!("reference.md");

/// The reference as Markdown: `docs/language.md`.
pub fn reference() -> String {
    let mut out = OPENING.to_owned();
    let mut words: Vec<(&'static Word, Vec<&'static str>)> = Vec::new();
    gather(&FILE, &mut words);
    for (word, homes) in words {
        section(&mut out, word, &homes);
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

fn section(out: &mut String, word: &Word, homes: &[&str]) {
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
            let _ = writeln!(out, "| [`{0}`](#{0}) | {1} | {2} |", word.name, often(*times), first);
        }
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
