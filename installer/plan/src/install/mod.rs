//! The plan of an installation: from a site, what its bundle offers and what is known of its hosts to a graph of steps.
//!
//! Flow on every host: packages arrive, the most urgent first, are unpacked and linked → kernel modules and settings → containerd →
//! images → kubelet. On the first control-plane host, between images and kubelet: certificates, kubeconfigs and static pods by
//! `kubeadm init phase`; after kubelet: the API answers → role bindings → add-ons, join token. A worker's kubelet starts once the
//! join token is there and asks for its own certificate; no other host waits for it.
//!
//! Guarantees: steps stand after all that they need; a step waits for another host only where it takes something from it. A step can be
//! broken off at any moment and done again. No secret is in an argument list, a title or a file that others than root can read.
//! A join leaves no secret behind: the bootstrap kubeconfig, the token and its secret go once hosts have joined, and the token ends by
//! itself within the hour otherwise.
//!
//! Why hosts join by kubelet's own TLS bootstrap and not by `kubeadm join`: a join that was broken off after its node became ready cannot be
//! tried again with kubeadm, which refuses a node that exists and is ready. kubelet's bootstrap can be, at any point.
//!
//! Limits: one control-plane host; one address family for pods and Services.

mod addons;
mod control_plane;
mod host;
mod join;
mod runtime;
mod values;

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use tests::faults;

use std::collections::BTreeMap;

use qiji_blueprint::site::{Node, Role, Site};

use crate::action::StepId;
use crate::error::{PlanError, PlanErrors};
use crate::facts::Facts;
use crate::inventory::{HostImage, HostPackage, Inventory, Offer};
use crate::plan::{Plan, Step};
use values::ClusterValues;

/// Packages that every host needs, the most urgent first.
const PACKAGES: [&str; 5] = ["containerd", "runc", "kubernetes", "cni", "nftables"];

/// Makes the plan of an installation. `facts` has every host of the site.
///
/// # Errors
/// Everything that keeps a plan from being made, at once.
pub fn install_plan(
    site: &Site,
    inventory: &Inventory,
    facts: &BTreeMap<String, Facts>,
) -> Result<Plan, PlanErrors> {
    let mut faults = check(site, inventory, facts);
    let Some(first) = site.control_plane().next().filter(|_| faults.is_empty()) else {
        if faults.is_empty() {
            faults.push(PlanError::NoControlPlane);
        }
        return Err(PlanErrors(faults));
    };
    let cluster = ClusterValues::new(site, first, &inventory.offers[&first.arch], facts)?;
    let mut steps = Vec::new();
    for node in &site.nodes {
        let ctx = Ctx {
            site,
            node,
            first: &first.name,
            facts: &facts[&node.name],
            offer: &inventory.offers[&node.arch],
            cluster: &cluster,
        };
        plan_host(&ctx, &mut steps)?;
    }
    Ok(Plan { steps: in_order(steps) })
}

/// What the steps of one host are made from.
pub(crate) struct Ctx<'a> {
    pub(crate) site: &'a Site,
    pub(crate) node: &'a Node,
    /// Name of the first control-plane host.
    pub(crate) first: &'a str,
    pub(crate) facts: &'a Facts,
    pub(crate) offer: &'a Offer,
    pub(crate) cluster: &'a ClusterValues,
}

impl Ctx<'_> {
    pub(crate) fn host(&self) -> &str {
        &self.node.name
    }

    pub(crate) fn package(&self, name: &'static str) -> Result<&HostPackage, PlanError> {
        self.offer.package(name).ok_or_else(|| self.lacks("package", name))
    }

    pub(crate) fn image(&self, name: &'static str) -> Result<&HostImage, PlanError> {
        self.offer.image(name).ok_or_else(|| self.lacks("image", name))
    }

    pub(crate) fn render<T: serde::Serialize>(
        &self,
        template: qiji_templates::Template,
        values: &T,
    ) -> Result<String, PlanError> {
        qiji_templates::render(template, values)
            .map_err(|source| PlanError::Render { host: self.host().to_owned(), source })
    }

    fn lacks(&self, kind: &'static str, name: &str) -> PlanError {
        PlanError::Lacks { kind, name: name.to_owned(), arch: self.node.arch }
    }
}

fn plan_host(ctx: &Ctx<'_>, steps: &mut Vec<Step>) -> Result<(), PlanError> {
    host::steps(ctx, steps)?;
    runtime::steps(ctx, steps)?;
    if ctx.node.role == Role::ControlPlane {
        control_plane::steps(ctx, steps)?;
        addons::steps(ctx, steps)?;
        join::issue(ctx, steps)?;
    } else {
        join::accept(ctx, steps)?;
    }
    join::finish(ctx, steps)
}

fn check(site: &Site, inventory: &Inventory, facts: &BTreeMap<String, Facts>) -> Vec<PlanError> {
    let mut faults = Vec::new();
    let control_plane: Vec<&str> = site.control_plane().map(|node| node.name.as_str()).collect();
    if control_plane.len() > 1 {
        faults.push(PlanError::SeveralControlPlanes {
            count: control_plane.len(),
            hosts: control_plane.join(", "),
        });
    }
    for node in &site.nodes {
        if !facts.contains_key(&node.name) {
            faults.push(PlanError::NoFacts { host: node.name.clone() });
        }
    }
    for arch in site.architectures() {
        if let Some(offer) = inventory.offers.get(&arch) {
            faults.extend(lacking(site, arch, offer));
        } else {
            let host = site.nodes.iter().find(|node| node.arch == arch);
            let host = host.map(|node| node.name.clone()).unwrap_or_default();
            faults.push(PlanError::NoOffer { arch, host });
        }
    }
    faults
}

fn lacking(site: &Site, arch: qiji_blueprint::site::Arch, offer: &Offer) -> Vec<PlanError> {
    let control_plane = site.control_plane().any(|node| node.arch == arch);
    let mut images: Vec<&str> = runtime::NETWORK_IMAGES.to_vec();
    images.push("coredns");
    if control_plane {
        images.extend(runtime::STATIC_POD_IMAGES);
    }
    let packages =
        PACKAGES.iter().filter(|name| offer.package(name).is_none()).map(|name| ("package", *name));
    let images = images.into_iter().filter(|name| offer.image(name).is_none()).map(|name| ("image", name));
    packages
        .chain(images)
        .map(|(kind, name)| PlanError::Lacks { kind, name: name.to_owned(), arch })
        .collect()
}

/// Puts steps behind all that they need, and leaves them in the order written otherwise.
fn in_order(steps: Vec<Step>) -> Vec<Step> {
    let mut places: BTreeMap<StepId, usize> = BTreeMap::new();
    for (place, step) in steps.iter().enumerate() {
        places.insert(step.id.clone(), place);
    }
    let mut left: Vec<Option<Step>> = steps.into_iter().map(Some).collect();
    let mut ordered = Vec::with_capacity(left.len());
    for place in 0..left.len() {
        put(place, &places, &mut left, &mut ordered);
    }
    ordered
}

/// Puts a step, after those that it needs. In a cycle, which tests and the engine refuse, some step stands too early.
fn put(place: usize, places: &BTreeMap<StepId, usize>, left: &mut [Option<Step>], ordered: &mut Vec<Step>) {
    let Some(step) = left[place].take() else { return };
    for need in step.needs.iter().filter_map(|need| places.get(need)) {
        put(*need, places, left, ordered);
    }
    ordered.push(step);
}
