//! A site, on site: the verified bundle, the hosts that answer, and what was found on them.
//!
//! 1. The bundle is verified whole before anything else ([`SiteArgs::open`]): no host is spoken to with a bundle that does not hold. A delta is verified,
//!    and then the bundle that it stands for.
//! 2. Hosts are connected, all at once, and looked at ([`OnSite::look`]).
//! 3. What they remember of trust is taken in, and the site takes the bundle or refuses it ([`OnSite::accept`]).
//! 4. Findings of all hosts come together ([`OnSite::findings`]); a blocker ends the verb before anything is changed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use futures::future::join_all;
use qiji_blueprint::Catalogue;
use qiji_blueprint::site::{Arch, Site};
use qiji_bundle::{Blob, Delta, RAW_FILE, Verified};
use qiji_engine::remote::{BundleBlobs, SshConnector};
use qiji_engine::{Engine, Fleet, FleetOptions, StepFailure};
use qiji_plan::{
    Answer, BlobRef, ChipNeeds, Facts, Finding, HostImage, HostPackage, Inventory, Measure, Severity,
};

use crate::base::{self, BaseArgs};
use crate::failure::{Failure, Kind};
use crate::folders::StateArgs;
use crate::held::Hosts;
use crate::inputs::{self, AccessArgs, BundleArgs};
use crate::memory::Memory;
use crate::secrets::Asked;

/// What every verb on site is given.
#[derive(Debug, clap::Args)]
pub(crate) struct SiteArgs {
    #[command(flatten)]
    bundle: BundleArgs,
    #[command(flatten)]
    base: BaseArgs,
    /// For a delta: take what no bundle here has from the hosts of this site, as it was installed
    #[arg(long, value_name = "SITE.kdl")]
    base_from: Option<PathBuf>,
    #[command(flatten)]
    access: AccessArgs,
    #[command(flatten)]
    state: StateArgs,
}

/// Leave for an older bundle.
#[derive(Debug, clap::Args)]
pub(crate) struct OlderArgs {
    /// Take this version though the site has accepted a newer one; it must be the bundle's
    #[arg(long, value_name = "VERSION")]
    accept_older: Option<String>,
}

/// A site that can be worked on.
pub(crate) struct OnSite {
    /// The site, with the caller's ways to log in.
    pub(crate) site: Site,
    /// The bundle; every byte of it has been checked.
    pub(crate) bundle: Verified,
    /// What the controller remembers of the site.
    pub(crate) memory: Memory,
    /// The installer's state folder.
    pub(crate) state: PathBuf,
    /// Makes connections.
    pub(crate) connector: Arc<SshConnector>,
    /// Connections to the hosts.
    pub(crate) fleet: Arc<Fleet>,
}

impl SiteArgs {
    /// The bundle, or the one that the delta stands for, held to all that the site asks for.
    fn verify(&self, state: &Path) -> Result<(Verified, Memory), Failure> {
        let (bundle, memory) = self.bundle.verify_on_site(state)?;
        if !Delta::is(&bundle) {
            return Ok((bundle, memory));
        }
        let whole = base::whole(&bundle, &self.base, state, |folder| {
            let hosts =
                self.base_from.as_deref().map(|site| Hosts::of(site, &self.access, state)?.blobs(folder));
            hosts.transpose()
        })?;
        let whole = inputs::verify(inputs::open(&whole)?, &memory.any_keys()?)?;
        memory.hold(&whole)?;
        Ok((whole, memory))
    }

    /// Verifies the bundle and makes ready to reach its site's hosts.
    pub(crate) fn open(&self) -> Result<OnSite, Failure> {
        let state = self.state.folder();
        let (bundle, memory) = self.verify(&state)?;
        let site = self.access.apply(inputs::site_of(&bundle)?);
        if site.name != bundle.name() {
            let text = format!("the bundle is named {} and holds site {}", bundle.name(), site.name);
            return Err(Failure::new(Kind::Input, text).hint("build it with `qiji build`"));
        }
        let options = self.access.ssh(&state);
        let connector = Arc::new(SshConnector::new(&site, &bundle, Arc::new(Asked::default()), options));
        let fleet = Arc::new(Fleet::new(Arc::clone(&connector) as _, FleetOptions::default()));
        Ok(OnSite { site, bundle, memory, state, connector, fleet })
    }
}

impl OnSite {
    /// Connects all hosts and gathers their facts.
    pub(crate) async fn look(&self) -> BTreeMap<String, Answer> {
        let hosts: Vec<String> = self.site.nodes.iter().map(|node| node.name.clone()).collect();
        // Asked only once they are connected, so that the moment of the answer says something of the host's clock.
        let connected = self.fleet.connect_all(&hosts).await;
        join_all(connected.into_iter().map(|(host, connected)| async move {
            let answer = match connected {
                Ok(()) => self.ask(&host).await,
                Err(failure) => Answer { facts: Err(words(&failure)), asked_ms: 0, answered_ms: 0 },
            };
            (host, answer)
        }))
        .await
        .into_iter()
        .collect()
    }

    async fn ask(&self, host: &str) -> Answer {
        let asked_ms = unix_ms();
        let facts = self.fleet.facts(&[host.to_owned()]).await.remove(host);
        let facts = facts.unwrap_or_else(|| Err(StepFailure::new("it was not asked")));
        Answer { facts: facts.map_err(|failure| words(&failure)), asked_ms, answered_ms: unix_ms() }
    }

    /// Requires that the site takes the bundle, by all that controller and hosts remember, and gives what they shall remember from now on.
    pub(crate) fn accept(
        &self,
        answers: &BTreeMap<String, Answer>,
        older: &OlderArgs,
    ) -> Result<Memory, Failure> {
        let mut memory = self.memory.clone();
        for (host, answer) in answers {
            // What a host remembers for another site is no concern of this one; that it is another's is told with the findings.
            if let Ok(Facts { trust: Some(text), installed_site: Some(site), .. }) = &answer.facts
                && *site == self.site.name
            {
                memory.merge(host, text)?;
            }
        }
        memory.accept(&self.bundle, older.accept_older.as_deref())?;
        Ok(memory)
    }

    /// What is wrong or odd with the hosts, all of it.
    pub(crate) fn findings(&self, answers: &BTreeMap<String, Answer>) -> Vec<Finding> {
        let catalogue = Catalogue::builtin();
        let chips = catalogue.chips.iter().map(|(name, chip)| {
            let needs = ChipNeeds { kernel: version(&chip.kernel), page_sizes: chip.page_sizes.clone() };
            (name.clone(), needs)
        });
        let (chips, inventory) = (chips.collect(), self.inventory());
        qiji_plan::preflight(Measure { site: &self.site, inventory: &inventory, chips: &chips }, answers)
    }

    /// What the bundle offers to hosts.
    pub(crate) fn inventory(&self) -> Inventory {
        let mut inventory = Inventory::default();
        let index = |name: &str| {
            let found = self.bundle.upstreams().find(|upstream| upstream.name == name);
            found.map(|upstream| upstream.manifest.digest)
        };
        for image in self.bundle.images(None) {
            let blobs = std::iter::once(&image.config).chain(&image.layers).map(blob_ref).collect();
            let host_image = HostImage {
                name: image.name.clone(),
                roles: image.roles.clone(),
                manifest: blob_ref(&image.manifest),
                index: index(&image.name),
                blobs,
            };
            inventory.offers.entry(image.arch).or_default().images.push(host_image);
        }
        for package in Arch::ALL.into_iter().flat_map(|arch| self.bundle.packages(arch)) {
            if package.blobs.iter().any(|blob| blob.media_type == RAW_FILE) {
                continue;
            }
            let host_package = HostPackage {
                name: package.name.clone(),
                version: package.version.clone(),
                roles: package.roles.clone(),
                layers: package.blobs.iter().map(blob_ref).collect(),
            };
            inventory.offers.entry(package.arch).or_default().packages.push(host_package);
        }
        inventory
    }

    /// An engine over the hosts and the bundle.
    pub(crate) fn engine(&self) -> Engine {
        Engine::new(Arc::clone(&self.fleet), Arc::new(BundleBlobs::new(self.bundle.clone())))
    }
}

/// Shows findings, and ends the verb where one of them is a blocker.
pub(crate) fn judge(findings: &[Finding]) -> Result<(), Failure> {
    for finding in findings {
        eprintln!("{finding}");
    }
    let blockers = findings.iter().filter(|finding| finding.severity == Severity::Blocker).count();
    if blockers == 0 {
        return Ok(());
    }
    let failure = Failure::new(
        Kind::Failed,
        format!("{blockers} findings keep the site from being installed; no host was changed"),
    );
    Err(failure.hint("mend them and run the same command again"))
}

/// The facts of the hosts that gave them.
pub(crate) fn facts_of(answers: BTreeMap<String, Answer>) -> BTreeMap<String, Facts> {
    answers.into_iter().filter_map(|(host, answer)| Some((host, answer.facts.ok()?))).collect()
}

fn words(failure: &StepFailure) -> String {
    let reasons = failure.reasons.join(": ");
    failure.hint.as_ref().map_or_else(|| reasons.clone(), |hint| format!("{reasons} ({hint})"))
}

/// Major and minor of a version such as `4.19`; what cannot be read asks for nothing.
fn version(text: &str) -> (u32, u32) {
    let mut parts = text.split('.').map(|part| part.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}

fn blob_ref(blob: &Blob) -> BlobRef {
    BlobRef { digest: blob.digest, size: blob.size }
}

fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
