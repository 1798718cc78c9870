//! `qiji rehearse SITE.kdl`: proves a bundle before it travels.
//!
//! 1. Everything that this machine lacks is listed at once.
//! 2. The bundle is taken, or locked and built; it must be of this very site.
//! 3. Hosts with the site's names and addresses are started on a network with no way out.
//! 4. The bundle is installed by this same program, standing in the site's network.
//! 5. The cluster is asked from pods on each worker; packets that tried to leave are counted.
//! 6. A report is written and signed, whether it went well or not. The hosts are removed in any case.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use fs_err as fs;
use ipnet::{IpNet, Ipv4Net};
use qiji_blueprint::site::{Arch, Site};
use qiji_bundle::{SigningKey, Verified, seal};
use qiji_engine::SiteState;
use qiji_hosts::{HostSpec, Kind as HostKind, Subnet, Testbed, TestbedSpec, requirements};
use serde::Serialize;
use serde_json::Value;

use crate::artifacts::ArtifactArgs;
use crate::failure::{Classify, Failure, Kind};
use crate::folders::StoreArgs;
use crate::inputs::{self, SITE_DOCUMENT};
use crate::signer::SignersArgs;
use crate::trust::TrustArgs;
use crate::verbs::build;

/// Payload type of the signed report.
const REPORT_TYPE: &str = "application/vnd.qiji.rehearsal.v1+json";

/// Arguments of `qiji rehearse`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The site file
    #[arg(value_name = "SITE.kdl")]
    site: PathBuf,
    /// The bundle to rehearse; without it, one is locked and built
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
    /// Public key that the bundle must be signed with, or a policy file; the signing keys' own unless given
    #[arg(long, value_name = "FILE")]
    trust: Vec<PathBuf>,
    /// File for the report; its signed form goes beside it, as REPORT.dsse
    #[arg(long, value_name = "REPORT", default_value = "rehearsal.json")]
    report: PathBuf,
    #[command(flatten)]
    signers: SignersArgs,
    #[command(flatten)]
    store: StoreArgs,
}

/// What a rehearsal found.
#[derive(Debug, Serialize)]
struct Report {
    site: String,
    version: String,
    /// Digest of the bundle's root index: the same bundle has the same.
    bundle_root: String,
    bundle_bytes: u64,
    qiji: &'static str,
    /// Seconds since 1970 at which it began.
    began_unix_s: u64,
    seconds_hosts: f64,
    seconds_install: f64,
    seconds_again: f64,
    bytes_sent: u64,
    /// What `qiji status --probe --json` answered.
    cluster: Value,
    /// Packets that hosts sent to anywhere outside the site, by the count of the link and of the packet filter.
    packets_escaped: [u64; 2],
    escaped: String,
    ok: bool,
}

/// Rehearses the site.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let began_unix_s = SystemTime::now().duration_since(UNIX_EPOCH).failed()?.as_secs();
    let (checked, _) = inputs::site_file(&args.site)?;
    fits_this_machine(&checked.site)?;
    let keys = args.signers.load_some()?;
    let scratch = tempfile::tempdir().failed()?;
    let bundle_file = match &args.bundle {
        Some(file) => file.clone(),
        None => build_one(args, &keys, scratch.path())?,
    };
    let trust = trusted(args, &keys, scratch.path())?;
    let bundle = inputs::verify_with(&bundle_file, &TrustArgs::of(trust.clone()))?;
    same_site(&bundle, &checked.site)?;

    let stage = Stage::start(&checked.site, &bundle_file, &trust, scratch.path())?;
    let report = stage.play(&bundle, began_unix_s)?;
    write_report(&args.report, &report, &keys)?;
    if report.ok {
        return Ok(());
    }
    Err(Failure::new(Kind::Failed, "the rehearsal failed").hint(format!("see {}", args.report.display())))
}

/// Lists all that this machine lacks, at once.
fn fits_this_machine(site: &Site) -> Result<(), Failure> {
    let mut lacks: Vec<String> = requirements(HostKind::Nspawn).iter().map(ToString::to_string).collect();
    let own = Arch::ALL.into_iter().find(|arch| arch.machine() == std::env::consts::ARCH);
    let foreign = site.nodes.iter().filter(|node| Some(node.arch) != own);
    lacks.extend(foreign.map(|node| {
        format!("{} is {}, and this machine is {}", node.name, node.arch, std::env::consts::ARCH)
    }));
    let v6 = site.nodes.iter().filter(|node| node.address.is_ipv6());
    lacks.extend(v6.map(|node| format!("{} has an IPv6 address; rehearsals have IPv4 only", node.name)));
    if lacks.is_empty() {
        return Ok(());
    }
    Err(Failure::rendered(
        Kind::Failed,
        format!("error: this machine cannot rehearse the site:\n  {}", lacks.join("\n  ")),
    ))
}

fn build_one(args: &Args, keys: &[SigningKey], scratch: &Path) -> Result<PathBuf, Failure> {
    let output = scratch.join("rehearsal.qiji");
    build::build(
        &build::Order {
            site: &args.site,
            lock: None,
            output: &output,
            store: &args.store.folder(),
            artifacts: &ArtifactArgs::default(),
            channel: build::CHANNEL,
            against: None,
        },
        keys,
    )?;
    Ok(output)
}

/// The keys that the bundle is held to.
fn trusted(args: &Args, keys: &[SigningKey], scratch: &Path) -> Result<Vec<PathBuf>, Failure> {
    if !args.trust.is_empty() {
        return Ok(args.trust.clone());
    }
    let own = |(at, key): (usize, &SigningKey)| {
        let file = scratch.join(format!("signer-{at}.pub"));
        fs::write(&file, key.public().to_pem()).failed().map(|()| file)
    };
    keys.iter().enumerate().map(own).collect()
}

fn same_site(bundle: &Verified, site: &Site) -> Result<(), Failure> {
    if inputs::site_of(bundle)? == *site {
        return Ok(());
    }
    let failure =
        Failure::new(Kind::Input, format!("the bundle's {SITE_DOCUMENT} is not what the site file says now"));
    Err(failure
        .hint("run `qiji lock` and `qiji build` again, or give the site file that the bundle was built from"))
}

/// Hosts, and an installer that stands among them.
struct Stage<'a> {
    testbed: Testbed,
    bundle: &'a Path,
    trust: &'a [PathBuf],
    state: PathBuf,
    site: &'a Site,
    seconds: f64,
}

impl<'a> Stage<'a> {
    fn start(
        site: &'a Site,
        bundle: &'a Path,
        trust: &'a [PathBuf],
        scratch: &Path,
    ) -> Result<Self, Failure> {
        let begun = Instant::now();
        eprintln!("starting {} hosts with no way out", site.nodes.len());
        let testbed = Testbed::start(&spec(site)?).failed()?;
        let seconds = begun.elapsed().as_secs_f64();
        eprintln!("{} hosts are up after {seconds:.1} s", site.nodes.len());
        Ok(Self { testbed, bundle, trust, state: scratch.join("state"), site, seconds })
    }

    fn play(&self, bundle: &Verified, began_unix_s: u64) -> Result<Report, Failure> {
        let (installed, seconds_install) = self.install()?;
        let first =
            SiteState::open(&self.state, &self.site.name).and_then(|state| state.last_run()).failed()?;
        let (again, seconds_again) = if installed { self.install()? } else { (false, 0.0) };
        let cluster = if installed { self.ask()? } else { Value::Null };
        let escaped = self.testbed.escaped().failed()?;
        let breakdown = qiji_events::report(&first);
        println!("{breakdown}");
        println!("packets that left the site: {escaped}");
        Ok(Report {
            site: self.site.name.clone(),
            version: self.site.version.to_string(),
            bundle_root: bundle.root().to_string(),
            bundle_bytes: bundle.size(),
            qiji: env!("CARGO_PKG_VERSION"),
            began_unix_s,
            seconds_hosts: self.seconds,
            seconds_install,
            seconds_again,
            bytes_sent: breakdown.hosts.iter().map(|host| host.bytes).sum(),
            ok: installed && again && cluster["ok"] == true && escaped.is_nothing(),
            cluster,
            packets_escaped: [escaped.packets, escaped.filtered],
            escaped: escaped.to_string(),
        })
    }

    fn install(&self) -> Result<(bool, f64), Failure> {
        let begun = Instant::now();
        let status = self.qiji("install")?.status().failed()?;
        Ok((status.success(), begun.elapsed().as_secs_f64()))
    }

    /// Asks the cluster, and shows the answers.
    fn ask(&self) -> Result<Value, Failure> {
        let output =
            self.qiji("status")?.args(["--probe", "--json"]).stdout(Stdio::piped()).output().failed()?;
        let answer: Value = serde_json::from_slice(&output.stdout).failed()?;
        for found in answer["probe"].as_array().into_iter().flatten() {
            let word = if found["ok"] == true { "answers" } else { "DOES NOT ANSWER" };
            let text = |name: &str| found[name].as_str().unwrap_or_default().to_owned();
            println!("from {}: {} {word} ({})", text("from"), text("question"), text("said"));
        }
        Ok(answer)
    }

    /// `qiji VERB` in the site's network, with the testbed's key.
    fn qiji(&self, verb: &str) -> Result<Command, Failure> {
        let own = std::env::current_exe().failed()?;
        let mut command = self.testbed.command(&own.to_string_lossy());
        command.arg(verb).arg(self.bundle);
        self.trust.iter().for_each(|key| {
            command.arg("--trust").arg(key);
        });
        command.arg("--state").arg(&self.state).arg("--identity").arg(self.testbed.ssh_key());
        command.args(["--user", "root", "--accept-host-keys"]).stdin(Stdio::null());
        Ok(command)
    }
}

/// Hosts of the site's names and addresses.
fn spec(site: &Site) -> Result<TestbedSpec, Failure> {
    let nets = subnets(site)?;
    let mut spec = TestbedSpec { name: site.name.clone(), subnets: Vec::new(), hosts: Vec::new() };
    for node in &site.nodes {
        let IpAddr::V4(address) = node.address else { continue };
        let net = nets.iter().find(|net| net.contains(&address));
        let net = net.ok_or_else(|| {
            Failure::new(Kind::Input, format!("{} lies in no subnet of the site", node.name))
        })?;
        spec.hosts.push(HostSpec::new(
            &node.name,
            Ipv4Net::new_assert(address, net.prefix_len()),
            HostKind::Nspawn,
        ));
    }
    spec.subnets = nets.into_iter().map(|net| Subnet { net, gateway: gateway(net, site) }).collect();
    Ok(spec)
}

/// The site's subnets, or the /24 of each host where it does not name any.
fn subnets(site: &Site) -> Result<Vec<Ipv4Net>, Failure> {
    let named: BTreeSet<Ipv4Net> = site
        .network
        .hosts
        .iter()
        .filter_map(|net| match net {
            IpNet::V4(net) => Some(net.trunc()),
            IpNet::V6(_) => None,
        })
        .collect();
    if !named.is_empty() {
        return Ok(named.into_iter().collect());
    }
    let around = site.nodes.iter().filter_map(|node| match node.address {
        IpAddr::V4(address) => Some(Ipv4Net::new(address, 24)),
        IpAddr::V6(_) => None,
    });
    let nets: Result<BTreeSet<_>, _> = around.map(|net| net.map(|net| net.trunc())).collect();
    Ok(nets.failed()?.into_iter().collect())
}

/// The last address of the subnet that no host has.
fn gateway(net: Ipv4Net, site: &Site) -> std::net::Ipv4Addr {
    let taken: BTreeSet<IpAddr> = site.nodes.iter().map(|node| node.address).collect();
    let last = u32::from(net.broadcast());
    let free = (1..=254)
        .map(|step| std::net::Ipv4Addr::from(last - step))
        .find(|address| !taken.contains(&IpAddr::V4(*address)));
    free.unwrap_or_else(|| net.network())
}

fn write_report(path: &Path, report: &Report, keys: &[SigningKey]) -> Result<(), Failure> {
    let text = serde_json::to_vec_pretty(report).failed()?;
    fs::write(path, &text).failed()?;
    let mut signed = path.as_os_str().to_owned();
    signed.push(".dsse");
    fs::write(PathBuf::from(signed), seal(REPORT_TYPE, &text, &keys.iter().collect::<Vec<_>>())).failed()?;
    let verdict = if report.ok { "the site comes up from this bundle alone" } else { "the rehearsal failed" };
    let signers: Vec<_> = keys.iter().map(|key| key.public().id().to_string()).collect();
    println!("{verdict}; report {} (signed by {})", path.display(), signers.join(", "));
    Ok(())
}
