//! Two parties sign what a third has built; the site holds to their policy, whoever comes with which laptop.

use std::process::Command;

use anyhow::{Result, ensure};
use fs_err as fs;
use qiji_hosts::Kind;
use qiji_scenarios::{Bundle, Field, Product, Run, quickstart_hosts};
use tempfile::TempDir;

/// What a site accepted is remembered on its hosts, a policy changes by its own keys, an older bundle must be told by its version.
pub(crate) fn story() -> Result<()> {
    let field = Field::start(&quickstart_hosts(Kind::Nspawn))?;
    let house = House::found()?;
    house.release("1.0.0", &["build", "audit"])?;
    house.release("1.0.1", &["build", "audit"])?;
    house.release("1.0.2", &["build"])?;

    let first = Laptop::new(&field, &house)?;
    first.run("install", "1.0.1", &["--trust", "policy.json"])?.expect(0)?;
    first.run("plan", "1.0.1", &["--check"])?.expect(0)?;

    let second = Laptop::new(&field, &house)?;
    believes_one_key_alone(&second)?;
    audit_hands_over(&house, &first)?;
    for host in field.testbed.hosts() {
        let kept = host.run(&["cat", "/var/lib/qiji/trust.json"])?;
        ensure!(
            kept.contains("application/vnd.qiji.policy.v1+json"),
            "{} did not take the change",
            host.name()
        );
    }
    let older = ["--trust", "build.key.pub", "--accept-older", "1.0.0"];
    second.run("plan", "1.0.0", &older)?.expect(4)?.says("does not satisfy the policy")?;
    Ok(())
}

/// Another laptop knows nothing, and believes one of the keys alone. The hosts know better.
fn believes_one_key_alone(laptop: &Laptop<'_>) -> Result<()> {
    let alone = ["--trust", "build.key.pub"];
    laptop.run("plan", "1.0.2", &[])?.expect(2)?.says("--trust")?;
    laptop.run("install", "1.0.2", &alone)?.expect(4)?.says("1 of the 2 needed signatures")?;
    laptop.run("install", "1.0.0", &alone)?.expect(4)?.says("older than 1.0.1")?;
    laptop.run("plan", "1.0.0", &[&alone[..], &["--accept-older", "1.0.0"]].concat())?.expect(0)?;
    Ok(())
}

/// `next` takes the place of `audit`. One of the two old keys is not enough for that.
fn audit_hands_over(house: &House, laptop: &Laptop<'_>) -> Result<()> {
    let change = ["policy", "propose", "policy.json", "--output", "changed.json", "--remove-key", "audit"];
    house.qiji(&[&change[..], &["--key", "next=next.key.pub"]].concat())?;
    house.qiji(&["sign", "changed.json", "--key", "build.key"])?;
    house.qiji(&["sign", "1.0.1.qiji", "--key", "next.key"])?;
    let changed = ["--trust", "changed.json"];
    laptop.run("install", "1.0.1", &changed)?.expect(4)?.says("is not signed by the keys of version 1")?;
    house.qiji(&["sign", "changed.json", "--key", "audit.key"])?;
    laptop.run("install", "1.0.1", &changed)?.expect(0).map(drop)
}

/// A folder with keys, a policy and releases.
struct House {
    folder: TempDir,
    product: Product,
    /// Made by the same product, so that what releases are made of is at hand.
    quickstart: Bundle,
}

impl House {
    /// Keys `build`, `audit` (SM2) and `next`, and a policy of the first two.
    fn found() -> Result<Self> {
        let product = Product::find()?;
        let quickstart = Bundle::quickstart(&product)?;
        let house = Self { folder: tempfile::tempdir()?, product, quickstart };
        for (key, kind) in [("build.key", "ed25519"), ("audit.key", "sm2"), ("next.key", "ed25519")] {
            house.qiji(&["keygen", "--output", key, "--kind", kind])?;
        }
        let init = ["policy", "init", "--output", "policy.json", "--threshold", "2", "--channel", "stable"];
        house
            .qiji(&[&init[..], &["--key", "build=build.key.pub", "--key", "audit=audit.key.pub"]].concat())?;
        Ok(house)
    }

    /// Builds a version of the quickstart unsigned, and has it signed by one key after another.
    fn release(&self, version: &str, signers: &[&str]) -> Result<()> {
        let site = fs::read_to_string(&self.quickstart.site)?;
        let site = site.replace("version=\"1.0.0\"", &format!("version=\"{version}\""));
        fs::write(self.folder.path().join("site.kdl"), site)?;
        let file = format!("{version}.qiji");
        self.qiji(&["lock", "site.kdl"])?;
        self.qiji(&["build", "site.kdl", "--output", &file, "--unsigned"])?;
        signers.iter().try_for_each(|key| self.qiji(&["sign", &file, "--key", &format!("{key}.key")]))
    }

    fn qiji(&self, args: &[&str]) -> Result<()> {
        let mut command = Command::new(self.product.qiji());
        command.args(args).current_dir(self.folder.path());
        command.env("QIJI_PASSPHRASE_FILE", &self.quickstart.passphrase);
        Run::of(&mut command)?.expect(0).map(drop)
    }
}

/// An installer that has never seen the site.
struct Laptop<'a> {
    field: &'a Field,
    house: &'a House,
    state: TempDir,
}

impl<'a> Laptop<'a> {
    fn new(field: &'a Field, house: &'a House) -> Result<Self> {
        Ok(Self { field, house, state: tempfile::tempdir()? })
    }

    fn run(&self, verb: &str, version: &str, args: &[&str]) -> Result<Run> {
        let folder = self.house.folder.path();
        let mut command = self.field.qiji(verb);
        command.current_dir(folder).arg(folder.join(format!("{version}.qiji"))).args(args);
        command.arg("--state").arg(self.state.path());
        command.arg("--identity").arg(self.field.testbed.ssh_key()).arg("--accept-host-keys");
        Run::of(&mut command)
    }
}
