use crate::victim::{Layer, Victim, holds};

#[test]
fn of_what_lies_outside() {
    let victim = Victim::new();
    let outside = victim.path("outside");
    for path in ["../../../outside/.wh.passwd", "/etc/.wh.passwd", ".wh...", ".wh..", ".wh.", "bin/.wh..."] {
        let layer = Layer::new().file("bin/tool", b"good").file(path, b"");
        victim.refuses(&[&layer.tar()], &format!("the layer names {path}, which leads out of its folder"));
    }
    for name in [".wh.passwd", ".wh..wh..opq"] {
        let lower = Layer::new().link("bin", outside.to_str().unwrap()).tar();
        let upper = Layer::new().file(&format!("bin/{name}"), b"").tar();
        victim.refuses(&[&lower, &upper], "which leads out of its folder");
    }
}

#[test]
fn good_ones_remove_what_they_name() {
    let victim = Victim::new();
    let lower = Layer::new().file("bin/old", b"old").file("bin/kept", b"kept").file("lib/all", b"old").tar();
    let upper =
        Layer::new().file("bin/.wh.old", b"").file("lib/.wh..wh..opq", b"").file("new/.wh.none", b"").tar();
    let place = victim.unpack(&[&lower, &upper]).unwrap();
    assert!(!place.join("bin/old").exists() && holds(&place.join("bin/kept"), b"kept"));
    assert_eq!(fs_err::read_dir(place.join("lib")).unwrap().count(), 0);
}

#[test]
fn of_a_link_removes_the_link() {
    let victim = Victim::new();
    let target = victim.path("outside");
    let lower = Layer::new().link("away", target.to_str().unwrap()).tar();
    let upper = Layer::new().file(".wh.away", b"").tar();
    let place = victim.unpack(&[&lower, &upper]).unwrap();
    assert!(!place.join("away").is_symlink());
    assert!(target.join("passwd").exists());
}
