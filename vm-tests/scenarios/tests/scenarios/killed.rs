//! The installer is killed with SIGKILL in the middle of its work. Run again, it goes on, and the cluster comes up; nobody
//! cleans anything by hand.

use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use qiji_hosts::Kind;
use qiji_scenarios::{Field, quickstart_hosts};

/// How many moments are tried, spread evenly over the first four fifths of an installation: no two take the same time, and one that has
/// ended cannot be killed.
const MOMENTS: u32 = 10;

/// One moment: half-way through.
pub(crate) fn once() -> Result<()> {
    let field = Field::start(&quickstart_hosts(Kind::Nspawn))?;
    // Long enough to be in the middle of the control plane's start, short enough to be before its end.
    kill_after(&field, Duration::from_secs(8))?;
    field.run("install")?.expect(0)?;
    field.cluster_works()
}

/// Ten moments of an installation of known length, each on hosts that `reset` made bare again.
pub(crate) fn ten_times() -> Result<()> {
    let field = Field::start(&quickstart_hosts(Kind::Nspawn))?;
    let begun = Instant::now();
    field.run("install")?.expect(0)?;
    let whole = begun.elapsed();
    for moment in 0..MOMENTS {
        field.run("reset")?.expect(0)?;
        let after = whole * 4 / 5 * (2 * moment + 1) / (2 * MOMENTS);
        println!("killing after {:.1} s of {:.1} s", after.as_secs_f64(), whole.as_secs_f64());
        kill_after(&field, after)?;
        let told = || format!("after the kill at {:.1} s", after.as_secs_f64());
        field.run("install")?.expect(0).with_context(told)?;
        field.cluster_works().with_context(told)?;
    }
    Ok(())
}

fn kill_after(field: &Field, time: Duration) -> Result<()> {
    let mut installer =
        field.on_site("install").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    sleep(time);
    ensure!(installer.try_wait()?.is_none(), "the installation ended before it could be killed");
    installer.kill()?;
    installer.wait()?;
    Ok(())
}
