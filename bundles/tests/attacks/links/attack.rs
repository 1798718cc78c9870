use tar::EntryType;

use crate::forge::{self, Special};
use crate::victim::Victim;

#[test]
fn in_the_place_of_a_member_or_before_it() {
    let victim = Victim::new();
    let good = forge::members(&victim.vendor);
    for kind in [EntryType::Symlink, EntryType::Link] {
        for target in ["/etc/passwd", "../../../etc/passwd", "blobs", "."] {
            for (place, name) in [
                (0, "blobs"),
                (0, good[0].0.as_str()),
                (2, good[2].0.as_str()),
                (good.len() - 2, "index.json"),
                (good.len() - 1, "oci-layout"),
            ] {
                let special = Special { name, kind, target, content: b"" };
                victim.refuses(&forge::with_special(&good, place, &special)).untrustworthy("member ");
                let without: Vec<_> = good.iter().filter(|(found, _)| found != name).cloned().collect();
                victim.refuses(&forge::with_special(&without, place, &special)).untrustworthy("member ");
            }
        }
    }
}

#[test]
fn the_message_says_where() {
    let victim = Victim::new();
    let good = forge::members(&victim.vendor);
    let special = Special { name: "blobs", kind: EntryType::Symlink, target: "/etc", content: b"" };
    victim
        .refuses(&forge::with_special(&good, 0, &special))
        .untrustworthy("the header of member 1 at byte 0 (after the start) is damaged");
}
