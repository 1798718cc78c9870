//! A policy and how it came to be: the first one, and every change since.
//!
//! ```json
//! { "policy": { the first policy }, "changes": [ DSSE envelope over the second, over the third, … ] }
//! ```
//!
//! The first policy is believed as it is given: there is nobody yet who could vouch for it. A change counts when enough keys of the policy
//! before it, by that policy's threshold, have signed it, and when its version and its `previous` follow on. New keys cannot bring themselves in.
//!
//! Files are checked whole when they are read, but for signatures: those of the last change may be wanting still.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::TrustedKeys;
use super::policy::Policy;
use crate::dsse::Envelope;
use crate::error::{Class, Fault};
use crate::key::{KeyId, SigningKey};

/// Payload type of a policy in an envelope.
const PAYLOAD_TYPE: &str = "application/vnd.qiji.policy.v1+json";
/// Most bytes of a policy file: it travels to hosts in one frame.
const LIMIT: usize = 256 << 10;

/// A policy file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// It is no policy file, or breaks the rules; all faults.
    #[error("the policy is wrong:\n  {}", .0.join("\n  "))]
    Malformed(Vec<String>),
    /// A change is not signed by enough of the keys that it changes.
    #[error("version {version} of the policy is not signed by the keys of version {}: {fault}", version - 1)]
    Refused {
        /// Version of the change.
        version: u64,
        /// What its signatures lack.
        fault: Box<Fault>,
    },
    /// There is no change to sign, or the last one waits for signatures still.
    #[error("{0}")]
    Order(String),
}

impl PolicyError {
    /// Which kind of failure it is.
    pub const fn class(&self) -> Class {
        match self {
            Self::Malformed(_) | Self::Order(_) => Class::Malformed,
            Self::Refused { .. } => Class::Untrustworthy,
        }
    }
}

/// How one policy file stands to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// They are the same.
    Same,
    /// It goes on where the other ends.
    Newer,
    /// The other goes on where it ends.
    Older,
    /// They have another origin, or parted on the way.
    Other,
}

/// A policy with its history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyFile {
    policy: Policy,
    #[serde(default)]
    changes: Vec<Envelope>,
}

impl PolicyFile {
    /// A first policy.
    pub fn first(policy: Policy) -> Result<Self, PolicyError> {
        let file = Self { policy, changes: Vec::new() };
        file.check_form()?;
        Ok(file)
    }

    /// Reads a file.
    pub fn parse(bytes: &[u8]) -> Result<Self, PolicyError> {
        let malformed = |fault: String| PolicyError::Malformed(vec![fault]);
        if bytes.len() > LIMIT {
            return Err(malformed("it is larger than 256 KiB".to_owned()));
        }
        let file: Self = serde_json::from_slice(bytes).map_err(|error| malformed(error.to_string()))?;
        file.check_form()?;
        Ok(file)
    }

    /// The file's text, with a line break at the end.
    pub fn to_text(&self) -> String {
        let text = serde_json::to_string_pretty(self).expect("plain data is always JSON");
        format!("{text}\n")
    }

    /// All policies, the first one first; signatures are not looked at.
    fn policies(&self) -> Result<Vec<Policy>, String> {
        let mut all = vec![self.policy.clone()];
        for envelope in &self.changes {
            let bytes =
                envelope.check_form().and_then(|()| envelope.payload()).map_err(|fault| fault.to_string())?;
            if envelope.payload_type() != PAYLOAD_TYPE {
                return Err("a change is not a policy".to_owned());
            }
            let policy: Policy = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
            if policy.to_bytes() != bytes {
                return Err(format!("version {} is not in canonical form", policy.version));
            }
            all.push(policy);
        }
        Ok(all)
    }

    fn check_form(&self) -> Result<(), PolicyError> {
        let policies = self.policies().map_err(|fault| PolicyError::Malformed(vec![fault]))?;
        let mut faults = policies.iter().flat_map(Policy::faults).collect::<Vec<_>>();
        let first = &policies[0];
        if first.version != 1 {
            faults.push(format!("it begins with version {}, not 1", first.version));
        }
        for pair in policies.windows(2) {
            let (old, new) = (&pair[0], &pair[1]);
            if old.version.checked_add(1) != Some(new.version) || new.previous != Some(old.digest()) {
                faults.push(format!("version {} does not follow on version {}", new.version, old.version));
            }
        }
        if faults.is_empty() { Ok(()) } else { Err(PolicyError::Malformed(faults)) }
    }

    /// The policy that the file ends with, whether or not its signatures suffice.
    pub fn last(&self) -> Policy {
        let mut policies = self.policies().expect("the form was checked when the file was read");
        policies.pop().expect("there is a first policy")
    }

    /// What bundles are held to, once every change has been found signed by enough keys of the policy before it.
    pub fn trusted(&self) -> Result<TrustedKeys, PolicyError> {
        let policies = self.policies().map_err(|fault| PolicyError::Malformed(vec![fault]))?;
        let mut trusted = policies[0].trusted().map_err(PolicyError::Malformed)?;
        for (envelope, policy) in self.changes.iter().zip(&policies[1..]) {
            let refused = |fault| PolicyError::Refused { version: policy.version, fault: Box::new(fault) };
            envelope.check(&trusted).map_err(refused)?;
            trusted = policy.trusted().map_err(PolicyError::Malformed)?;
        }
        Ok(trusted)
    }

    /// Adds a change without signatures; `policy`'s version and link are set. The policy so far must be in force.
    pub fn propose(&mut self, mut policy: Policy) -> Result<(), PolicyError> {
        self.trusted()?;
        let old = self.last();
        policy.version = old.version.saturating_add(1);
        policy.previous = Some(old.digest());
        let mut file = self.clone();
        file.changes.push(Envelope::new(PAYLOAD_TYPE, &policy.to_bytes()));
        file.check_form()?;
        *self = file;
        Ok(())
    }

    /// Signs the last change with keys of the policy before it.
    pub fn sign(&mut self, keys: &[&SigningKey]) -> Result<(), PolicyError> {
        let before = Self {
            policy: self.policy.clone(),
            changes: self.changes.split_last().map_or(vec![], |(_, rest)| rest.to_vec()),
        };
        let Some(change) = self.changes.last_mut() else {
            return Err(PolicyError::Order(
                "the policy has no change to sign: a first policy needs no signature".to_owned(),
            ));
        };
        let trusted = before.trusted()?;
        if let Some(key) = keys.iter().find(|key| trusted.get(key.public().id()).is_none()) {
            let id = key.public().id();
            return Err(PolicyError::Order(format!(
                "key {id} is none of those that the policy trusts before this change"
            )));
        }
        change.sign(keys);
        Ok(())
    }

    /// Keys that signed the last change.
    pub fn signers(&self) -> Vec<KeyId> {
        let signatures = self.changes.last().and_then(|change| change.signatures(None).ok());
        signatures.unwrap_or_default().into_iter().map(|(key, _)| key).collect()
    }

    /// How this file stands to another. Signatures may differ: what counts is what is signed.
    pub fn standing(&self, other: &Self) -> Standing {
        let (own, theirs) = (self.digests(), other.digests());
        match () {
            () if own == theirs => Standing::Same,
            () if own.starts_with(&theirs) => Standing::Newer,
            () if theirs.starts_with(&own) => Standing::Older,
            () => Standing::Other,
        }
    }

    fn digests(&self) -> Vec<qiji_blueprint::Digest> {
        self.policies().unwrap_or_default().iter().map(Policy::digest).collect()
    }
}

impl fmt::Display for PolicyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let policy = self.last();
        writeln!(f, "policy version {}, {} of {} keys", policy.version, policy.threshold, policy.keys.len())?;
        for (name, key) in &policy.keys {
            writeln!(f, "  {name}  {}  {}", key.kind, key.public_key.id())?;
        }
        for (edition, kinds) in &policy.editions {
            let kinds: Vec<_> = kinds.iter().map(|kind| kind.as_str()).collect();
            writeln!(f, "edition {edition} needs {}", kinds.join(" and "))?;
        }
        let channels: Vec<_> = policy.channels.iter().map(String::as_str).collect();
        let channels = if channels.is_empty() { "any".to_owned() } else { channels.join(", ") };
        writeln!(f, "channels {channels}")
    }
}
