//! Images from elsewhere as KDL: the words, reading, and printing.

use super::BroughtImage;
use crate::digest::Digest;
use crate::fault::{Fault, Spanned};
use crate::kdl_text::Text;
use crate::lock::Source;
use crate::lock_text;
use crate::recipe::{self, ARCHIVE, CONTAINERD, OCI, ROLES_WORD, argument, child, role_name, word};
use crate::site::Role;
use crate::typed::{Entry, Kind, Times, Word};
use crate::value;

pub(crate) static IMAGE: Word = Word {
    arguments: &[argument(
        "name",
        Kind::Image,
        "its name, with registry and tag, and `@sha256:…` to hold it to a digest",
    )],
    children: &[
        child(&ROLES_WORD, Times::AtMostOnce),
        child(&OCI, Times::Any),
        child(&ARCHIVE, Times::Any),
        child(&CONTAINERD, Times::Any),
        child(&SIGNED_BY, Times::Any),
    ],
    ..word(
        "image",
        "An image that is brought along, for every architecture of the hosts that get it. `oci`, `archive` and `containerd` say where it is had, in \
         the order in which they are tried; without one, it is had where its name says.",
    )
};

static SIGNED_BY: Word = Word {
    arguments: &[argument(
        "path",
        Kind::Text,
        "path of a public key in PEM, Ed25519 or ECDSA on P-256, from the folder of the site file",
    )],
    ..word(
        "signed-by",
        "A key that must have signed the image, as `cosign sign` does. With several, each of them must. Without one, signatures are kept, but not looked at.",
    )
};

/// Reads what is brought along, and tells what is wrong with it.
pub(crate) struct Reader<'a> {
    pub(crate) faults: &'a mut Vec<Fault>,
}

impl Reader<'_> {
    /// An image; `None` where its name could not be read, which was told.
    pub(crate) fn image(&mut self, entry: &Entry) -> Option<BroughtImage> {
        let (name, digest) = image_name(entry.text()?, self.faults)?;
        let roles = roles(entry, self.faults);
        let sources: Vec<_> = entry.children().iter().filter_map(recipe::source).collect();
        if let (Some(_), Some(source)) =
            (digest, entry.children().iter().find(|it| recipe::source(it).is_some()))
        {
            let message = "an image with a digest comes from where its name says";
            let fault = Fault::new("contradiction", source.name, message, "another source");
            self.faults.push(
                fault.fix("take the digest or the source away: the lock holds it to its digest anyway"),
            );
        }
        let keys = entry.all("signed-by").filter_map(|key| Some(key.text()?.value.to_owned()));
        let signed_by: Vec<String> = keys.collect();
        if sources.is_empty() {
            return Some(BroughtImage { signed_by, ..BroughtImage::from_its_name(name, digest, roles) });
        }
        Some(BroughtImage { name, digest, roles, sources, signed_by })
    }
}

/// Full name of an image with its tag, and its digest, where there is one.
pub(super) fn image_name(text: Spanned<&str>, faults: &mut Vec<Fault>) -> Option<(String, Option<Digest>)> {
    match value::image(text.value) {
        Ok(found) => Some(found),
        Err((message, fix)) => {
            let fault = Fault::new("bad-image", text.span, message, "not such a name");
            faults.push(fault.expected(Kind::Image.describe()).maybe_fix(fix));
            None
        }
    }
}

/// The hosts that get what is brought along: all, where nothing is said.
pub(super) fn roles(entry: &Entry, faults: &mut Vec<Fault>) -> Vec<Role> {
    let roles = recipe::roles(entry, faults);
    if entry.one("roles").is_some() { roles } else { vec![Role::ControlPlane, Role::Worker] }
}

/// Writes an image as the site language has it.
pub(crate) fn print_image(text: &mut Text, image: &BroughtImage) {
    let name = image.digest.map_or_else(|| image.name.clone(), |digest| format!("{}@{digest}", image.name));
    text.node("image").arg(&name).block(|text| {
        text.node("roles").args(image.roles.iter().map(|role| role_name(*role))).end();
        let own = Source::Oci { reference: name.clone() };
        if image.sources != [own] {
            image.sources.iter().for_each(|source| lock_text::source(text, source));
        }
        image.signed_by.iter().for_each(|key| text.node("signed-by").arg(key).end());
    });
}
