//! What a Rust program says of itself: the list of its crates, in the section `.dep-v0` as `cargo auditable` has it (zlib-compressed JSON).
//!
//! Our own programs carry the field `license` with each crate as well (`airgap/crates`); other readers pass over it.

use std::io::Read;

use flate2::read::ZlibDecoder;
use qiji_blueprint::part::{Part, PartKind};
use serde::Deserialize;

use super::licence;

/// Most bytes of a list, unpacked.
const LIMIT: u64 = 8 << 20;

#[derive(Deserialize)]
struct List {
    packages: Vec<Crate>,
}

#[derive(Deserialize)]
struct Crate {
    name: String,
    version: String,
    #[serde(default)]
    kind: Option<String>,
    #[serde(default)]
    license: Option<String>,
}

/// Reads the section: the crates that are in the program, without those that only helped to build it.
pub(super) fn read(section: &[u8]) -> Option<Vec<Part>> {
    let mut text = Vec::new();
    ZlibDecoder::new(section).take(LIMIT).read_to_end(&mut text).ok()?;
    let list: List = serde_json::from_slice(&text).ok()?;
    let inside = list.packages.into_iter().filter(|one| one.kind.as_deref() != Some("build"));
    Some(inside.map(part).collect())
}

fn part(one: Crate) -> Part {
    let licence = one.license.as_deref().and_then(licence::normal);
    Part { kind: PartKind::Crate, name: one.name, version: one.version, licence }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::ZlibEncoder;

    use super::*;

    fn packed(text: &str) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn crates_are_read_without_what_only_built_them() {
        let text = r#"{"packages":[
            {"name":"a","version":"1.0.0","source":"crates.io","license":"MIT/Apache-2.0"},
            {"name":"cc","version":"1.2.0","source":"crates.io","kind":"build"},
            {"name":"b","version":"0.1.0","source":"local","root":true,"dependencies":[0]}],"format":1}"#;
        let found = read(&packed(text)).unwrap();
        let told: Vec<_> = found.iter().map(|one| (one.name.as_str(), one.licence.as_deref())).collect();
        assert_eq!(told, [("a", Some("MIT OR Apache-2.0")), ("b", None)]);
    }

    #[test]
    fn what_is_too_large_or_no_list_is_not_read() {
        assert_eq!(read(b"no zlib"), None);
        assert_eq!(read(&packed("[]")), None);
        let bomb = format!("{{\"packages\":[{}]}}", " ".repeat(usize::try_from(LIMIT).unwrap()));
        assert_eq!(read(&packed(&bomb)), None);
    }
}
