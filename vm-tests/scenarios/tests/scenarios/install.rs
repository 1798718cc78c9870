//! A bare site of three hosts gets its cluster from the bundle alone, is asked whether it works, is installed once more, and
//! is given back as it was.

use anyhow::{Result, ensure};
use fs_err as fs;
use qiji_hosts::{Area, Difference, HostState, Kind};
use qiji_scenarios::{Bundle, Field, Product, Run, quickstart_hosts};

pub(crate) fn story() -> Result<()> {
    let field = Field::start(&quickstart_hosts(Kind::Nspawn))?;
    let before = snapshots(&field)?;

    field.run("install")?.expect(0)?;
    field.cluster_works()?;
    nothing_left_the_site(&field)?;

    field.run("install")?.expect(0)?.says("nothing to change")?;
    field.run("status")?.expect(0)?.says("Ready")?;
    another_laptop_needs_the_delta_alone(&field)?;
    what_differs_is_told(&field)?;

    field.run("reset")?.expect(0)?;
    hosts_are_as_they_were(&field, &before)?;
    nothing_left_the_site(&field)?;
    let proof = field.testbed.prove_count("w1")?;
    ensure!(!proof.is_nothing(), "the count of escaped packets does not count");
    Ok(())
}

/// The hosts hold the old release: a delta against what they say they hold is all that a laptop which has never seen them must carry.
fn another_laptop_needs_the_delta_alone(field: &Field) -> Result<()> {
    let product = Product::find()?;
    let folder = tempfile::tempdir()?;
    let text = fs::read_to_string(&field.bundle.site)?;
    let next = text.replacen("version=\"1.0.0\"", "version=\"1.0.1\"", 1);
    let next = Bundle::of_site(&product, folder.path(), &next)?;
    let (inventory, delta) = (folder.path().join("inventory"), folder.path().join("delta.qiji"));
    let mut ask = field.reaching("inventory");
    ask.arg(&field.bundle.file).arg("--site").arg(&field.bundle.site).arg("--output").arg(&inventory);
    Run::of(&mut ask)?.expect(0)?;
    let mut make = field.qiji("delta");
    make.arg(&next.file).arg("--against").arg(&inventory).arg("--base").arg(&field.bundle.file);
    Run::of(make.arg("--output").arg(&delta).arg("--key").arg(&next.key))?.expect(0)?;
    let (whole, small) = (fs::metadata(&next.file)?.len(), fs::metadata(&delta)?.len());
    // The tools themselves are on no host as they are in the bundle.
    ensure!(small < whole / 3, "the delta has {small} bytes, the bundle {whole}");

    let laptop = folder.path().join("laptop");
    let plan = || {
        let mut plan = field.qiji("plan");
        plan.arg(&delta).arg("--trust").arg(&next.trust).arg("--state").arg(&laptop);
        plan.arg("--identity").arg(field.testbed.ssh_key()).arg("--accept-host-keys");
        plan
    };
    Run::of(&mut plan())?.expect(1)?.says("the site lacks what the delta builds on")?;
    Run::of(plan().arg("--base-from").arg(&field.bundle.site))?
        .expect(0)?
        .says("rebuilt quickstart 1.0.1")?;
    Ok(())
}

/// The bundle is compared with the hosts: they hold it, until somebody changes a file on one of them.
fn what_differs_is_told(field: &Field) -> Result<()> {
    field.compare_with_hosts()?.expect(0)?.says("no difference")?;
    let changed = "for file in /opt/qiji/packages/cni-*/opt/cni/bin/loopback; do echo >> $file; done";
    ensure!(field.testbed.host("w1")?.exec(&["sh", "-c", changed])?.ok(), "w1's file was not changed");
    let run = field.compare_with_hosts()?.expect(3)?;
    ensure!(run.stdout.contains("hosts' files (1)"), "more or less than one file differs: {run}");
    run.says("~ cni/opt/cni/bin/loopback (amd64)")?.says("on w1\n")?;
    Ok(())
}

fn snapshots(field: &Field) -> Result<Vec<HostState>> {
    field.testbed.hosts().iter().map(|host| Ok(host.snapshot()?)).collect()
}

fn hosts_are_as_they_were(field: &Field, before: &[HostState]) -> Result<()> {
    let mut left = Vec::new();
    for (host, before) in field.testbed.hosts().iter().zip(before) {
        let differences = before.diff(&host.snapshot()?);
        left.extend(
            differences
                .iter()
                .filter(|found| !is_explained(found))
                .map(|found| format!("{}: {found}", host.name())),
        );
    }
    ensure!(left.is_empty(), "reset left these behind:\n{}", left.join("\n"));
    Ok(())
}

/// The differences that a reset may leave, each with its reason. `docs/hosts.md` tells them to the site's owner.
fn is_explained(difference: &Difference) -> bool {
    // Modules that were loaded stay loaded, and with them the defaults of the links they made.
    difference.area == Area::Parameter && difference.name.starts_with("net.bridge.")
}

fn nothing_left_the_site(field: &Field) -> Result<()> {
    let escaped = field.testbed.escaped()?;
    ensure!(escaped.is_nothing(), "packets left the site: {escaped}");
    Ok(())
}
