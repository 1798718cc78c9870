//! What holds for every plan, and what some sites' plans must have.

use std::collections::{BTreeMap, BTreeSet};

use qiji_blueprint::site::Arch;

use super::*;
use crate::action::{Action, Condition, Content, StepId};
use crate::testing;

fn plan(site: &Site) -> Plan {
    install_plan(site, &testing::inventory(), &testing::facts(site)).unwrap()
}

/// Faults in a plan that no plan may have.
pub(crate) fn faults(plan: &Plan) -> Vec<String> {
    let mut faults = Vec::new();
    let all: BTreeSet<&StepId> = plan.steps.iter().map(|step| &step.id).collect();
    if all.len() != plan.steps.len() {
        faults.push("an id is there twice".to_owned());
    }
    let mut seen: BTreeSet<&StepId> = BTreeSet::new();
    for step in &plan.steps {
        let before = step.needs.iter().filter(|need| !seen.contains(need));
        faults.extend(before.map(|need| format!("{} stands before {need}, which it needs", step.id)));
        let unknown = step.only_if_pending.iter().filter(|other| !all.contains(other));
        faults.extend(unknown.map(|other| format!("{} is only for {other}, which is not there", step.id)));
        faults.extend(
            inputs(step)
                .values()
                .filter(|from| !step.needs.contains(from))
                .map(|from| format!("{} takes a value of {from} without needing it", step.id)),
        );
        if !step.id.0.starts_with(&format!("{}/", step.host)) {
            faults.push(format!("{} runs on {}", step.id, step.host));
        }
        if matches!(step.action, Action::Run { .. }) && step.verify.is_empty() {
            faults.push(format!("{} has no condition", step.id));
        }
        seen.insert(&step.id);
    }
    faults
}

fn content(step: &Step) -> Option<&Content> {
    match &step.action {
        Action::File { content, .. } => Some(content),
        Action::Run { stdin, .. } => stdin.as_ref(),
        _ => None,
    }
}

fn inputs(step: &Step) -> BTreeMap<String, StepId> {
    content(step).map(|content| content.inputs.clone()).unwrap_or_default()
}

fn find<'a>(plan: &'a Plan, id: &str) -> &'a Step {
    plan.steps.iter().find(|step| step.id.0 == id).unwrap_or_else(|| panic!("no step {id}"))
}

/// All that a step needs, through others.
fn all_needs(plan: &Plan, id: &str) -> BTreeSet<String> {
    let mut open = vec![id.to_owned()];
    let mut found = BTreeSet::new();
    while let Some(at) = open.pop() {
        for need in &find(plan, &at).needs {
            if found.insert(need.0.clone()) {
                open.push(need.0.clone());
            }
        }
    }
    found
}

#[test]
fn plans_are_sound() {
    for workers in [0, 1, 2, 7] {
        let faults = faults(&plan(&testing::site(workers)));
        assert!(faults.is_empty(), "{workers} workers: {faults:#?}");
    }
}

#[test]
fn no_host_waits_for_another_worker() {
    let plan = plan(&testing::site(3));
    for worker in ["w1", "w2", "w3"] {
        let others = all_needs(&plan, &format!("{worker}/ready"));
        let stray: Vec<_> = others
            .iter()
            .filter(|need| !need.starts_with("cp1/") && !need.starts_with(&format!("{worker}/")))
            .collect();
        assert!(stray.is_empty(), "{worker} waits for {stray:?}");
    }
}

#[test]
fn secrets_are_only_where_root_alone_reads() {
    let plan = plan(&testing::site(2));
    let mut secret_files = 0;
    for step in &plan.steps {
        let Some(content) = content(step) else { continue };
        let secret_inputs = content
            .inputs
            .values()
            .any(|from| matches!(find(&plan, &from.0).action, Action::Read { secret: true, .. }));
        assert!(!secret_inputs || content.secret, "{} hides that it holds a secret", step.id);
        if let (true, Action::File { mode, .. }) = (content.secret, &step.action) {
            assert_eq!(mode & 0o077, 0, "{}", step.id);
            secret_files += 1;
        }
    }
    assert_eq!(secret_files, 2, "one bootstrap kubeconfig a worker");
}

#[test]
fn placeholders_are_in_files_and_standard_input_only() {
    for step in plan(&testing::site(2)).steps {
        let mut texts = vec![step.title.clone()];
        if let Action::Run { argv, env, .. } | Action::Read { argv, env, .. } = &step.action {
            texts.extend(argv.iter().cloned());
            texts.extend(env.values().cloned());
        }
        for condition in &step.verify {
            if let Condition::Succeeds { argv, .. } | Condition::Prints { argv, .. } = condition {
                texts.extend(argv.iter().cloned());
            }
        }
        assert!(texts.iter().all(|text| !text.contains("@{")), "{}", step.id);
        let inputs = inputs(&step);
        let text = content(&step).map(|content| content.text.clone()).unwrap_or_default();
        let named: BTreeSet<&str> =
            text.split("@{").skip(1).filter_map(|rest| rest.split('}').next()).collect();
        assert_eq!(named, inputs.keys().map(String::as_str).collect(), "{}", step.id);
    }
}

#[test]
fn several_control_planes_are_refused_in_plain_words() {
    let mut site = testing::site(0);
    site.nodes.push(testing::node("cp2", Role::ControlPlane, 12));
    let fault = install_plan(&site, &testing::inventory(), &testing::facts(&site)).unwrap_err();
    assert_eq!(
        fault.to_string(),
        "the site has 2 control-plane hosts (cp1, cp2); installing more than one is not there yet, `qiji check` and `qiji build` work"
    );
}

#[test]
fn all_that_is_lacking_is_named_at_once() {
    let site = testing::site(1);
    let mut inventory = testing::inventory();
    let offer = inventory.offers.get_mut(&Arch::Amd64).unwrap();
    offer.packages.retain(|package| package.name != "cni");
    offer.images.retain(|image| !image.name.contains("flannel") && !image.name.contains("etcd"));
    let fault = install_plan(&site, &inventory, &BTreeMap::new()).unwrap_err().to_string();
    for part in ["package `cni`", "image `flannel`", "image `etcd`", "about cp1", "about w1"] {
        assert!(fault.contains(part), "{part} in {fault}");
    }
}

#[test]
fn images_of_another_version_are_refused() {
    let mut site = testing::site(1);
    site.cluster.version = semver::Version::new(1, 36, 4);
    let fault = install_plan(&site, &testing::inventory(), &testing::facts(&site)).unwrap_err().to_string();
    assert!(fault.contains("kube-scheduler:v1.36.3 is not of Kubernetes v1.36.4"), "{fault}");
}

#[test]
fn a_changed_file_restarts_what_reads_it() {
    let fingerprint = |site: &Site, id: &str| match &find(&plan(site), id).action {
        Action::Unit { fingerprint, .. } => fingerprint.clone(),
        other => panic!("{other:?}"),
    };
    let plain = testing::site(1);
    let mut named = plain.clone();
    named.network.dns_upstream = vec!["10.20.0.2".parse().unwrap()];
    assert_ne!(fingerprint(&plain, "w1/kubelet"), fingerprint(&named, "w1/kubelet"));
    assert_eq!(fingerprint(&plain, "w1/containerd"), fingerprint(&named, "w1/containerd"));
}

#[test]
fn a_changed_manifest_is_applied_again() {
    let apply = |site: &Site| find(&plan(site), "cp1/apply-flannel").action.clone();
    let plain = testing::site(1);
    let mut routed = plain.clone();
    routed.network.backend = qiji_blueprint::site::PodBackend::HostGw;
    assert_ne!(apply(&plain), apply(&routed));
}

/// Every file that a host gets, with its mode, as one text a file.
#[test]
fn files_are_as_reviewed() {
    let mut site = testing::site(1);
    site.nodes[1].labels.insert("disk".into(), "ssd".into());
    site.nodes[1].taints.push(qiji_blueprint::site::Taint {
        key: "dedicated".into(),
        value: "gpu".into(),
        effect: "NoSchedule".into(),
    });
    for step in plan(&site).steps {
        if let Action::File { path, mode, content } = &step.action {
            let name = format!("{}{}", step.host, path.replace('/', "."));
            insta::assert_snapshot!(name, format!("{mode:o}\n{}", content.text));
        }
    }
}

#[test]
fn what_programs_read_is_as_reviewed() {
    for step in plan(&testing::site(1)).steps {
        if let Action::Run { stdin: Some(content), .. } = &step.action {
            insta::assert_snapshot!(format!("stdin.{}", step.id.0.replace('/', ".")), content.text);
        }
    }
}

/// kubeadm asks the internet for a version that its configuration does not name.
#[test]
fn kubeadm_is_always_told_the_version() {
    let plan = plan(&testing::site(1));
    let texts: Vec<&str> = plan
        .steps
        .iter()
        .filter_map(content)
        .map(|content| content.text.as_str())
        .filter(|text| text.contains("apiVersion: kubeadm.k8s.io/"))
        .collect();
    assert_eq!(texts.len(), 3, "certificates, phases, token");
    assert!(texts.iter().all(|text| text.contains("kubernetesVersion: \"v1.36.3\"")));
}

#[test]
fn steps_are_as_reviewed() {
    let lines: Vec<String> = plan(&testing::site(1)).steps.iter().map(line).collect();
    insta::assert_snapshot!(lines.join("\n"));
}

/// A step with what it needs and what it runs.
fn line(step: &Step) -> String {
    let needs: Vec<&str> = step.needs.iter().map(|need| need.0.as_str()).collect();
    let only: Vec<&str> = step.only_if_pending.iter().map(|id| id.0.as_str()).collect();
    let mut lines = vec![format!("{} <- {}", step.id, needs.join(" "))];
    if !only.is_empty() {
        lines.push(format!("only for {}", only.join(" ")));
    }
    if step.id.0.ends_with("/tidy") {
        return lines.concat(); // a line for each blob says nothing
    }
    if let Action::Run { argv, .. } | Action::Read { argv, .. } = &step.action {
        lines.push(format!("$ {}", argv.join(" ")));
    }
    lines.extend(step.verify.iter().map(|condition| match condition {
        Condition::Succeeds { argv, .. } => format!("? {}", argv.join(" ")),
        Condition::Prints { argv, text, .. } => format!("? {} = {text:?}", argv.join(" ")),
        other => format!("? {other:?}"),
    }));
    lines.join("\n    ")
}

#[test]
fn a_lone_host_takes_workloads() {
    let config = |site: &Site| match &find(&plan(site), "cp1/kubelet-config").action {
        Action::File { content, .. } => content.text.clone(),
        other => panic!("{other:?}"),
    };
    assert!(!config(&testing::site(0)).contains("node-role.kubernetes.io/control-plane"));
    assert!(config(&testing::site(1)).contains("node-role.kubernetes.io/control-plane"));
}

#[test]
fn etcd_is_told_to_start_where_its_authors_do_not_try_it() {
    let config = |arch: Arch| {
        let mut site = testing::site(1);
        site.nodes.iter_mut().for_each(|node| node.arch = arch);
        match &find(&plan(&site), "cp1/kubeadm-config").action {
            Action::File { content, .. } => content.text.clone(),
            other => panic!("{other:?}"),
        }
    };
    for arch in [Arch::Amd64, Arch::Arm64] {
        assert!(!config(arch).contains("extraEnvs"), "{arch}");
    }
    let told = "    extraEnvs:\n    # etcd's authors do not try it on this architecture, and it starts there only when it is told to.\n    \
        - name: ETCD_UNSUPPORTED_ARCH\n      value: \"loong64\"\ndns:";
    assert!(config(Arch::Loong64).contains(told), "{}", config(Arch::Loong64));
}

#[test]
fn a_site_with_name_servers_forwards_to_them() {
    let mut site = testing::site(1);
    site.network.dns_upstream = vec!["10.20.0.2".parse().unwrap(), "fd00::2".parse().unwrap()];
    let plan = plan(&site);
    let Action::File { content, .. } = &find(&plan, "cp1/manifest-coredns").action else { panic!() };
    assert!(content.text.contains("forward . 10.20.0.2 fd00::2 {"), "{}", content.text);
    let Action::File { content, .. } = &find(&plan, "w1/resolv-conf").action else { panic!() };
    assert!(content.text.ends_with("nameserver 10.20.0.2\nnameserver fd00::2\n"));
}

#[test]
fn control_groups_of_version_1_are_borne_where_they_are() {
    let site = testing::site(1);
    let mut facts = testing::facts(&site);
    facts.get_mut("w1").unwrap().cgroup = crate::facts::Cgroup::V1;
    let plan = install_plan(&site, &testing::inventory(), &facts).unwrap();
    for (host, fails) in [("cp1", true), ("w1", false)] {
        let Action::File { content, .. } = &find(&plan, &format!("{host}/kubelet-config")).action else {
            panic!()
        };
        assert!(content.text.contains(&format!("failCgroupV1: {fails}\n")), "{host}");
    }
}

mod any_site {
    //! What holds for sites that nobody wrote.

    use proptest::prelude::*;
    use qiji_blueprint::site::{Arch, PodBackend, Taint};

    use super::*;

    fn labels() -> impl Strategy<Value = BTreeMap<String, String>> {
        proptest::collection::btree_map("[a-z]{1,8}(\\.io/[a-z]{1,6})?", "[a-zA-Z0-9]{0,8}", 0..4)
    }

    fn site() -> impl Strategy<Value = Site> {
        let host = (labels(), proptest::sample::select(Arch::ALL.to_vec()), any::<bool>());
        let network = (any::<bool>(), proptest::collection::vec(any::<std::net::IpAddr>(), 0..3), 8u8..=28);
        (proptest::collection::vec(host, 1..12), network, any::<u16>()).prop_map(|(hosts, network, port)| {
            let mut site = testing::site(u8::try_from(hosts.len() - 1).unwrap());
            for (node, (labels, arch, tainted)) in site.nodes.iter_mut().zip(hosts) {
                (node.labels, node.arch) = (labels, arch);
                let taint = Taint { key: "k".into(), value: "v".into(), effect: "NoExecute".into() };
                node.taints = if tainted { vec![taint] } else { vec![] };
            }
            site.network.backend = if network.0 { PodBackend::Vxlan } else { PodBackend::HostGw };
            site.network.dns_upstream = network.1;
            site.network.services = format!("172.16.0.0/{}", network.2.max(12)).parse().unwrap();
            site.cluster.endpoint.port = port;
            site
        })
    }

    proptest! {
        #[test]
        fn plans_are_sound(site in site()) {
            let plan = plan(&site);
            prop_assert_eq!(faults(&plan), Vec::<String>::new());
            for node in &site.nodes {
                let stray = all_needs(&plan, &format!("{}/ready", node.name));
                let own = format!("{}/", node.name);
                prop_assert!(stray.iter().all(|need| need.starts_with("cp1/") || need.starts_with(&own)));
            }
        }

        #[test]
        fn the_same_site_gives_the_same_plan(site in site()) {
            prop_assert_eq!(plan(&site), plan(&site));
        }

        #[test]
        fn resets_are_sound(site in site()) {
            let plan = crate::reset_plan(&site, &testing::facts(&site));
            prop_assert_eq!(faults(&plan), Vec::<String>::new());
        }
    }
}
