//! Whole hosts, really booted: systemd and sshd run, what containerd and kubelet need is there, and nothing stays.

#![allow(clippy::unwrap_used, reason = "a failed helper fails its test")]

mod common;

use common::{host, id, machine, ssh, text};
use qiji_hosts::{Area, Host, Kind, OpsUser, Sudo, Testbed, TestbedSpec, quirks};

#[test]
fn whole_hosts_boot_and_carry_containers_and_leave_nothing() {
    let mut second = host("n2", "10.20.2.2/24", Kind::Nspawn);
    second.root_login = false;
    second.password_login = true;
    second.ops = Some(OpsUser { sudo: Sudo::Password, password: Some("correct horse".to_owned()) });
    second.memory_mib = Some(2048);
    second.disk_mib = Some(1024);
    let spec = TestbedSpec::new("whole", "10.20.2.0/24".parse().unwrap())
        .host(host("n1", "10.20.2.1/24", Kind::Nspawn))
        .host(second);
    let testbed = Testbed::start(&spec).unwrap();
    let (one, two) = (testbed.host("n1").unwrap(), testbed.host("n2").unwrap());
    logs_in_by_key_and_password(&testbed, one, two);
    for host in [one, two] {
        carries_containers(host);
    }
    let limit = two.run(&[
        "sh",
        "-c",
        "cat /sys/fs/cgroup/memory/memory.limit_in_bytes || cat /sys/fs/cgroup/memory.max",
    ]);
    assert_eq!(limit.unwrap().trim(), (2048_u64 << 20).to_string());
    snapshots_tell_what_changed(one);
    survives_a_power_cut(one);
    let escaped = testbed.escaped().unwrap();
    assert!(escaped.is_nothing(), "{escaped}");
    let id = id(&testbed);
    testbed.stop().unwrap();
    assert_eq!(machine(&id), std::collections::BTreeSet::new());
}

fn logs_in_by_key_and_password(testbed: &Testbed, one: &Host, two: &Host) {
    assert_eq!(text(&ssh(testbed, one, "root", "hostname; systemctl is-system-running")), "n1\nrunning");
    assert_eq!(text(&ssh(testbed, two, "ops", "echo correct horse | sudo -S -p '' id -u")), "0");
    assert!(!ssh(testbed, two, "ops", "sudo -n true").status.success(), "sudo asks for no password");
    assert!(!ssh(testbed, two, "root", "true").status.success(), "root may not log in to n2");
}

/// What container runtimes do first, each tried.
fn carries_containers(host: &Host) {
    for (what, script) in [
        (
            "makes control groups",
            "g=/sys/fs/cgroup; [ -d $g/memory ] && g=$g/memory; mkdir $g/try && rmdir $g/try",
        ),
        ("has a whole hierarchy of its own", "! grep -q qiji /proc/1/cgroup"),
        ("does not forward yet", "[ $(cat /proc/sys/net/ipv4/ip_forward) = 0 ]"),
        (
            "lets forwarding be set",
            "sysctl -q -w net.ipv4.ip_forward=1 && sysctl -q -w net.ipv4.ip_forward=0",
        ),
        (
            "lets kubelet's parameters be set",
            "sysctl -q -w vm.overcommit_memory=1 kernel.panic=10 kernel.panic_on_oops=1",
        ),
        (
            "mounts overlays on its disk",
            "cd $(mktemp -d /var/lib/XXXX) && mkdir l u w m && mount -t overlay o -o lowerdir=l,upperdir=u,workdir=w m \
             && touch m/x && test -e u/x && umount m && rm -r $PWD",
        ),
        (
            "makes network namespaces and veths",
            "ip netns add x && ip link add name one type veth peer name two netns x && ip netns del x",
        ),
        ("makes a vxlan", "ip link add name one type vxlan id 7 dstport 8472 dev eth0 && ip link del one"),
        ("has no packet filter of its own", "! command -v nft && ! command -v iptables"),
    ] {
        let answer = host.exec(&["bash", "-c", script]).unwrap();
        assert!(answer.ok(), "{} {what}: {answer}", host.name());
    }
    assert_eq!(host.read_file(quirks::KUBELET_DROP_IN_PATH).unwrap(), quirks::KUBELET_DROP_IN);
}

fn snapshots_tell_what_changed(host: &Host) {
    let before = host.snapshot().unwrap();
    let again = host.snapshot().unwrap();
    assert_eq!(before.diff(&again), [], "a host that is left alone does not change");
    let unit = "[Service]\nExecStart=/bin/sleep inf\n[Install]\nWantedBy=multi-user.target\n";
    host.write_file("/etc/systemd/system/extra.service", unit.as_bytes(), 0o644).unwrap();
    host.run(&["systemctl", "enable", "--now", "-q", "extra"]).unwrap();
    host.run(&["ip", "link", "add", "extra0", "type", "bridge"]).unwrap();
    host.run(&["mount", "-t", "tmpfs", "extra", "/mnt"]).unwrap();
    let difference = before.diff(&host.snapshot().unwrap());
    let areas: Vec<Area> = difference.iter().map(|one| one.area).collect();
    for area in [Area::File, Area::Unit, Area::Mount, Area::Link] {
        assert!(areas.contains(&area), "{area:?} is missing in {difference:?}");
    }
    host.run(&["umount", "/mnt"]).unwrap();
    host.run(&["ip", "link", "del", "extra0"]).unwrap();
    host.run(&["systemctl", "disable", "--now", "-q", "extra"]).unwrap();
    host.run(&["rm", "/etc/systemd/system/extra.service"]).unwrap();
    host.run(&["systemctl", "daemon-reload"]).unwrap();
    assert_eq!(before.diff(&host.snapshot().unwrap()), [], "what was undone shows no more");
}

fn survives_a_power_cut(host: &Host) {
    host.write_file("/var/lib/kept", b"kept", 0o600).unwrap();
    host.power_cut().unwrap();
    assert!(host.exec(&["true"]).is_err(), "a host without power answers");
    host.power_on().unwrap();
    assert_eq!(host.read_file("/var/lib/kept").unwrap(), "kept");
    assert_eq!(host.run(&["systemctl", "is-system-running"]).unwrap().trim(), "running");
}
