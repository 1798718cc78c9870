//! What is fuzzed, as plain functions of bytes, and seeds that are made by code.
//!
//! Each target is one parser of untrusted bytes. A target must never panic, never run out of memory or time, and where it can it checks more than
//! that: what was read and is written again is the same, and nothing outside a scratch folder is touched. The tests run every target over its
//! seeds; `libfuzzer/`, which is built apart, does so over whatever libFuzzer makes of them, and `cargo xtask fuzz` runs that and prints a table.

#![allow(clippy::unwrap_used, reason = "what cannot be set up is a finding too")]

mod agent;
mod airgap;
mod blueprint;
mod bundle;
mod keys;
mod random;
mod sample;
mod serve;
mod volumes;

/// One parser with its seeds.
pub struct Target {
    /// Its name.
    pub name: &'static str,
    /// Reads any bytes.
    pub run: fn(&[u8]),
    /// Inputs to start from.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All targets.
pub const TARGETS: &[Target] = &[
    Target { name: "bundle", run: bundle::open, seeds: bundle::open_seeds },
    Target { name: "bundle-documents", run: bundle::documents, seeds: random::seeds },
    Target { name: "statement", run: bundle::statement, seeds: bundle::statement_seeds },
    Target { name: "envelope", run: bundle::envelope, seeds: bundle::envelope_seeds },
    Target { name: "sbom", run: bundle::sbom, seeds: bundle::sbom_seeds },
    Target { name: "delta-recipe", run: bundle::recipe, seeds: bundle::recipe_seeds },
    Target { name: "delta-patch", run: bundle::patch, seeds: bundle::patch_seeds },
    Target { name: "inventory", run: bundle::inventory, seeds: bundle::inventory_seeds },
    Target { name: "volumes", run: volumes::damaged, seeds: random::seeds },
    Target { name: "volumes-forged", run: volumes::forged, seeds: random::seeds },
    Target { name: "serve-request", run: serve::request, seeds: serve::request_seeds },
    Target { name: "public-key", run: keys::public, seeds: keys::public_seeds },
    Target { name: "private-key", run: keys::private, seeds: keys::private_seeds },
    Target { name: "policy", run: keys::policy, seeds: keys::policy_seeds },
    Target { name: "site", run: blueprint::site, seeds: blueprint::site_seeds },
    Target { name: "lock", run: blueprint::lock, seeds: blueprint::lock_seeds },
    Target { name: "catalogue", run: blueprint::catalogue, seeds: blueprint::catalogue_seeds },
    Target { name: "agent-frames", run: agent::frames, seeds: agent::frame_seeds },
    Target { name: "layer", run: agent::layer, seeds: agent::layer_seeds },
    Target { name: "layer-entries", run: agent::layer_entries, seeds: random::seeds },
    Target { name: "oci", run: airgap::oci, seeds: airgap::oci_seeds },
    Target { name: "image-archive", run: airgap::image_archive, seeds: airgap::image_archive_seeds },
    Target { name: "debian-index", run: airgap::debian_index, seeds: airgap::debian_index_seeds },
    Target { name: "debian-package", run: airgap::debian_package, seeds: airgap::debian_package_seeds },
    Target { name: "chart-index", run: airgap::chart_index, seeds: airgap::chart_index_seeds },
    Target { name: "inside", run: airgap::inside, seeds: airgap::inside_seeds },
];

/// A target by its name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
