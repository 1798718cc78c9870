use crate::forge;
use crate::victim::Victim;

#[test]
fn in_another_order() {
    let victim = Victim::new();
    let good = forge::members(&victim.vendor);
    for index in 0..good.len() - 1 {
        let mut members = good.clone();
        members.swap(index, index + 1);
        victim.refuses_members(&members).untrustworthy("member `");
    }
}

#[test]
fn twice() {
    let victim = Victim::new();
    let good = forge::members(&victim.vendor);
    for index in 0..good.len() {
        let mut members = good.clone();
        members.insert(index, members[index].clone());
        victim.refuses_members(&members).untrustworthy("");
    }
}

#[test]
fn one_blob_under_the_name_of_another() {
    let victim = Victim::new();
    let good = forge::members(&victim.vendor);
    for index in 0..good.len() - 1 {
        let mut members = good.clone();
        members[index].1.clone_from(&good[index + 1].1);
        members[index + 1].1.clone_from(&good[index].1);
        victim.refuses_members(&members).untrustworthy("");
    }
}
