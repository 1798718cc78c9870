//! `qiji verify BUNDLE --trust KEY.pub|POLICY`: every byte and signature.

use qiji_bundle::Delta;

use crate::base;
use crate::failure::Failure;
use crate::inputs::BundleArgs;

/// Arguments of `qiji verify`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    bundle: BundleArgs,
    /// Answer as JSON
    #[arg(long)]
    json: bool,
}

/// Verifies the bundle.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let bundle = args.bundle.verify()?;
    let delta = Delta::is(&bundle).then(|| Delta::open(&bundle)).transpose().map_err(base::refused)?;
    if args.json {
        let answer = serde_json::json!({
            "ok": true,
            "name": bundle.name(),
            "version": bundle.version(),
            "edition": bundle.edition(),
            "channel": bundle.channel(),
            "root": bundle.root().to_string(),
            "signers": bundle.signers(),
            "delta": delta.as_ref().map(|delta| serde_json::json!({
                "root": delta.root().to_string(),
                "against": delta.bases(),
            })),
        });
        println!("{answer:#}");
    } else {
        println!("{} {}: every byte and signature holds", bundle.name(), bundle.version());
        println!("root {}", bundle.root());
        for signer in bundle.signers() {
            println!("signed by {signer}");
        }
        if let Some(delta) = delta {
            println!("it is a delta: with what the site holds it gives root {}", delta.root());
            for base in delta.bases() {
                println!("made against {} {}, root {}", base.name, base.version, base.root);
            }
        }
    }
    Ok(())
}
