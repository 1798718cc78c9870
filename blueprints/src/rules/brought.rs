//! Rules on what is brought along: names are used once and are not ours, and the edition may take only what was reviewed for it.

use std::collections::HashMap;

use crate::catalogue::Catalogue;
use crate::checked::Site;
use crate::fault::{Fault, Span, any_of};

/// How names begin that are ours: those of images that the catalogue makes.
const OWN: &str = "qiji.local/";

/// No image stands there twice, and none has a name of ours.
pub(super) fn names(site: &Site, faults: &mut Vec<Fault>) {
    let mut known: HashMap<&str, Span> = HashMap::new();
    for image in &site.images {
        let name = image.value.name.as_str();
        if let Some(first) = known.insert(name, image.span) {
            let message = format!("image `{name}` is written twice");
            let fault =
                Fault::new("duplicate-name", image.span, message, "the second").related(first, "the first");
            faults.push(fault.fix("take one of them away"));
        }
        if name.starts_with(OWN) {
            let message = format!("names that begin with `{OWN}` are given by qiji");
            faults.push(Fault::new("reserved-name", image.span, message, "already has a meaning"));
        }
    }
}

/// An edition that lists its components takes nothing else.
pub(super) fn allowed(site: &Site, known: &Catalogue, faults: &mut Vec<Fault>) {
    let Some(edition) = known.editions.get(&site.edition.value) else { return };
    if edition.components.is_none() {
        return;
    }
    let open = known.editions.iter().filter(|(_, edition)| edition.components.is_none());
    let open: Vec<_> = open.map(|(name, _)| name.as_str()).collect();
    for image in &site.images {
        let message = format!(
            "the edition {} holds only what was reviewed for it, and image `{}` was not",
            site.edition.value, image.value.name
        );
        let fault = Fault::new("not-in-edition", image.span, message, "not allowed");
        let fix = (!open.is_empty())
            .then(|| format!("take it away, or use edition {}", any_of(open.iter().copied())));
        faults.push(fault.related(site.edition.span, "the edition").maybe_fix(fix));
    }
}
