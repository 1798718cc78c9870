//! How hosts come into the cluster and become ready.
//!
//! Flow: the control plane makes the secret half of a token, a token of it that ends within the hour, and hands both and its
//! certificate authority to the hosts that are not in yet → each writes a bootstrap kubeconfig and starts kubelet, which asks for a certificate of
//! its own → the bootstrap kubeconfig goes → when all are in, token and secret go.
//!
//! Half-done states: the secret stays the same file until hosts have joined, so a run that goes on hands out the same token, and a kubelet that
//! still tries with it is right. If the token ended meanwhile, a new one comes with new secret; a kubelet that holds the old one is
//! restarted when it has not got its certificate after a while.

use std::collections::BTreeMap;

use qiji_blueprint::site::Role;
use qiji_templates::Template;
use serde_json::json;

use super::{Ctx, control_plane, host, runtime};
use crate::action::{Action, Condition, Content, StepId};
use crate::draft::{exists, file, id, kube_env, kubectl, kubectl_prints, kubectl_succeeds, run, step, words};
use crate::error::PlanError;
use crate::paths;
use crate::plan::Step;

/// The public half of the join token.
const TOKEN_ID: &str = "qiji00";
const TOKEN_NAME: &str = "bootstrap-token-qiji00";
/// The step after which hosts that ask are given a certificate.
const CONTROLLERS: &str = "controllers";
const TOKEN_LIFE: &str = "1h0m0s";

/// Makes the secret half of the token: 16 letters and digits, in a file that only root reads.
const MAKE_SECRET: &str = "umask 077 && mkdir -p /etc/qiji/secrets && \
LC_ALL=C tr -dc a-z0-9 < /dev/urandom | head -c 16 > /etc/qiji/secrets/join-token.new && \
mv /etc/qiji/secrets/join-token.new /etc/qiji/secrets/join-token";
/// Replaces the token. kubeadm prints it, which nobody is to see.
const MAKE_TOKEN: &str = "/opt/qiji/bin/kubectl -n kube-system delete secret bootstrap-token-qiji00 --ignore-not-found && \
exec /opt/qiji/bin/kubeadm token create --config /dev/stdin > /dev/null";
/// Waits for kubelet's certificate; a kubelet that has none after 20 s may hold a token that has ended, so it starts again.
const AWAIT_CERTIFICATE: &str = "n=0; until [ -s /var/lib/kubelet/pki/kubelet-client-current.pem ]; do \
n=$((n + 1)); [ $((n % 100)) -ne 0 ] || systemctl restart kubelet.service; sleep 0.2; done; \
rm -f /etc/kubernetes/bootstrap-kubelet.conf";

/// Step after which a host is a node.
pub(crate) fn registered(ctx: &Ctx<'_>) -> StepId {
    id(ctx.host(), "registered")
}

/// On the control plane: token, certificate authority, and their end.
pub(crate) fn issue(ctx: &Ctx<'_>, steps: &mut Vec<Step>) -> Result<(), PlanError> {
    let node = is_node(ctx);
    steps.push(
        step(ctx.host(), "registered", "wait until the host is a node", Action::Wait)
            .after([&control_plane::api(ctx)])
            .so_that(node)
            .within(180),
    );
    let joins: Vec<StepId> = ctx.cluster.workers.iter().map(|worker| id(worker, "registered")).collect();
    if joins.is_empty() {
        return Ok(());
    }
    let secret = step(ctx.host(), "join-secret", "make the secret of a join token", shell(MAKE_SECRET))
        .only_for(&joins)
        .so_that(exists(paths::TOKEN_SECRET));
    let read_secret =
        read(ctx, "read-join-secret", "hand the join token to hosts", paths::TOKEN_SECRET, true)
            .after([&secret.id]);
    let read_ca = read(ctx, "read-ca", "hand the cluster's certificate authority to hosts", paths::CA, false)
        .after([&id(ctx.host(), "certificates")]);
    let values = json!({
        "token_id": TOKEN_ID,
        "ttl": TOKEN_LIFE,
        "address": ctx.node.address,
        "kubernetes_version": ctx.cluster.kubernetes_version,
    });
    let token = Action::Run {
        argv: words(&["/bin/sh", "-c", MAKE_TOKEN]),
        env: kube_env(paths::ADMIN),
        stdin: Some(with_secret(ctx, ctx.render(Template::KubeadmToken, &values)?)),
    };
    let token = step(ctx.host(), "join-token", "let hosts join for an hour", token)
        .after([&read_secret.id, &control_plane::access(ctx), &host::linked(ctx, "kubeadm")])
        .only_for(&joins)
        .so_that(kubectl_succeeds(
            paths::ADMIN,
            &["-n", "kube-system", "get", "secret", TOKEN_NAME, "-o", "name"],
        ));
    let controllers = controllers(ctx).only_for(&joins);
    steps.extend([secret, read_secret, read_ca, token, controllers, close(ctx, &joins)]);
    Ok(())
}

/// kubelet asks for its certificate once, and meanwhile asks the API in vain for all else it needs, at ever longer intervals. So it is
/// started only when the controllers that sign work; they make this service account as soon as they do.
fn controllers(ctx: &Ctx<'_>) -> Step {
    step(ctx.host(), CONTROLLERS, "wait until the cluster's controllers work", Action::Wait)
        .after([&control_plane::access(ctx)])
        .so_that(kubectl_succeeds(
            paths::ADMIN,
            &["-n", "kube-system", "get", "serviceaccount", "default", "-o", "name"],
        ))
        .within(180)
}

/// Takes the token away once all hosts are nodes. It asks for the nodes as well, so that a host that is new makes it pending again.
fn close(ctx: &Ctx<'_>, joins: &[StepId]) -> Step {
    let script = format!(
        "/opt/qiji/bin/kubectl -n kube-system delete secret {TOKEN_NAME} --ignore-not-found && rm -rf {}",
        paths::SECRETS
    );
    let action = run(words(&["/bin/sh", "-c", &script]), kube_env(paths::ADMIN));
    let mut nodes = vec!["get", "nodes", "-o", "name"];
    nodes.extend(ctx.cluster.workers.iter().map(String::as_str));
    let token = ["-n", "kube-system", "get", "secret", TOKEN_NAME, "--ignore-not-found", "-o", "name"];
    step(ctx.host(), "join-closed", "take the join token away", action)
        .after([&id(ctx.host(), "join-token")])
        .after(joins)
        .so_that(Condition::Missing { path: paths::SECRETS.to_owned() })
        .so_that(kubectl_prints(paths::ADMIN, &token, ""))
        .so_that(kubectl_succeeds(paths::ADMIN, &nodes))
}

/// On a worker: bootstrap kubeconfig, kubelet, and the wait until it is a node.
pub(crate) fn accept(ctx: &Ctx<'_>, steps: &mut Vec<Step>) -> Result<(), PlanError> {
    let registered = registered(ctx);
    let ca = Content {
        text: "@{ca}".to_owned(),
        inputs: BTreeMap::from([("ca".to_owned(), id(ctx.first, "read-ca"))]),
        secret: false,
    };
    let ca = Action::File { path: paths::CA.to_owned(), mode: 0o644, content: ca };
    let ca = step(ctx.host(), "ca", "write the cluster's certificate authority", ca)
        .after([&id(ctx.first, "read-ca")]);
    let values = json!({
        "cluster": ctx.cluster.name,
        "server": ctx.cluster.server,
        "token_id": TOKEN_ID,
    });
    let bootstrap = Action::File {
        path: paths::BOOTSTRAP_KUBECONFIG.to_owned(),
        mode: 0o600,
        content: with_secret(ctx, ctx.render(Template::BootstrapKubeconfig, &values)?),
    };
    let bootstrap = step(ctx.host(), "bootstrap-kubeconfig", "hand kubelet the join token", bootstrap)
        .after([&id(ctx.first, "read-join-secret"), &id(ctx.first, "join-token")])
        .only_for([&registered]);
    let manifests = Action::Folder { path: "/etc/kubernetes/manifests".to_owned(), mode: 0o755 };
    let title = "make room for static pods";
    let manifests = step(ctx.host(), "static-pods-folder", title, manifests);
    let kubelet = runtime::kubelet(ctx)?
        .after([&ca.id, &bootstrap.id, &manifests.id, &id(ctx.first, CONTROLLERS)])
        .after(&runtime::imported(ctx, &runtime::NETWORK_IMAGES))
        .within(120);
    let join = step(ctx.host(), "registered", "join the cluster", shell(AWAIT_CERTIFICATE))
        .after([&kubelet.id, &host::linked(ctx, "kubectl")])
        .so_that(Condition::Missing { path: paths::BOOTSTRAP_KUBECONFIG.to_owned() })
        .so_that(is_node(ctx))
        .within(300);
    steps.extend([ca, bootstrap, manifests, kubelet, join]);
    Ok(())
}

/// On every host: pod network, Services, labels, ready, and the staging store freed.
pub(crate) fn finish(ctx: &Ctx<'_>, steps: &mut Vec<Step>) -> Result<(), PlanError> {
    let registered = registered(ctx);
    let flannel =
        waits_for_http(ctx, "flannel", "wait for the pod network", paths::FLANNEL_HEALTH_PORT, "/readyz")
            .after([&registered, &id(ctx.first, "apply-flannel")])
            .after(&runtime::imported(ctx, &["flannel", "pause"]));
    let proxy = waits_for_http(ctx, "kube-proxy", "wait for Services", 10256, "/healthz")
        .after([&registered, &id(ctx.first, "apply-kube-proxy")])
        .after(&runtime::imported(ctx, &["kube-proxy", "pause"]));
    // Only now: with the list there earlier, pods would be started that cannot get an address yet, and be tried again much later.
    let text = ctx.render(Template::CniConflist, &json!({}))?;
    let path = "/etc/cni/net.d/10-flannel.conflist";
    let cni = step(ctx.host(), "cni-config", "configure the pod network", file(path, 0o644, &text)).after([
        &flannel.id,
        &id(ctx.host(), "link-cni"),
        &id(ctx.host(), "link-nft"),
    ]);
    let path = "{.status.conditions[?(@.type==\"Ready\")].status}";
    let jsonpath = format!("jsonpath={path}");
    let args = ["get", "node", ctx.host(), "-o", &jsonpath, "--request-timeout=10s"];
    let ready = step(ctx.host(), "ready", "wait until the node is ready", Action::Wait)
        .after([&cni.id, &proxy.id])
        .so_that(kubectl_prints(paths::KUBELET_KUBECONFIG, &args, "True"))
        .within(300);
    steps.extend([flannel, proxy, cni, ready]);
    steps.extend(labels(ctx));
    runtime::tidy(ctx, steps);
    host::receive_in_turn(ctx, steps);
    Ok(())
}

fn waits_for_http(ctx: &Ctx<'_>, words: &str, title: &str, port: u16, path: &str) -> Step {
    step(ctx.host(), words, title, Action::Wait)
        .so_that(Condition::HttpOk { port, path: path.to_owned() })
        .within(300)
}

/// Labels that a node may not give itself, or that change later, so the control plane gives all of them.
fn labels(ctx: &Ctx<'_>) -> Option<Step> {
    let mut labels: Vec<String> =
        ctx.node.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    if ctx.node.role == Role::ControlPlane {
        labels.push("node-role.kubernetes.io/control-plane=".to_owned());
        if !ctx.cluster.workers.is_empty() {
            labels.push("node.kubernetes.io/exclude-from-external-load-balancers=".to_owned());
        }
    }
    if labels.is_empty() {
        return None;
    }
    let mut args = vec!["label", "--overwrite", "node", ctx.host()];
    args.extend(labels.iter().map(String::as_str));
    let selector = labels.join(",");
    let field = format!("metadata.name={}", ctx.host());
    let found = ["get", "nodes", "-l", &selector, "--field-selector", &field, "-o", "name"];
    let words = format!("label-{}", ctx.host());
    let title = format!("label the node {}", ctx.host());
    let label = step(ctx.first, &words, title, run(kubectl(&args), kube_env(paths::ADMIN)))
        .after([&registered(ctx), &control_plane::access(ctx)])
        .so_that(kubectl_prints(paths::ADMIN, &found, &format!("node/{}", ctx.host())));
    Some(label)
}

fn is_node(ctx: &Ctx<'_>) -> Condition {
    let args = ["get", "node", ctx.host(), "-o", "name", "--request-timeout=10s"];
    kubectl_succeeds(paths::KUBELET_KUBECONFIG, &args)
}

fn shell(script: &str) -> Action {
    run(words(&["/bin/sh", "-c", script]), BTreeMap::new())
}

fn read(ctx: &Ctx<'_>, name: &str, title: &str, path: &str, secret: bool) -> Step {
    let action = Action::Read { argv: words(&["cat", path]), env: BTreeMap::new(), secret };
    step(ctx.host(), name, title, action)
}

/// Text with the join token's secret half.
fn with_secret(ctx: &Ctx<'_>, text: String) -> Content {
    let from = id(ctx.first, "read-join-secret");
    Content { text, inputs: BTreeMap::from([("token_secret".to_owned(), from)]), secret: true }
}
