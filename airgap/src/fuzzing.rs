//! Ways in for fuzz targets, to parsers that have no public way of their own. Not a part of the product: the feature `fuzzing` is off.

use std::io;
use std::path::Path;

use qiji_blueprint::site::Arch;

use crate::registry::Challenge;
use crate::source::platform::{Top, choose, image_blobs, pin, platform_of};
use crate::source::{fuzz_archive, fuzz_chart_index, fuzz_debian};
use crate::store::Store;
use crate::{deb, inside};

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

/// A file as an archive of images; `store` is for what is taken out.
pub fn image_archive(file: &Path, store: &Store) {
    let _ = fuzz_archive(file, store);
}

/// Bytes as the texts of a Debian mirror.
pub fn debian_index(bytes: &[u8]) {
    if let Ok(text) = str::from_utf8(bytes) {
        fuzz_debian(text);
    }
}

/// Bytes as the index of a repository of charts.
pub fn chart_index(bytes: &[u8]) {
    fuzz_chart_index(bytes);
}

/// Bytes as a Debian package: its table, and every file in it.
pub fn debian_package(bytes: &[u8]) {
    let Ok(table) = deb::Table::read(bytes) else { return };
    for pattern in ["usr/bin/tool", "usr/bin/other", "lib/*", "*"] {
        let Ok((path, _)) = table.find(pattern) else { continue };
        let _ = deb::copy_file(bytes, &path, |content| io::copy(content, &mut io::sink()).map(drop));
    }
}

/// Bytes as each kind of file that says what an image or a package is made of.
pub fn inside(bytes: &[u8], store: &Store) {
    let _ = inside::fuzz(bytes, store);
}
