//! Whose signatures count: `--trust` names public keys, or one policy file.

use std::path::{Path, PathBuf};

use clap::Args;
use fs_err as fs;
use qiji_bundle::{Class, PolicyError, PolicyFile, TrustedKeys};

use crate::failure::{Classify, Failure, Kind};

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
    /// As if these files had been named.
    pub(crate) const fn of(files: Vec<PathBuf>) -> Self {
        Self { files, threshold: None }
    }

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
