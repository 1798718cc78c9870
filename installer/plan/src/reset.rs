//! The plan that takes a site away again.
//!
//! Flow on each host by itself: kubelet stops, so that nothing starts pods again → containerd stops → what still runs of pods and shims
//! ends with its control groups → mounts, packet filter tables and links of the pod network go → files that Kubernetes and containerd made
//! go → last, what qiji recorded before it changed it is put back.
//!
//! Guarantees: every step bears a host on which nothing, or only a part, was installed, and can be done again. No host needs another.
//! A site's own settings (drop-ins) that were there before stay.
//!
//! Limits: what pods wrote outside their own volumes stays; volumes on the host's disks do too.

use std::collections::BTreeMap;

use qiji_blueprint::site::{Node, PodBackend, Site};

use crate::action::{Action, Condition, StepId};
use crate::draft::{run, step, words};
use crate::facts::Facts;
use crate::paths;
use crate::plan::{Plan, Step};

/// Tables of kube-proxy (`pkg/proxy/nftables/proxier.go`), flannel (`pkg/trafficmngr/nftables/nftables.go`)
/// and the portmap plugin (`plugins/meta/portmap/portmap_nftables.go`).
const TABLES: [&str; 6] = [
    "ip kube-proxy",
    "ip6 kube-proxy",
    "ip flannel-ipv4",
    "ip6 flannel-ipv6",
    "ip cni_hostport",
    "ip6 cni_hostport",
];
/// Links of flannel and its bridge. Pods' own go with their network namespaces.
const LINKS: [&str; 3] = ["cni0", "flannel.1", "flannel-v6.1"];
/// Places where kubelet and containerd mount.
const MOUNTS: [&str; 4] = ["/var/lib/kubelet", "/run/containerd", "/var/lib/containerd", "/run/flannel"];
/// What Kubernetes, etcd, containerd and CNI plugins made.
const MADE: [&str; 19] = [
    "/etc/kubernetes/pki",
    "/etc/kubernetes/pki.new",
    "/etc/kubernetes/manifests",
    "/etc/kubernetes/tmp",
    "/etc/kubernetes/admin.conf",
    "/etc/kubernetes/super-admin.conf",
    "/etc/kubernetes/kubelet.conf",
    "/etc/kubernetes/bootstrap-kubelet.conf",
    "/etc/kubernetes/controller-manager.conf",
    "/etc/kubernetes/scheduler.conf",
    "/var/lib/kubelet",
    "/var/lib/etcd",
    "/var/lib/containerd",
    "/run/containerd",
    "/var/lib/cni",
    "/run/flannel",
    "/var/log/pods",
    "/var/log/containers",
    "/etc/qiji",
];

/// Makes the plan that resets all hosts whose facts are known. Hosts that were not reached are left out: the caller names them.
pub fn reset_plan(site: &Site, facts: &BTreeMap<String, Facts>) -> Plan {
    let known = site.nodes.iter().filter(|node| facts.contains_key(&node.name));
    Plan { steps: known.flat_map(|node| host(site, node)).collect() }
}

/// The steps of one host, each after the one before.
fn host(site: &Site, node: &Node) -> Vec<Step> {
    let name = &node.name;
    let stop = |unit: &str| Action::StopUnit { name: format!("{unit}.service") };
    let holding = ["kubepods", "containerd.service", "kubelet.service"].map(str::to_owned).into();
    let mut steps = vec![
        step(name, "stop-kubelet", "stop kubelet", stop("kubelet")),
        step(name, "stop-containerd", "stop containerd", stop("containerd")),
        step(name, "end-pods", "end what runs in pods", Action::KillCgroups { holding }),
        step(
            name,
            "unmount",
            "unmount what pods used",
            Action::Unmount { below: MOUNTS.map(str::to_owned).into() },
        ),
        tables(name),
    ];
    steps.extend(routes(site, name));
    let links = Action::DeleteLinks { names: LINKS.map(str::to_owned).into() };
    steps.push(step(name, "links", "delete the links of the pod network", links));
    let made = Action::Remove { paths: MADE.map(str::to_owned).into() };
    steps.push(step(name, "files", "remove what Kubernetes wrote", made).within(300));
    let programs = Action::Remove { paths: vec![paths::ROOT.to_owned(), paths::KUBE_CACHE.to_owned()] };
    steps.push(step(name, "programs", "remove the programs", programs));
    steps.push(step(name, "undo", "put back what was there before", Action::Undo).within(120));
    // What was there before qiji's own is kubeadm's of the same installation, and goes too.
    let again = Action::Remove { paths: vec![paths::KUBELET_KUBECONFIG.to_owned()] };
    steps.push(step(name, "kubelet-conf", "remove what kubeadm wrote for kubelet", again));
    let mut before: Option<StepId> = None;
    for step in &mut steps {
        step.needs.extend(before.replace(step.id.clone()));
    }
    steps
}

/// Deletes the packet filter's tables, where there is a program to do it with.
fn tables(host: &str) -> Step {
    let nft = paths::program("nft");
    let deletes: Vec<String> =
        TABLES.iter().map(|table| format!("{nft} delete table {table} 2>/dev/null")).collect();
    let usable = format!("{nft} list tables >/dev/null 2>&1 || exit 0");
    let script = format!("{usable}; {}; exit 0", deletes.join("; "));
    let names: Vec<String> = TABLES.iter().map(|table| format!("-e 'table {table}'")).collect();
    let check = format!("{usable}; ! {nft} list tables | grep -qxF {}", names.join(" "));
    let title = "delete the packet filter rules of the pod network and of Services";
    let condition = Condition::Succeeds { argv: words(&["/bin/sh", "-c", &check]), env: BTreeMap::new() };
    step(host, "tables", title, run(words(&["/bin/sh", "-c", &script]), BTreeMap::new())).so_that(condition)
}

/// Plain routes to other hosts' pods do not go with a link, as vxlan's do.
fn routes(site: &Site, host: &str) -> Option<Step> {
    let pods = site.network.pods;
    (site.network.backend == PodBackend::HostGw).then(|| {
        let family = if pods.addr().is_ipv6() { "-6" } else { "-4" };
        let usable = "command -v ip >/dev/null || exit 0";
        let flush = format!("{usable}; ip {family} route flush root {pods}; exit 0");
        let check = format!("{usable}; [ -z \"$(ip {family} route show root {pods})\" ]");
        let condition = Condition::Succeeds { argv: words(&["/bin/sh", "-c", &check]), env: BTreeMap::new() };
        let action = run(words(&["/bin/sh", "-c", &flush]), BTreeMap::new());
        step(host, "routes", "delete the routes to pods", action).so_that(condition)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn each_host_is_reset_by_itself() {
        let site = testing::site(2);
        let plan = reset_plan(&site, &testing::facts(&site));
        assert!(crate::install::faults(&plan).is_empty(), "{:?}", crate::install::faults(&plan));
        for node in &site.nodes {
            let steps: Vec<_> = plan.steps.iter().filter(|step| step.host == node.name).collect();
            assert!(steps.iter().any(|step| step.action == Action::Undo));
            for step in steps {
                assert!(step.needs.iter().all(|need| need.0.starts_with(&format!("{}/", node.name))));
            }
        }
    }

    #[test]
    fn steps_are_as_reviewed() {
        let mut site = testing::site(0);
        site.network.backend = PodBackend::HostGw;
        let plan = reset_plan(&site, &testing::facts(&site));
        let lines: Vec<String> = plan
            .steps
            .iter()
            .map(|step| format!("{}: {:?}\n  {:?}", step.id, step.action, step.verify))
            .collect();
        insta::assert_snapshot!(lines.join("\n"));
    }

    #[test]
    fn a_host_that_was_not_reached_is_left_out() {
        let site = testing::site(2);
        let mut facts = testing::facts(&site);
        facts.remove("w2");
        assert!(reset_plan(&site, &facts).steps.iter().all(|step| step.host != "w2"));
    }

    #[test]
    fn a_sites_own_settings_stay() {
        let drop_ins = [paths::KUBELET_DROP_INS, paths::CONTAINERD_DROP_INS];
        for path in MADE {
            assert!(
                drop_ins.iter().all(|kept| !std::path::Path::new(kept).starts_with(path)),
                "{path} holds a site's settings"
            );
        }
    }

    #[test]
    fn routes_are_only_deleted_where_they_were_made() {
        let mut site = testing::site(1);
        let has = |site: &Site| {
            reset_plan(site, &testing::facts(site)).steps.iter().any(|step| step.id.0.ends_with("/routes"))
        };
        assert!(!has(&site));
        site.network.backend = PodBackend::HostGw;
        assert!(has(&site));
    }
}
