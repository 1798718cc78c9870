//! containerd, the images in it, and the files that kubelet starts from.

use qiji_blueprint::Digest;
use qiji_blueprint::site::Role;
use qiji_templates::Template;
use serde_json::json;

use super::{Ctx, host};
use crate::action::{Action, BlobRef, StepId};
use crate::draft::{exists, file, id, step, words};
use crate::error::PlanError;
use crate::facts::Cgroup;
use crate::inventory::HostImage;
use crate::paths;
use crate::plan::Step;

/// Images of a control-plane host's static pods; wanted first there.
pub(crate) const STATIC_POD_IMAGES: [&str; 4] =
    ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"];
/// Images that a host needs before its pods have a network.
pub(crate) const NETWORK_IMAGES: [&str; 3] = ["pause", "flannel", "kube-proxy"];
const CONTROL_PLANE_TAINT: &str = "node-role.kubernetes.io/control-plane";

/// Adds the steps.
pub(crate) fn steps(ctx: &Ctx<'_>, steps: &mut Vec<Step>) -> Result<(), PlanError> {
    containerd(ctx, steps)?;
    images(ctx, steps);
    kubelet_files(ctx, steps)
}

/// Steps that import these images.
pub(crate) fn imported(ctx: &Ctx<'_>, images: &[&str]) -> Vec<StepId> {
    let wanted = |group: &[&HostImage]| group.iter().any(|image| images.contains(&image.short_name()));
    let found = groups(ctx).into_iter().filter(|(_, _, group)| wanted(group));
    found.map(|(name, ..)| id(ctx.host(), &format!("import-{name}"))).collect()
}

fn containerd(ctx: &Ctx<'_>, steps: &mut Vec<Step>) -> Result<(), PlanError> {
    let config = ctx.render(
        Template::ContainerdConfig,
        &json!({
            "containerd_drop_ins": paths::CONTAINERD_DROP_INS,
            "sandbox_image": ctx.image("pause")?.name,
            "cni_bin": paths::CNI_BIN,
            "bin": paths::BIN,
            "systemd_cgroup": ctx.facts.systemd.is_some(),
        }),
    )?;
    let unit =
        ctx.render(Template::ContainerdUnit, &json!({ "bin": paths::BIN, "sysctl_file": paths::SYSCTL }))?;
    let fingerprint = digest(&[&config, &unit, &ctx.package("containerd")?.content()]);
    let folder = Action::Folder { path: paths::CONTAINERD_DROP_INS.to_owned(), mode: 0o755 };
    let folder =
        step(ctx.host(), "containerd-drop-ins", "make room for the site's containerd settings", folder);
    // containerd would make it by itself, closed to others, and nobody would know that it was not there before.
    let cni = Action::Folder { path: paths::CNI_CONFIG.to_owned(), mode: 0o755 };
    let cni = step(ctx.host(), "cni-folder", "make room for the pod network's configuration", cni);
    let config = step(
        ctx.host(),
        "containerd-config",
        "configure containerd",
        file("/etc/containerd/config.toml", 0o644, &config),
    );
    let unit = step(
        ctx.host(),
        "containerd-unit",
        "write containerd.service",
        file("/etc/systemd/system/containerd.service", 0o644, &unit),
    );
    let action = Action::Unit { name: "containerd.service".to_owned(), fingerprint };
    let mut start = step(ctx.host(), "containerd", "start containerd", action)
        .after([&folder.id, &cni.id, &config.id, &unit.id])
        .so_that(exists(paths::CONTAINERD_SOCKET));
    for program in ["containerd", "ctr", "containerd-shim-runc-v2", "runc"] {
        start = start.after([&host::linked(ctx, program)]);
    }
    start = start.after([&id(ctx.host(), "settings-file")]);
    steps.extend([folder, cni, config, unit, start]);
    Ok(())
}

/// Groups of images, in the order in which they are wanted.
fn groups<'a>(ctx: &'a Ctx<'_>) -> Vec<(&'static str, &'static str, Vec<&'a HostImage>)> {
    let first = if ctx.node.role == Role::ControlPlane { &STATIC_POD_IMAGES[..] } else { &[] };
    let mut static_pods = Vec::new();
    let mut network = Vec::new();
    let mut rest = Vec::new();
    for image in &ctx.offer.images {
        let name = image.short_name();
        if first.contains(&name) || (name == "pause" && !first.is_empty()) {
            static_pods.push(image);
        } else if NETWORK_IMAGES.contains(&name) {
            network.push(image);
        } else if name == "coredns" || image.roles.contains(&ctx.node.role) {
            rest.push(image);
        }
    }
    let all = [
        ("static-pods", "images of the control plane", static_pods),
        ("network", "images of the pod network", network),
        ("rest", "other images", rest),
    ];
    all.into_iter().filter(|(_, _, images)| !images.is_empty()).collect()
}

/// Blobs of images, each once.
fn blobs(images: &[&HostImage]) -> Vec<BlobRef> {
    let mut seen = std::collections::BTreeSet::new();
    let all = images.iter().flat_map(|image| [image.manifest].into_iter().chain(image.blobs.iter().copied()));
    all.filter(|blob| seen.insert(blob.digest)).collect()
}

fn images(ctx: &Ctx<'_>, steps: &mut Vec<Step>) {
    let groups = groups(ctx);
    for (group, what, images) in &groups {
        let import = id(ctx.host(), &format!("import-{group}"));
        let receive = step(
            ctx.host(),
            &format!("receive-{group}"),
            format!("receive {what}"),
            Action::Receive { blobs: blobs(images) },
        );
        let receive = receive.only_for([&import]).within(3600);
        let action = Action::ImportImages {
            images: images.iter().map(|image| image.imported()).collect(),
            ctr: paths::program("ctr"),
            socket: paths::CONTAINERD_SOCKET.to_owned(),
        };
        let import = step(ctx.host(), &format!("import-{group}"), format!("import {what}"), action)
            .after([&receive.id, &id(ctx.host(), "containerd")])
            .within(600);
        steps.extend([receive, import]);
    }
}

/// Adds the step that frees the staging store of blobs that containerd has by then. Those of packages alone stay: deltas start from what hosts hold.
pub(crate) fn tidy(ctx: &Ctx<'_>, steps: &mut Vec<Step>) {
    let mut digests = std::collections::BTreeSet::new();
    let mut users = Vec::new();
    for step in steps.iter().filter(|step| step.host == ctx.host()) {
        match &step.action {
            Action::Unpack { .. } => users.push(step.id.clone()),
            Action::ImportImages { images, .. } => {
                users.push(step.id.clone());
                let all =
                    images.iter().flat_map(|image| std::iter::once(&image.manifest).chain(&image.blobs));
                digests.extend(all.map(|blob| blob.digest.hex()));
            }
            _ => {}
        }
    }
    let paths: Vec<String> = digests.iter().map(|hex| format!("{}/{hex}", paths::BLOBS)).collect();
    let mut argv = words(&["rm", "-f", "--"]);
    argv.extend(paths.iter().cloned());
    let title = "free the room that blobs took on their way in";
    let mut tidy = step(ctx.host(), "tidy", title, crate::draft::run(argv, [].into())).after(&users);
    tidy.verify = paths.into_iter().map(|path| crate::action::Condition::Missing { path }).collect();
    steps.push(tidy);
}

/// Texts of kubelet's unit and configuration.
struct KubeletTexts {
    config: String,
    unit: String,
    resolv_conf: Option<String>,
}

fn kubelet_texts(ctx: &Ctx<'_>) -> Result<KubeletTexts, PlanError> {
    let servers = &ctx.site.network.dns_upstream;
    let resolv_conf = if servers.is_empty() {
        None
    } else {
        Some(ctx.render(Template::ResolvConf, &json!({ "servers": servers }))?)
    };
    let values = json!({
        "kubelet_drop_ins": paths::KUBELET_DROP_INS,
        "cgroup_driver": if ctx.facts.systemd.is_some() { "systemd" } else { "cgroupfs" },
        "fail_cgroup_v1": ctx.facts.cgroup == Cgroup::V2,
        "cluster_dns": ctx.cluster.cluster_dns.to_string(),
        "cluster_domain": ctx.site.network.domain,
        "taints": taints(ctx),
        "resolv_conf": if resolv_conf.is_some() { paths::RESOLV_CONF } else { "" },
        "bin": paths::BIN,
        "node_name": ctx.node.name,
        "node_address": ctx.node.address,
    });
    Ok(KubeletTexts {
        config: ctx.render(Template::KubeletConfig, &values)?,
        unit: ctx.render(Template::KubeletUnit, &values)?,
        resolv_conf,
    })
}

/// Taints that a node registers with. A control-plane host keeps workloads away unless there is no other host for them.
fn taints(ctx: &Ctx<'_>) -> Vec<qiji_blueprint::site::Taint> {
    let mut taints = ctx.node.taints.clone();
    let alone = ctx.cluster.workers.is_empty();
    if ctx.node.role == Role::ControlPlane && !alone && taints.iter().all(|t| t.key != CONTROL_PLANE_TAINT) {
        taints.push(qiji_blueprint::site::Taint {
            key: CONTROL_PLANE_TAINT.to_owned(),
            value: String::new(),
            effect: "NoSchedule".to_owned(),
        });
    }
    taints
}

fn kubelet_files(ctx: &Ctx<'_>, steps: &mut Vec<Step>) -> Result<(), PlanError> {
    let texts = kubelet_texts(ctx)?;
    let folder = Action::Folder { path: paths::KUBELET_DROP_INS.to_owned(), mode: 0o755 };
    let title = "make room for the site's kubelet settings";
    steps.push(step(ctx.host(), "kubelet-drop-ins", title, folder));
    let config = file("/var/lib/kubelet/config.yaml", 0o644, &texts.config);
    steps.push(step(ctx.host(), "kubelet-config", "configure kubelet", config));
    let unit = file("/etc/systemd/system/kubelet.service", 0o644, &texts.unit);
    steps.push(step(ctx.host(), "kubelet-unit", "write kubelet.service", unit));
    if let Some(text) = &texts.resolv_conf {
        let title = "name the site's name servers to pods";
        steps.push(step(ctx.host(), "resolv-conf", title, file(paths::RESOLV_CONF, 0o644, text)));
    }
    Ok(())
}

/// The step that starts kubelet, without what it needs beyond its own files.
pub(crate) fn kubelet(ctx: &Ctx<'_>) -> Result<Step, PlanError> {
    let texts = kubelet_texts(ctx)?;
    let resolv_conf = texts.resolv_conf.unwrap_or_default();
    let content = ctx.package("kubernetes")?.content();
    let fingerprint = digest(&[&texts.config, &texts.unit, &resolv_conf, &content]);
    let action = Action::Unit { name: "kubelet.service".to_owned(), fingerprint };
    let mut start = step(ctx.host(), "kubelet", "start kubelet", action)
        .after([&id(ctx.host(), "containerd"), &host::linked(ctx, "kubelet")])
        .after(&host::kernel(ctx));
    for words in ["kubelet-drop-ins", "kubelet-config", "kubelet-unit"] {
        start = start.after([&id(ctx.host(), words)]);
    }
    if !resolv_conf.is_empty() {
        start = start.after([&id(ctx.host(), "resolv-conf")]);
    }
    Ok(start)
}

/// A name for the content of all of these.
pub(crate) fn digest(parts: &[&str]) -> String {
    let each: Vec<String> = parts.iter().map(|part| Digest::of(part.as_bytes()).to_string()).collect();
    Digest::of(each.join("\n").as_bytes()).to_string()
}
