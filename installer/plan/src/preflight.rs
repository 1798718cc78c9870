//! What the facts of hosts tell.

/// Major and minor of a kernel release such as `5.10.0-136.el8.aarch64`.
pub(crate) fn kernel_version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}
