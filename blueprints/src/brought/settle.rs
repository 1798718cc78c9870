//! From what charts render to, to the images that a bundle holds: what was found is held to what the site says of it.
//!
//! 1. A sure find is brought along, unless the site excludes it.
//! 2. A likely find must be declared or excluded; an image that the site brings along by itself, or adds, counts as declared.
//! 3. What a site declares or excludes must be there, so that a list does not outlive the version of the chart that it was written for.
//! 4. An image that a site brings along by itself keeps its sources, and gets the roles of the charts that name it.
//!
//! All faults of all charts are told at once, each with the words that mend it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::images::{Certainty, ChartObject, Find, ImageName, Place, find};
use super::{BroughtChart, BroughtImage};
use crate::digest::Digest;
use crate::site::{Role, Site};

/// Places of one text that are shown.
const PLACES: usize = 3;

/// The images of a site with its charts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// All images that are brought along: the site's own first, as they are written, then those of charts by name.
    pub images: Vec<BroughtImage>,
    /// Texts with digests that pods use as names, with the charts that have them: what is locked must have that digest.
    pub by_digest: Vec<(String, String)>,
}

/// One thing that is wrong with the images of a chart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChartFault {
    /// The chart's release.
    pub release: String,
    /// What is wrong, in one sentence.
    pub message: String,
    /// Where in the chart; empty where it is not there.
    pub places: Vec<Place>,
    /// The words to write, or to take away.
    pub fix: String,
}

/// All that is wrong with the images of charts; its text shows all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ChartFaults {
    /// The faults, by chart.
    pub faults: Vec<ChartFault>,
}

impl fmt::Display for ChartFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let many = if self.faults.len() == 1 { "fault" } else { "faults" };
        write!(f, "{} {many} in the images of charts", self.faults.len())?;
        for ChartFault { release, message, places, fix } in &self.faults {
            write!(f, "\nchart {release}: {message}")?;
            for place in places.iter().take(PLACES) {
                write!(f, "\n  in {place}")?;
            }
            if places.len() > PLACES {
                write!(f, "\n  and in {} more places", places.len() - PLACES)?;
            }
            write!(f, "\n  fix: {fix}")?;
        }
        Ok(())
    }
}

/// The images of the site and of its charts; `rendered` has the objects of each chart.
pub fn settle(site: &Site, rendered: &[(&BroughtChart, Vec<ChartObject>)]) -> Result<Settled, ChartFaults> {
    let mut settler = Settler {
        own: site.images.iter().map(|image| image.name.as_str()).collect(),
        needed: BTreeMap::new(),
        by_digest: BTreeSet::new(),
        faults: Vec::new(),
    };
    for (chart, objects) in rendered {
        settler.chart(chart, &find(objects));
    }
    if !settler.faults.is_empty() {
        return Err(ChartFaults { faults: settler.faults });
    }
    let by_digest = settler.by_digest.into_iter().collect();
    Ok(Settled { images: merged(&site.images, settler.needed), by_digest })
}

/// What is needed under one name.
#[derive(Debug, Default)]
struct Need {
    roles: BTreeSet<Role>,
    digest: Option<Digest>,
}

type Needs = BTreeMap<String, Need>;

/// The site's own images with the roles of charts, then the others.
fn merged(own: &[BroughtImage], mut needed: Needs) -> Vec<BroughtImage> {
    let mut images = own.to_vec();
    for image in &mut images {
        let Some(need) = needed.remove(&image.name) else { continue };
        let roles: BTreeSet<_> = image.roles.iter().copied().chain(need.roles).collect();
        image.roles = roles.into_iter().collect();
    }
    images.extend(needed.into_iter().map(|(name, need)| {
        BroughtImage::from_its_name(name, need.digest, need.roles.into_iter().collect())
    }));
    images
}

struct Settler<'a> {
    /// Names of images that the site brings along by itself.
    own: BTreeSet<&'a str>,
    needed: Needs,
    by_digest: BTreeSet<(String, String)>,
    faults: Vec<ChartFault>,
}

impl Settler<'_> {
    fn chart(&mut self, chart: &BroughtChart, finds: &[Find]) {
        let mut by_text: BTreeMap<&str, Vec<&Find>> = BTreeMap::new();
        for find in finds {
            by_text.entry(&find.text).or_default().push(find);
        }
        let mut stale = Stale::of(chart);
        for (text, finds) in by_text {
            self.text(chart, text, &finds, &mut stale);
        }
        for name in &chart.images.added {
            self.need(chart, name, &[]);
        }
        for (word, text) in stale.left() {
            let message = format!("nothing in it names `{text}`, which the site lists under `{word}`");
            let also =
                if word == "declare" { ", or write it under `add` if it is needed all the same" } else { "" };
            self.fault(chart, message, &[], format!("take `{word} \"{text}\"` out of `images`{also}"));
        }
    }

    /// One text with all its places in a chart.
    fn text(&mut self, chart: &BroughtChart, text: &str, finds: &[&Find], stale: &mut Stale<'_>) {
        if stale.excludes(text) {
            return;
        }
        let name = ImageName::read(text).map(|name| name.name);
        let declared = name
            .as_deref()
            .is_some_and(|name| stale.declares(name) || stale.adds(name) || self.own.contains(name));
        let sure = finds.iter().any(|find| find.certainty == Certainty::Sure);
        match name {
            None => {
                let message = format!("`{text}` is used as an image, but is not the name of one");
                let fix =
                    format!("give another value, or write `exclude \"{text}\"` in `images` of the chart");
                self.fault(chart, message, finds, fix);
            }
            Some(_) if sure || declared => self.need(chart, text, finds),
            Some(name) => {
                let message =
                    format!("`{text}` looks like an image, and the site does not say whether it is one");
                let fix = format!(
                    "in `images` of the chart, write `declare \"{name}\"`, or if it is none or not needed `exclude \"{text}\"`"
                );
                self.fault(chart, message, finds, fix);
            }
        }
    }

    fn need(&mut self, chart: &BroughtChart, text: &str, finds: &[&Find]) {
        let Some(name) = ImageName::read(text) else { return };
        if !name.tagged {
            let message = format!("`{text}` has no tag, by which it is found on the site");
            let fix = format!(
                "give a tag by the chart's values, or write `exclude \"{text}\"` in `images` of the chart"
            );
            self.fault(chart, message, finds, fix);
            return;
        }
        if name.digest.is_some() {
            self.by_digest.insert((chart.name.clone(), text.to_owned()));
        }
        let need = self.needed.entry(name.name.clone()).or_default();
        need.roles.extend(&chart.roles);
        let earlier = need.digest;
        need.digest = earlier.or(name.digest);
        if let (Some(earlier), Some(digest)) = (earlier, name.digest)
            && earlier != digest
        {
            let message =
                format!("`{text}` has another digest than {earlier}, which a chart gives for the same name");
            let fix = "give both the same digest by the charts' values".to_owned();
            self.fault(chart, message, finds, fix);
        }
    }

    fn fault(&mut self, chart: &BroughtChart, message: String, finds: &[&Find], fix: String) {
        let places = finds.iter().map(|find| find.place.clone()).collect();
        self.faults.push(ChartFault { release: chart.name.clone(), message, places, fix });
    }
}

/// What a site says of a chart's images, as far as the chart has not shown it yet.
struct Stale<'a> {
    declared: BTreeMap<String, &'a str>,
    excluded: BTreeSet<&'a str>,
    added: BTreeSet<String>,
    seen: BTreeSet<String>,
    chart: &'a BroughtChart,
}

impl<'a> Stale<'a> {
    fn of(chart: &'a BroughtChart) -> Self {
        let name = |text: &String| ImageName::read(text).map(|name| name.name);
        let declared = chart.images.declared.iter();
        Self {
            declared: declared.filter_map(|text| Some((name(text)?, text.as_str()))).collect(),
            excluded: chart.images.excluded.iter().map(String::as_str).collect(),
            added: chart.images.added.iter().filter_map(name).collect(),
            seen: BTreeSet::new(),
            chart,
        }
    }

    fn declares(&mut self, name: &str) -> bool {
        let found = self.declared.get(name).copied();
        self.seen.extend(found.map(str::to_owned));
        found.is_some()
    }

    fn excludes(&mut self, text: &str) -> bool {
        let found = self.excluded.contains(text);
        self.seen.extend(found.then(|| text.to_owned()));
        found
    }

    fn adds(&self, name: &str) -> bool {
        self.added.contains(name)
    }

    /// What the chart has not shown, with the word that lists it, in the order written.
    fn left(self) -> Vec<(&'static str, &'a str)> {
        let lists = [("declare", &self.chart.images.declared), ("exclude", &self.chart.images.excluded)];
        let all =
            lists.into_iter().flat_map(|(word, list)| list.iter().map(move |text| (word, text.as_str())));
        all.filter(|(_, text)| !self.seen.contains(*text)).collect()
    }
}

#[cfg(test)]
mod tests;
