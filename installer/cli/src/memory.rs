//! What a site holds to and remembers, on the controller and on its hosts.
//!
//! 1. The controller keeps it as `STATE/sites/NAME/trust.json`, each host as the agent's `trust.json`: the same text, so that another
//!    controller finds it.
//! 2. [`Memory::open`] reads the controller's; what hosts remember is taken in when they answer ([`Memory::merge`]).
//! 3. What is given with `--trust` never takes the place of what the site holds to: a bundle must satisfy both. Only a policy that goes on from
//!    the site's own, signed by its keys, takes its place. What is given first becomes the policy of a site that has none.
//! 4. [`Memory::save`], and a step of the plan on each host, keep it once an installation begins.

use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use fs_err as fs;
use qiji_bundle::{Policy, PolicyFile, SiteTrust, TrustError, TrustedKeys, Verified};

use crate::failure::{Classify, Failure, Kind};
use crate::trust::{self, Trust, kind, policy_failure};

/// What the controller is called where places are compared.
const CONTROLLER: &str = "this controller";

/// What is remembered of a site.
#[derive(Debug, Clone)]
pub(crate) struct Memory {
    path: PathBuf,
    trust: SiteTrust,
    given: Option<Trust>,
}

impl Memory {
    /// Reads what the controller remembers in a site's folder, and takes in a policy that was given.
    pub(crate) fn open(folder: &Path, given: Option<Trust>) -> Result<Self, Failure> {
        let path = folder.join("trust.json");
        let mut trust = match fs::read_to_string(&path) {
            Ok(text) => SiteTrust::parse(&path.display().to_string(), &text).map_err(refused)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => SiteTrust::default(),
            Err(error) => return Err(Failure::from_error(Kind::Failed, &error)),
        };
        if let Some(Trust::Policy(policy, _)) = &given {
            trust.adopt(CONTROLLER, "--trust", (**policy).clone()).map_err(refused)?;
        }
        Ok(Self { path, trust, given })
    }

    /// The policy that the site holds to, as far as it is known here.
    pub(crate) const fn policy(&self) -> Option<&PolicyFile> {
        self.trust.policy.as_ref()
    }

    /// What a bundle must satisfy: what was given, else what the site holds to.
    ///
    /// # Errors
    /// There is neither.
    pub(crate) fn any_keys(&self) -> Result<TrustedKeys, Failure> {
        match (&self.given, self.site_keys()?) {
            (Some(given), _) => Ok(given.keys().clone()),
            (None, Some(site)) => Ok(site),
            (None, None) => Err(trust::nothing_given()),
        }
    }

    /// What the site holds to, as far as it is known here.
    fn site_keys(&self) -> Result<Option<TrustedKeys>, Failure> {
        let site = self.trust.policy.as_ref().map(PolicyFile::trusted).transpose();
        site.map_err(|error| policy_failure(&error, &self.path))
    }

    /// Requires that the bundle satisfies what the site holds to, as far as it is known here.
    pub(crate) fn hold(&self, bundle: &Verified) -> Result<(), Failure> {
        let Some(keys) = self.site_keys()? else { return Ok(()) };
        bundle.hold_to(&keys).map(drop).map_err(|error| {
            let failure = Failure::from_error(kind(error.class()), &error);
            failure.while_doing("the bundle does not satisfy the policy that the site holds to").hint(
                "get one that does; the policy changes only by a file that its own keys have signed (see docs/trust.md)",
            )
        })
    }

    /// Takes in what a host remembers.
    pub(crate) fn merge(&mut self, host: &str, text: &str) -> Result<(), Failure> {
        let place = format!("host {host}");
        let theirs = SiteTrust::parse(&place, text).map_err(refused)?;
        self.trust.merge(CONTROLLER, &place, theirs).map_err(refused)
    }

    /// Requires that the site takes the bundle, now that all that could be asked have been, and remembers it. `older` is a version that is taken
    /// though a newer one was accepted.
    pub(crate) fn accept(&mut self, bundle: &Verified, older: Option<&str>) -> Result<(), Failure> {
        self.hold(bundle)?;
        self.trust.admit(bundle, older).map_err(refused)?;
        if let (None, Some(given)) = (&self.trust.policy, &self.given) {
            let first = PolicyFile::first(Policy::of_keys(given.keys()));
            self.trust.policy = Some(first.map_err(|error| policy_failure(&error, &self.path))?);
        }
        self.trust.accept(bundle);
        Ok(())
    }

    /// Forgets what was accepted: the site is gone. Its policy stays.
    pub(crate) fn forget_accepted(&mut self) {
        self.trust.accepted.clear();
    }

    /// The text to keep on hosts.
    pub(crate) fn text(&self) -> String {
        self.trust.to_text()
    }

    /// Keeps it on the controller: beside its place first, then at its place at once.
    pub(crate) fn save(&self) -> Result<(), Failure> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).failed()?;
        let mut file = tempfile::NamedTempFile::new_in(folder).failed()?;
        file.write_all(self.text().as_bytes()).failed()?;
        file.as_file().sync_all().failed()?;
        file.persist(&self.path).failed()?;
        fs::File::open(folder).and_then(|folder| folder.sync_all()).failed()
    }
}

/// The site refuses.
#[allow(clippy::needless_pass_by_value, reason = "it is given away by map_err")]
fn refused(error: TrustError) -> Failure {
    Failure::from_error(kind(error.class()), &error).hint(error.hint())
}
