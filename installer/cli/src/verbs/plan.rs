//! `qiji plan BUNDLE`: looks at every host and tells what an installation would do. Changes nothing on any host.

use std::collections::BTreeSet;

use qiji_engine::{Standing, Survey};
use qiji_plan::{Plan, StepId, install_plan, render_text};

use crate::answer::answer;
use crate::artifacts::runtime;
use crate::failure::{Classify, Failure, Kind};
use crate::site::{self, OlderArgs, OnSite, SiteArgs};

/// Arguments of `qiji plan`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    site: SiteArgs,
    #[command(flatten)]
    older: OlderArgs,
    /// End with status 3 when there is something to do
    #[arg(long)]
    check: bool,
    /// Answer as JSON
    #[arg(long)]
    json: bool,
}

/// Plans.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let on_site = args.site.open()?;
    let runtime = runtime()?;
    let planned = runtime.block_on(plan(&on_site, args));
    runtime.block_on(on_site.fleet.close());
    let (plan, pending) = planned?;
    if args.json {
        let ids: Vec<&StepId> = pending.iter().collect();
        answer(format!("{:#}", serde_json::json!({ "pending": ids, "steps": plan.steps })))?;
    } else {
        answer(render_text(&plan, Some(&pending)))?;
    }
    if args.check && !pending.is_empty() {
        return Err(Failure::said(Kind::Difference));
    }
    Ok(())
}

async fn plan(on_site: &OnSite, args: &Args) -> Result<(Plan, BTreeSet<StepId>), Failure> {
    let answers = on_site.look().await;
    let memory = on_site.accept(&answers, &args.older)?;
    site::judge(&on_site.findings(&answers))?;
    let plan = install_plan(&on_site.site, &on_site.inventory(), &site::facts_of(answers)).input()?;
    let plan = qiji_plan::remembering(plan, &memory.text());
    let survey = on_site.engine().survey(plan.clone()).await.failed()?;
    Ok((plan.clone(), pending(&plan, &survey)))
}

/// The steps that something is left to do of.
fn pending(plan: &Plan, survey: &Survey) -> BTreeSet<StepId> {
    let standing = plan.steps.iter().zip(survey.standings());
    let left = standing.filter(|(_, standing)| !matches!(standing, Standing::Unchanged));
    left.map(|(step, _)| step.id.clone()).collect()
}
