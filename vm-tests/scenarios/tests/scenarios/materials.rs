//! The bills of materials of a real bundle hold before SPDX's own tools.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use fs_err as fs;
use qiji_scenarios::{Bundle, Product, Run};
use serde_json::Value;

/// Takes every document out of the quickstart's bundle by `tar` and has it validated.
pub(crate) fn spdx_tools_take_them() -> Result<()> {
    let product = Product::find()?;
    let bundle = Bundle::quickstart(&product)?;
    let tools = std::env::var_os("QIJI_SPDX_TOOLS").map(PathBuf::from);
    let tools =
        tools.context("QIJI_SPDX_TOOLS does not name SPDX's validator: run `cargo xtask test --all`")?;
    let folder = tempfile::tempdir()?;
    let mut tar = Command::new("tar");
    Run::of(tar.arg("-xf").arg(&bundle.file).arg("-C").arg(folder.path()))?.expect(0)?;
    let mut described = Vec::new();
    for entry in fs::read_dir(folder.path().join("blobs/sha256"))? {
        let Some(document) = document(&entry?.path())? else { continue };
        let path = folder.path().join("document.spdx.json");
        fs::write(&path, document.to_string())?;
        Run::of(Command::new(&tools).arg("--infile").arg(&path))?
            .expect(0)
            .with_context(|| format!("{} is not valid", document["name"]))?;
        described.push(document["name"].to_string());
    }
    let content = Run::of(
        Command::new(product.qiji())
            .arg("inspect")
            .arg(&bundle.file)
            .arg("--trust")
            .arg(&bundle.trust)
            .arg("--json"),
    )?;
    let content: Value = serde_json::from_str(&content.expect(0)?.stdout)?;
    let count = |kind: &str| content[kind].as_array().map_or(0, Vec::len);
    let expected = count("images") + count("packages");
    ensure!(described.len() == expected, "{expected} things, and documents of {described:?}");
    proves_itself(&tools, folder.path())?;
    println!("SPDX's tools take all {expected} documents");
    Ok(())
}

/// A validator that takes everything would be none.
fn proves_itself(tools: &Path, folder: &Path) -> Result<()> {
    let path = folder.join("document.spdx.json");
    let mut document: Value = serde_json::from_str(&fs::read_to_string(&path)?)?;
    document["packages"][0]["licenseConcluded"] = "No licence of this name".into();
    fs::write(&path, document.to_string())?;
    let run = Run::of(Command::new(tools).arg("--infile").arg(&path))?;
    ensure!(run.status != Some(0), "a wrong document is taken: {run}");
    Ok(())
}

/// The document that a blob is, if it is a bill of materials.
fn document(blob: &Path) -> Result<Option<Value>> {
    /// Larger than any of them.
    const LIMIT: u64 = 16 << 20;
    if fs::metadata(blob)?.len() > LIMIT {
        return Ok(None);
    }
    let value: Option<Value> = serde_json::from_slice(&fs::read(blob)?).ok();
    Ok(value.filter(|value| value["spdxVersion"].is_string()))
}
