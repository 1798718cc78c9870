//! Attacks through the real `qiji`: exit status, message, memory, and that nothing is written.
//!
//! What an attack is and what must happen is said in `bundles/tests/attacks`; here stand those that show what a person at a terminal sees.
#![allow(clippy::unwrap_used, reason = "a fixture that cannot be made fails its test")]

#[path = "../../../../bundles/tests/it/fixture.rs"]
#[allow(dead_code, reason = "attacks need a part of what the bundle's own tests need")]
mod fixture;
#[path = "../../../../bundles/tests/attacks/forge.rs"]
#[allow(dead_code, reason = "attacks on the program need a part of the attacker's tools")]
mod forge;
#[path = "../../../../bundles/tests/attacks/tree.rs"]
mod tree;
mod victim;

use tar::EntryType;

use forge::Special;
use victim::Victim;

/// A bundle that must be refused, with what is said.
struct Case {
    bytes: Vec<u8>,
    says: &'static str,
}

fn refuses(victim: &Victim, status: i32, cases: Vec<Case>) {
    for Case { bytes, says } in cases {
        fs_err::write(victim.bundle(), bytes).unwrap();
        victim.refuses(status, says);
    }
}

#[test]
fn what_is_not_to_be_trusted_ends_with_status_4() {
    let victim = Victim::new();
    let members = forge::members(&victim.vendor);
    let good = fixture::join(&members);
    fs_err::write(victim.bundle(), &good).unwrap();
    victim.accepts();
    let case = |bytes: Vec<u8>, says| Case { bytes, says };
    let mut flipped = good.clone();
    let at = good.windows(14).position(|window| window == b"etcd for amd64").unwrap();
    flipped[at] ^= 1;
    let mut traversal = members.clone();
    traversal.insert(0, ("../../home/.ssh/authorized_keys".to_owned(), b"ssh-ed25519 AAAA".to_vec()));
    let link = Special { name: "blobs", kind: EntryType::Symlink, target: "/etc", content: b"" };
    let mut swapped = members.clone();
    swapped.swap(0, 1);
    let mut replaced = members.clone();
    forge::replace(&mut replaced, b"\x7fELF agent", b"\x7fELF other");
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let deep = forge::with_root(&victim.vendor, |root| root.replacen('{', &format!(r#"{{"x":{deep},"#), 1));
    let escape =
        forge::with_root(&victim.vendor, |root| root.replacen("\"demo\"", "\"\\u001b[2Jall is well\"", 1));
    refuses(
        &victim,
        4,
        vec![
            case(flipped, "of image qiji.local/etcd:3.7.3-0 (amd64) is damaged, in bytes "),
            case(good[..at].to_vec(), "it was cut short"),
            case([&good[..], b"more"].concat(), "bytes follow the last block"),
            case(
                fixture::join(&traversal),
                "member `../../home/.ssh/authorized_keys` at byte 0 has no place here",
            ),
            case(
                forge::with_special(&members, 0, &link),
                "the header of member 1 at byte 0 (after the start) is damaged",
            ),
            case(fixture::join(&swapped), "is there twice or out of order"),
            case(
                fixture::join(&replaced),
                "the signed statement is not about this bundle: it names root sha256:",
            ),
            case(fixture::join(&deep), "the root index is wrong: it is not in canonical form"),
            case(fixture::join(&escape), r"bundle name `\u{1b}[2Jall is well` is not a DNS name"),
            case(fixture::Bench::new().sample(), "0 of the 1 needed signatures by trusted keys"),
        ],
    );
}

#[test]
fn what_is_no_bundle_ends_with_status_2() {
    let victim = Victim::new();
    victim.refuses(2, "given.qiji: cannot be opened");
    let other_format = forge::with_root(&victim.vendor, |root| {
        root.replace(r#""dev.qiji.format":"1""#, r#""dev.qiji.format":"9""#)
    });
    refuses(
        &victim,
        2,
        vec![
            Case { bytes: b"hello".to_vec(), says: "is not a qiji bundle: it is too short" },
            Case { bytes: vec![0; 10_240], says: "is not a qiji bundle: it does not start as one" },
            Case {
                bytes: fixture::join(&other_format),
                says: "is a bundle of format 9, and this qiji reads format 1 only",
            },
        ],
    );
}

#[test]
fn memory_is_not_filled_by_a_document_in_a_hole_of_the_file() {
    let victim = Victim::new();
    let members = forge::members(&victim.vendor);
    let last = members.len() - 1;
    let mut head = fixture::join(&members[..last]);
    head.truncate(head.len() - 1024);
    let size = 6 << 30;
    head.extend(fixture::header("oci-layout", size, EntryType::Regular));
    head.extend(&members[last].1);
    fs_err::write(victim.bundle(), &head).unwrap();
    let file = fs_err::OpenOptions::new().write(true).open(victim.bundle()).unwrap();
    let start = head.len() - members[last].1.len();
    file.set_len(start as u64 + size + 1024).unwrap();
    victim.refuses(4, "member oci-layout is wrong: it has another size than it must");
}

#[test]
fn memory_is_not_filled_by_documents_that_refer_to_each_other() {
    let victim = Victim::new();
    let members = victim::amplified(&victim.vendor);
    fs_err::write(victim.bundle(), fixture::join(&members)).unwrap();
    victim.refuses(4, "all documents up to this one have more than 64 MiB");
}
