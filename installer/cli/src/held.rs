//! What the hosts of a site hold of the bundles that were installed on them, asked of the agents that are there.
//!
//! Nothing is put on a host and nothing is changed there. A host that cannot be reached holds nothing, and is told; if none can be, that is a failure.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use qiji_blueprint::Digest;
use qiji_blueprint::site::Site;
use qiji_bundle::diff::{HostHoldings, Item};
use qiji_bundle::{BlobSource, HeldBlob, Inventory};
use qiji_engine::remote::SshConnector;
use qiji_engine::{Answers, Fleet, FleetOptions};
use qiji_plan::{BlobRef, Found};
use tokio::runtime::Runtime;

use crate::artifacts::runtime;
use crate::failure::{Failure, Kind};
use crate::folders::StateArgs;
use crate::inputs::{self, AccessArgs};
use crate::secrets::Asked;

/// Hosts that are asked.
#[derive(Debug, clap::Args)]
pub(crate) struct HostsArgs {
    /// Ask the hosts of this site what they hold
    #[arg(long, value_name = "SITE.kdl")]
    site: Option<PathBuf>,
    #[command(flatten)]
    access: AccessArgs,
    #[command(flatten)]
    state: StateArgs,
}

/// The hosts of a site.
pub(crate) struct Hosts {
    site: Site,
    fleet: Fleet,
}

impl HostsArgs {
    /// Makes ready to reach the hosts, if a site was named.
    pub(crate) fn open(&self) -> Result<Option<Hosts>, Failure> {
        let Some(path) = &self.site else { return Ok(None) };
        Hosts::of(path, &self.access, &self.state.folder()).map(Some)
    }
}

impl Hosts {
    /// Makes ready to reach the hosts of the site in this file.
    pub(crate) fn of(site: &Path, access: &AccessArgs, state: &Path) -> Result<Self, Failure> {
        let site = access.apply(inputs::site_file(site)?.0.site);
        let options = access.ssh(state);
        let connector = SshConnector::to_agents_there(&site, Arc::new(Asked::default()), options);
        let fleet = Fleet::new(Arc::new(connector), FleetOptions::default());
        Ok(Self { site, fleet })
    }

    /// The blobs that the hosts hold, as a source of them; `folder` is for those that are under way.
    pub(crate) fn blobs(self, folder: &Path) -> Result<HostBlobs, Failure> {
        let runtime = runtime()?;
        let answers = runtime.block_on(self.fleet.held(&self.names()));
        let mut held: BTreeMap<Digest, Held> = BTreeMap::new();
        for (host, blobs) in heard(answers)?.0 {
            for blob in blobs {
                let one =
                    held.entry(blob.digest).or_insert_with(|| Held { size: blob.size, hosts: Vec::new() });
                one.hosts.push(host.clone());
            }
        }
        Ok(HostBlobs { fleet: self.fleet, runtime, held, folder: folder.to_owned() })
    }

    /// Leaves in the inventory what some host holds, and adds what hosts hold besides.
    pub(crate) fn narrow(&self, inventory: &mut Inventory) -> Result<(), Failure> {
        let held = self.held()?;
        inventory.retain(|digest, size| held.get(digest) == Some(&size));
        for (digest, size) in held {
            let unknown = HeldBlob { size, bundle: 0, uses: Vec::new() };
            inventory.blobs.entry(digest).or_insert(unknown);
        }
        Ok(())
    }

    /// All blobs that are on some host.
    fn held(&self) -> Result<BTreeMap<Digest, u64>, Failure> {
        let (answers, _) = self.ask(async |fleet, hosts| fleet.held(hosts).await)?;
        Ok(answers.into_values().flatten().map(|blob| (blob.digest, blob.size)).collect())
    }

    /// What each host holds of what bundles brought there, and the hosts that could not be asked.
    pub(crate) fn found(&self) -> Result<Heard<HostHoldings>, Failure> {
        let (mut answers, silent) = self.ask(async |fleet, hosts| fleet.found(hosts).await)?;
        let nodes = self.site.nodes.iter();
        let found = nodes.filter_map(|node| {
            let (files, images) = answers.remove(&node.name)?;
            let holdings = HostHoldings {
                arch: node.arch,
                role: node.role,
                images: images.into_iter().map(|image| (image.name, image.digest)).collect(),
                files: files.into_iter().map(|file| (file.path, item(file.what))).collect(),
            };
            Some((node.name.clone(), holdings))
        });
        Ok((found.collect(), silent))
    }

    /// Asks all hosts, and ends the connections.
    fn ask<T>(&self, ask: impl AsyncFnOnce(&Fleet, &[String]) -> Answers<T>) -> Result<Heard<T>, Failure> {
        let (hosts, runtime) = (self.names(), runtime()?);
        let answers = runtime.block_on(ask(&self.fleet, &hosts));
        runtime.block_on(self.fleet.close());
        heard(answers)
    }

    /// Name of the site.
    pub(crate) fn site(&self) -> &str {
        &self.site.name
    }

    fn names(&self) -> Vec<String> {
        self.site.nodes.iter().map(|node| node.name.clone()).collect()
    }
}

/// The answers of hosts that gave one, and the names of the others.
type Heard<T> = (BTreeMap<String, T>, Vec<String>);

/// Parts the hosts that answered from the others, which are told.
fn heard<T>(answers: Answers<T>) -> Result<Heard<T>, Failure> {
    let (mut heard, mut silent) = (BTreeMap::new(), Vec::new());
    for (host, answer) in answers {
        match answer {
            Ok(answer) => drop(heard.insert(host, answer)),
            Err(failure) => {
                eprintln!("warning: not asked what it holds: {host}: {}", failure.reasons.join(": "));
                silent.push(host);
            }
        }
    }
    if !heard.is_empty() {
        return Ok((heard, silent));
    }
    let failure = Failure::new(Kind::Failed, "no host could be asked what it holds");
    Err(failure.hint("see the warnings; or name bundles that the site was installed from, without --site"))
}

fn item(found: Found) -> Item {
    match found {
        Found::File { digest, size, mode } => Item::file(digest, size, mode),
        Found::Link { target } => Item::link(&target),
    }
}

/// A blob that hosts hold.
#[derive(Debug)]
struct Held {
    size: u64,
    hosts: Vec<String>,
}

/// Blobs that hosts hold. One is fetched into a file without a name when it is first read; whoever reads it compares it with its digest.
pub(crate) struct HostBlobs {
    fleet: Fleet,
    runtime: Runtime,
    held: BTreeMap<Digest, Held>,
    folder: PathBuf,
}

impl HostBlobs {
    /// Ends the connections.
    pub(crate) fn close(self) {
        self.runtime.block_on(self.fleet.close());
    }

    /// Fetches from the first host that gives all of it.
    fn fetch(&self, digest: Digest, held: &Held) -> io::Result<File> {
        let blob = BlobRef { digest, size: held.size };
        let mut reasons = Vec::new();
        for host in &held.hosts {
            let mut file = tempfile::tempfile_in(&self.folder)?;
            let mut take = |piece: &[u8]| file.write_all(piece);
            match self.runtime.block_on(self.fleet.read_blob(host, blob, &mut take)) {
                Ok(()) => {
                    file.rewind()?;
                    return Ok(file);
                }
                Err(failure) => reasons.push(format!("{host}: {failure}")),
            }
        }
        Err(io::Error::other(format!("no host gives blob {}: {}", digest.short(), reasons.join("; "))))
    }
}

impl BlobSource for HostBlobs {
    fn open(&self, digest: &Digest) -> io::Result<Box<dyn Read + '_>> {
        let held = self.held.get(digest).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(Fetched { blobs: self, digest: *digest, held, file: None }))
    }
}

/// A blob that is fetched when it is first read.
struct Fetched<'a> {
    blobs: &'a HostBlobs,
    digest: Digest,
    held: &'a Held,
    file: Option<File>,
}

impl Read for Fetched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.file.is_none() {
            self.file = Some(self.blobs.fetch(self.digest, self.held)?);
        }
        self.file.as_mut().map_or(Ok(0), |file| file.read(buffer))
    }
}
