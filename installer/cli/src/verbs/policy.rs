//! `qiji policy init|propose|show|export`: whose signatures count on a site, and how that changes.
//!
//! 1. `init` writes the first policy. A site takes it as it is with its first bundle.
//! 2. `propose` adds a change to a policy file. It counts once enough of the keys before it have signed the file with `qiji sign`.
//! 3. The site takes the change with the next `qiji install --trust FILE`.
//!
//! `export` writes the policy that a site holds to, such as one that was given as plain keys, so that a change can be added to it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use clap::Subcommand;
use qiji_bundle::{KeyKind, Policy, PolicyFile, PolicyKey, PublicKey};
use qiji_engine::SiteState;

use crate::failure::{Classify, Failure, Kind};
use crate::folders::StateArgs;
use crate::memory::Memory;
use crate::trust::{self, policy_failure};
use crate::verbs::sign::write_policy;

/// Arguments of `qiji policy`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    deed: Deed,
}

#[derive(Debug, Subcommand)]
enum Deed {
    /// Write a first policy
    Init(Init),
    /// Add a change to a policy, for its present keys to sign
    Propose(Propose),
    /// Show a policy, and whether its last change is in force
    Show(Show),
    /// Write the policy that a site holds to, as far as this controller knows
    Export(Export),
}

#[derive(Debug, clap::Args)]
struct Init {
    /// File for the policy
    #[arg(long, value_name = "POLICY")]
    output: PathBuf,
    #[command(flatten)]
    wanted: Wanted,
}

#[derive(Debug, clap::Args)]
struct Propose {
    /// The policy so far
    #[arg(value_name = "POLICY")]
    policy: PathBuf,
    /// File for the policy with the change [default: it takes the place of POLICY]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Name of a key that counts no longer; may be given more than once
    #[arg(long, value_name = "NAME")]
    remove_key: Vec<String>,
    /// Allow bundles of any channel
    #[arg(long, conflicts_with = "channels")]
    any_channel: bool,
    #[command(flatten)]
    wanted: Wanted,
}

#[derive(Debug, clap::Args)]
struct Show {
    /// The policy
    #[arg(value_name = "POLICY")]
    policy: PathBuf,
    /// Answer as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Export {
    /// Name of the site
    #[arg(value_name = "SITE")]
    site: String,
    /// File for the policy
    #[arg(long, value_name = "POLICY")]
    output: PathBuf,
    #[command(flatten)]
    state: StateArgs,
}

/// What a policy shall say.
#[derive(Debug, clap::Args)]
struct Wanted {
    /// Key that counts, with a name for it; may be given more than once
    #[arg(long = "key", value_name = "NAME=KEY.pub", value_parser = pair)]
    keys: Vec<(String, String)>,
    /// How many of the keys must sign
    #[arg(long, value_name = "N")]
    threshold: Option<usize>,
    /// Kinds of key that must each sign the bundles of an edition, such as enterprise=ed25519,sm2; may be given more than once
    #[arg(long = "edition", value_name = "NAME=KIND,…", value_parser = pair)]
    editions: Vec<(String, String)>,
    /// Channel that bundles may be of, any unless given; may be given more than once
    #[arg(long = "channel", value_name = "NAME")]
    channels: Vec<String>,
}

/// Carries it out.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    match &args.deed {
        Deed::Init(args) => init(args),
        Deed::Propose(args) => propose(args),
        Deed::Show(args) => show(args),
        Deed::Export(args) => export(args),
    }
}

fn init(args: &Init) -> Result<(), Failure> {
    keep(&args.output)?;
    let mut policy = Policy {
        version: 1,
        previous: None,
        threshold: 1,
        keys: BTreeMap::new(),
        editions: BTreeMap::new(),
        channels: BTreeSet::new(),
    };
    args.wanted.apply(&mut policy)?;
    let file = PolicyFile::first(policy).map_err(|error| policy_failure(&error, &args.output))?;
    write_policy(&args.output, &file.to_text())?;
    print!("{file}");
    Ok(())
}

fn propose(args: &Propose) -> Result<(), Failure> {
    let mut file = trust::load_policy(&args.policy)?;
    let mut policy = file.last();
    for name in &args.remove_key {
        if policy.keys.remove(name).is_none() {
            return Err(Failure::new(Kind::Input, format!("the policy has no key `{name}`")));
        }
    }
    if args.any_channel {
        policy.channels.clear();
    }
    args.wanted.apply(&mut policy)?;
    let failed = |error| policy_failure(&error, &args.policy);
    file.propose(policy).map_err(failed)?;
    let output = args.output.as_ref().unwrap_or(&args.policy);
    write_policy(output, &file.to_text())?;
    print!("{file}");
    println!(
        "not in force yet: have the keys of the policy before it sign it with `qiji sign {}`",
        output.display()
    );
    Ok(())
}

fn show(args: &Show) -> Result<(), Failure> {
    let file = trust::load_policy(&args.policy)?;
    let fault = file.trusted().err();
    if args.json {
        let answer =
            serde_json::json!({ "ok": fault.is_none(), "policy": file.last(), "signers": file.signers() });
        println!("{answer:#}");
    } else {
        print!("{file}");
    }
    fault.map_or(Ok(()), |error| Err(policy_failure(&error, &args.policy)))
}

fn export(args: &Export) -> Result<(), Failure> {
    keep(&args.output)?;
    let folder = SiteState::folder_of(&args.state.folder(), &args.site).input()?;
    let memory = Memory::open(&folder, None)?;
    let Some(policy) = memory.policy() else {
        let text = format!("this controller knows of no policy of site {}", args.site);
        return Err(Failure::new(Kind::Input, text).hint("it is known where the site was installed from"));
    };
    write_policy(&args.output, &policy.to_text())?;
    print!("{policy}");
    Ok(())
}

/// A policy that is there is not written over.
fn keep(path: &Path) -> Result<(), Failure> {
    if !path.exists() {
        return Ok(());
    }
    let text = format!("{} exists already, and a policy is never overwritten", path.display());
    Err(Failure::new(Kind::Input, text).hint("change it with `qiji policy propose`"))
}

impl Wanted {
    fn apply(&self, policy: &mut Policy) -> Result<(), Failure> {
        for (name, path) in &self.keys {
            let key = PublicKey::load(Path::new(path)).input()?;
            if policy.keys.insert(name.clone(), PolicyKey::from(key)).is_some() {
                let text = format!("there is a key `{name}` already");
                return Err(
                    Failure::new(Kind::Input, text).hint("remove it by --remove-key, or take another name")
                );
            }
        }
        for (edition, kinds) in &self.editions {
            policy.editions.insert(edition.clone(), kinds_of(kinds)?);
        }
        if !self.channels.is_empty() {
            policy.channels = self.channels.iter().cloned().collect();
        }
        policy.threshold = self.threshold.unwrap_or(policy.threshold);
        Ok(())
    }
}

fn kinds_of(text: &str) -> Result<BTreeSet<KeyKind>, Failure> {
    text.split(',')
        .map(|word| word.parse().map_err(|fault: String| Failure::new(Kind::Input, fault)))
        .collect()
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("it has no `=`")?;
    Ok((name.to_owned(), value.to_owned()))
}
