use crate::victim::{Layer, Victim, bomb};

#[test]
fn of_hundreds_of_megabytes() {
    let victim = Victim::new();
    for kind in [b'L', b'K', b'x', b'g'] {
        let layer = bomb(kind, "././@LongLink", 200 << 20);
        victim.refuses(
            &[&layer],
            if kind == b'g' { "neither file" } else { "the layer has names that are too long" },
        );
    }
}

#[test]
fn that_no_file_system_takes() {
    let victim = Victim::new();
    for (length, expected) in [(300, "cannot unpack blob"), (5_000, "which leads out of its folder")] {
        let name = "n".repeat(length);
        let layer = Layer::new().entry(b'L', "././@LongLink", "", name.as_bytes()).file("n", b"x");
        victim.refuses(&[&layer.tar()], expected);
    }
}

#[test]
fn with_control_characters() {
    let victim = Victim::new();
    let layer = Layer::new().file("../\x1b[2J\x07\r\n", b"x");
    victim.refuses(&[&layer.tar()], r"the layer names ../\u{1b}[2J\u{7}\r\n, which leads out of its folder");
}
