//! `qiji inspect BUNDLE --trust KEY.pub|POLICY`: what a bundle holds, and what that is made of.

use std::path::PathBuf;

use fs_err as fs;
use qiji_bundle::sbom::Description;
use qiji_bundle::{Inspection, Sbom, Verified};
use serde::Serialize;

use crate::answer::answer;
use crate::failure::{Classify, Failure};
use crate::inputs::{self, BundleArgs};
use crate::inside::{self, Filter, Inside};

/// Arguments of `qiji inspect`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    bundle: BundleArgs,
    #[command(flatten)]
    filter: Filter,
    /// Write a page that needs no network and no other file
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    html: Option<PathBuf>,
    /// Answer as JSON
    #[arg(long)]
    json: bool,
}

/// Everything as JSON.
#[derive(Serialize)]
struct Whole<'a> {
    #[serde(flatten)]
    inspection: &'a Inspection,
    #[serde(flatten)]
    inside: &'a Inside,
}

/// Shows the bundle.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let bundle = args.bundle.verify()?;
    let inspection = bundle.inspect(&args.bundle.keys()?);
    let inside = Inside::of(&descriptions(&bundle)?, &args.filter);
    if let Some(path) = &args.html {
        fs::write(path, inside::page(&inspection, &inside)?).failed()?;
        answer(format!("{}: open it in a browser", path.display()))
    } else if args.json {
        let whole = Whole { inspection: &inspection, inside: &inside };
        answer(serde_json::to_string_pretty(&whole).failed()?)
    } else {
        let summary = if args.filter.is_open() { inspection.to_string() } else { String::new() };
        answer(summary + &inside::text(&inside, &args.filter))
    }
}

/// The bills of materials that qiji can read; those of others are told.
fn descriptions(bundle: &Verified) -> Result<Vec<Description>, Failure> {
    let mut readable = Vec::new();
    for Sbom { entry, description } in bundle.sboms().map_err(inputs::refused)? {
        match description {
            Ok(description) => readable.push(description),
            Err(error) => {
                eprintln!("the bill of materials of {} is not one that qiji reads: {error}", entry.subject);
            }
        }
    }
    Ok(readable)
}
