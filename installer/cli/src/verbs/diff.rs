//! `qiji diff A B`: what is different in bundle B. `qiji diff --site SITE.kdl B`: what bundle B would change on the hosts of a site, as they say
//! themselves. Ends with status 3 where anything is different, and with 1 where nothing is but some host could not be asked.
//!
//! With `--trust` bundles are verified whole first. Without, nothing is: the answer says so, and it is only what the files claim.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use qiji_bundle::diff::{Change, Holdings, Sort, compare, file_changes, host_changes};
use qiji_bundle::{Side, Untrusted, Verified};
use serde::Serialize;

use crate::answer::answer;
use crate::failure::{Failure, Kind};
use crate::held::{Hosts, HostsArgs};
use crate::inputs;
use crate::screen::size;
use crate::trust::TrustArgs;

/// Arguments of `qiji diff`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The bundle that is compared with, then the one whose differences are told; with --site only the latter
    #[arg(value_names = ["A", "B"], num_args = 1..=2, required = true)]
    bundles: Vec<PathBuf>,
    #[command(flatten)]
    hosts: HostsArgs,
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

    fn holdings(&self) -> Result<Holdings, Failure> {
        self.side().holdings().map_err(inputs::refused)
    }
}

/// The answer.
#[derive(Serialize)]
pub(crate) struct Difference {
    pub(crate) same: bool,
    pub(crate) from: Before,
    pub(crate) to: Holdings,
    /// Licences of parts that are new, and of parts that are gone: what a lawyer asks for.
    pub(crate) licences: Licences,
    pub(crate) changes: Vec<Change>,
}

/// What is compared with.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum Before {
    Bundle(Holdings),
    Site {
        site: String,
        /// Hosts that were asked.
        hosts: Vec<String>,
        /// Hosts that could not be.
        silent: Vec<String>,
    },
}

/// Licences that only one side has.
#[derive(Default, Serialize)]
pub(crate) struct Licences {
    pub(crate) new: Vec<String>,
    pub(crate) gone: Vec<String>,
}

/// Compares.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let difference = match (args.hosts.open()?, args.bundles.as_slice()) {
        (Some(hosts), [to]) => with_site(&hosts, &Given::open(to, &args.trust)?)?,
        (None, [from, to]) => of_bundles(&Given::open(from, &args.trust)?, &Given::open(to, &args.trust)?)?,
        _ => {
            let failure = Failure::new(Kind::Input, "two things are compared");
            return Err(failure.hint("name two bundles, or --site and one bundle"));
        }
    };
    answer(if args.json { format!("{:#}", serde_json::json!(difference)) } else { difference.text() })?;
    difference.status()
}

fn of_bundles(from: &Given, to: &Given) -> Result<Difference, Failure> {
    let (before, after) = (from.holdings()?, to.holdings()?);
    let mut changes = compare(&before, &after);
    changes.extend(file_changes(from.side(), to.side()).map_err(inputs::refused)?);
    changes.sort();
    Ok(Difference {
        same: changes.is_empty() && before.root == after.root,
        licences: Licences { new: licences(&after, &before), gone: licences(&before, &after) },
        from: Before::Bundle(before),
        to: after,
        changes,
    })
}

fn with_site(hosts: &Hosts, to: &Given) -> Result<Difference, Failure> {
    let after = to.holdings()?;
    let (found, silent) = hosts.found()?;
    let mut changes = host_changes(&found, to.side()).map_err(inputs::refused)?;
    changes.sort();
    let hosts = Before::Site { site: hosts.site().to_owned(), hosts: found.into_keys().collect(), silent };
    Ok(Difference {
        same: changes.is_empty(),
        licences: Licences::default(),
        from: hosts,
        to: after,
        changes,
    })
}

impl Difference {
    /// How the verb ends.
    fn status(&self) -> Result<(), Failure> {
        match &self.from {
            _ if !self.same => Err(Failure::said(Kind::Difference)),
            Before::Site { silent, .. } if !silent.is_empty() => {
                let failure = Failure::new(Kind::Failed, "some hosts could not be asked");
                Err(failure.hint("see the warnings, and ask again"))
            }
            _ => Ok(()),
        }
    }

    fn text(&self) -> String {
        let from = match &self.from {
            Before::Bundle(holdings) => line("from", holdings),
            Before::Site { site, hosts, .. } => {
                format!("from  site {site} (as its hosts say: {})", hosts.join(", "))
            }
        };
        let mut lines = vec![from, line("to", &self.to)];
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
        let Before::Bundle(from) = &self.from else { return None };
        let pair = |from: Option<u64>, to: Option<u64>| Some((from?, to?));
        let stored = pair(from.stored_bytes, self.to.stored_bytes)?;
        let file = pair(from.file_bytes, self.to.file_bytes)?;
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
