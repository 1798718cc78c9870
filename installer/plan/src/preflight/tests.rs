//! Findings on hosts that have something wrong.

use qiji_blueprint::site::Site;

use super::*;
use crate::facts::{Cgroup, LinkAddress, Listener};
use crate::testing;

fn chips() -> BTreeMap<String, ChipNeeds> {
    BTreeMap::from([("generic-amd64".to_owned(), ChipNeeds { kernel: (5, 13), page_sizes: vec![4096] })])
}

/// Findings on a site whose hosts were changed.
fn findings(site: &Site, change: impl Fn(&str, &mut Facts)) -> Vec<Finding> {
    let answers = testing::facts(site).into_iter().map(|(name, mut facts)| {
        facts.default_route = true;
        change(&name, &mut facts);
        let asked_ms = 1_800_000_000_000;
        (name, Answer { facts: Ok(facts), asked_ms, answered_ms: asked_ms + 40 })
    });
    let (inventory, chips) = (testing::inventory(), chips());
    preflight(Measure { site, inventory: &inventory, chips: &chips }, &answers.collect())
}

fn codes(findings: &[Finding]) -> Vec<&str> {
    findings.iter().map(|finding| finding.code.as_str()).collect()
}

fn listener(protocol: &str, port: u16) -> Listener {
    Listener {
        protocol: protocol.into(),
        address: "0.0.0.0".parse().unwrap(),
        port,
        process: Some("nginx".into()),
    }
}

/// All that can be wrong with one host.
fn ruin(facts: &mut Facts) {
    facts.machine = "aarch64".into();
    facts.kernel = "4.19.90-52.22.v2207.ky10.x86_64".into();
    facts.page_size = 65536;
    facts.cgroup = Cgroup::V1;
    facts.cgroup_controllers.retain(|name| name != "pids");
    facts.systemd = None;
    facts.root = false;
    facts.swap = true;
    facts.cpus = 1;
    facts.memory = 512 << 20;
    for fs in &mut facts.filesystems {
        fs.free = 1 << 30;
        fs.inodes_free = 100;
        fs.read_only = fs.path == "/etc";
    }
    facts.unix_time_ms += 90_000;
    facts.hostname = "localhost".into();
    facts.installed_site = Some("elsewhere".into());
    facts.addresses =
        vec![LinkAddress { link: "eth0".into(), address: "10.96.3.4".parse().unwrap(), prefix: 24 }];
    facts.default_route = false;
    facts.listeners = vec![listener("tcp", 6443), listener("udp", 8472), listener("udp", 10250)];
    facts.features[3].present = false;
    facts.leftovers = vec!["/var/lib/etcd".into(), "/etc/kubernetes".into()];
}

#[test]
fn hosts_with_nothing_wrong_give_no_findings() {
    assert_eq!(findings(&testing::site(3), |_, _| ()), vec![]);
}

#[test]
fn everything_wrong_with_a_host_is_said_at_once() {
    let found = findings(&testing::site(0), |_, facts| ruin(facts));
    let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn findings_of_all_hosts_come_together() {
    let found = findings(&testing::site(2), |name, facts| match name {
        "cp1" => facts.systemd = None,
        "w1" => facts.swap = true,
        _ => facts.page_size = 16384,
    });
    assert_eq!(codes(&found), ["no-systemd", "swap", "page-size"]);
}

#[test]
fn room_is_summed_where_folders_share_a_disk() {
    let free = |bytes: u64, shared: bool| {
        let found = findings(&testing::site(0), |_, facts| {
            for fs in &mut facts.filesystems {
                (fs.free, fs.total) = (bytes, bytes);
                fs.device = u64::from(!shared && fs.path == "/opt");
            }
        });
        codes(&found).iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    // 2722 MiB below /var/lib and 430 MiB below /opt.
    assert_eq!(free(2800 << 20, false), ["little-room"], "each has a disk of its own");
    assert_eq!(free(2800 << 20, true), ["disk-full"], "both on one");
    assert_eq!(free(4 << 30, true), [""; 0], "kubelet has its 15 % as well");
}

#[test]
fn what_qiji_put_there_is_no_fault() {
    let found = findings(&testing::site(0), |_, facts| {
        facts.installed_site = Some("quickstart".into());
        facts.listeners = vec![listener("tcp", 6443)];
        let address = "10.244.0.1".parse().unwrap();
        facts.addresses.push(LinkAddress { link: "cni0".into(), address, prefix: 24 });
    });
    assert_eq!(found, vec![]);
}

#[test]
fn a_worker_may_use_the_control_planes_ports() {
    let found = findings(&testing::site(1), |name, facts| {
        if name == "w1" {
            facts.listeners = vec![listener("tcp", 6443)];
        }
    });
    assert_eq!(found, vec![]);
}

#[test]
fn clocks_are_judged_by_the_time_that_asking_took() {
    let at = |offset: i64| {
        let found = findings(&testing::site(0), |_, facts| facts.unix_time_ms += offset);
        found.first().map(|finding| finding.severity)
    };
    assert_eq!(at(40 + 2_000), None);
    assert_eq!(at(40 + 2_001), Some(Severity::Warning));
    assert_eq!(at(-2_001), Some(Severity::Warning));
    assert_eq!(at(40 + 30_001), Some(Severity::Blocker));
    assert_eq!(at(-30_001), Some(Severity::Blocker));
}

#[test]
fn copies_of_one_machine_are_found() {
    let found = findings(&testing::site(2), |_, facts| facts.machine_id = "0123".into());
    assert_eq!(codes(&found), ["same-machine-id"]);
    assert_eq!(found[0].message, "cp1, w1, w2 have the same machine id 0123");
}

#[test]
fn an_address_on_two_hosts_is_found() {
    let found = findings(&testing::site(2), |name, facts| {
        if name == "w2" {
            let address = "10.20.0.21".parse().unwrap();
            facts.addresses.push(LinkAddress { link: "eth1".into(), address, prefix: 24 });
        }
    });
    assert_eq!(codes(&found), ["duplicate-address"]);
    assert_eq!(found[0].message, "w2 has its address 10.20.0.21");
}

#[test]
fn a_host_that_is_down_does_not_hide_the_others() {
    let site = testing::site(1);
    let mut facts = testing::facts_of(&site.nodes[1]);
    facts.swap = true;
    facts.default_route = true;
    let answer = |facts| Answer { facts, asked_ms: 1_800_000_000_000, answered_ms: 1_800_000_000_000 };
    let answers = BTreeMap::from([
        ("cp1".to_owned(), answer(Err("connection refused".to_owned()))),
        ("w1".to_owned(), answer(Ok(facts))),
    ]);
    let (inventory, chips) = (testing::inventory(), chips());
    let found = preflight(Measure { site: &site, inventory: &inventory, chips: &chips }, &answers);
    assert_eq!(codes(&found), ["unreachable", "swap"]);
}

#[test]
fn kernels_are_read_as_distributions_write_them() {
    for (release, version) in [
        ("6.12.48+deb13-amd64", Some((6, 12))),
        ("4.19.90-52.22.v2207.ky10.aarch64", Some((4, 19))),
        ("5.10.0-136.12.0.86.oe2203sp1.loongarch64", Some((5, 10))),
        ("linux", None),
    ] {
        assert_eq!(kernel_version(release), version, "{release}");
    }
}
