//! Writes a bundle of one large blob and verifies it: `cargo run --release -p qiji-bundle --example measure -- FOLDER MEBIBYTES`.
//! Prints seconds for each and the peak of the process's memory, for comparison with `openssl dgst -sha256` of the file.

use std::io::{self, Read};
use std::path::Path;
use std::time::Instant;

use qiji_blueprint::Digest;
use qiji_blueprint::site::Arch;
use qiji_bundle::{
    Blob, BlobSource, BundleSpec, PackageEntry, RAW_FILE, SigningKey, TrustedKeys, Untrusted, write,
};
use ring::digest::{Context, SHA256};

/// Bytes that are made while they are read.
struct Made(u64);

impl BlobSource for Made {
    fn open(&self, _: &Digest) -> io::Result<Box<dyn Read + '_>> {
        Ok(Box::new(io::repeat(0x5a).take(self.0)))
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(folder), Some(size)) = (args.next(), args.next()) else {
        return Err("give a folder and a size in MiB".into());
    };
    let size = size.parse::<u64>()? << 20;
    let mut context = Context::new(&SHA256);
    let piece = vec![0x5a; 1 << 20];
    (0..size >> 20).for_each(|_| context.update(&piece));
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());

    let blob = Blob { media_type: RAW_FILE.to_owned(), digest: Digest::from_bytes(digest), size };
    let package = PackageEntry {
        name: "large".to_owned(),
        arch: Arch::Amd64,
        version: "1".to_owned(),
        roles: vec![],
        blobs: vec![blob],
    };
    let spec = BundleSpec {
        name: "large".to_owned(),
        version: "1".to_owned(),
        packages: vec![package],
        ..BundleSpec::default()
    };
    let key = SigningKey::generate()?;
    let out = Path::new(&folder).join("large.qiji");
    let start = Instant::now();
    write(&spec, &Made(size), &[&key], &out, &mut |_| ())?;
    println!("write   {:.3} s", start.elapsed().as_secs_f64());
    let trusted = TrustedKeys::new([key.public()], 1)?;
    for _ in 0..5 {
        let start = Instant::now();
        Untrusted::open(&out)?.verify(&trusted, &mut |_| ())?;
        println!("verify  {:.3} s", start.elapsed().as_secs_f64());
    }
    let status = fs_err::read_to_string("/proc/self/status")?;
    println!("{}", status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default());
    Ok(())
}
