//! Ways in for fuzz targets, to parsers that have no public way of their own. None of them may panic, whatever the bytes.

use std::path::Path;

use qiji_blueprint::site::Arch;

use crate::deb;
use crate::registry::Challenge;
use crate::source::files::Files;
use crate::source::fuzz_debian_index;
use crate::source::platform::{Top, choose, image_blobs, pin, platform_of};
use crate::store::Store;

/// Bytes as a manifest, an index, a configuration, and a registry's wish for a login.
pub fn oci(bytes: &[u8]) {
    if let Ok(Top::Index(index)) = Top::read(bytes) {
        for arch in Arch::ALL {
            let _ = choose(&index, arch).map(pin);
        }
    }
    let _ = (image_blobs(bytes), platform_of(bytes));
    let _ = str::from_utf8(bytes).ok().and_then(Challenge::parse);
}

/// A file as an archive of images; `store` is for what must be unpacked.
pub fn image_archive(file: &Path, store: &Store) {
    if let Ok(files) = Files::open(file, store) {
        for name in ["index.json", "manifest.json", "a", "../a"] {
            let _ = files.document(name);
        }
    }
}

/// Bytes as the texts of a Debian mirror.
pub fn debian_index(bytes: &[u8]) {
    if let Ok(text) = str::from_utf8(bytes) {
        fuzz_debian_index(text);
    }
}

/// Bytes as a Debian package: its table, and every file in it.
pub fn debian_package(bytes: &[u8]) {
    let Ok(table) = deb::Table::read(bytes) else { return };
    for pattern in ["usr/bin/tool", "usr/bin/other", "lib/*", "*"] {
        let Ok((path, size)) = table.find(pattern) else { continue };
        let copied =
            deb::copy_file(bytes, &path, |content| std::io::copy(content, &mut std::io::sink()).map(drop));
        let _ = (copied, size);
    }
}
