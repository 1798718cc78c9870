//! What verbs are given: a site file, a bundle with the keys that it is held to, and ways to log in that stand in for the site's.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use fs_err as fs;
use qiji_blueprint::site::{Access, AccessMethod, Site, Sudo};
use qiji_blueprint::{Catalogue, Checked, Faults};
use qiji_bundle::{Progress, TrustedKeys, Untrusted, Verified, VerifyError};
use qiji_engine::SiteState;
use qiji_engine::remote::SshOptions;

use crate::failure::{Classify, Failure, Kind};
use crate::memory::Memory;
use crate::screen::size;
use crate::trust::{self, TrustArgs};
use crate::volumes;

/// Time for reaching a host and logging in.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Name of the document in a bundle that is the resolved site, as JSON.
pub(crate) const SITE_DOCUMENT: &str = "site.json";
/// Name of the document that is the site file as it was written.
pub(crate) const SITE_FILE_DOCUMENT: &str = "site.kdl";
/// Name of the document that is the lock.
pub(crate) const LOCK_DOCUMENT: &str = "site.lock";

/// Reads and checks a site file. Warnings are shown on standard error.
pub(crate) fn site_file(path: &Path) -> Result<(Checked, String), Failure> {
    let text = fs::read_to_string(path).input()?;
    let name = path.display().to_string();
    let checked =
        qiji_blueprint::check(&name, &text, &Catalogue::builtin()).map_err(|faults| from_faults(&faults))?;
    if !checked.warnings.is_empty() {
        eprint!("{}", render(&checked.warnings));
    }
    Ok((checked, text))
}

/// Faults as a failure whose words have their form.
pub(crate) fn from_faults(faults: &Faults) -> Failure {
    Failure::rendered(Kind::Input, render(faults))
}

fn render(faults: &Faults) -> String {
    faults.render(std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none(), 110)
}

/// The file that holds the lock of a site file.
pub(crate) fn lock_path(site: &Path) -> PathBuf {
    site.with_extension("lock")
}

/// A bundle and the keys that it is held to.
#[derive(Debug, Clone, Args)]
pub(crate) struct BundleArgs {
    /// The bundle: a file, the folder of its volumes, or one of them
    #[arg(value_name = "BUNDLE")]
    bundle: PathBuf,
    #[command(flatten)]
    trust: TrustArgs,
}

impl BundleArgs {
    /// The keys.
    pub(crate) fn keys(&self) -> Result<TrustedKeys, Failure> {
        self.trust.keys()
    }

    /// Checks every byte and signature. Nothing is used before this has succeeded. Volumes that were restored on the way are told.
    pub(crate) fn verify(&self) -> Result<Verified, Failure> {
        let bundle = self.check()?;
        bundle.volumes().into_iter().for_each(volumes::warn);
        Ok(bundle)
    }

    /// The same, for a caller that tells of volumes itself.
    pub(crate) fn check(&self) -> Result<Verified, Failure> {
        verify_with(&self.bundle, &self.trust)
    }

    /// The same on site, where the site's own policy must hold, too.
    pub(crate) fn verify_on_site(&self, state: &Path) -> Result<(Verified, Memory), Failure> {
        let given = self.trust.given()?;
        let untrusted = open(&self.bundle)?;
        let folder = SiteState::folder_of(state, untrusted.name()).input()?;
        let memory = Memory::open(&folder, given)?;
        let bundle = verify(untrusted, &memory.any_keys()?)?;
        memory.hold(&bundle)?;
        bundle.volumes().into_iter().for_each(volumes::warn);
        Ok((bundle, memory))
    }
}

/// Checks every byte and signature of a bundle, with one of these public keys or a policy.
pub(crate) fn verify_with(bundle: &Path, trust: &TrustArgs) -> Result<Verified, Failure> {
    verify(open(bundle)?, &trust.keys()?)
}

/// Reads a bundle's documents.
pub(crate) fn open(bundle: &Path) -> Result<Untrusted, Failure> {
    Untrusted::open(bundle).map_err(refused)
}

/// Checks every byte and signature.
pub(crate) fn verify(bundle: Untrusted, keys: &TrustedKeys) -> Result<Verified, Failure> {
    let mut shown = Meter::new("verifying");
    bundle.verify(keys, &mut |progress| shown.show(progress)).map_err(refused)
}

/// A bundle was refused.
#[allow(clippy::needless_pass_by_value, reason = "it is given away by map_err")]
pub(crate) fn refused(error: VerifyError) -> Failure {
    Failure::from_error(trust::kind(error.class()), &error).hint(error.hint())
}

/// The resolved site that a bundle was built for.
pub(crate) fn site_of(bundle: &Verified) -> Result<Site, Failure> {
    let bytes = bundle.document(SITE_DOCUMENT).failed()?;
    let Some(bytes) = bytes else {
        return Err(Failure::new(Kind::Input, "the bundle holds no site: it was not made by `qiji build`"));
    };
    serde_json::from_slice(&bytes).map_err(|error| {
        Failure::from_error(Kind::Input, &error).while_doing("the bundle's site cannot be read by this qiji")
    })
}

/// How to log in, where the site's own ways do not fit this machine.
#[derive(Debug, Clone, Args)]
pub(crate) struct AccessArgs {
    /// Log in as this user instead of the site's
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// Log in with this private key instead of the site's ways
    #[arg(long, value_name = "KEY")]
    identity: Option<PathBuf>,
    /// File whose first line is the password to log in and for sudo with
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Accept host keys that were never seen, and keep them; one that changed is still refused
    #[arg(long)]
    accept_host_keys: bool,
}

impl AccessArgs {
    /// How hosts are connected, with the host keys that are kept below the state folder.
    pub(crate) fn ssh(&self, state: &Path) -> SshOptions {
        let known_hosts = state.join("known_hosts");
        SshOptions { known_hosts, accept_new: self.accept_host_keys, timeout: CONNECT_TIMEOUT }
    }

    /// The site with these ways to log in.
    pub(crate) fn apply(&self, mut site: Site) -> Site {
        site.nodes.iter_mut().for_each(|node| self.apply_to(&mut node.access));
        site
    }

    fn apply_to(&self, access: &mut Access) {
        if let Some(user) = &self.user {
            access.user.clone_from(user);
        }
        if let Some(key) = &self.identity {
            access.methods = vec![AccessMethod::Key { path: key.display().to_string() }];
        }
        let file = self.password_file.as_ref().map(|file| file.display().to_string());
        if let Some(file) = &file {
            access.methods.push(AccessMethod::Password { file: Some(file.clone()) });
        }
        access.sudo = match (access.user.as_str(), &access.sudo) {
            ("root", _) => Sudo::None,
            (_, Sudo::Password { file: None }) => Sudo::Password { file },
            (_, Sudo::None) if file.is_some() => Sudo::Password { file },
            (_, Sudo::None) => Sudo::NoPassword,
            (_, kept) => kept.clone(),
        };
    }
}

/// Shows how far a pass over a file is, on a terminal only.
pub(crate) struct Meter {
    what: &'static str,
    shown: bool,
    tenths: u64,
}

impl Meter {
    /// A meter that has shown nothing yet.
    pub(crate) fn new(what: &'static str) -> Self {
        Self { what, shown: std::io::stderr().is_terminal(), tenths: u64::MAX }
    }

    /// Shows it when it has moved.
    pub(crate) fn show(&mut self, progress: Progress) {
        let tenths = (progress.done * 1000).checked_div(progress.total).unwrap_or(1000);
        if self.shown && tenths != self.tenths {
            self.tenths = tenths;
            eprint!("\r{} {} of {}\x1b[K", self.what, size(progress.done), size(progress.total));
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if self.shown && self.tenths != u64::MAX {
            eprint!("\r\x1b[K");
        }
    }
}
