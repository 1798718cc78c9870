//! What every host gets before anything runs on it: packages, links to their programs, kernel modules and settings.

use qiji_blueprint::lock::is_tool;
use qiji_templates::Template;
use serde_json::json;

use super::{Ctx, PACKAGES};
use crate::action::{Action, StepId};
use crate::draft::{file, id, step};
use crate::error::PlanError;
use crate::paths;
use crate::plan::Step;

/// Programs to link: package, path inside it, name.
const PROGRAMS: [(&str, &str); 8] = [
    ("containerd", "containerd"),
    ("containerd", "ctr"),
    ("containerd", "containerd-shim-runc-v2"),
    ("runc", "runc"),
    ("kubernetes", "kubeadm"),
    ("kubernetes", "kubelet"),
    ("kubernetes", "kubectl"),
    ("etcd", "etcdctl"),
];

/// Packages and groups of images in the order in which a host receives them. Others come before the last.
const URGENCY: [&str; 8] =
    ["containerd", "runc", "kubernetes", "static-pods", "network", "cni", "nftables", "rest"];
const LATER: usize = URGENCY.len() - 1;

/// Modules that nothing loads by itself, and what shows that they are there.
const MODULES: [(&str, &str); 2] =
    [("br_netfilter", "/proc/sys/net/bridge"), ("nf_conntrack", "/proc/sys/net/netfilter/nf_conntrack_max")];
/// Modules to load at start; all but the above are also loaded by the first use.
const MODULES_AT_START: [&str; 5] = ["br_netfilter", "nf_conntrack", "nf_tables", "overlay", "vxlan"];

/// A kernel setting: key, value, whether more is as good.
pub(crate) type Setting = (&'static str, &'static str, bool);

/// Settings made at once and at every start. `vm` and `kernel` ones are those that kubelet wants
/// (`pkg/kubelet/cm/container_manager_linux.go`, `setupKernelTunables`); the conntrack timeouts are kube-proxy's defaults.
const SETTINGS: [Setting; 9] = [
    ("kernel.panic", "10", false),
    ("kernel.panic_on_oops", "1", false),
    ("net.bridge.bridge-nf-call-ip6tables", "1", false),
    ("net.bridge.bridge-nf-call-iptables", "1", false),
    ("net.ipv4.ip_forward", "1", false),
    ("net.netfilter.nf_conntrack_max", "131072", true),
    ("net.netfilter.nf_conntrack_tcp_timeout_close_wait", "3600", false),
    ("net.netfilter.nf_conntrack_tcp_timeout_established", "86400", false),
    ("vm.overcommit_memory", "1", false),
];
const SETTINGS_IPV6: [Setting; 1] = [("net.ipv6.conf.all.forwarding", "1", false)];
/// Settings that help but that a host may refuse: written for the next start, and tried when containerd starts.
const SETTINGS_IF_ALLOWED: [Setting; 2] =
    [("fs.inotify.max_user_instances", "8192", true), ("fs.inotify.max_user_watches", "524288", true)];

/// Adds the steps.
pub(crate) fn steps(ctx: &Ctx<'_>, steps: &mut Vec<Step>) -> Result<(), PlanError> {
    packages(ctx, steps);
    links(ctx, steps)?;
    modules(ctx, steps)?;
    settings(ctx, steps)
}

/// Step that unpacks a package.
pub(crate) fn unpacked(ctx: &Ctx<'_>, package: &str) -> StepId {
    id(ctx.host(), &format!("unpack-{package}"))
}

/// Step that links a program.
pub(crate) fn linked(ctx: &Ctx<'_>, program: &str) -> StepId {
    id(ctx.host(), &format!("link-{program}"))
}

/// Steps that make modules and settings.
pub(crate) fn kernel(ctx: &Ctx<'_>) -> Vec<StepId> {
    let settings = all_settings(ctx);
    let settings = settings.iter().map(|(key, ..)| id(ctx.host(), &format!("set-{key}")));
    settings.chain([id(ctx.host(), "settings-file"), id(ctx.host(), "modules-file")]).collect()
}

/// Lets what a host receives come one after another, the most urgent first, so that the first does not share the line with the last.
pub(crate) fn receive_in_turn(ctx: &Ctx<'_>, steps: &mut [Step]) {
    let urgency = |id: &StepId| {
        let name = id.0.rsplit_once("/receive-").map(|(_, name)| name);
        URGENCY.iter().position(|urgent| Some(*urgent) == name).unwrap_or(LATER)
    };
    let receives =
        |step: &&mut Step| step.host == ctx.host() && matches!(step.action, Action::Receive { .. });
    let mut found: Vec<&mut Step> = steps.iter_mut().filter(receives).collect();
    found.sort_by_key(|step| urgency(&step.id));
    let mut before: Option<StepId> = None;
    for step in found {
        step.needs.extend(before.replace(step.id.clone()));
    }
}

/// Packages of a host, the most urgent first, without the tools themselves.
fn package_names<'a>(ctx: &'a Ctx<'_>) -> Vec<&'a str> {
    let mut names: Vec<&str> = ctx
        .offer
        .packages
        .iter()
        .filter(|package| package.roles.contains(&ctx.node.role) && !is_tool(&package.name))
        .map(|package| package.name.as_str())
        .collect();
    for needed in PACKAGES {
        if !names.contains(&needed) {
            names.push(needed);
        }
    }
    let urgency = |name: &&str| PACKAGES.iter().position(|urgent| urgent == name).unwrap_or(PACKAGES.len());
    names.sort_by_key(urgency);
    names
}

fn packages(ctx: &Ctx<'_>, steps: &mut Vec<Step>) {
    for package in package_names(ctx).into_iter().filter_map(|name| ctx.offer.package(name)) {
        let name = &package.name;
        let unpack = unpacked(ctx, name);
        let receive = step(
            ctx.host(),
            &format!("receive-{name}"),
            format!("receive {name} {}", package.version),
            Action::Receive { blobs: package.layers.clone() },
        );
        let receive = receive.only_for([&unpack]).within(3600);
        let action = Action::Unpack { layers: package.layers.clone(), into: package.folder() };
        let title = format!("unpack {name} {}", package.version);
        let unpack =
            step(ctx.host(), &format!("unpack-{name}"), title, action).after([&receive.id]).within(300);
        steps.extend([receive, unpack]);
    }
}

fn links(ctx: &Ctx<'_>, steps: &mut Vec<Step>) -> Result<(), PlanError> {
    for (package, program) in PROGRAMS {
        let Some(offered) = ctx.offer.package(package).filter(|_| package_names(ctx).contains(&package))
        else {
            continue; // only control-plane hosts have etcd's tools
        };
        let target = format!("{}/usr/local/bin/{program}", offered.folder());
        let action = Action::Link { path: paths::program(program), target };
        let link = step(ctx.host(), &format!("link-{program}"), format!("link {program}"), action);
        steps.push(link.after([&unpacked(ctx, package)]));
    }
    let plugins = format!("{}/opt/cni/bin", ctx.package("cni")?.folder());
    let action = Action::Link { path: paths::CNI_BIN.to_owned(), target: plugins };
    steps.push(step(ctx.host(), "link-cni", "link the CNI plugins", action).after([&unpacked(ctx, "cni")]));
    let values = json!({ "nftables": ctx.package("nftables")?.folder() });
    let action = file(&paths::program("nft"), 0o755, &ctx.render(Template::Nft, &values)?);
    let wrapper = step(ctx.host(), "link-nft", "write the wrapper that runs nft", action);
    steps.push(wrapper.after([&unpacked(ctx, "nftables")]));
    Ok(())
}

fn modules(ctx: &Ctx<'_>, steps: &mut Vec<Step>) -> Result<(), PlanError> {
    for (name, shown_by) in MODULES {
        let action = Action::Module { name: name.to_owned(), shown_by: shown_by.to_owned() };
        steps.push(step(ctx.host(), &format!("module-{name}"), format!("load {name}"), action));
    }
    let absent: Vec<&str> = ctx
        .facts
        .features
        .iter()
        .filter(|feature| !feature.present)
        .map(|feature| feature.name.as_str())
        .collect();
    let modules: Vec<&str> = MODULES_AT_START.into_iter().filter(|name| !absent.contains(name)).collect();
    let text = ctx.render(Template::Modules, &json!({ "modules": modules }))?;
    let title = "have kernel modules loaded at start";
    steps.push(step(ctx.host(), "modules-file", title, file(paths::MODULES, 0o644, &text)));
    Ok(())
}

fn all_settings(ctx: &Ctx<'_>) -> Vec<Setting> {
    let mut settings = SETTINGS.to_vec();
    if ctx.cluster.ipv6 {
        settings.extend(SETTINGS_IPV6);
    }
    settings
}

fn settings(ctx: &Ctx<'_>, steps: &mut Vec<Step>) -> Result<(), PlanError> {
    let settings = all_settings(ctx);
    for (key, value, at_least) in &settings {
        let action =
            Action::Sysctl { key: (*key).to_owned(), value: (*value).to_owned(), at_least: *at_least };
        let title = format!("set {key} to {}{value}", if *at_least { "at least " } else { "" });
        let made = step(ctx.host(), &format!("set-{key}"), title, action);
        let modules = MODULES.iter().filter(|_| key.starts_with("net.")).map(|(name, _)| *name);
        let modules: Vec<StepId> = modules.map(|name| id(ctx.host(), &format!("module-{name}"))).collect();
        steps.push(made.after(&modules));
    }
    let lines = settings.iter().chain(&SETTINGS_IF_ALLOWED);
    let lines: Vec<_> = lines.map(|(key, value, _)| json!({ "key": key, "value": value })).collect();
    let text = ctx.render(Template::Sysctl, &json!({ "settings": lines }))?;
    let title = "have kernel settings made at start";
    steps.push(step(ctx.host(), "settings-file", title, file(paths::SYSCTL, 0o644, &text)));
    Ok(())
}
