//! Where a scenario plays: hosts on a network of their own, and an installer that stands in that network.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;
use ipnet::Ipv4Net;
use qiji_hosts::{HostSpec, Kind, Testbed, TestbedSpec};
use tempfile::TempDir;

use crate::{Bundle, Product, Run};

/// Hosts and an installer's laptop. Dropping it removes both.
#[derive(Debug)]
pub struct Field {
    /// The hosts.
    pub testbed: Testbed,
    /// The bundle that is installed.
    pub bundle: Bundle,
    /// The socket of the SSH agent that runs where the installer does.
    pub ssh_agent: Option<PathBuf>,
    product: Product,
    state: TempDir,
    /// Where the site says itself how to log in: the folder of its bundle.
    own_access: Option<TempDir>,
}

/// The hosts of the quickstart site: `cp1`, `w1` and `w2`.
pub fn quickstart_hosts(kind: Kind) -> TestbedSpec {
    let subnet = Ipv4Net::new_assert([10, 20, 1, 0].into(), 24);
    let host =
        |name: &str, last: u8| HostSpec::new(name, Ipv4Net::new_assert([10, 20, 1, last].into(), 24), kind);
    TestbedSpec::new("quickstart", subnet).host(host("cp1", 11)).host(host("w1", 21)).host(host("w2", 22))
}

impl Field {
    /// Starts the hosts of `spec` and makes an installer that has never seen them.
    pub fn start(spec: &TestbedSpec) -> Result<Self> {
        let product = Product::find()?;
        let bundle = Bundle::quickstart(&product)?;
        let state = tempfile::tempdir()?;
        Ok(Self { testbed: Testbed::start(spec)?, bundle, ssh_agent: None, product, state, own_access: None })
    }

    /// From now on the bundle of another site, whose file says itself how to log in and which host keys hold: verbs are told
    /// nothing about either.
    pub fn carry(&mut self, site: &str) -> Result<()> {
        let folder = tempfile::tempdir()?;
        self.bundle = Bundle::of_site(&self.product, folder.path(), site)?;
        self.own_access = Some(folder);
        Ok(())
    }

    /// `qiji VERB` from the installer's place in the site's network, without its arguments.
    pub fn qiji(&self, verb: &str) -> Command {
        let mut command = self.testbed.command(&self.product.qiji().to_string_lossy());
        command.arg(verb).env("QIJI_PASSPHRASE_FILE", &self.bundle.passphrase).env_remove("SSH_AUTH_SOCK");
        command.envs(self.ssh_agent.iter().map(|socket| ("SSH_AUTH_SOCK", socket)));
        command
    }

    /// `qiji VERB BUNDLE …` with the state of this field and, unless the site has its own ways to log in, the hosts' key.
    pub fn on_site(&self, verb: &str) -> Command {
        let mut command = self.reaching(verb);
        command.arg(&self.bundle.file).arg("--trust").arg(&self.bundle.trust);
        command
    }

    /// `qiji VERB …` with the state of this field and, unless the site has its own ways to log in, the hosts' key.
    pub fn reaching(&self, verb: &str) -> Command {
        let mut command = self.qiji(verb);
        command.arg("--state").arg(self.state());
        if self.own_access.is_none() {
            command.arg("--identity").arg(self.testbed.ssh_key()).arg("--accept-host-keys");
        }
        command
    }

    /// Runs `qiji VERB …` on the site to its end.
    pub fn run(&self, verb: &str) -> Result<Run> {
        let mut command = self.on_site(verb);
        if verb == "reset" {
            command.arg("--yes");
        }
        Run::of(&mut command)
    }

    /// Runs `qiji diff --site SITE BUNDLE` to its end.
    pub fn compare_with_hosts(&self) -> Result<Run> {
        Run::of(self.on_site("diff").arg("--site").arg(&self.bundle.site))
    }

    /// The installer's state folder.
    pub fn state(&self) -> PathBuf {
        self.state.path().to_path_buf()
    }

    /// Holds when every check of the running cluster does: each node Ready, and from a pod on each worker a name, a pod
    /// elsewhere and a Service answer.
    pub fn cluster_works(&self) -> Result<()> {
        Run::of(self.on_site("status").arg("--probe"))?.expect(0).map(drop)
    }
}
