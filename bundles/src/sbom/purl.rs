//! [Package URLs](https://github.com/package-url/purl-spec), the names under which scanners look for known faults.

use qiji_blueprint::Digest;
use qiji_blueprint::part::{Part, PartKind};
use qiji_blueprint::site::Arch;

use crate::contents::split_tag;

/// The URL of a part, or of an artifact with its digest.
pub(super) fn of(part: &Part, digest: Option<&Digest>, arch: Option<Arch>) -> String {
    let version = match (part.kind, digest) {
        (PartKind::Image, Some(digest)) => digest.to_string(),
        _ => part.version.clone(),
    };
    let base = base(part.kind, &part.name, &version);
    match (part.kind, digest) {
        (PartKind::Debian | PartKind::Alpine | PartKind::Image, _) => match arch {
            Some(arch) => format!("{base}?arch={arch}"),
            None => base,
        },
        (PartKind::File, Some(digest)) => of_file(&part.name, &part.version, digest, arch),
        _ => base,
    }
}

/// The URL of an image of this full name.
pub(super) fn of_image(name: &str, digest: &Digest, arch: Arch) -> String {
    let (repository, tag) = split_tag(name);
    let base =
        base(PartKind::Image, repository.rsplit('/').next().unwrap_or(repository), &digest.to_string());
    format!("{base}?arch={arch}&repository_url={}&tag={}", encoded(repository), encoded(tag))
}

/// The URL of a file, or of several that are one thing.
pub(super) fn of_file(name: &str, version: &str, digest: &Digest, arch: Option<Arch>) -> String {
    let base = base(PartKind::File, name, version);
    let arch = arch.map_or_else(String::new, |arch| format!("arch={arch}&"));
    format!("{base}?{arch}checksum={}", encoded(&digest.to_string()))
}

/// The kind of thing that a URL names.
pub(super) fn kind(url: &str) -> Option<PartKind> {
    let (start, _) = url.strip_prefix("pkg:")?.split_once('/')?;
    PartKind::ALL.into_iter().find(|&kind| type_of(kind) == start)
}

const fn type_of(kind: PartKind) -> &'static str {
    match kind {
        PartKind::Image => "oci",
        PartKind::Chart => "helm",
        PartKind::File => "generic",
        PartKind::Debian => "deb",
        PartKind::Alpine => "apk",
        PartKind::GoModule => "golang",
        PartKind::Crate => "cargo",
    }
}

fn base(kind: PartKind, name: &str, version: &str) -> String {
    let name = match kind {
        PartKind::GoModule | PartKind::Image => name.to_ascii_lowercase(),
        _ => name.to_owned(),
    };
    let name = name.split('/').map(encoded).collect::<Vec<_>>().join("/");
    let space = match kind {
        PartKind::Debian => "debian/",
        PartKind::Alpine => "alpine/",
        _ => "",
    };
    let version = if version.is_empty() { String::new() } else { format!("@{}", encoded(version)) };
    format!("pkg:{}/{space}{name}{version}", type_of(kind))
}

/// Everything but letters, digits, `.`, `-`, `_` and `~` as `%XX`.
fn encoded(text: &str) -> String {
    use std::fmt::Write as _;
    let mut all = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b".-_~".contains(&byte) {
            all.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(all, "%{byte:02X}");
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_as_the_specification_has_them() {
        let part = |kind, name: &str, version: &str| Part {
            kind,
            name: name.to_owned(),
            version: version.to_owned(),
            licence: None,
        };
        let cases = [
            (
                part(PartKind::GoModule, "github.com/Microsoft/x", "v1.0.0+incompatible"),
                "pkg:golang/github.com/microsoft/x@v1.0.0%2Bincompatible",
            ),
            (part(PartKind::Crate, "serde", "1.0.229"), "pkg:cargo/serde@1.0.229"),
            (
                part(PartKind::Debian, "libgmp10", "2:6.3.0+dfsg-3"),
                "pkg:deb/debian/libgmp10@2%3A6.3.0%2Bdfsg-3?arch=amd64",
            ),
            (part(PartKind::Debian, "libc6-dev", ""), "pkg:deb/debian/libc6-dev?arch=amd64"),
            (part(PartKind::Chart, "app", "1.2.3+x"), "pkg:helm/app@1.2.3%2Bx"),
        ];
        for (part, url) in cases {
            assert_eq!(of(&part, None, Some(Arch::Amd64)), url);
            assert_eq!(kind(url), Some(part.kind));
        }
        assert_eq!(kind("pkg:npm/x@1"), None);
        assert_eq!(kind("https://x"), None);
    }
}
