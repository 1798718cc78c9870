use std::fmt::Write as _;
use std::sync::Arc;

use crate::fixture::{MANIFEST, join};
use crate::forge::{self, Hole, Members};
use crate::victim::Victim;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// A root that lists `listed`, of this media type, under many names.
fn many_times(victim: &Victim, kind: &str, listed: &[u8]) -> Members {
    let mut members = forge::with_root(&victim.vendor, |root| {
        let (head, _) = root.split_once("\"manifests\":[").unwrap();
        let (_, tail) = root.rsplit_once("],\"annotations\"").unwrap();
        let mut entries = String::new();
        for number in 0..2_000 {
            let name = format!("qiji.local/copy-{number}:v1");
            let reference = forge::reference(listed);
            write!(
                entries,
                r#"{{"mediaType":"{kind}",{reference},"platform":{{"architecture":"amd64","os":"linux"}},"annotations":{{"dev.qiji.roles":"","org.opencontainers.image.ref.name":"{name}"}}}},"#
            )
            .unwrap();
        }
        format!("{head}\"manifests\":[{}],\"annotations\"{tail}", entries.trim_end_matches(','))
    });
    forge::insert(&mut members, listed);
    members
}

fn refused(victim: &Victim, members: &Members) {
    let medium = Arc::new(Hole::new(join(members), 0, Vec::new()));
    victim
        .refuses_medium(Arc::clone(&medium) as _)
        .untrustworthy("all documents up to this one have more than 64 MiB");
    assert!(medium.bytes_read() < 64 << 20, "{} bytes were read", medium.bytes_read());
}

#[test]
fn one_manifest_under_many_names() {
    let victim = Victim::new();
    let manifest = forge::manifest(&forge::members(&victim.vendor), "qiji.local/kube-proxy:v1.36.3");
    let filler = "x".repeat(4_000_000);
    let large = [&manifest[..manifest.len() - 1], format!(r#","x":"{filler}"}}"#).as_bytes()].concat();
    refused(&victim, &many_times(&victim, MANIFEST, &large));
}

#[test]
fn one_index_under_many_names() {
    let victim = Victim::new();
    let filler = "x".repeat(4_000_000);
    let index = format!(r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[],"x":"{filler}"}}"#);
    refused(&victim, &many_times(&victim, INDEX, index.as_bytes()));
}
