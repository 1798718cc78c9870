//! Where things lie: the workspace, the product's binaries, and the scratch folder of the chores.

use std::path::{Path, PathBuf};

/// The target that the product is built for: static, so that a host needs no library.
pub(crate) const PRODUCT_TARGET: &str = "x86_64-unknown-linux-musl";

/// The root of the workspace.
pub(crate) fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

/// Cargo's target folder.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from)
}

/// The folder that holds the product's binaries.
pub(crate) fn product() -> PathBuf {
    target().join(PRODUCT_TARGET).join("release")
}

/// The `qiji` binary.
pub(crate) fn qiji() -> PathBuf {
    product().join("qiji")
}

/// A scratch folder of this name, kept between runs.
pub(crate) fn scratch(name: &str) -> PathBuf {
    target().join("xtask").join(name)
}
