//! `qiji verify BUNDLE --trust KEY.pub|POLICY`: every byte and signature.

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
    if args.json {
        let answer = serde_json::json!({
            "ok": true,
            "name": bundle.name(),
            "version": bundle.version(),
            "edition": bundle.edition(),
            "channel": bundle.channel(),
            "root": bundle.root().to_string(),
            "signers": bundle.signers(),
        });
        println!("{answer:#}");
    } else {
        println!("{} {}: every byte and signature holds", bundle.name(), bundle.version());
        println!("root {}", bundle.root());
        for signer in bundle.signers() {
            println!("signed by {signer}");
        }
    }
    Ok(())
}
