use crate::victim::Victim;

#[test]
fn of_any_kind() {
    let victim = Victim::new();
    let good = victim.vendor.sample();
    for extra in [vec![0], vec![0; 512], vec![0; 10_240], b"more".to_vec(), good.clone()] {
        let bytes = [&good[..], &extra].concat();
        victim.refuses(&bytes).untrustworthy("bytes follow the last block");
    }
}
