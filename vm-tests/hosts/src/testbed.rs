//! A testbed: one site from start to end.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread;

use fs_err as fs;

use crate::command::run;
use crate::net::{Network, path};
use crate::site::Site;
use crate::{Escaped, Host, HostsError, Kind, TestbedSpec, base, disk, requirements, sweep};

/// A running site. Dropping it removes everything of it.
#[derive(Debug)]
pub struct Testbed {
    spec: Arc<TestbedSpec>,
    network: Network,
    /// Before the site: hosts are waited for first.
    hosts: Vec<Host>,
    site: Guard,
}

/// Removes the site when it goes away, also from a start that failed half-way.
#[derive(Debug)]
struct Guard(Site);

impl Drop for Guard {
    fn drop(&mut self) {
        if let Err(error) = self.0.remove() {
            eprintln!("{error}");
        }
    }
}

impl Testbed {
    /// Starts the site that `spec` describes and waits until every host is up.
    ///
    /// # Errors
    /// [`HostsError::Spec`] and [`HostsError::Missing`] name everything at once; after any error nothing is left behind.
    pub fn start(spec: &TestbedSpec) -> Result<Self, HostsError> {
        spec.check()?;
        let missing: Vec<_> = requirements::of_spec(spec);
        if !missing.is_empty() {
            return Err(HostsError::Missing(missing));
        }
        sweep()?;
        // Once, and before anything else: all hosts of a kind wait for the same base.
        for host in spec.hosts.iter().filter(|host| host.kind == Kind::Nspawn) {
            base::base(&host.extra_packages)?;
        }
        let site = Guard(Site::claim(&spec.name)?);
        let network = Network::new(&site.0.id);
        network.create(spec)?;
        let mut testbed = Self { spec: Arc::new(spec.clone()), network, hosts: Vec::new(), site };
        disk::make_key(&testbed.ssh_key(), "qiji-hosts")?;
        testbed.start_hosts()?;
        fs::write(testbed.known_hosts(), testbed.known_hosts_text()?)?;
        Ok(testbed)
    }

    /// The host `name`.
    pub fn host(&self, name: &str) -> Result<&Host, HostsError> {
        self.hosts.iter().find(|host| host.name() == name).ok_or_else(|| HostsError::NoHost(name.to_owned()))
    }

    /// All hosts, in the order of the specification.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// The site's folder on the machine, mode 0700; it goes away with the site.
    pub fn dir(&self) -> &Path {
        &self.site.0.dir
    }

    /// The private key (Ed25519, mode 0600, no passphrase) that `root` and `ops` of each host accept.
    pub fn ssh_key(&self) -> PathBuf {
        self.dir().join("id_ed25519")
    }

    /// A `known_hosts` file with each host's key under its addresses and its name.
    pub fn known_hosts(&self) -> PathBuf {
        self.dir().join("known_hosts")
    }

    /// A command that runs `program` on the machine, but in the site's network: where the controller stands.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", path(&self.network.site()))).args(["--", program]);
        command
    }

    /// What left the site since it started.
    pub fn escaped(&self) -> Result<Escaped, HostsError> {
        self.network.escaped()
    }

    /// Removes the site and tells what could not be removed; dropping the testbed only prints that.
    pub fn stop(mut self) -> Result<(), HostsError> {
        self.hosts.clear();
        self.site.0.remove()
    }

    /// Makes all disks and boots all hosts, each in a thread of its own. The first error is given back.
    fn start_hosts(&mut self) -> Result<(), HostsError> {
        let key = fs::read_to_string(self.ssh_key().with_extension("pub"))?;
        let (site, spec) = (&self.site.0, &self.spec);
        let started: Vec<Result<Host, HostsError>> = thread::scope(|scope| {
            let start = |index: usize| {
                let dir = site.dir.join("hosts").join(&spec.hosts[index].name);
                let root = disk::create(&dir, &spec.hosts[index], &key)?;
                let host = Host::new(site, spec, index, root);
                host.power_on()?;
                Ok(host)
            };
            let threads: Vec<_> =
                (0..spec.hosts.len()).map(|index| scope.spawn(move || start(index))).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect()
        });
        for host in started {
            self.hosts.push(host?);
        }
        Ok(())
    }

    fn known_hosts_text(&self) -> Result<String, HostsError> {
        let mut text = String::new();
        for host in &self.hosts {
            let names = host.spec().addresses.iter().map(|address| address.addr().to_string());
            let names: Vec<String> = names.chain([host.name().to_owned()]).collect();
            let _ = writeln!(text, "{} {}", names.join(","), host.ssh_host_key()?);
        }
        Ok(text)
    }

    /// Proves that the count of [`Testbed::escaped`] works: sends one packet from `host` to an address that is nowhere
    /// (192.0.2.1, RFC 5737) and gives back by how much the count rose.
    pub fn prove_count(&self, host: &str) -> Result<Escaped, HostsError> {
        let before = self.escaped()?;
        let netns = self.network.of_host(self.host(host)?.name());
        let script = "exec 3<>/dev/udp/192.0.2.1/9 && echo >&3";
        run("nsenter", &[&format!("--net={}", path(&netns)), "--", "bash", "-c", script])?;
        let after = self.escaped()?;
        Ok(Escaped {
            packets: after.packets - before.packets,
            bytes: after.bytes - before.bytes,
            filtered: after.filtered - before.filtered,
            detail: after.detail,
        })
    }
}
