//! The first control-plane host: certificates, kubeconfigs and static pods by `kubeadm init phase`, kubelet, and the API that answers.
//!
//! Each phase can be broken off and run again. Certificates are made in a folder of their own that is renamed when whole, so that
//! a certificate authority in use is never at stake; kubeadm keeps kubeconfigs that are there and good, and ones that a
//! killed phase may have left half-written are removed first; static pods are written anew each time.

use qiji_blueprint::site::Arch;
use qiji_templates::Template;
use serde_json::json;

use super::{Ctx, host, runtime};
use crate::action::{Action, Condition, Content, StepId};
use crate::draft::{exists, file, id, kube_env, kubectl_succeeds, run, step, words};
use crate::error::PlanError;
use crate::paths;
use crate::plan::Step;

const PKI_FOLDER: &str = "/etc/kubernetes/pki";
const NEW_PKI_FOLDER: &str = "/etc/kubernetes/pki.new";
/// Makes all certificates beside their place and renames the folder. Certificates that are there stay.
const MAKE_CERTIFICATES: &str = "[ ! -e /etc/kubernetes/pki ] || exit 0; rm -rf /etc/kubernetes/pki.new && \
/opt/qiji/bin/kubeadm init phase certs all --config /dev/stdin && mv /etc/kubernetes/pki.new /etc/kubernetes/pki";
const PKI: [&str; 8] = [
    "/etc/kubernetes/pki/ca.crt",
    "/etc/kubernetes/pki/ca.key",
    "/etc/kubernetes/pki/apiserver.crt",
    "/etc/kubernetes/pki/apiserver-kubelet-client.crt",
    "/etc/kubernetes/pki/apiserver-etcd-client.crt",
    "/etc/kubernetes/pki/front-proxy-client.crt",
    "/etc/kubernetes/pki/etcd/server.crt",
    "/etc/kubernetes/pki/sa.key",
];
/// Kubeconfigs that must be there. kubeadm writes `super-admin.conf` too, which a careful administrator takes away later.
const KUBECONFIGS: [&str; 4] = [
    paths::ADMIN,
    paths::KUBELET_KUBECONFIG,
    "/etc/kubernetes/controller-manager.conf",
    "/etc/kubernetes/scheduler.conf",
];
const ETCD_POD: [&str; 1] = ["/etc/kubernetes/manifests/etcd.yaml"];
const PODS: [&str; 3] = [
    "/etc/kubernetes/manifests/kube-apiserver.yaml",
    "/etc/kubernetes/manifests/kube-controller-manager.yaml",
    "/etc/kubernetes/manifests/kube-scheduler.yaml",
];

/// Step after which the API answers to the administrator.
pub(crate) fn api(ctx: &Ctx<'_>) -> StepId {
    id(ctx.first, "api")
}

/// Step after which the administrator's kubeconfig may do everything and hosts may ask to join.
pub(crate) fn access(ctx: &Ctx<'_>) -> StepId {
    id(ctx.first, "apply-access")
}

/// Adds the steps.
pub(crate) fn steps(ctx: &Ctx<'_>, steps: &mut Vec<Step>) -> Result<(), PlanError> {
    let config = ctx.render(Template::KubeadmInit, &kubeadm_values(ctx, PKI_FOLDER))?;
    let title = "configure kubeadm";
    steps.push(step(ctx.host(), "kubeadm-config", title, file(paths::KUBEADM_CONFIG, 0o600, &config)));
    let phases = Phases { ctx, fingerprint: runtime::digest(&[&config]) };
    let certificates = phases.certificates()?;
    let kubeconfigs = phases.step("kubeconfigs", "write kubeconfigs", &["kubeconfig", "all"], &KUBECONFIGS);
    let kubeconfigs =
        kubeconfigs.after([&certificates.id]).cleaning(&KUBECONFIGS).cleaning(&[paths::SUPER_ADMIN]);
    let etcd = phases.step("etcd", "write etcd's static pod", &["etcd", "local"], &ETCD_POD);
    let etcd = etcd.after([&certificates.id]);
    let title = "write the control plane's static pods";
    let pods = phases.step("control-plane", title, &["control-plane", "all"], &PODS);
    let pods = pods.after([&kubeconfigs.id]);
    // The static pods mount it, and kubelet would make it unrecorded.
    let trusted = Action::Folder { path: paths::TRUSTED_CERTIFICATES.to_owned(), mode: 0o755 };
    let trusted =
        step(ctx.host(), "trusted-certificates", "make room for certificates that the host trusts", trusted);
    let kubelet = runtime::kubelet(ctx)?
        .after([&trusted.id])
        .after([&kubeconfigs.id, &etcd.id, &pods.id])
        .after(&runtime::imported(ctx, &runtime::STATIC_POD_IMAGES))
        .within(120)
        .so_that(Condition::HttpOk { port: 10248, path: "/healthz".to_owned() });
    let api = step(ctx.host(), "api", "wait until the API answers", Action::Wait)
        .after([&kubelet.id, &host::linked(ctx, "kubectl")])
        .so_that(kubectl_succeeds(paths::ADMIN, &["get", "--raw", "/readyz", "--request-timeout=10s"]))
        .within(300);
    let rotate = rotation(ctx, &kubelet.id)?;
    let upload = phases.upload();
    let ready = ready(ctx);
    steps.extend([certificates, kubeconfigs, etcd, pods, trusted, kubelet, api, rotate, upload, ready]);
    Ok(())
}

fn kubeadm_values(ctx: &Ctx<'_>, certificates: &str) -> serde_json::Value {
    let cluster = ctx.cluster;
    json!({
        "address": ctx.node.address,
        "api_port": cluster.bind_port,
        "node_name": ctx.node.name,
        "cluster": cluster.name,
        "certificates": certificates,
        "kubernetes_version": cluster.kubernetes_version,
        "endpoint": cluster.endpoint,
        "image_repository": cluster.image_repository,
        "cert_sans": cluster.cert_sans,
        "pods": ctx.site.network.pods,
        "services": ctx.site.network.services,
        "cluster_domain": ctx.site.network.domain,
        "etcd_tag": cluster.etcd_tag,
        "etcd_untried_on": etcd_untried_on(ctx.node.arch),
    })
}

/// The architecture, where etcd's authors do not try it: elsewhere it starts without being told (etcd, `server/etcdmain`, `checkSupportArch`).
fn etcd_untried_on(arch: Arch) -> Option<&'static str> {
    (!matches!(arch, Arch::Amd64 | Arch::Arm64)).then(|| arch.as_str())
}

struct Phases<'a> {
    ctx: &'a Ctx<'a>,
    /// Changes with kubeadm's configuration, so that its phases are run again.
    fingerprint: String,
}

impl Phases<'_> {
    /// Certificates do not follow the configuration: kubeadm would keep those that are there.
    fn certificates(&self) -> Result<Step, PlanError> {
        let config = self.ctx.render(Template::KubeadmInit, &kubeadm_values(self.ctx, NEW_PKI_FOLDER))?;
        let action = Action::Run {
            argv: words(&["/bin/sh", "-c", MAKE_CERTIFICATES]),
            env: kube_env(paths::SUPER_ADMIN),
            stdin: Some(Content::plain(config)),
        };
        let made = step(self.ctx.host(), "certificates", "make the cluster's certificates", action);
        Ok(made.after([&host::linked(self.ctx, "kubeadm")]).leaves(&PKI).within(120))
    }

    fn step(&self, name: &str, title: &str, phase: &[&str], leaves: &[&str]) -> Step {
        let mut argv = vec![paths::program("kubeadm")];
        argv.extend(words(&["init", "phase"]));
        argv.extend(words(phase));
        argv.extend(words(&["--config", paths::KUBEADM_CONFIG]));
        let mut env = kube_env(paths::SUPER_ADMIN);
        env.insert("QIJI_CONFIG".to_owned(), self.fingerprint.clone());
        step(self.ctx.host(), name, title, run(argv, env))
            .after([&id(self.ctx.host(), "kubeadm-config"), &host::linked(self.ctx, "kubeadm")])
            .leaves(leaves)
            .within(120)
    }

    /// Keeps the configuration in the cluster, where kubeadm looks for it when it upgrades.
    fn upload(&self) -> Step {
        let title = "keep kubeadm's configuration in the cluster";
        let maps =
            ["-n", "kube-system", "get", "configmap", "kubeadm-config", "kubelet-config", "-o", "name"];
        self.step("upload-config", title, &["upload-config", "all"], &[])
            .after([&access(self.ctx)])
            .so_that(kubectl_succeeds(paths::ADMIN, &maps))
    }
}

/// The API may answer, and the cluster work, a while before kubelet has told that the static pods are ready. An installation ends
/// where `status` finds nothing to complain of.
fn ready(ctx: &Ctx<'_>) -> Step {
    let pods = runtime::STATIC_POD_IMAGES.map(|image| format!("pod/{image}-{}", ctx.node.name));
    let mut wait = vec!["-n", "kube-system", "wait", "--for=condition=Ready", "--timeout=20s"];
    wait.extend(pods.iter().map(String::as_str));
    step(ctx.host(), "control-plane-ready", "wait until the control plane's pods are ready", Action::Wait)
        .after([&access(ctx), &super::join::registered(ctx)])
        .so_that(kubectl_succeeds(paths::ADMIN, &wait))
        .within(180)
}

/// kubelet.conf as kubeadm wrote it holds a certificate that nobody renews. This one names the file that kubelet renews
/// (kubeadm's phase `kubelet-finalize` does the same, and restarts kubelet, which need not be: it reads that file already).
fn rotation(ctx: &Ctx<'_>, kubelet: &StepId) -> Result<Step, PlanError> {
    let values = json!({ "cluster": ctx.cluster.name, "server": ctx.cluster.server });
    let text = ctx.render(Template::KubeletKubeconfig, &values)?;
    let title = "let kubelet renew its own certificate";
    let rotate = step(ctx.host(), "kubelet-rotation", title, file(paths::KUBELET_KUBECONFIG, 0o600, &text));
    // The node is registered by now, so kubelet has put its first certificate there.
    Ok(rotate.after([kubelet, &super::join::registered(ctx)]).so_that(exists(paths::KUBELET_CERTIFICATE)))
}
