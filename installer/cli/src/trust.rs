//! Whose signatures count: what is given with `--trust`, and what the site holds to already.
//!
//! - `--trust` names public keys, or one policy file.
//! - A site's policy and its memory of accepted bundles lie in the controller's state folder ([`Memory`]) and on every host of the site.
//! - What is given never takes the place of what the site holds to: a bundle must satisfy both. Only a policy that goes on from the site's own,
//!   signed by its keys, takes its place.

use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use clap::Args;
use fs_err as fs;
use qiji_bundle::{Class, PolicyError, PolicyFile, SiteTrust, TrustError, TrustedKeys};

use crate::failure::{Classify, Failure, Kind};

/// What the controller is called where places are compared.
const CONTROLLER: &str = "this controller";

/// Keys, or a policy, that a bundle is held to.
#[derive(Debug, Clone, Args)]
pub(crate) struct TrustArgs {
    /// Public key that the bundle must be signed with, or a policy file. Keys may be given more than once
    #[arg(long = "trust", value_name = "FILE")]
    files: Vec<PathBuf>,
    /// How many of the keys must have signed it [default: 1]
    #[arg(long, value_name = "N")]
    threshold: Option<usize>,
}

/// What was given.
#[derive(Debug, Clone)]
pub(crate) enum Trust {
    /// Public keys.
    Keys(TrustedKeys),
    /// A policy file, all of whose changes hold.
    Policy(Box<PolicyFile>, TrustedKeys),
}

impl Trust {
    /// What a bundle is held to.
    pub(crate) const fn keys(&self) -> &TrustedKeys {
        match self {
            Self::Keys(keys) | Self::Policy(_, keys) => keys,
        }
    }
}

impl TrustArgs {
    /// What was given, if anything.
    pub(crate) fn given(&self) -> Result<Option<Trust>, Failure> {
        let Some(first) = self.files.first() else { return Ok(None) };
        if !is_policy(first)? {
            let keys = TrustedKeys::load(&self.files, self.threshold.unwrap_or(1)).input()?;
            return Ok(Some(Trust::Keys(keys)));
        }
        if self.files.len() > 1 || self.threshold.is_some() {
            return Err(Failure::new(
                Kind::Input,
                "a policy says itself which keys count and how many: give it alone, without --threshold",
            ));
        }
        let policy = load_policy(first)?;
        let keys = policy.trusted().map_err(|error| policy_failure(&error, first))?;
        Ok(Some(Trust::Policy(Box::new(policy), keys)))
    }

    /// What a bundle is held to; it must have been given.
    pub(crate) fn keys(&self) -> Result<TrustedKeys, Failure> {
        self.given()?.map(|trust| trust.keys().clone()).ok_or_else(nothing_given)
    }
}

/// Nothing says whom to trust.
pub(crate) fn nothing_given() -> Failure {
    Failure::new(Kind::Input, "nothing says whose signature counts")
        .hint("name a public key or a policy with --trust")
}

/// Reads a policy file.
pub(crate) fn load_policy(path: &Path) -> Result<PolicyFile, Failure> {
    let bytes = fs::read(path).input()?;
    PolicyFile::parse(&bytes).map_err(|error| policy_failure(&error, path))
}

/// A policy file that cannot be used.
pub(crate) fn policy_failure(error: &PolicyError, path: &Path) -> Failure {
    let failure = Failure::from_error(kind(error.class()), error)
        .while_doing(format!("{} cannot be used", path.display()));
    match error {
        PolicyError::Refused { .. } => {
            failure.hint("have enough of the keys before the change sign it with `qiji sign`")
        }
        _ => failure,
    }
}

/// The site refuses.
#[allow(clippy::needless_pass_by_value, reason = "it is given away by map_err")]
pub(crate) fn refused(error: TrustError) -> Failure {
    Failure::from_error(kind(error.class()), &error).hint(error.hint())
}

/// The kind of a failure of a class.
pub(crate) const fn kind(class: Class) -> Kind {
    match class {
        Class::Failed => Kind::Failed,
        Class::Malformed => Kind::Input,
        Class::Untrustworthy => Kind::Untrusted,
    }
}

/// A policy is JSON, a key is PEM.
pub(crate) fn is_policy(path: &Path) -> Result<bool, Failure> {
    use std::io::Read as _;
    let mut first = [0];
    let count = fs::File::open(path).and_then(|mut file| file.read(&mut first)).input()?;
    Ok(count == 1 && first[0] == b'{')
}

/// What the controller remembers of a site: `STATE/sites/NAME/trust.json`.
#[derive(Debug, Clone)]
pub(crate) struct Memory {
    path: PathBuf,
    /// Policy and accepted bundles.
    pub(crate) trust: SiteTrust,
}

impl Memory {
    /// Reads it; empty for a site that is new here. `site` has the form of a bundle's name, and so cannot lead out of the folder.
    pub(crate) fn open(state: &Path, site: &str) -> Result<Self, Failure> {
        let path = state.join("sites").join(site).join("trust.json");
        let trust = match fs::read_to_string(&path) {
            Ok(text) => SiteTrust::parse(&path.display().to_string(), &text).map_err(refused)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => SiteTrust::default(),
            Err(error) => return Err(Failure::from_error(Kind::Failed, &error)),
        };
        Ok(Self { path, trust })
    }

    /// Takes in a policy that was given, if it is the site's or goes on from it.
    pub(crate) fn adopt(&mut self, given: &Trust) -> Result<(), Failure> {
        match given {
            Trust::Policy(policy, _) => {
                self.trust.adopt(CONTROLLER, "--trust", (**policy).clone()).map_err(refused)
            }
            Trust::Keys(_) => Ok(()),
        }
    }

    /// Takes in what a host remembers.
    pub(crate) fn merge(&mut self, host: &str, text: &str) -> Result<(), Failure> {
        let place = format!("host {host}");
        let theirs = SiteTrust::parse(&place, text).map_err(refused)?;
        self.trust.merge(CONTROLLER, &place, theirs).map_err(refused)
    }

    /// What bundles are held to, if the site holds to anything yet.
    pub(crate) fn keys(&self) -> Result<Option<TrustedKeys>, Failure> {
        let keys = self.trust.policy.as_ref().map(PolicyFile::trusted).transpose();
        keys.map_err(|error| policy_failure(&error, &self.path))
    }

    /// Keeps it: beside its place first, then at its place at once.
    pub(crate) fn save(&self) -> Result<(), Failure> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).failed()?;
        let mut file = tempfile::NamedTempFile::new_in(folder).failed()?;
        file.write_all(self.trust.to_text().as_bytes()).failed()?;
        file.as_file().sync_all().failed()?;
        file.persist(&self.path).failed()?;
        fs::File::open(folder).and_then(|folder| folder.sync_all()).failed()
    }
}
