//! `qiji install BUNDLE`: from a verified bundle to a running site; or on from wherever an installation was interrupted.
//!
//! 1. The bundle is verified, byte by byte.
//! 2. The site is locked against a second installer.
//! 3. All hosts are looked at; a blocker, or a newer bundle that the site has accepted, ends it here.
//! 4. The plan is made and told; from now on the site remembers the bundle as accepted.
//! 5. The engine carries it out; what happened is told once more at the end.

use qiji_engine::{RunReport, SiteLock, SiteState, Work};
use qiji_events::Typical;
use qiji_plan::{Plan, install_plan};

use crate::artifacts::runtime;
use crate::failure::{Classify, Failure};
use crate::runner::{self, Told};
use crate::screen::Style;
use crate::site::{self, OlderArgs, OnSite, SiteArgs};

/// Arguments of `qiji install`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    site: SiteArgs,
    #[command(flatten)]
    older: OlderArgs,
    /// Give events as JSON lines
    #[arg(long)]
    json: bool,
}

/// Installs.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let on_site = args.site.open()?;
    let state = SiteState::open(&on_site.state, &on_site.site.name).failed()?;
    let lock = state.lock().failed()?;
    let typical = Typical::from_events(&state.last_run().unwrap_or_default());
    let style = Style::choose(args.json);
    let runtime = runtime()?;
    let outcome = runtime.block_on(install(&on_site, args, &lock, style, typical));
    runtime.block_on(on_site.fleet.close());
    let (report, told) = outcome?;
    runner::conclude(&on_site.site, &report, &told, style, "the cluster is up")
}

async fn install(
    on_site: &OnSite,
    args: &Args,
    lock: &SiteLock,
    style: Style,
    typical: Typical,
) -> Result<(RunReport, Told), Failure> {
    let answers = on_site.look().await;
    let memory = on_site.accept(&answers, &args.older)?;
    site::judge(&on_site.findings(&answers))?;
    let plan = install_plan(&on_site.site, &on_site.inventory(), &site::facts_of(answers)).input()?;
    let plan = qiji_plan::remembering(plan, &memory.text());
    memory.save()?;
    if style != Style::Json {
        tell(&plan);
    }
    let work = Work { verb: "install".to_owned(), site: on_site.site.name.clone(), plan };
    runner::run(on_site, work, lock, style, typical).await
}

/// The plan in one line a host. `qiji plan` has the whole.
fn tell(plan: &Plan) {
    let mut hosts: Vec<&str> = plan.steps.iter().map(|step| step.host.as_str()).collect();
    hosts.dedup();
    hosts.sort_unstable();
    hosts.dedup();
    for host in hosts {
        let steps = plan.steps.iter().filter(|step| step.host == host);
        let (count, bytes) = steps.fold((0, 0), |(count, bytes), step| (count + 1, bytes + step.bytes()));
        eprintln!("plan for {host}: {count} steps, {} at most", crate::screen::size(bytes));
    }
}
