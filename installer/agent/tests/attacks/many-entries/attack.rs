use std::io::Write as _;

use qiji_agent::layer::MAX_ENTRIES;

use crate::victim::{Layer, Victim};

#[test]
fn of_one_name() {
    let victim = Victim::new();
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    let entry = Layer::new().entry(b'5', "d", "", b"").tar();
    for _ in 0..=MAX_ENTRIES {
        encoder.write_all(&entry[..512]).unwrap();
    }
    let mut layer = encoder.finish().unwrap();
    // Room for all of it: what is refused is the number, not the size.
    let filler = vec![0x5a; 1 << 20];
    let skippable = u32::try_from(filler.len()).unwrap().to_le_bytes();
    layer.extend([&[0x50, 0x2a, 0x4d, 0x18], &skippable[..], &filler[..]].concat());
    victim.refuses(&[&layer], "the layer has more than 200000 entries");
}
