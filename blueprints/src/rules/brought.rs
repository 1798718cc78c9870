//! Rules on what is brought along: names are used once and are not ours, and the edition may take only what was reviewed for it.

use std::collections::HashMap;

use crate::catalogue::Catalogue;
use crate::checked::Site;
use crate::fault::{Fault, Span, any_of};

/// How names begin that are ours: those of images that the catalogue makes.
const OWN: &str = "qiji.local/";

/// No image and no release of a chart stands there twice, and no image has a name of ours.
pub(super) fn names(site: &Site, faults: &mut Vec<Fault>) {
    let images = site.images.iter().map(|image| (image.value.name.as_str(), image.span));
    once("image", images, "take one of them away", faults);
    let charts = site.charts.iter().map(|chart| (chart.value.name.as_str(), chart.span));
    once("release", charts, "write another `release` in the block of one of them", faults);
    for image in site.images.iter().filter(|image| image.value.name.starts_with(OWN)) {
        let message = format!("names that begin with `{OWN}` are given by qiji");
        faults.push(Fault::new("reserved-name", image.span, message, "already has a meaning"));
    }
}

fn once<'a>(what: &str, names: impl Iterator<Item = (&'a str, Span)>, fix: &str, faults: &mut Vec<Fault>) {
    let mut known: HashMap<&str, Span> = HashMap::new();
    for (name, span) in names {
        if let Some(first) = known.insert(name, span) {
            let message = format!("{what} `{name}` is written twice");
            let fault = Fault::new("duplicate-name", span, message, "the second").related(first, "the first");
            faults.push(fault.fix(fix));
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
    let images = site.images.iter().map(|image| ("image", &image.value.name, image.span));
    let charts = site.charts.iter().map(|chart| ("chart", &chart.value.chart, chart.span));
    for (what, name, span) in images.chain(charts) {
        let message = format!(
            "the edition {} holds only what was reviewed for it, and {what} `{name}` was not",
            site.edition.value
        );
        let fault = Fault::new("not-in-edition", span, message, "not allowed");
        let fix = (!open.is_empty())
            .then(|| format!("take it away, or use edition {}", any_of(open.iter().copied())));
        faults.push(fault.related(site.edition.span, "the edition").maybe_fix(fix));
    }
}
