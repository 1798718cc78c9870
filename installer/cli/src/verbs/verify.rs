//! `qiji verify BUNDLE --trust KEY.pub|POLICY`: every byte and signature, and every volume where the bundle is on several.

use std::path::PathBuf;

use qiji_bundle::{Delta, Verified, VolumeSet};
use serde_json::{Value, json};

use crate::answer::answer;
use crate::base;
use crate::failure::{Classify, Failure, Kind};
use crate::inputs::{BundleArgs, Meter};
use crate::volumes;

/// Arguments of `qiji verify`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    bundle: BundleArgs,
    /// Write volumes that are missing or damaged anew; without it, nothing is written
    #[arg(long)]
    repair: bool,
    /// Answer as JSON
    #[arg(long)]
    json: bool,
}

/// Verifies the bundle.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let bundle = args.bundle.check()?;
    let delta = Delta::is(&bundle).then(|| Delta::open(&bundle)).transpose().map_err(base::refused)?;
    let mut found = json!({
        "ok": true,
        "name": bundle.name(),
        "version": bundle.version(),
        "edition": bundle.edition(),
        "channel": bundle.channel(),
        "root": bundle.root().to_string(),
        "signers": bundle.signers(),
        "delta": delta.as_ref().map(|delta| json!({ "root": delta.root().to_string(), "against": delta.bases() })),
    });
    let mut lines = vec![
        format!("{} {}: every byte and signature holds", bundle.name(), bundle.version()),
        format!("root {}", bundle.root()),
    ];
    lines.extend(bundle.signers().iter().map(|signer| format!("signed by {signer}")));
    if let Some(delta) = &delta {
        lines.push(format!("it is a delta: with what the site holds it gives root {}", delta.root()));
        let bases = delta.bases().iter();
        lines.extend(
            bases.map(|base| format!("made against {} {}, root {}", base.name, base.version, base.root)),
        );
    }
    if let Some(set) = bundle.volumes() {
        let (told, more) = tell(set, args.repair)?;
        found["volumes"] = told;
        lines.extend(more);
    } else if args.repair {
        return Err(one_file(&bundle));
    }
    answer(if args.json { format!("{found:#}") } else { lines.join("\n") })
}

fn one_file(bundle: &Verified) -> Failure {
    Failure::new(
        Kind::Input,
        format!("{} is one whole file: there is nothing to repair", bundle.path().display()),
    )
}

/// What there is to say about volumes: as JSON, and in lines.
fn tell(set: &VolumeSet, repair: bool) -> Result<(Value, Vec<String>), Failure> {
    let mut meter = Meter::new("verifying parity");
    set.survey_parity(&mut |progress| meter.show(progress));
    drop(meter);
    let health = set.health();
    let repaired: Vec<PathBuf> = if repair { volumes::repair(set)? } else { Vec::new() };
    let mut lines: Vec<String> = health.to_string().lines().map(str::to_owned).collect();
    lines.extend(repaired.iter().map(|file| format!("written anew: {}", file.display())));
    if health.ailing().next().is_none() {
        lines.push(format!("all {} volumes are whole", health.volumes.len()));
    } else if !repair {
        lines.push("restored while reading, from the other volumes; `--repair` writes them anew".to_owned());
    }
    let mut told = serde_json::to_value(&health).failed()?;
    told["repaired"] = json!(repaired);
    Ok((told, lines))
}
