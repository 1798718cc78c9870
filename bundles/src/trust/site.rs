//! What a site holds to and what it remembers: its policy, and for each name of a bundle the newest release that it accepted.
//!
//! The same document is kept on the controller and on every host, so that another controller finds it. Nothing in it is a secret.
//!
//! - A policy gives way only to one that goes on where it ends ([`PolicyFile`]).
//! - A release that is older than the newest accepted is refused, unless it is told by its version. One that was told so is the current one
//!   from then on, and need not be told again until another takes its place. The newest is never forgotten.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use qiji_blueprint::Digest;
use serde::{Deserialize, Serialize};

use super::history::{PolicyError, PolicyFile, Standing};
use crate::error::Class;
use crate::read::Verified;

/// A release of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// Version.
    pub version: String,
    /// Digest of the root index.
    pub root: Digest,
}

/// What was accepted of one name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accepted {
    /// The newest release.
    pub newest: Release,
    /// The last one.
    pub current: Release,
}

/// The site refuses.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// What a place remembers cannot be read.
    #[error("what {place} remembers of trust cannot be read: {reason}")]
    Unreadable {
        /// Host, or file of the controller.
        place: String,
        /// Why.
        reason: String,
    },
    /// Policies that do not follow on each other.
    #[error("the policy of {right} does not go on from the policy of {left}")]
    OtherPolicy {
        /// One place.
        left: String,
        /// The other.
        right: String,
    },
    /// A policy file cannot be used.
    #[error("the policy of {place} cannot be used")]
    Policy {
        /// Where it is kept.
        place: String,
        /// Why.
        source: PolicyError,
    },
    /// The bundle is older than what the site has accepted.
    #[error("{name} {version} is older than {newest}, which this site has accepted")]
    Older {
        /// Name of the bundle.
        name: String,
        /// Its version.
        version: String,
        /// The newest that was accepted.
        newest: String,
    },
    /// The versions cannot be compared.
    #[error("{name} {version} cannot be compared with {newest}, which this site has accepted")]
    Incomparable {
        /// Name of the bundle.
        name: String,
        /// Its version.
        version: String,
        /// The newest that was accepted.
        newest: String,
    },
}

impl TrustError {
    /// Which kind of failure it is.
    pub const fn class(&self) -> Class {
        match self {
            Self::Unreadable { .. } => Class::Failed,
            Self::Policy { source, .. } => source.class(),
            _ => Class::Untrustworthy,
        }
    }

    /// What to do next.
    pub fn hint(&self) -> String {
        match self {
            Self::Unreadable { .. } => {
                "see what is there; a copy on another host of the site can take its place".to_owned()
            }
            Self::OtherPolicy { .. } => {
                "give the site's own policy, or a change of it that its keys have signed (see docs/trust.md)"
                    .to_owned()
            }
            Self::Policy { .. } => {
                "have enough keys of the present policy sign the change with `qiji sign`".to_owned()
            }
            Self::Older { version, .. } | Self::Incomparable { version, .. } => {
                format!("get the newer bundle; or, if it shall be this one, say --accept-older {version}")
            }
        }
    }
}

/// Policy and memory of a site.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SiteTrust {
    /// The policy, once there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicyFile>,
    /// Name of a bundle → what was accepted of it.
    #[serde(default)]
    pub accepted: BTreeMap<String, Accepted>,
}

impl SiteTrust {
    /// Reads what a place remembers.
    pub fn parse(place: &str, text: &str) -> Result<Self, TrustError> {
        let unreadable = |reason: String| TrustError::Unreadable { place: place.to_owned(), reason };
        let trust: Self = serde_json::from_str(text).map_err(|error| unreadable(error.to_string()))?;
        if let Some(policy) = &trust.policy {
            // Once more through the front door: form and links.
            PolicyFile::parse(policy.to_text().as_bytes()).map_err(|error| unreadable(error.to_string()))?;
        }
        Ok(trust)
    }

    /// The text to keep.
    pub fn to_text(&self) -> String {
        let text = serde_json::to_string(self).expect("plain data is always JSON");
        format!("{text}\n")
    }

    /// Takes in what another place remembers: the later policy, the newest releases.
    pub fn merge(&mut self, own: &str, place: &str, other: Self) -> Result<(), TrustError> {
        if let Some(policy) = other.policy {
            self.adopt(own, place, policy)?;
        }
        for (name, accepted) in other.accepted {
            match self.accepted.get_mut(&name) {
                None => drop(self.accepted.insert(name, accepted)),
                Some(known)
                    if order(&accepted.newest.version, &known.newest.version) == Some(Ordering::Greater) =>
                {
                    *known = accepted;
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// Takes a policy in place of the present one, if it is the same, goes on where that ends, or is the first. An older one changes nothing.
    pub fn adopt(&mut self, own: &str, place: &str, policy: PolicyFile) -> Result<(), TrustError> {
        policy.trusted().map_err(|source| TrustError::Policy { place: place.to_owned(), source })?;
        match self.policy.as_ref().map(|present| policy.standing(present)) {
            None | Some(Standing::Newer) => self.policy = Some(policy),
            Some(Standing::Same | Standing::Older) => {}
            Some(Standing::Other) => {
                return Err(TrustError::OtherPolicy { left: own.to_owned(), right: place.to_owned() });
            }
        }
        Ok(())
    }

    /// Requires that a bundle is not older than what was accepted under its name, or is the current one, or is told by its version.
    pub fn admit(&self, bundle: &Verified, told: Option<&str>) -> Result<(), TrustError> {
        self.admit_release(bundle.name(), &release(bundle), told)
    }

    fn admit_release(&self, name: &str, release: &Release, told: Option<&str>) -> Result<(), TrustError> {
        let Some(accepted) = self.accepted.get(name) else { return Ok(()) };
        let version = release.version.clone();
        if accepted.current == *release || told == Some(version.as_str()) {
            return Ok(());
        }
        let (name, newest) = (name.to_owned(), accepted.newest.version.clone());
        match order(&version, &newest) {
            Some(Ordering::Less) => Err(TrustError::Older { name, version, newest }),
            Some(_) => Ok(()),
            None => Err(TrustError::Incomparable { name, version, newest }),
        }
    }

    /// Remembers a bundle as accepted.
    pub fn accept(&mut self, bundle: &Verified) {
        self.accept_release(bundle.name(), release(bundle));
    }

    fn accept_release(&mut self, name: &str, release: Release) {
        let first = || Accepted { newest: release.clone(), current: release.clone() };
        let accepted = self.accepted.entry(name.to_owned()).or_insert_with(first);
        if order(&release.version, &accepted.newest.version) != Some(Ordering::Less) {
            accepted.newest = release.clone();
        }
        accepted.current = release;
    }
}

fn release(bundle: &Verified) -> Release {
    Release { version: bundle.version().to_owned(), root: bundle.root() }
}

/// Order of two versions by the precedence of semantic versioning (2.0.0, section 11); nothing where one is no semantic version.
fn order(left: &str, right: &str) -> Option<Ordering> {
    if left == right {
        return Some(Ordering::Equal);
    }
    let (left, right) = (semver::Version::parse(left).ok()?, semver::Version::parse(right).ok()?);
    Some(left.cmp_precedence(&right))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(version: &str) -> Release {
        Release { version: version.to_owned(), root: Digest::of(version.as_bytes()) }
    }

    fn admits(trust: &SiteTrust, version: &str, told: Option<&str>) -> bool {
        trust.admit_release("demo", &release(version), told).is_ok()
    }

    #[test]
    fn versions_are_compared_as_versions() {
        for (older, newer) in [("1.9.0", "1.10.0"), ("1.2.3-rc.2", "1.2.3-rc.10"), ("1.2.3-rc.1", "1.2.3")] {
            assert_eq!(order(older, newer), Some(Ordering::Less));
        }
        assert_eq!(order("1.2.3+a", "1.2.3+b"), Some(Ordering::Equal));
        assert_eq!(order("tuesday", "1.2.3"), None);
        assert_eq!(order("tuesday", "tuesday"), Some(Ordering::Equal));
    }

    #[test]
    fn an_older_release_must_be_told_once_and_the_newest_is_not_forgotten() {
        let mut trust = SiteTrust::default();
        trust.accept_release("demo", release("1.10.0"));
        assert!(admits(&trust, "1.10.1", None) && admits(&trust, "1.10.0", None));
        assert!(!admits(&trust, "1.9.0", None) && !admits(&trust, "1.9.0", Some("1.8.0")));
        assert!(admits(&trust, "1.9.0", Some("1.9.0")));
        trust.accept_release("demo", release("1.9.0"));
        assert!(admits(&trust, "1.9.0", None), "the current one goes on without being told");
        assert!(!admits(&trust, "1.9.5", None), "the newest is still 1.10.0");
        assert!(trust.admit_release("other", &release("0.1.0"), None).is_ok());
    }

    #[test]
    fn another_root_of_the_current_older_version_must_be_told_again() {
        let mut trust = SiteTrust::default();
        trust.accept_release("demo", release("2.0.0"));
        trust.accept_release("demo", release("1.0.0"));
        let other = Release { root: Digest::of(b"other"), ..release("1.0.0") };
        assert!(matches!(trust.admit_release("demo", &other, None), Err(TrustError::Older { .. })));
    }

    #[test]
    fn the_newest_of_all_places_counts() {
        let (mut here, mut there) = (SiteTrust::default(), SiteTrust::default());
        here.accept_release("demo", release("1.0.0"));
        there.accept_release("demo", release("2.0.0"));
        here.merge("this controller", "host a", there).unwrap();
        assert!(!admits(&here, "1.5.0", None));
        let text = here.to_text();
        assert_eq!(SiteTrust::parse("x", &text).unwrap(), here);
        assert!(SiteTrust::parse("x", "{}").is_ok() && SiteTrust::parse("x", "{\"y\":1}").is_err());
    }
}
