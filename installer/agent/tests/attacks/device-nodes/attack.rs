use crate::victim::{Layer, Victim};

#[test]
fn of_each_kind() {
    let victim = Victim::new();
    for (kind, expected) in [
        (b'3', "the layer has dev/mem, which is a device node"),
        (b'4', "the layer has dev/mem, which is a device node"),
        (b'6', "the layer has dev/mem, which is a pipe"),
        (b'D', "the layer has dev/mem, which is neither file nor folder nor link"),
        (b'g', "the layer has dev/mem, which is neither file nor folder nor link"),
        (0xff, "the layer has dev/mem, which is neither file nor folder nor link"),
    ] {
        let layer = Layer::new().file("bin/tool", b"good").entry(kind, "dev/mem", "", b"");
        victim.refuses(&[&layer.zstd()], expected);
    }
}

#[test]
fn and_folders_or_links_with_content() {
    let victim = Victim::new();
    for kind in [b'5', b'2'] {
        let layer = Layer::new().entry(kind, "bin", "lib", b"hidden");
        victim.refuses(&[&layer.tar()], "the layer has bin, which has bytes and is no file");
    }
}
