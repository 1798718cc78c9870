//! The same cluster by hand: `kubeadm init` and two `kubeadm join`, as its own guide has it, on hosts that qiji installed before.
//!
//! 1. The cluster is taken down with `kubeadm reset` and what its guide says to clear afterwards. containerd, the images in
//!    it, unpacked, and all programs stay; kubelet gets the unit that the Kubernetes packages ship.
//! 2. `kubeadm init` on the first host, then `kubeadm join` on the others, one after the other: *commands*.
//! 3. The pod network's manifest is applied, and three nodes Ready, kube-proxy, flannel and `CoreDNS` rolled out: *end state*.
//!
//! Versions, images, networks, kinds of keys and proxy mode are those of qiji's cluster. What is in neither time: carrying anything to a
//! host, unpacking it, importing images, starting containerd, and a person's typing.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use qiji_hosts::{Host, Testbed};
use serde_json::Value;

use super::field::HOSTS;

/// Nothing by hand takes longer than this, in seconds; what does has failed.
const LIMIT: &str = "240";

/// Search path of whoever works by hand.
const PATH: &str = "PATH=/opt/qiji/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Takes a host out of its cluster and leaves what is wanted for the next.
const TAKE_DOWN: &str = "
set -e
systemctl stop kubelet
kubeadm reset --force --cri-socket unix:///run/containerd/containerd.sock
for link in cni0 flannel.1; do [ ! -e /sys/class/net/$link ] || ip link delete $link; done
nft flush ruleset
rm -rf /run/flannel /var/lib/cni
cat > /etc/systemd/system/kubelet.service
systemctl daemon-reload
";

/// kubelet's unit as the Kubernetes packages ship it (kubernetes/release, `kubelet.service` and `10-kubeadm.conf`), with the
/// programs where they lie here and the folder of the test host's own settings.
const KUBELET_UNIT: &str = r#"[Unit]
Description=kubelet: The Kubernetes Node Agent
Documentation=https://kubernetes.io/docs/
Wants=network-online.target
After=network-online.target

[Service]
Environment="PATH=/opt/qiji/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
Environment="KUBELET_KUBECONFIG_ARGS=--bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf --kubeconfig=/etc/kubernetes/kubelet.conf"
Environment="KUBELET_CONFIG_ARGS=--config=/var/lib/kubelet/config.yaml --config-dir=/etc/kubernetes/kubelet.conf.d"
EnvironmentFile=-/var/lib/kubelet/kubeadm-flags.env
EnvironmentFile=-/etc/default/kubelet
ExecStart=/opt/qiji/bin/kubelet $KUBELET_KUBECONFIG_ARGS $KUBELET_CONFIG_ARGS $KUBELET_KUBEADM_ARGS $KUBELET_EXTRA_ARGS
Restart=always
StartLimitInterval=0
RestartSec=10

[Install]
WantedBy=multi-user.target
"#;

/// A token for a cluster that lives a minute, on a network that nothing else is on.
const TOKEN: &str = "abcdef.0123456789abcdef";

/// `CoreDNS` as kubeadm sets it up asks the host's name servers, and ends at once where there is none: the site's gateway stands in.
const RESOLV_CONF: &str = "nameserver 10.20.1.254\n";

const INIT: &str = "apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
bootstrapTokens:
- token: TOKEN
localAPIEndpoint:
  advertiseAddress: ADDRESS
nodeRegistration:
  name: NAME
  criSocket: unix:///run/containerd/containerd.sock
  imagePullPolicy: Never
  ignorePreflightErrors: [SystemVerification]
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
clusterName: main
kubernetesVersion: KUBERNETES
controlPlaneEndpoint: ADDRESS:6443
imageRepository: qiji.local
encryptionAlgorithm: ECDSA-P256
networking:
  podSubnet: 10.244.0.0/16
  serviceSubnet: 10.96.0.0/12
etcd:
  local:
    imageTag: ETCD
dns:
  imageTag: COREDNS
---
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
resolvConf: /root/by-hand/resolv.conf
---
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
conntrack:
  maxPerCore: 0
";

const JOIN: &str = "apiVersion: kubeadm.k8s.io/v1beta4
kind: JoinConfiguration
discovery:
  bootstrapToken:
    apiServerEndpoint: ADDRESS:6443
    token: TOKEN
    unsafeSkipCAVerification: true
nodeRegistration:
  name: NAME
  criSocket: unix:///run/containerd/containerd.sock
  imagePullPolicy: Never
  ignorePreflightErrors: [SystemVerification]
";

/// What it took by hand.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ByHand {
    /// Until `kubeadm init` and both `kubeadm join` had returned.
    pub(crate) commands: Duration,
    /// Until the cluster was in the state that qiji leaves it in.
    pub(crate) end_state: Duration,
}

/// Versions that the bundle brings.
#[derive(Debug)]
pub(crate) struct Versions {
    kubernetes: String,
    etcd: String,
    coredns: String,
}

impl Versions {
    /// Reads them off the names of the bundle's images, as `qiji inspect` gives them.
    pub(crate) fn of(content: &Value) -> Result<Self> {
        let names: Vec<&str> = content["images"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|image| image["name"].as_str())
            .collect();
        let tag = |image: &str| {
            let found = names
                .iter()
                .find_map(|name| name.strip_prefix("qiji.local/")?.strip_prefix(image)?.strip_prefix(':'));
            found.map(str::to_owned).with_context(|| format!("the bundle holds no image {image}"))
        };
        Ok(Self { kubernetes: tag("kube-apiserver")?, etcd: tag("etcd")?, coredns: tag("coredns")? })
    }
}

/// Takes the cluster down on all hosts, and makes it anew by hand.
pub(crate) fn by_hand(testbed: &Testbed, versions: &Versions) -> Result<ByHand> {
    println!("taking the cluster down");
    for (name, _) in HOSTS {
        prepare(testbed.host(name)?, versions)?;
    }
    println!("kubeadm by hand");
    let begun = Instant::now();
    for (number, (name, _)) in HOSTS.into_iter().enumerate() {
        let verb = if number == 0 { "init" } else { "join" };
        run(testbed.host(name)?, &["kubeadm", verb, "--config", "/root/by-hand/kubeadm.yaml"])?;
    }
    let commands = begun.elapsed();
    reach_end_state(testbed.host(HOSTS[0].0)?)?;
    Ok(ByHand { commands, end_state: begun.elapsed() })
}

fn prepare(host: &Host, versions: &Versions) -> Result<()> {
    let taken = host
        .exec_with_input(&["env", PATH, "timeout", LIMIT, "sh", "-c", TAKE_DOWN], KUBELET_UNIT.as_bytes())?;
    anyhow::ensure!(taken.ok(), "{} could not be taken out of its cluster: {taken}", host.name());
    let first = host.name() == HOSTS[0].0;
    let config = fill(if first { INIT } else { JOIN }, host.name(), versions);
    host.write_file("/root/by-hand/kubeadm.yaml", config.as_bytes(), 0o600)?;
    host.write_file("/root/by-hand/resolv.conf", RESOLV_CONF.as_bytes(), 0o644)?;
    Ok(())
}

fn fill(template: &str, name: &str, versions: &Versions) -> String {
    let values = [
        ("TOKEN", TOKEN),
        ("ADDRESS", HOSTS[0].1),
        ("NAME", name),
        ("KUBERNETES", &versions.kubernetes),
        ("ETCD", &versions.etcd),
        ("COREDNS", &versions.coredns),
    ];
    values.into_iter().fold(template.to_owned(), |text, (word, value)| text.replace(word, value))
}

fn reach_end_state(first: &Host) -> Result<()> {
    let nodes = HOSTS.map(|(name, _)| format!("node/{name}"));
    let [cp, w1, w2] = nodes.each_ref().map(String::as_str);
    kubectl(first, &["apply", "-f", "/etc/qiji/manifests/flannel.yaml"])?;
    kubectl(first, &["wait", "--for=create", "--timeout=60s", cp, w1, w2])?;
    kubectl(first, &["wait", "--for=condition=Ready", "--timeout=120s", cp, w1, w2])?;
    for what in ["daemonset/kube-proxy", "daemonset/kube-flannel", "deployment/coredns"] {
        kubectl(first, &["-n", "kube-system", "rollout", "status", "--timeout=120s", what])?;
    }
    Ok(())
}

fn kubectl(host: &Host, arguments: &[&str]) -> Result<()> {
    run(host, &[&["kubectl", "--kubeconfig", "/etc/kubernetes/admin.conf"], arguments].concat())
}

fn run(host: &Host, words: &[&str]) -> Result<()> {
    let output = host.exec(&[&["env", PATH, "timeout", LIMIT], words].concat())?;
    anyhow::ensure!(output.ok(), "{}: `{}` failed: {output}", host.name(), words.join(" "));
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{INIT, JOIN, Versions, fill};

    #[test]
    fn versions_come_from_the_bundles_images() {
        let image = |name: &str| json!({ "name": format!("qiji.local/{name}") });
        let content = json!({ "images": [image("coredns:v1.2"), image("etcd:3.7-0"), image("kube-apiserver:v1.36.3")] });
        let versions = Versions::of(&content).unwrap();
        let init = fill(INIT, "cp1", &versions);
        for part in [
            "kubernetesVersion: v1.36.3\n",
            "imageTag: 3.7-0\n",
            "imageTag: v1.2\n",
            "name: cp1\n",
            "10.20.1.11:6443",
        ] {
            assert!(init.contains(part), "{part} is missing in {init}");
        }
        assert!(fill(JOIN, "w1", &versions).contains("name: w1\n"));
        assert!(Versions::of(&json!({ "images": [] })).is_err());
    }
}
