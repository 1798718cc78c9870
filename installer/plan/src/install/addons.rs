//! What runs on top of a bare control plane: role bindings, kube-proxy, flannel and `CoreDNS`, each applied by the server, so
//! that applying again changes nothing.

use qiji_blueprint::site::PodBackend;
use qiji_templates::Template;
use serde_json::{Value, json};

use super::{Ctx, control_plane, runtime};
use crate::action::Action;
use crate::draft::{file, id, kube_env, kubectl, kubectl_succeeds, run, step};
use crate::error::PlanError;
use crate::paths;
use crate::plan::Step;

/// Adds the steps.
pub(crate) fn steps(ctx: &Ctx<'_>, steps: &mut Vec<Step>) -> Result<(), PlanError> {
    let api = control_plane::api(ctx);
    let access = control_plane::access(ctx);
    let [file, apply] = manifest(ctx, "access", "role bindings", &ctx.render(Template::Access, &json!({}))?);
    steps.extend([file, as_super_admin(apply).after([&api])]);
    let addons = [
        ("kube-proxy", Template::KubeProxy, kube_proxy(ctx)?),
        ("flannel", Template::Flannel, flannel(ctx)?),
        ("coredns", Template::CoreDns, coredns(ctx)?),
    ];
    for (name, template, mut values) in addons {
        values["fingerprint"] = Value::from(runtime::digest(&[&values.to_string()]));
        let [file, apply] = manifest(ctx, name, name, &ctx.render(template, &values)?);
        steps.extend([file, apply.after([&access])]);
    }
    let status = ["-n", "kube-system", "rollout", "status", "deployment/coredns", "--timeout=20s"];
    steps.push(
        step(ctx.host(), "coredns", "wait until names resolve", Action::Wait)
            .after([&id(ctx.host(), "apply-coredns")])
            .after(&runtime::imported(ctx, &["coredns"]))
            .so_that(kubectl_succeeds(paths::ADMIN, &status))
            .within(300),
    );
    Ok(())
}

/// A manifest's file and the step that applies it.
fn manifest(ctx: &Ctx<'_>, name: &str, what: &str, text: &str) -> [Step; 2] {
    let path = format!("{}/{name}.yaml", paths::MANIFESTS);
    let written = step(
        ctx.host(),
        &format!("manifest-{name}"),
        format!("write the manifest of {what}"),
        file(&path, 0o600, text),
    );
    let argv = kubectl(&["apply", "--server-side", "--force-conflicts", "--field-manager=qiji", "-f", &path]);
    let mut env = kube_env(paths::ADMIN);
    env.insert("QIJI_CONFIG".to_owned(), runtime::digest(&[text]));
    let apply = step(ctx.host(), &format!("apply-{name}"), format!("apply {what}"), run(argv, env))
        .after([&written.id])
        .so_that(kubectl_succeeds(paths::ADMIN, &["get", "-f", &path, "-o", "name"]))
        .within(120);
    [written, apply]
}

/// The role bindings are what gives the administrator's own kubeconfig its rights, so they need the other one.
fn as_super_admin(mut apply: Step) -> Step {
    if let Action::Run { env, .. } = &mut apply.action {
        env.insert("KUBECONFIG".to_owned(), paths::SUPER_ADMIN.to_owned());
    }
    apply
}

fn kube_proxy(ctx: &Ctx<'_>) -> Result<Value, PlanError> {
    Ok(json!({
        "image": ctx.image("kube-proxy")?.name,
        "bind_address": if ctx.cluster.ipv6 { "::" } else { "0.0.0.0" },
        "pods": ctx.site.network.pods,
        "server": ctx.cluster.server,
        "old_kernels": ctx.cluster.old_kernels,
    }))
}

fn flannel(ctx: &Ctx<'_>) -> Result<Value, PlanError> {
    Ok(json!({
        "image": ctx.image("flannel")?.name,
        "pods": ctx.site.network.pods,
        "ipv6": ctx.cluster.ipv6,
        "backend": match ctx.site.network.backend {
            PodBackend::Vxlan => "vxlan",
            PodBackend::HostGw => "host-gw",
        },
        "health_port": paths::FLANNEL_HEALTH_PORT,
        "api_host": ctx.cluster.api_host,
        "api_port": ctx.cluster.api_port.to_string(),
    }))
}

fn coredns(ctx: &Ctx<'_>) -> Result<Value, PlanError> {
    Ok(json!({
        "image": ctx.image("coredns")?.name,
        "upstream": ctx.site.network.dns_upstream,
        "cluster_domain": ctx.site.network.domain,
        "cluster_dns": ctx.cluster.cluster_dns.to_string(),
        "spread": !ctx.cluster.workers.is_empty(),
    }))
}
