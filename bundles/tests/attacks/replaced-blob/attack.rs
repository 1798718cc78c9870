use crate::victim::Victim;
use crate::{fixture, forge};

#[test]
fn with_right_digests_everywhere() {
    let victim = Victim::new();
    let layer = fixture::layer("etcd", b"etcd for amd64");
    let evil = fixture::layer("etcd", b"etcd for attack");
    for (old, new) in [
        (layer.as_slice(), evil.as_slice()),
        (b"\x7fELF agent", b"\x7fELF other"),
        (b"site \"demo\"\n", b"site \"evil\"\n"),
    ] {
        let mut members = forge::members(&victim.vendor);
        forge::replace(&mut members, old, new);
        assert_eq!(members.len(), forge::members(&victim.vendor).len());
        victim.refuses_members(&members).untrustworthy("it names root sha256:");
    }
}
