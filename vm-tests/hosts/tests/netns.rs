//! Network-namespace hosts, really started: they reach one another and nothing else, and leave nothing behind.

#![allow(clippy::unwrap_used, reason = "a failed helper fails its test")]

mod common;

use std::time::Instant;

use common::{host, id, machine, ssh, text};
use qiji_hosts::{Area, Kind, OpsUser, Sudo, Testbed, TestbedSpec};

fn two(name: &str) -> TestbedSpec {
    TestbedSpec::new(name, "10.20.1.0/24".parse().unwrap())
        .host(host("n1", "10.20.1.1/24", Kind::Netns))
        .host(host("n2", "10.20.1.2/24", Kind::Netns))
}

#[test]
fn hosts_reach_one_another_and_nothing_else() {
    let testbed = Testbed::start(&two("reach")).unwrap();
    let (one, two) = (testbed.host("n1").unwrap(), testbed.host("n2").unwrap());
    for (from, to) in [(one, two), (two, one)] {
        let ping = from.exec(&["ping", "-c", "1", "-W", "2", &to.address().to_string()]).unwrap();
        assert!(ping.ok(), "{ping}");
    }
    let escaped = testbed.escaped().unwrap();
    assert!(escaped.is_nothing(), "{escaped}");
    let proof = testbed.prove_count("n1").unwrap();
    assert_eq!((proof.packets, proof.filtered), (1, 1), "{proof}");
    assert_eq!(proof.detail, ["10.20.1.1 -> 192.0.2.1 protocol udp: 1 packets"]);
    testbed.stop().unwrap();
}

#[test]
fn ssh_takes_the_testbeds_key_and_holds_to_the_hosts_keys() {
    let mut spec = two("ssh");
    spec.hosts[1].root_login = false;
    spec.hosts[1].ops = Some(OpsUser { sudo: Sudo::NoPassword, password: None });
    let testbed = Testbed::start(&spec).unwrap();
    let (one, two) = (testbed.host("n1").unwrap(), testbed.host("n2").unwrap());
    assert_eq!(text(&ssh(&testbed, one, "root", "hostname; id -u")), "n1\n0");
    assert_eq!(text(&ssh(&testbed, two, "ops", "id -u; sudo -n id -u")), "1000\n0");
    assert!(!ssh(&testbed, two, "root", "true").status.success(), "root may not log in to n2");
    assert!(one.ssh_host_key().unwrap().starts_with("ssh-ed25519 "));
}

#[test]
fn a_host_has_a_disk_of_its_own_and_nothing_of_the_machines() {
    let mut spec = two("disk");
    spec.hosts[1].disk_mib = Some(32);
    let testbed = Testbed::start(&spec).unwrap();
    let (one, two) = (testbed.host("n1").unwrap(), testbed.host("n2").unwrap());
    one.write_file("/etc/mine", b"one", 0o640).unwrap();
    assert_eq!(one.read_file("/etc/mine").unwrap(), "one");
    assert!(!two.exec(&["test", "-e", "/etc/mine"]).unwrap().ok(), "n2 sees n1's file");
    assert!(!one.exec(&["touch", "/usr/mine"]).unwrap().ok(), "a host can write the machine's /usr");
    let fill = two.exec(&["dd", "if=/dev/zero", "of=/var/lib/big", "bs=1M", "count=64"]).unwrap();
    assert!(fill.stderr.contains("No space left"), "{fill}");
    let before = one.snapshot().unwrap();
    one.write_file("/etc/mine", b"two", 0o640).unwrap();
    one.run(&["sysctl", "-w", "net.ipv4.ip_forward=1"]).unwrap();
    let difference = before.diff(&one.snapshot().unwrap());
    let names: Vec<_> = difference.iter().map(|one| (one.area, one.name.as_str())).collect();
    assert_eq!(names, [(Area::File, "/etc/mine"), (Area::Parameter, "net/ipv4/ip_forward")]);
}

#[test]
fn power_and_cables_can_be_pulled() {
    let testbed = Testbed::start(&two("cut")).unwrap();
    let (one, two) = (testbed.host("n1").unwrap(), testbed.host("n2").unwrap());
    let reaches = || one.exec(&["ping", "-c", "1", "-W", "1", "10.20.1.2"]).unwrap().ok();
    two.link_down().unwrap();
    assert!(!reaches(), "n2 answers without a cable");
    two.link_up().unwrap();
    // The kernel looks at cables at most once a second.
    assert!((0..5).any(|_| reaches()), "n2 does not answer with its cable in again");
    two.write_file("/var/lib/kept", b"kept", 0o600).unwrap();
    two.write_file("/run/lost", b"lost", 0o600).unwrap();
    two.power_cut().unwrap();
    assert!(!reaches() && two.exec(&["true"]).is_err(), "n2 answers without power");
    two.power_on().unwrap();
    assert!(reaches(), "n2 does not answer after it was switched on");
    assert_eq!(two.read_file("/var/lib/kept").unwrap(), "kept");
    assert!(two.read_file("/run/lost").is_err(), "memory survived a power cut");
    text(&ssh(&testbed, two, "root", "true"));
}

#[test]
fn a_shaped_host_sends_no_faster_than_it_may() {
    let testbed = Testbed::start(&two("shape")).unwrap();
    let two = testbed.host("n2").unwrap();
    let megabyte = "head -c 1000000 /dev/zero";
    two.shape(Some(8_000)).unwrap();
    let start = Instant::now();
    assert_eq!(ssh(&testbed, two, "root", megabyte).stdout.len(), 1_000_000);
    let shaped = start.elapsed();
    two.shape(None).unwrap();
    let start = Instant::now();
    assert_eq!(ssh(&testbed, two, "root", megabyte).stdout.len(), 1_000_000);
    // 1 MB at 1 MB/s takes a second, less what a burst lets through at once.
    assert!(shaped.as_secs_f64() > 0.85 && start.elapsed() < shaped, "{shaped:?}");
}

#[test]
fn sites_with_the_same_addresses_do_not_meet_and_leave_nothing() {
    let mut spec = two("same");
    spec.hosts[0].disk_mib = Some(32);
    let (left, right) = (Testbed::start(&spec).unwrap(), Testbed::start(&spec).unwrap());
    left.host("n1").unwrap().write_file("/etc/side", b"left", 0o644).unwrap();
    right.host("n1").unwrap().write_file("/etc/side", b"right", 0o644).unwrap();
    for (testbed, side) in [(&left, "left"), (&right, "right")] {
        assert_eq!(text(&ssh(testbed, testbed.host("n1").unwrap(), "root", "cat /etc/side")), side);
    }
    for testbed in [left, right] {
        let id = id(&testbed);
        assert!(machine(&id).len() > 10, "a running site shows");
        testbed.stop().unwrap();
        assert_eq!(machine(&id), std::collections::BTreeSet::new());
    }
}
