use qiji_bundle::Class;

use crate::victim::Victim;

fn another_archive() -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(3);
    tar.append_data(&mut header, "hello", &b"abc"[..]).unwrap();
    tar.into_inner().unwrap()
}

#[test]
fn other_files() {
    let victim = Victim::new();
    for bytes in [vec![], b"hello".to_vec(), vec![0; 10_240], vec![0xaa; 4_096], another_archive()] {
        victim.refuses(&bytes).malformed("is not a qiji bundle: it ");
    }
}

#[test]
fn no_file() {
    let victim = Victim::new();
    let error = victim.vendor.verify(&victim.vendor.path("nothing.qiji")).unwrap_err();
    assert_eq!(error.class(), Class::Malformed, "{error}");
    assert!(error.to_string().ends_with("nothing.qiji: cannot be opened"), "{error}");
}

#[test]
fn damage_at_the_start_or_the_end_alone_is_still_damage() {
    let victim = Victim::new();
    let good = victim.vendor.sample();
    let mut start = good.clone();
    start[..512].fill(0xff);
    victim.refuses(&start).untrustworthy("the header of member 1");
    let mut end = good.clone();
    let tail = good.len() - 4_096;
    end[tail..].fill(0xff);
    victim.refuses(&end).untrustworthy("");
}
