use crate::forge;
use crate::victim::Victim;

const NAMES: [&str; 10] = [
    "../etc/passwd",
    "/etc/passwd",
    "blobs/sha256/../../../etc/passwd",
    "blobs/sha256/..",
    "./blobs/sha256/00",
    "blobs//sha256/00",
    "blobs/sha512/00",
    "blobs/sha256/AB",
    "..\\..\\etc\\passwd",
    "blobs/sha256/44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a/../x",
];

#[test]
fn before_between_and_after_the_good_members() {
    let victim = Victim::new();
    let good = forge::members(&victim.vendor);
    for name in NAMES {
        for place in [0, 3, good.len() - 2, good.len()] {
            let mut members = good.clone();
            members.insert(place, (name.to_owned(), b"root::0:0::/:/bin/sh\n".to_vec()));
            victim.refuses_members(&members).untrustworthy("");
        }
    }
}

#[test]
fn the_message_names_the_member() {
    let victim = Victim::new();
    let good = forge::members(&victim.vendor);
    let mut members = good.clone();
    members.insert(0, ("../etc/passwd".to_owned(), b"x".to_vec()));
    victim.refuses_members(&members).untrustworthy("member `../etc/passwd` at byte 0 has no place here");
    let mut members = good;
    members.insert(1, ("blobs/sha256/../../x".to_owned(), b"x".to_vec()));
    victim.refuses_members(&members).untrustworthy("member `blobs/sha256/../../x` at byte ");
}
