use crate::victim::Victim;

#[test]
fn anywhere() {
    let victim = Victim::new();
    let good = victim.vendor.sample();
    let odd = [good.len() - 1, good.len() - 511, good.len() - 513, 2_049, 1_537];
    for length in (1_536..good.len()).step_by(512).chain(odd) {
        victim.refuses(&good[..length]).untrustworthy("");
    }
    for length in [0, 1, 511, 512, 1_535] {
        victim.refuses(&good[..length]).malformed("is not a qiji bundle: it is too short");
    }
}

#[test]
fn the_message_names_what_is_cut() {
    let victim = Victim::new();
    let good = victim.vendor.sample();
    let at = good.windows(14).position(|window| window == b"etcd for amd64").unwrap();
    let refusal = victim.refuses(&good[..at]);
    refusal.untrustworthy(&format!("the file ends at byte {at}, in the middle of blobs/sha256/"));
    refusal.untrustworthy("it was cut short");
    let refusal = victim.refuses(&good[..good.len() - 512]);
    refusal.untrustworthy("the end of the file is damaged at byte ");
}
