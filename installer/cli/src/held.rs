//! What the hosts of a site hold of the bundles that were installed on them, asked of the agents that are there.
//!
//! Nothing is put on a host and nothing is changed there. A host that cannot be reached holds nothing, and is told; if none can be, that is a failure.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use qiji_blueprint::Digest;
use qiji_blueprint::site::Site;
use qiji_bundle::{HeldBlob, Inventory};
use qiji_engine::remote::SshConnector;
use qiji_engine::{Fleet, FleetOptions};

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
        let site = self.access.apply(inputs::site_file(path)?.0.site);
        let options = self.access.ssh(&self.state.folder());
        let connector = SshConnector::to_agents_there(&site, Arc::new(Asked::default()), options);
        let fleet = Fleet::new(Arc::new(connector), FleetOptions::default());
        Ok(Some(Hosts { site, fleet }))
    }
}

impl Hosts {
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
        let hosts: Vec<String> = self.site.nodes.iter().map(|node| node.name.clone()).collect();
        let runtime = runtime()?;
        let answers = runtime.block_on(self.fleet.held(&hosts));
        runtime.block_on(self.fleet.close());
        let (mut held, mut silent) = (BTreeMap::new(), Vec::new());
        for (host, answer) in answers {
            match answer {
                Ok(blobs) => held.extend(blobs.into_iter().map(|blob| (blob.digest, blob.size))),
                Err(failure) => silent.push(format!("{host}: {}", failure.reasons.join(": "))),
            }
        }
        for line in &silent {
            eprintln!("warning: not asked what it holds: {line}");
        }
        if silent.len() < hosts.len() {
            return Ok(held);
        }
        let failure = Failure::new(Kind::Failed, "no host could be asked what it holds");
        Err(failure.hint("see the warnings; or write the inventory from the bundles alone, without --site"))
    }
}
