use crate::victim::{Layer, Victim};

#[test]
fn for_another_of_the_same_size() {
    let victim = Victim::new();
    let good = Layer::new().file("tool", b"good").tar();
    let evil = Layer::new().file("tool", b"evil").tar();
    let blob = victim.stage(&good);
    fs_err::write(victim.path(&format!("host/var/lib/qiji/blobs/{}", blob.digest.hex())), evil).unwrap();
    let fault = victim.apply(vec![blob]).unwrap_err();
    victim.unharmed(&fault, "was changed in the staging store");
}

#[test]
fn behind_its_last_entry() {
    let victim = Victim::new();
    let good = Layer::new().file("tool", b"good").tar();
    let blob = victim.stage(&good);
    let mut evil = good;
    *evil.last_mut().unwrap() = 1;
    fs_err::write(victim.path(&format!("host/var/lib/qiji/blobs/{}", blob.digest.hex())), evil).unwrap();
    let fault = victim.apply(vec![blob]).unwrap_err();
    victim.unharmed(&fault, "was changed in the staging store");
}
