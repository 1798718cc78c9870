//! `cargo xtask bench`: measures, and prints the table that the README quotes.

use anyhow::Result;

/// Measures everything.
pub(crate) fn run() -> Result<()> {
    anyhow::bail!("not measured yet")
}
