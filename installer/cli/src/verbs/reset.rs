//! `qiji reset BUNDLE --yes`: removes what was installed, so that each host is as it was before. Each host by itself: one that cannot be
//! reached is named, and the others are reset.

use std::collections::BTreeSet;

use futures::future::join_all;
use qiji_engine::{RunReport, SiteLock, SiteState, Work};
use qiji_events::Typical;
use qiji_plan::reset_plan;

use crate::artifacts::runtime;
use crate::failure::{Classify, Failure, Kind};
use crate::runner::{self, Told};
use crate::screen::Style;
use crate::site::{self, OnSite, SiteArgs};

/// Arguments of `qiji reset`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    site: SiteArgs,
    /// The cluster and all data in it shall be gone
    #[arg(long)]
    yes: bool,
    /// Give events as JSON lines
    #[arg(long)]
    json: bool,
}

/// Resets.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    if !args.yes {
        let failure = Failure::new(
            Kind::Input,
            "a reset ends the cluster and removes all data in it; nothing was done",
        );
        return Err(failure.hint("say --yes if that is what you want"));
    }
    let on_site = args.site.open()?;
    let state = SiteState::open(&on_site.state, &on_site.site.name).failed()?;
    let lock = state.lock().failed()?;
    let style = Style::choose(args.json);
    let runtime = runtime()?;
    let outcome = runtime.block_on(reset(&on_site, &lock, style));
    runtime.block_on(on_site.fleet.close());
    let (report, told, unreached) = outcome?;
    if report.is_ok() {
        let mut memory = on_site.memory.clone();
        memory.forget_accepted();
        memory.save()?;
    }
    runner::conclude(&on_site.site, &report, &told, style, "each host is as it was")?;
    if unreached.is_empty() {
        return Ok(());
    }
    let failure = Failure::new(
        Kind::Failed,
        format!("not reset, since they could not be reached: {}", unreached.join("; ")),
    );
    Err(failure.hint("run the same command again when they can be reached"))
}

async fn reset(
    on_site: &OnSite,
    lock: &SiteLock,
    style: Style,
) -> Result<(RunReport, Told, Vec<String>), Failure> {
    let answers = on_site.look().await;
    let unreached =
        answers.iter().filter_map(|(host, answer)| Some(format!("{host}: {}", answer.facts.as_ref().err()?)));
    let unreached: Vec<String> = unreached.collect();
    let plan = reset_plan(&on_site.site, &site::facts_of(answers));
    let hosts: BTreeSet<String> = plan.steps.iter().map(|step| step.host.clone()).collect();
    let work = Work { verb: "reset".to_owned(), site: on_site.site.name.clone(), plan };
    let (report, told) = runner::run(on_site, work, lock, style, Typical::default()).await?;
    if report.is_ok() {
        // The agent is the last thing that leaves a host: it has just put everything else back.
        let removed = join_all(hosts.iter().map(|host| on_site.connector.remove_agent(host))).await;
        removed.into_iter().collect::<Result<Vec<()>, _>>().failed()?;
    }
    Ok((report, told, unreached))
}
