use crate::victim::Victim;
use crate::{fixture, forge};

#[test]
fn each() {
    let victim = Victim::new();
    let good = forge::members(&victim.vendor);
    for index in 0..good.len() {
        let mut members = good.clone();
        members.remove(index);
        victim.refuses_members(&members).untrustworthy("");
    }
}

#[test]
fn a_layer_is_named_with_its_image() {
    let victim = Victim::new();
    let mut members = forge::members(&victim.vendor);
    forge::remove(&mut members, &fixture::layer("etcd", b"etcd for amd64"));
    victim.refuses_members(&members).untrustworthy(" of image qiji.local/etcd:3.7.3-0 (amd64) is missing");
}
