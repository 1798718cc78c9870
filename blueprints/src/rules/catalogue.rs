//! Rules that hold a site to the catalogue: names that it has, what the edition allows, what each architecture can get.

use std::collections::{BTreeMap, BTreeSet};

use super::nodes;
use crate::catalogue::{Catalogue, ComponentVersion};
use crate::checked::{Settings, Site};
use crate::fault::{Fault, Span, Spanned, any_of, nearest};
use crate::resolve::Scope;
use crate::site::Arch;

/// Names of editions, chips and accelerators are known, and every host has a chip.
pub(super) fn names(site: &Site, known: &Catalogue, faults: &mut Vec<Fault>) {
    unknown("edition", &site.edition, known.editions.keys(), faults);
    let groups = site.cluster.groups.iter();
    let inner = groups.flat_map(|group| {
        std::iter::once(&group.settings).chain(group.nodes.iter().map(|nodes| &nodes.settings))
    });
    for Settings { chip, accelerators, .. } in std::iter::once(&site.settings).chain(inner) {
        if let Some(chip) = chip {
            unknown("chip", chip, known.chips.keys(), faults);
        }
        for accelerator in accelerators {
            unknown("accelerator", accelerator, known.accelerators.keys(), faults);
        }
    }
    for (group, nodes) in nodes(site) {
        if Scope::new(site, group, nodes).chip().is_none() {
            let message = "the host has no chip, so its architecture is not known";
            let fault = Fault::new("missing-chip", nodes.place, message, "`chip` missing");
            let fault = fault.expected("`chip` here, in the group or in the site");
            faults.push(fault.fix("write `chip \"generic-amd64\"` in its group"));
        }
    }
}

fn unknown<'a>(
    what: &str,
    name: &Spanned<String>,
    known: impl Iterator<Item = &'a String>,
    faults: &mut Vec<Fault>,
) -> bool {
    let known: Vec<_> = known.map(String::as_str).collect();
    if known.contains(&name.value.as_str()) {
        return false;
    }
    let article = if what.starts_with(['a', 'e']) { "an" } else { "a" };
    let message = format!("`{}` is not {article} {what} that the catalogue has", name.value);
    let fix = nearest(&name.value, known.iter().copied()).map(|name| format!("did you mean `{name}`?"));
    let fault = Fault::new("unknown-name", name.span, message, "not known");
    let expected =
        if known.is_empty() { format!("none: the catalogue has no {what} to choose") } else { any_of(known) };
    faults.push(fault.expected(expected).maybe_fix(fix));
    true
}

/// The version of Kubernetes is one that the catalogue has.
pub(super) fn kubernetes(site: &Site, known: &Catalogue, faults: &mut Vec<Fault>) {
    let Some(version) = &site.cluster.kubernetes else { return };
    if !known.cores.contains_key(&version.value) {
        let message = format!("the catalogue has no Kubernetes {}", version.value);
        let versions: Vec<_> = known.cores.keys().map(ToString::to_string).collect();
        let fault = Fault::new("unknown-version", version.span, message, "not known");
        let fault = fault.expected(any_of(versions.iter().map(String::as_str)));
        let fix = versions.last().map(|newest| format!("write `kubernetes=\"{newest}\"`"));
        faults.push(fault.maybe_fix(fix));
    }
}

/// Components are known, not part of every cluster anyway, in a version that is known, and allowed in the edition.
pub(super) fn components(site: &Site, known: &Catalogue, faults: &mut Vec<Fault>) {
    for choice in &site.components {
        let (name, version) = (&choice.name, &choice.version);
        if known.is_base(&name.value) {
            let message = format!("every cluster has `{}`", name.value);
            let fault = Fault::new("base-component", name.span, message, "is there anyway");
            faults.push(fault.fix("take the line away; the version of Kubernetes decides its version"));
            continue;
        }
        let optional = known.components.keys().filter(|name| !known.is_base(name));
        if unknown("component", name, optional, faults) {
            continue;
        }
        let Some(component) = known.components.get(&name.value) else { continue };
        match component.versions.get(&version.value) {
            None => {
                let message = format!("the catalogue has no version {} of `{}`", version.value, name.value);
                let fault = Fault::new("unknown-version", version.span, message, "not known");
                let versions = component.versions.keys().map(String::as_str);
                let near = nearest(&version.value, versions.clone());
                faults.push(
                    fault
                        .expected(any_of(versions))
                        .maybe_fix(near.map(|near| format!("did you mean `{near}`?"))),
                );
            }
            Some(found) => fits_core(site, found, choice.name.value.as_str(), version, faults),
        }
        not_allowed(site, known, &name.value, name.span, faults);
    }
    let Some(core) = core(site, known) else { return };
    for name in core.keys() {
        not_allowed(site, known, name, site.cluster.place, faults);
    }
}

fn fits_core(
    site: &Site,
    found: &ComponentVersion,
    name: &str,
    version: &Spanned<String>,
    faults: &mut Vec<Fault>,
) {
    let Some(kubernetes) = &site.cluster.kubernetes else { return };
    if !found.cores.matches(&kubernetes.value) {
        let message = format!("{name} {} does not work with Kubernetes {}", version.value, kubernetes.value);
        let fault = Fault::new("version-mismatch", version.span, message, "does not fit");
        let fault = fault.related(kubernetes.span, "the version of Kubernetes");
        faults.push(fault.expected(format!("Kubernetes {}", found.cores)));
    }
}

fn not_allowed(site: &Site, known: &Catalogue, name: &str, span: Span, faults: &mut Vec<Fault>) {
    let Some(edition) = known.editions.get(&site.edition.value) else { return };
    if !edition.allows(name) {
        let message = format!("the edition {} does not allow `{name}`", site.edition.value);
        let fault = Fault::new("not-in-edition", span, message, "not allowed");
        let allowing = known.editions.iter().filter(|(_, edition)| edition.allows(name));
        let allowing: Vec<_> = allowing.map(|(name, _)| name.as_str()).collect();
        let fix =
            (!allowing.is_empty()).then(|| format!("take it away, or use edition {}", any_of(allowing)));
        faults.push(fault.related(site.edition.span, "the edition").maybe_fix(fix));
    }
}

fn core<'a>(site: &Site, known: &'a Catalogue) -> Option<&'a BTreeMap<String, String>> {
    let version = site.cluster.kubernetes.as_ref()?;
    known.cores.get(&version.value).map(|core| &core.components)
}

/// Every component can be had for the architecture of every host.
pub(super) fn architectures(site: &Site, known: &Catalogue, faults: &mut Vec<Fault>) {
    let hosts = hosts_by_arch(site, known);
    let chosen =
        site.components.iter().map(|choice| (&choice.name.value, &choice.version.value, choice.name.span));
    let place = site.cluster.kubernetes.as_ref().map_or(site.cluster.place, |version| version.span);
    let base = core(site, known).into_iter().flatten().map(|(name, version)| (name, version, place));
    for (name, version, span) in chosen.chain(base) {
        let found = known.components.get(name).and_then(|component| component.versions.get(version));
        let Some(found) = found else { continue };
        for (arch, names) in hosts.iter().filter(|(arch, _)| !found.architectures.contains(arch)) {
            let message =
                format!("{name} {version} is not there for {arch}, the architecture of {}", some_of(names));
            let fault = Fault::new("missing-architecture", span, message, format!("not there for {arch}"));
            let has: Vec<_> = found.architectures.iter().map(|arch| arch.as_str()).collect();
            faults.push(fault.expected(format!("hosts of {} only", any_of(has))));
        }
    }
}

fn hosts_by_arch<'a>(site: &'a Site, known: &Catalogue) -> BTreeMap<Arch, BTreeSet<&'a str>> {
    let mut hosts: BTreeMap<Arch, BTreeSet<&str>> = BTreeMap::new();
    for (group, nodes) in nodes(site) {
        let chip = Scope::new(site, group, nodes).chip().and_then(|chip| known.chips.get(chip));
        let Some(chip) = chip else { continue };
        hosts.entry(chip.arch).or_default().extend(nodes.hosts.iter().map(|(name, _)| name.as_str()));
    }
    hosts
}

/// The first few names, and how many more there are.
fn some_of(names: &BTreeSet<&str>) -> String {
    const SHOWN: usize = 4;
    let first: Vec<_> = names.iter().take(SHOWN).copied().collect();
    match names.len().saturating_sub(SHOWN) {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}
