//! `qiji diff A B`: what is different in bundle B. Ends with status 3 where anything is.
//!
//! With `--trust` both bundles are verified whole first. Without, nothing is: the answer says so, and it is only what the files claim.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use qiji_bundle::diff::{Change, Holdings, Sort, compare, file_changes};
use qiji_bundle::{Side, Untrusted, Verified};
use serde::Serialize;

use crate::failure::{Failure, Kind};
use crate::inputs;
use crate::screen::size;
use crate::trust::TrustArgs;

/// Arguments of `qiji diff`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The bundle that is compared with
    #[arg(value_name = "A")]
    from: PathBuf,
    /// The bundle whose differences are told
    #[arg(value_name = "B")]
    to: PathBuf,
    #[command(flatten)]
    trust: TrustArgs,
    /// Answer as JSON
    #[arg(long)]
    json: bool,
}

/// A bundle as it was given.
enum Given {
    Verified(Verified),
    Untrusted(Box<Untrusted>),
}

impl Given {
    fn open(path: &Path, trust: &TrustArgs) -> Result<Self, Failure> {
        let untrusted = inputs::open(path)?;
        match trust.given()? {
            Some(trust) => inputs::verify(untrusted, trust.keys()).map(Self::Verified),
            None => Ok(Self::Untrusted(Box::new(untrusted))),
        }
    }

    fn side(&self) -> Side<'_> {
        match self {
            Self::Verified(bundle) => bundle.side(),
            Self::Untrusted(bundle) => bundle.side(),
        }
    }
}

/// The answer.
#[derive(Serialize)]
pub(crate) struct Difference {
    pub(crate) same: bool,
    pub(crate) from: Holdings,
    pub(crate) to: Holdings,
    /// Licences of parts that are new, and of parts that are gone: what a lawyer asks for.
    pub(crate) licences: Licences,
    pub(crate) changes: Vec<Change>,
}

/// Licences that only one side has.
#[derive(Serialize)]
pub(crate) struct Licences {
    pub(crate) new: Vec<String>,
    pub(crate) gone: Vec<String>,
}

/// Compares.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let (from, to) = (Given::open(&args.from, &args.trust)?, Given::open(&args.to, &args.trust)?);
    let holdings = |given: &Given| given.side().holdings().map_err(inputs::refused);
    let files = file_changes(from.side(), to.side()).map_err(inputs::refused)?;
    conclude(&Difference::new(holdings(&from)?, holdings(&to)?, files), args.json)
}

/// Tells the answer; a difference ends the verb with its status.
pub(crate) fn conclude(difference: &Difference, json: bool) -> Result<(), Failure> {
    if json {
        println!("{:#}", serde_json::json!(difference));
    } else {
        print!("{}", difference.text());
    }
    if difference.same { Ok(()) } else { Err(Failure::said(Kind::Difference)) }
}

impl Difference {
    /// Compares two sides; `files` are the hosts' files that differ.
    pub(crate) fn new(from: Holdings, to: Holdings, files: Vec<Change>) -> Self {
        let mut changes = compare(&from, &to);
        changes.extend(files);
        changes.sort();
        let same = changes.is_empty() && from.root == to.root;
        let licences = Licences { new: licences(&to, &from), gone: licences(&from, &to) };
        Self { same, from, to, licences, changes }
    }

    fn text(&self) -> String {
        let mut lines = vec![line("from", &self.from), line("to", &self.to)];
        let mut by_sort: BTreeMap<Sort, Vec<&Change>> = BTreeMap::new();
        for change in &self.changes {
            by_sort.entry(change.key.sort).or_default().push(change);
        }
        for (sort, changes) in by_sort {
            lines.push(format!("\n{} ({})", sort.plural(), changes.len()));
            lines.extend(changes.iter().map(|change| format!("  {change}")));
        }
        for (word, licences) in [("new", &self.licences.new), ("gone", &self.licences.gone)] {
            if !licences.is_empty() {
                lines.push(format!("\nlicences that are {word}: {}", licences.join("; ")));
            }
        }
        lines.extend(self.sizes());
        if self.same {
            lines.push("\nno difference".to_owned());
        } else if self.changes.is_empty() {
            lines.push(
                "\nthe same contents under another root: name, version, edition or roles differ".to_owned(),
            );
        }
        lines.join("\n") + "\n"
    }

    fn sizes(&self) -> Option<String> {
        let pair = |from: Option<u64>, to: Option<u64>| Some((from?, to?));
        let stored = pair(self.from.stored_bytes, self.to.stored_bytes)?;
        let file = pair(self.from.file_bytes, self.to.file_bytes)?;
        let grown = |(from, to): (u64, u64)| format!("{} → {}", size(from), size(to));
        (stored.0 != stored.1 || file.0 != file.1)
            .then(|| format!("\nsizes: {} stored, {} in the file", grown(stored), grown(file)))
    }
}

fn line(word: &str, holdings: &Holdings) -> String {
    let claim = if holdings.verified { "verified" } else { "not verified: this is what it claims" };
    format!("{word:<5} {} ({claim})", holdings.name)
}

/// Licences of parts of one side that no part of the other has.
fn licences(of: &Holdings, other: &Holdings) -> Vec<String> {
    let all = |holdings: &Holdings| -> std::collections::BTreeSet<String> {
        let parts = holdings.items.iter().filter(|(key, _)| key.sort == Sort::Part);
        let lists = parts.filter_map(|(_, item)| item.licence.clone());
        lists.flat_map(|list| list.split(", ").map(str::to_owned).collect::<Vec<_>>()).collect()
    };
    if !(of.sorts.contains(&Sort::Part) && other.sorts.contains(&Sort::Part)) {
        return Vec::new();
    }
    all(of).difference(&all(other)).cloned().collect()
}
