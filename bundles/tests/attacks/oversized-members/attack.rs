use std::sync::Arc;

use qiji_blueprint::Digest;
use tar::EntryType;

use crate::fixture;
use crate::forge::{self, Hole};
use crate::victim::Victim;

const GIB: u64 = 1 << 30;

/// The sample with one member so large that the file has a hole of 6 GiB.
fn with_hole(victim: &Victim, name: &str) -> Arc<Hole> {
    let good = forge::members(&victim.vendor);
    let at = good.iter().position(|(found, _)| found == name).unwrap();
    let mut head = fixture::join(&good[..at]);
    head.truncate(head.len() - 1024);
    head.extend(fixture::header(name, 6 * GIB, EntryType::Regular));
    head.extend(&good[at].1);
    let zeros = 6 * GIB - good[at].1.len() as u64;
    Arc::new(Hole::new(head, zeros, fixture::join(&good[at + 1..])))
}

#[test]
fn documents_of_gigabytes() {
    let victim = Victim::new();
    for (name, expected) in [
        ("index.json", "index.json is wrong: it is larger than 4 MiB"),
        ("oci-layout", "member oci-layout is wrong: it has another size than it must"),
    ] {
        let hole = with_hole(&victim, name);
        victim.refuses_medium(Arc::clone(&hole) as _).untrustworthy(expected);
        assert!(hole.bytes_read() < 1 << 20, "{} bytes were read", hole.bytes_read());
    }
}

#[test]
fn a_root_of_gigabytes() {
    let victim = Victim::new();
    let members = forge::members(&victim.vendor);
    let root = forge::root(&members);
    let hole = with_hole(&victim, &fixture::blob_name(&root));
    victim.refuses_medium(Arc::clone(&hole) as _).untrustworthy("it names a root that is not in the file");
    assert!(hole.bytes_read() < 1 << 20, "{} bytes were read", hole.bytes_read());
}

#[test]
fn documents_a_little_too_large() {
    let victim = Victim::new();
    let large = format!("\"{}\"", "x".repeat(5 << 20));
    let members =
        forge::with_root(&victim.vendor, |root| root.replacen('{', &format!(r#"{{"x":{large},"#), 1));
    victim.refuses_members(&members).untrustworthy("larger than 4 MiB");

    let mut members = forge::members(&victim.vendor);
    let manifest = forge::manifest(&members, "qiji.local/kube-proxy:v1.36.3");
    let larger = [&manifest[..manifest.len() - 1], br#","x":"#, large.as_bytes(), b"}"].concat();
    forge::replace(&mut members, &manifest, &larger);
    victim.refuses_members(&members).untrustworthy("larger than 4 MiB");
}

#[test]
fn a_size_beyond_the_end_of_the_file() {
    let victim = Victim::new();
    let good = fixture::join(&forge::members(&victim.vendor));
    let name = str::from_utf8(&good[..77]).unwrap();
    for size in [good.len() as u64, GIB, 8 * GIB - 1] {
        let mut bad = good.clone();
        bad[..512].copy_from_slice(&fixture::header(name, size, EntryType::Regular));
        victim.refuses(&bad).untrustworthy("it was cut short");
    }
}

#[test]
fn one_member_too_many() {
    let victim = Victim::new();
    let mut members: Vec<_> = (0..=65_536_u32)
        .map(|number| {
            let mut digest = [0; 32];
            digest[..4].copy_from_slice(&number.to_be_bytes());
            (format!("blobs/sha256/{}", Digest::from_bytes(digest).hex()), Vec::new())
        })
        .collect();
    members.extend(forge::members(&victim.vendor).split_off(members.len().min(1)));
    victim.refuses_members(&members).untrustworthy("is one too many: a bundle has at most 65,536 blobs");
}
