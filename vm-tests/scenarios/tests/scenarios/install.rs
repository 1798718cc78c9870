//! A bare site of three hosts gets its cluster from the bundle alone, is asked whether it works, is installed once more, and
//! is given back as it was.

use anyhow::{Result, ensure};
use qiji_hosts::{Area, Difference, HostState, Kind};
use qiji_scenarios::{Field, quickstart_hosts};

pub(crate) fn story() -> Result<()> {
    let field = Field::start(&quickstart_hosts(Kind::Nspawn))?;
    let before = snapshots(&field)?;

    field.run("install")?.expect(0)?;
    field.cluster_works()?;
    nothing_left_the_site(&field)?;

    field.run("install")?.expect(0)?.says("nothing to change")?;
    field.run("status")?.expect(0)?.says("Ready")?;

    field.run("reset")?.expect(0)?;
    hosts_are_as_they_were(&field, &before)?;
    nothing_left_the_site(&field)?;
    let proof = field.testbed.prove_count("w1")?;
    ensure!(!proof.is_nothing(), "the count of escaped packets does not count");
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
