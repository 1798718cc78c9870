//! Questions to a running cluster, asked through the agent on its first control-plane host, by `kubectl` there: nothing of it
//! needs a route from the installer's machine to the API.
//!
//! [`Cluster::nodes`] reads. [`Cluster::probe`] starts one pod on each node in a namespace of its own, asks from every worker's pod,
//! and removes the namespace again, also when a question failed.

use std::collections::BTreeMap;
use std::time::Duration;

use qiji_engine::{HostLink, LinkError, Values};
use qiji_plan::{Action, Step, StepId, paths};
use serde::Serialize;
use serde_json::{Value, json};

/// Namespace of the probe's pods.
const NAMESPACE: &str = "qiji-probe";
/// Port on which a probe's pod answers.
const PORT: u16 = 8080;
/// Seconds that the pods have to come up.
const START_S: u32 = 120;
/// Tries at one question: a route or a rule may arrive a moment after the pod.
const TRIES: u32 = 10;

/// A cluster, asked through one of its hosts.
pub(crate) struct Cluster<'a> {
    link: &'a dyn HostLink,
    host: String,
}

/// A node as the API has it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct NodeStatus {
    /// Name.
    pub(crate) name: String,
    /// Whether its condition Ready is True.
    pub(crate) ready: bool,
    /// kubelet's version.
    pub(crate) version: String,
    /// Why it is not ready, in kubelet's words.
    pub(crate) message: String,
    /// What it lacks, in kubelet's words: `DiskPressure`. It starts no pods meanwhile, and may end some.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) pressures: Vec<String>,
}

/// One question of a probe and its answer.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Answer {
    /// The node whose pod asked.
    pub(crate) from: String,
    /// What was asked.
    pub(crate) question: String,
    /// Whether the answer was right.
    pub(crate) ok: bool,
    /// What came back, or why nothing did.
    pub(crate) said: String,
}

/// A pod of the probe.
struct Pod {
    name: String,
    node: String,
    address: String,
}

impl<'a> Cluster<'a> {
    /// Through the agent of `host`, which must be a control-plane host.
    pub(crate) fn new(link: &'a dyn HostLink, host: &str) -> Self {
        Self { link, host: host.to_owned() }
    }

    /// All nodes, by name.
    pub(crate) async fn nodes(&self) -> Result<Vec<NodeStatus>, LinkError> {
        let list = self.json(&["get", "nodes"]).await?;
        let nodes = list["items"].as_array().into_iter().flatten();
        Ok(nodes.map(node_status).collect())
    }

    /// Pods that are not running or not ready, as `namespace/name: why`.
    pub(crate) async fn troubled_pods(&self) -> Result<Vec<String>, LinkError> {
        let list = self.json(&["get", "pods", "--all-namespaces"]).await?;
        Ok(list["items"].as_array().into_iter().flatten().filter_map(trouble).collect())
    }

    /// From a pod on each worker (on each node, where there are no workers): a name, a pod elsewhere and a Service.
    pub(crate) async fn probe(
        &self,
        image: &str,
        domain: &str,
        workers: &[String],
    ) -> Result<Vec<Answer>, LinkError> {
        let outcome = self.ask_all(image, domain, workers).await;
        let removed =
            self.kubectl(&["delete", "namespace", NAMESPACE, "--ignore-not-found", "--wait=true"], 60).await;
        outcome.and_then(|answers| removed.map(|_| answers))
    }

    async fn ask_all(&self, image: &str, domain: &str, workers: &[String]) -> Result<Vec<Answer>, LinkError> {
        let manifest = manifest(image).to_string();
        let apply = "printf %s \"$1\" | \"$2\" apply --server-side --field-manager=qiji -f -";
        let kubectl = paths::program("kubectl");
        self.run(&["/bin/sh", "-c", apply, "sh", &manifest, &kubectl], 60).await?;
        let timeout = format!("--timeout={START_S}s");
        self.kubectl(&["rollout", "status", "daemonset/probe", "-n", NAMESPACE, &timeout], START_S + 10)
            .await?;
        let pods = self.pods().await?;
        let service = format!("probe.{NAMESPACE}.svc.{domain}");
        let mut answers = Vec::new();
        for pod in pods.iter().filter(|pod| workers.is_empty() || workers.contains(&pod.node)) {
            let name = format!("kubernetes.default.svc.{domain}");
            answers.push(self.ask(pod, &format!("the name {name}"), &["resolve", &name], |_| true).await);
            for other in pods.iter().filter(|other| other.node != pod.node) {
                let url = format!("http://{}:{PORT}/", other.address);
                let question = format!("the pod on {}", other.node);
                answers
                    .push(self.ask(pod, &question, &["get", &url], |text| text.contains(&other.name)).await);
            }
            let url = format!("http://{service}/");
            let known = |text: &str| pods.iter().any(|pod| text.contains(&pod.name));
            answers.push(self.ask(pod, &format!("the Service {service}"), &["get", &url], known).await);
        }
        Ok(answers)
    }

    async fn pods(&self) -> Result<Vec<Pod>, LinkError> {
        let list = self.json(&["get", "pods", "-n", NAMESPACE, "-l", "app=probe"]).await?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let pods = list["items"].as_array().into_iter().flatten().map(|pod| Pod {
            name: text(&pod["metadata"]["name"]),
            node: text(&pod["spec"]["nodeName"]),
            address: text(&pod["status"]["podIP"]),
        });
        Ok(pods.collect())
    }

    async fn ask(&self, pod: &Pod, question: &str, words: &[&str], right: impl Fn(&str) -> bool) -> Answer {
        let mut command =
            vec!["exec", "-n", NAMESPACE, &pod.name, "--", "/usr/local/bin/qiji-agent", "probe"];
        command.extend(words);
        let answer = |ok, text: String| Answer {
            from: pod.node.clone(),
            question: question.to_owned(),
            ok,
            said: text,
        };
        let mut last = String::new();
        for _ in 0..TRIES {
            match self.kubectl(&command, 20).await {
                Ok(text) if right(&text) => return answer(true, text.trim().to_owned()),
                Ok(text) => last = format!("a wrong answer: {}", text.trim()),
                Err(error) => last = error.to_string(),
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        answer(false, last)
    }

    async fn json(&self, words: &[&str]) -> Result<Value, LinkError> {
        let mut command = words.to_vec();
        command.extend(["-o", "json"]);
        let text = self.kubectl(&command, 30).await?;
        serde_json::from_str(&text).map_err(|error| LinkError::Failed(qiji_engine::StepFailure::of(&error)))
    }

    async fn kubectl(&self, words: &[&str], timeout_s: u32) -> Result<String, LinkError> {
        let program = paths::program("kubectl");
        let mut argv = vec![program.as_str()];
        argv.extend(words);
        self.run(&argv, timeout_s).await
    }

    /// Runs a program on the host and gives back what it wrote. Nothing of it is kept in the host's journal as done.
    async fn run(&self, argv: &[&str], timeout_s: u32) -> Result<String, LinkError> {
        let env = BTreeMap::from([
            ("KUBECONFIG".to_owned(), paths::ADMIN.to_owned()),
            // Not in root's home: nothing of a question shall stay on the host.
            ("KUBECACHEDIR".to_owned(), paths::KUBE_CACHE.to_owned()),
        ]);
        let step = Step {
            id: StepId(format!("{}/ask", self.host)),
            host: self.host.clone(),
            title: "ask the cluster".to_owned(),
            needs: Vec::new(),
            only_if_pending: Vec::new(),
            action: Action::Read { argv: argv.iter().map(ToString::to_string).collect(), env, secret: false },
            verify: Vec::new(),
            clean_first: Vec::new(),
            timeout_s,
        };
        let applied = self.link.apply(&step, &Values::new(), &|_| {}).await?;
        Ok(String::from_utf8_lossy(&applied.output.unwrap_or_default()).into_owned())
    }
}

fn condition<'v>(object: &'v Value, kind: &str) -> Option<&'v Value> {
    object["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == kind)
}

fn node_status(node: &Value) -> NodeStatus {
    let ready = condition(node, "Ready");
    NodeStatus {
        name: node["metadata"]["name"].as_str().unwrap_or_default().to_owned(),
        ready: ready.is_some_and(|ready| ready["status"] == "True"),
        version: node["status"]["nodeInfo"]["kubeletVersion"].as_str().unwrap_or_default().to_owned(),
        message: ready.and_then(|ready| ready["message"].as_str()).unwrap_or_default().to_owned(),
        pressures: pressures(node),
    }
}

/// The conditions of a node that are true and should not be.
fn pressures(node: &Value) -> Vec<String> {
    let conditions = node["status"]["conditions"].as_array().into_iter().flatten();
    let bad = conditions.filter(|condition| condition["type"] != "Ready" && condition["status"] == "True");
    bad.filter_map(|condition| condition["type"].as_str().map(str::to_owned)).collect()
}

/// Why a pod is in trouble, where it is.
fn trouble(pod: &Value) -> Option<String> {
    let phase = pod["status"]["phase"].as_str().unwrap_or("Unknown");
    let ready = condition(pod, "Ready").is_some_and(|ready| ready["status"] == "True");
    if phase == "Succeeded" || phase == "Running" && ready {
        return None;
    }
    let waiting = pod["status"]["containerStatuses"].as_array().into_iter().flatten();
    let reasons: Vec<_> =
        waiting.filter_map(|status| status["state"]["waiting"]["reason"].as_str()).collect();
    let (namespace, name) = (pod["metadata"]["namespace"].as_str()?, pod["metadata"]["name"].as_str()?);
    let why = if reasons.is_empty() { "not ready".to_owned() } else { reasons.join(", ") };
    Some(format!("{namespace}/{name}: {phase}, {why}"))
}

/// A namespace with a probe pod on each node and a Service before them.
fn manifest(image: &str) -> Value {
    let labels = json!({ "app": "probe" });
    let container = json!({
        "name": "probe", "image": image, "imagePullPolicy": "IfNotPresent",
        "args": ["probe", "serve", "--port", PORT.to_string()],
        "readinessProbe": { "httpGet": { "path": "/", "port": PORT }, "periodSeconds": 1 },
        "securityContext": { "allowPrivilegeEscalation": false, "runAsNonRoot": true, "runAsUser": 65532, "capabilities": { "drop": ["ALL"] } },
    });
    let pod = json!({
        "terminationGracePeriodSeconds": 0, "automountServiceAccountToken": false,
        "tolerations": [{ "operator": "Exists" }], "containers": [container],
    });
    let daemon_set = json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": { "name": "probe", "namespace": NAMESPACE },
        "spec": { "selector": { "matchLabels": labels }, "template": { "metadata": { "labels": labels }, "spec": pod } },
    });
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": { "name": "probe", "namespace": NAMESPACE },
        "spec": { "selector": labels, "ports": [{ "port": 80, "targetPort": PORT }] },
    });
    let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": NAMESPACE } });
    json!({ "apiVersion": "v1", "kind": "List", "items": [namespace, daemon_set, service] })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_node_lacks_is_told() {
        let condition = |kind: &str, status: &str| json!({ "type": kind, "status": status });
        let node = json!({ "status": { "conditions": [
            condition("MemoryPressure", "False"), condition("DiskPressure", "True"), condition("Ready", "True"),
        ] } });
        let status = node_status(&node);
        assert!(status.ready);
        assert_eq!(status.pressures, ["DiskPressure"]);
    }

    #[test]
    fn a_pod_in_trouble_is_told_with_its_reason() {
        let pod = json!({
            "metadata": { "namespace": "kube-system", "name": "coredns-1" },
            "status": { "phase": "Pending", "containerStatuses": [{ "state": { "waiting": { "reason": "ErrImagePull" } } }] },
        });
        assert_eq!(trouble(&pod).unwrap(), "kube-system/coredns-1: Pending, ErrImagePull");
        let fine = json!({ "status": { "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }] } });
        assert_eq!(trouble(&fine), None);
    }
}
