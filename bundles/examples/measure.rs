//! Writes a large bundle and verifies it: `cargo run --release -p qiji-bundle --example measure -- FOLDER MEBIBYTES`.
//!
//! The bundle, `FOLDER/large.qiji`, is of blobs of 128 MiB; the key that signed it is `FOLDER/large.key.pub`. Prints the seconds of each and the
//! peak of the process's memory (`VmHWM`), for comparison with `openssl dgst -sha256` of the file.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Path;
use std::time::Instant;

use qiji_blueprint::Digest;
use qiji_blueprint::site::Arch;
use qiji_bundle::{
    Blob, BlobSource, BundleSpec, PackageEntry, RAW_FILE, SigningKey, TrustedKeys, Untrusted, write,
};
use ring::digest::{Context, SHA256};

const SIZE: u64 = 128 << 20;

/// Blobs of one repeated byte, made while they are read.
struct Made(BTreeMap<Digest, u8>);

impl BlobSource for Made {
    fn open(&self, digest: &Digest) -> io::Result<Box<dyn Read + '_>> {
        let byte = self.0.get(digest).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(io::repeat(*byte).take(SIZE)))
    }
}

fn digest(byte: u8) -> Digest {
    let mut context = Context::new(&SHA256);
    let piece = vec![byte; 1 << 20];
    (0..SIZE >> 20).for_each(|_| context.update(&piece));
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    Digest::from_bytes(digest)
}

fn package((digest, byte): (&Digest, &u8)) -> PackageEntry {
    PackageEntry {
        name: format!("large-{byte}"),
        arch: Arch::Amd64,
        version: "1".to_owned(),
        roles: vec![],
        blobs: vec![Blob { media_type: RAW_FILE.to_owned(), digest: *digest, size: SIZE }],
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(folder), Some(size)) = (args.next(), args.next()) else {
        return Err("give a folder and a size in MiB".into());
    };
    let count = u8::try_from(size.parse::<u64>()?.div_ceil(SIZE >> 20))?;
    let blobs: BTreeMap<Digest, u8> = (0..count).map(|byte| (digest(byte), byte)).collect();
    let spec = BundleSpec {
        name: "large".to_owned(),
        version: "1".to_owned(),
        packages: blobs.iter().map(package).collect(),
        ..BundleSpec::default()
    };
    let key = SigningKey::generate()?;
    let out = Path::new(&folder).join("large.qiji");
    fs_err::write(out.with_file_name("large.key.pub"), key.public().to_pem())?;
    let start = Instant::now();
    write(&spec, &Made(blobs), &[&key], &out, &mut |_| ())?;
    println!("write   {:.3} s", start.elapsed().as_secs_f64());
    let trusted = TrustedKeys::new([key.public()], 1)?;
    let start = Instant::now();
    Untrusted::open(&out)?.verify(&trusted, &mut |_| ())?;
    println!("verify  {:.3} s", start.elapsed().as_secs_f64());
    let status = fs_err::read_to_string("/proc/self/status")?;
    println!("{}", status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default());
    Ok(())
}
