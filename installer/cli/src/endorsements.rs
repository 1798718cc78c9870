//! The keys that a site's images must be signed by, and what they vouch for: told when the site is locked, held to again when it is built.

use std::collections::BTreeMap;
use std::path::Path;

use fs_err as fs;
use qiji_airgap::{EndorseError, Endorsement, ImageKey, Store, endorse};
use qiji_blueprint::lock::Lock;
use qiji_blueprint::site::Site;

use crate::failure::{Classify, Failure, Kind};

/// Keys by the full names of images.
pub(crate) type Keys = BTreeMap<String, Vec<ImageKey>>;

/// Reads the keys that the site names; paths count from its file's folder. All that are wrong are told at once.
pub(crate) fn keys(site: &Site, folder: &Path) -> Result<Keys, Failure> {
    let (mut keys, mut wrong) = (Keys::new(), Vec::new());
    for image in &site.images {
        for path in &image.signed_by {
            match key(folder, path) {
                Ok(key) => keys.entry(image.name.clone()).or_default().push(key),
                Err(reason) => wrong.push(format!("error: image {}: {reason}", image.name)),
            }
        }
    }
    if wrong.is_empty() { Ok(keys) } else { Err(Failure::rendered(Kind::Input, wrong.join("\n"))) }
}

fn key(folder: &Path, path: &str) -> Result<ImageKey, String> {
    let text = fs::read_to_string(folder.join(path)).map_err(|error| error.to_string())?;
    ImageKey::from_pem(path, &text).map_err(|error| error.to_string())
}

/// Holds the lock's images to these keys. Everything that belongs to their signatures is in the store.
pub(crate) fn hold(store: &Store, lock: &Lock, keys: &Keys) -> Result<Vec<Endorsement>, Failure> {
    match endorse(store, lock, keys) {
        Ok(found) => Ok(found),
        Err(EndorseError::Unsigned(lacking)) => {
            let lines: Vec<_> = lacking.iter().map(|one| format!("error: {one}")).collect();
            let hint = "  hint: have the image signed, or correct its `signed-by`: `cosign sign --key` puts a signature where the image is";
            Err(Failure::rendered(Kind::Untrusted, format!("{}\n{hint}", lines.join("\n"))))
        }
        Err(error) => Err(error).failed(),
    }
}

/// What was found, a line each.
pub(crate) fn tell(found: &[Endorsement]) {
    for Endorsement { image, key, predicate } in found {
        match predicate {
            None => println!("{image}: signed by {key}"),
            Some(predicate) => println!("{image}: {predicate} by {key}"),
        }
    }
}
