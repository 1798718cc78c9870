//! `qiji check SITE.kdl`: all faults of a site file at once.

use std::path::PathBuf;

use fs_err as fs;
use qiji_blueprint::Catalogue;
use serde_json::json;

use crate::answer::answer;
use crate::failure::{Classify, Failure, Kind};
use crate::inputs;

/// Arguments of `qiji check`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The site file
    #[arg(value_name = "SITE.kdl")]
    site: PathBuf,
    /// Give the faults as JSON
    #[arg(long)]
    json: bool,
}

/// Checks the file.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    if args.json {
        return run_json(args);
    }
    let (checked, _) = inputs::site_file(&args.site)?;
    let site = &checked.site;
    let architectures: Vec<_> = site.architectures().iter().map(|arch| arch.as_str()).collect();
    println!(
        "site `{}` {}: {} control-plane hosts, {} workers, {}; edition {}, Kubernetes {}",
        site.name,
        site.version,
        site.control_plane().count(),
        site.workers().count(),
        architectures.join(", "),
        site.edition,
        site.cluster.version,
    );
    Ok(())
}

fn run_json(args: &Args) -> Result<(), Failure> {
    let text = fs::read_to_string(&args.site).input()?;
    let name = args.site.display().to_string();
    let (found, outcome) = match qiji_blueprint::check(&name, &text, &Catalogue::builtin()) {
        Ok(checked) => {
            (json!({ "ok": true, "site": checked.site, "faults": checked.warnings.to_json() }), Ok(()))
        }
        Err(faults) => (json!({ "ok": false, "faults": faults.to_json() }), Err(Failure::said(Kind::Input))),
    };
    answer(format!("{found:#}"))?;
    outcome
}
