use crate::victim::{Layer, Victim, holds};

const OUT: &str = "leads out of its folder";

#[test]
fn a_file_through_a_link_to_a_folder() {
    let victim = Victim::new();
    let outside = victim.path("outside");
    for target in [outside.to_str().unwrap(), "../../../outside", "/etc", "../missing"] {
        let layer = Layer::new().link("bin", target).file("bin/passwd", b"evil");
        victim.refuses(&[&layer.tar()], &format!("the layer names bin/passwd, which {OUT}"));
        let lower = Layer::new().link("bin", target).tar();
        let upper = Layer::new().file("bin/deep/passwd", b"evil").tar();
        victim.refuses(&[&lower, &upper], &format!("the layer names bin/deep/passwd, which {OUT}"));
    }
}

#[test]
fn a_file_over_a_link_to_a_file() {
    let victim = Victim::new();
    let target = victim.path("outside/passwd");
    let layer = Layer::new().link("passwd", target.to_str().unwrap()).file("passwd", b"mine");
    let place = victim.unpack(&[&layer.tar()]).unwrap();
    assert!(holds(&place.join("passwd"), b"mine"), "the link is replaced");
    assert!(holds(&target, b"root:x:0:0::/root:/bin/sh\n"), "its target is not");
}

#[test]
fn a_folder_over_a_link() {
    let victim = Victim::new();
    let target = victim.path("outside");
    let layer = Layer::new().link("bin", target.to_str().unwrap()).entry(b'5', "bin", "", b"");
    victim.refuses(&[&layer.tar()], "bin");
}

#[test]
fn a_hard_link_to_what_lies_outside() {
    let victim = Victim::new();
    for target in ["/etc/passwd", "../../../outside/passwd"] {
        let layer = Layer::new().entry(b'1', "shadow", target, b"");
        victim.refuses(&[&layer.tar()], &format!("the layer names {target}, which {OUT}"));
    }
    let outside = victim.path("outside");
    let through =
        Layer::new().link("bin", outside.to_str().unwrap()).entry(b'1', "shadow", "bin/passwd", b"");
    victim.refuses(&[&through.tar()], &format!("the layer names bin/passwd, which {OUT}"));
    let file = outside.join("passwd");
    let followed = Layer::new().link("passwd", file.to_str().unwrap()).entry(b'1', "shadow", "passwd", b"");
    victim.refuses(&[&followed.tar()], "shadow");
}

#[test]
fn but_links_that_are_only_there_stay() {
    let victim = Victim::new();
    let layer = Layer::new()
        .file("bin/tool", b"good")
        .link("sbin", "bin")
        .file("sbin/other", b"too")
        .link("away", "/etc");
    let place = victim.unpack(&[&layer.zstd()]).unwrap();
    assert!(holds(&place.join("bin/other"), b"too"));
    assert_eq!(fs_err::read_link(place.join("away")).unwrap(), std::path::Path::new("/etc"));
}
