//! The rules that look at several values of a site at once, and at the catalogue.
//!
//! Each rule reads the checked site and tells all that breaks it. Rules do not depend on one another and may be read in any order;
//! where a value was wrong by itself it is not here, and the rule says nothing of it.

mod addresses;
mod brought;
mod catalogue;
mod hosts;

use crate::catalogue::Catalogue;
use crate::checked::{Group, Nodes, Site};
use crate::fault::Fault;

/// Holds the site to all rules.
pub(crate) fn check(site: &Site, known: &Catalogue, faults: &mut Vec<Fault>) {
    addresses::ranges(&site.network, faults);
    addresses::room(site, faults);
    addresses::hosts(site, faults);
    addresses::endpoint(site, faults);
    hosts::unique(site, faults);
    hosts::control_plane(site, faults);
    hosts::access(site, faults);
    catalogue::names(site, known, faults);
    catalogue::kubernetes(site, known, faults);
    catalogue::components(site, known, faults);
    catalogue::architectures(site, known, faults);
    brought::names(site, faults);
    brought::allowed(site, known, faults);
}

/// Every `node` with its group.
fn nodes(site: &Site) -> impl Iterator<Item = (&Group, &Nodes)> {
    site.cluster.groups.iter().flat_map(|group| group.nodes.iter().map(move |nodes| (group, nodes)))
}
