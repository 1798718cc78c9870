use crate::victim::{Layer, Victim, holds};

const PATHS: [&str; 7] = [
    "../../../outside/passwd",
    "..",
    "/etc/passwd",
    "//etc/passwd",
    "bin/../../../../outside/passwd",
    "bin/..",
    "./../x",
];

#[test]
fn of_entries_of_each_kind() {
    let victim = Victim::new();
    for path in PATHS {
        for kind in [b'0', b'5', b'2', b'1'] {
            let layer = Layer::new().file("bin/tool", b"good").entry(kind, path, "bin/tool", b"");
            victim
                .refuses(&[&layer.tar()], &format!("the layer names {path}, which leads out of its folder"));
        }
    }
}

#[test]
fn in_a_long_name_and_in_a_pax_record() {
    let victim = Victim::new();
    let path = b"../../../outside/passwd";
    let long = Layer::new().entry(b'L', "././@LongLink", "", path).file("bin/tool", b"evil");
    victim.refuses(&[&long.zstd()], "the layer names ../../../outside/passwd, which leads out of its folder");
    let record = b"32 path=../../../outside/passwd\n";
    let pax = Layer::new().entry(b'x', "pax", "", record).file("bin/tool", b"evil");
    victim.refuses(&[&pax.zstd()], "the layer names ../../../outside/passwd, which leads out of its folder");
}

#[test]
fn but_good_paths_are_unpacked() {
    let victim = Victim::new();
    let layer =
        Layer::new().entry(b'5', "./", "", b"").file("./bin/tool", b"good").file("..data/x...y", b"too");
    let place = victim.unpack(&[&layer.zstd()]).unwrap();
    assert!(holds(&place.join("bin/tool"), b"good") && holds(&place.join("..data/x...y"), b"too"));
}
