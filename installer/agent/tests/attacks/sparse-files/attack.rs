use tar::Header;

use crate::victim::{Layer, Victim, bomb};

/// A sparse entry whose map says that `size` bytes are there.
fn sparse(size: u64) -> Vec<u8> {
    let mut tar = Layer::new().entry(b'S', "disk.img", "", b"").tar();
    let mut header = Header::new_gnu();
    header.as_mut_bytes().copy_from_slice(&tar[..512]);
    let gnu = header.as_gnu_mut().unwrap();
    gnu.sparse[0].offset.copy_from_slice(format!("{size:011o}\0").as_bytes());
    gnu.sparse[0].numbytes.copy_from_slice(b"00000000000\0");
    gnu.set_real_size(size);
    header.set_cksum();
    tar[..512].copy_from_slice(header.as_bytes());
    tar
}

#[test]
fn of_gigabytes() {
    let victim = Victim::new();
    for size in [1 << 20, (1 << 33) - 1] {
        victim.refuses(&[&sparse(size)], "the layer has disk.img, which is a sparse file");
    }
}

#[test]
fn with_a_map_that_does_not_end() {
    let victim = Victim::new();
    let mut tar = sparse(0);
    tar.truncate(512);
    let mut header = Header::new_gnu();
    header.as_mut_bytes().copy_from_slice(&tar);
    header.as_gnu_mut().unwrap().set_is_extended(true);
    header.set_cksum();
    let mut layer = header.as_bytes().to_vec();
    let mut block = [0; 512];
    block[504] = 1;
    (0..100_000).for_each(|_| layer.extend(block));
    victim
        .refuses(&[&zstd::encode_all(layer.as_slice(), 1).unwrap()], "the layer has names that are too long");
    victim.refuses(&[&bomb(b'S', "disk.img", 4 << 20)], "");
}
