//! Looking at a host: `/proc`, `/sys`, file-system sizes and a few paths. Reading only; nothing is loaded, written or started.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use qiji_plan::Facts;
use qiji_plan::facts::{Cgroup, FilesystemFacts, KernelFeature, LinkAddress, Listener};

use crate::deeds::{module_is_at_hand, module_is_in};
use crate::fault::Fault;
use crate::host::Host;
use crate::journal::now_ms;
use crate::root::{self, Root};

/// Folders whose file systems are asked about.
const FOLDERS: [&str; 4] = ["/var/lib", "/opt", "/etc", "/run"];

/// Signs of another Kubernetes or container engine; a folder counts when it is not empty.
const LEFTOVERS: [&str; 13] = [
    "/etc/kubernetes",
    "/var/lib/kubelet",
    "/var/lib/etcd",
    "/var/lib/containerd",
    "/run/containerd/containerd.sock",
    "/var/lib/docker",
    "/run/docker.sock",
    "/var/lib/rancher/k3s",
    "/etc/rancher",
    "/var/lib/rancher/rke2",
    "/etc/cni/net.d",
    "/var/snap/microk8s",
    "/var/lib/k0s",
];

/// Kernel feature → other names of its module, and a symbol that tells that it is built in.
const FEATURES: [(&str, &str); 8] = [
    ("overlay", "ovl_copy_up"),
    ("br_netfilter", "br_nf_pre_routing"),
    ("nf_tables", "nft_do_chain"),
    ("nf_conntrack", "nf_conntrack_in"),
    ("nf_nat", "nf_nat_packet"),
    ("vxlan", "vxlan_xmit"),
    ("bridge", "br_handle_frame"),
    ("veth", "veth_xmit"),
];

/// Looks at the host.
pub fn gather(host: &Host) -> Result<Facts, Fault> {
    let root = &host.root;
    let name = rustix::system::uname();
    let (cgroup, cgroup_controllers) = cgroups(root)?;
    let installed_site = host.installed_site()?;
    Ok(Facts {
        hostname: name.nodename().to_string_lossy().into_owned(),
        machine: name.machine().to_string_lossy().into_owned(),
        kernel: name.release().to_string_lossy().into_owned(),
        os: os_name(root)?,
        machine_id: text(root, "/etc/machine-id")?.trim().to_owned(),
        systemd: systemd(root)?,
        cgroup,
        cgroup_controllers,
        cpus: cpus(&text(root, "/sys/devices/system/cpu/online")?),
        memory: memory(&text(root, "/proc/meminfo")?),
        page_size: rustix::param::page_size() as u64,
        swap: text(root, "/proc/swaps")?.lines().count() > 1,
        root: rustix::process::geteuid().is_root(),
        filesystems: filesystems(root)?,
        listeners: listeners(root)?,
        unix_time_ms: i64::try_from(now_ms()).unwrap_or(i64::MAX),
        addresses: addresses()?,
        default_route: default_route(root)?,
        features: features(root)?,
        leftovers: if installed_site.is_some() { Vec::new() } else { leftovers(root) },
        installed_site,
        trust: root::read_text(&root.known(qiji_plan::paths::TRUST))?,
    })
}

fn text(root: &Root, path: &str) -> Result<String, Fault> {
    Ok(root::read_text(&root.known(path))?.unwrap_or_default())
}

fn os_name(root: &Root) -> Result<String, Fault> {
    let release = match text(root, "/etc/os-release")? {
        empty if empty.is_empty() => text(root, "/usr/lib/os-release")?,
        release => release,
    };
    let name = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    Ok(name.unwrap_or("unknown").trim_matches(['"', '\'']).to_owned())
}

/// Version of systemd where it is process 1: in the name of the library that it comes with, else what `systemctl` says.
fn systemd(root: &Root) -> Result<Option<String>, Fault> {
    if text(root, "/proc/1/comm")?.trim() != "systemd" || !root.known("/run/systemd/system").exists() {
        return Ok(None);
    }
    for folder in ["/usr/lib/systemd", "/lib/systemd", "/usr/lib64/systemd"] {
        for entry in fs_err::read_dir(root.known(folder)).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let version = name.strip_prefix("libsystemd-shared-").and_then(|rest| rest.strip_suffix(".so"));
            if let Some(version) = version {
                let digits: String =
                    version.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
                return Ok(Some(digits.trim_end_matches('.').to_owned()));
            }
        }
    }
    let said = std::process::Command::new("systemctl").arg("--version").output();
    let said = said.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    Ok(Some(said.split_whitespace().nth(1).unwrap_or("unknown").to_owned()))
}

fn cgroups(root: &Root) -> Result<(Cgroup, Vec<String>), Fault> {
    let unified = root.known("/sys/fs/cgroup/cgroup.controllers");
    if let Some(controllers) = root::read_text(&unified)? {
        return Ok((Cgroup::V2, controllers.split_whitespace().map(str::to_owned).collect()));
    }
    let mut found = BTreeSet::new();
    for line in text(root, "/proc/self/mountinfo")?.lines() {
        let Some((before, after)) = line.split_once(" - ") else { continue };
        let point = before.split(' ').nth(4).unwrap_or_default();
        if after.starts_with("cgroup ") && point.starts_with("/sys/fs/cgroup/") {
            let options = after.split(' ').nth(2).unwrap_or_default();
            found.extend(options.split(',').filter(|word| is_controller(word)).map(str::to_owned));
        }
    }
    let kind = if found.is_empty() { Cgroup::Missing } else { Cgroup::V1 };
    Ok((kind, found.into_iter().collect()))
}

fn is_controller(word: &str) -> bool {
    let known = [
        "cpu",
        "cpuacct",
        "cpuset",
        "memory",
        "pids",
        "blkio",
        "devices",
        "freezer",
        "hugetlb",
        "net_cls",
        "net_prio",
        "perf_event",
        "rdma",
        "misc",
    ];
    known.contains(&word)
}

/// Counts a list such as `0-3,8`.
fn cpus(list: &str) -> u32 {
    let count = |range: &str| match range.split_once('-') {
        Some((from, to)) => Some(to.parse::<u32>().ok()?.checked_sub(from.parse().ok()?)? + 1),
        None => range.parse::<u32>().ok().map(|_| 1),
    };
    let counted = list.trim().split(',').filter_map(count).sum();
    if counted > 0 {
        counted
    } else {
        std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(1))
    }
}

fn memory(meminfo: &str) -> u64 {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).map_or(0, |kib| kib * 1024)
}

fn filesystems(root: &Root) -> Result<Vec<FilesystemFacts>, Fault> {
    let mounts = text(root, "/proc/self/mountinfo")?;
    let mut all = Vec::new();
    for folder in FOLDERS {
        let mut place = root.known(folder);
        while !place.exists() && place.pop() {}
        let space = rustix::fs::statvfs(&place)?;
        let found = rustix::fs::stat(&place)?;
        all.push(FilesystemFacts {
            path: folder.to_owned(),
            device: found.st_dev,
            kind: kind_of(&mounts, &place).unwrap_or_else(|| "unknown".to_owned()),
            free: space.f_bfree * space.f_frsize,
            total: space.f_blocks * space.f_frsize,
            inodes_free: space.f_ffree,
            inodes_total: space.f_files,
            read_only: space.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY),
        });
    }
    Ok(all)
}

/// Type of the file system of the nearest mount point above a path.
fn kind_of(mounts: &str, place: &Path) -> Option<String> {
    let real = fs_err::canonicalize(place).ok()?;
    let above = mounts.lines().filter_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let point = before.split(' ').nth(4)?;
        real.starts_with(point).then(|| (point.len(), after.split(' ').next().unwrap_or_default()))
    });
    above.max_by_key(|(length, _)| *length).map(|(_, kind)| kind.to_owned())
}

fn listeners(root: &Root) -> Result<Vec<Listener>, Fault> {
    let mut found = Vec::new();
    for (file, protocol, state) in
        [("tcp", "tcp", "0A"), ("tcp6", "tcp", "0A"), ("udp", "udp", "07"), ("udp6", "udp", "07")]
    {
        for line in text(root, &format!("/proc/net/{file}"))?.lines().skip(1) {
            found.extend(
                parse_socket(line, state).map(|(address, port, inode)| (protocol, address, port, inode)),
            );
        }
    }
    let names = if found.is_empty() { BTreeMap::new() } else { socket_owners(root) };
    let listener = |(protocol, address, port, inode): (&str, IpAddr, u16, u64)| Listener {
        protocol: protocol.to_owned(),
        address,
        port,
        process: names.get(&inode).cloned(),
    };
    let mut all: Vec<Listener> = found.into_iter().map(listener).collect();
    all.sort();
    all.dedup();
    Ok(all)
}

/// Address, port and inode out of a line of `/proc/net/tcp` and its like (`proc_net_tcp` in the kernel's documentation).
fn parse_socket(line: &str, wanted: &str) -> Option<(IpAddr, u16, u64)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (local, state, inode) = (words.get(1)?, words.get(3)?, words.get(9)?);
    if *state != wanted {
        return None;
    }
    let (address, port) = local.split_once(':')?;
    Some((parse_address(address)?, u16::from_str_radix(port, 16).ok()?, inode.parse().ok()?))
}

/// An address as the kernel prints it: 32-bit words in the machine's own byte order.
fn parse_address(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| Some(u32::from_str_radix(hex.get(at * 8..at * 8 + 8)?, 16).ok()?.to_ne_bytes());
    match hex.len() {
        8 => Some(IpAddr::from(Ipv4Addr::from(word(0)?))),
        32 => {
            let mut bytes = [0; 16];
            for at in 0..4 {
                bytes[at * 4..at * 4 + 4].copy_from_slice(&word(at)?);
            }
            Some(IpAddr::from(Ipv6Addr::from(bytes)))
        }
        _ => None,
    }
}

/// Inode of a socket → name of a process that has it open.
fn socket_owners(root: &Root) -> BTreeMap<u64, String> {
    let mut owners = BTreeMap::new();
    for process in fs_err::read_dir(root.known("/proc")).into_iter().flatten().flatten() {
        if !process.file_name().to_string_lossy().bytes().all(|b| b.is_ascii_digit()) {
            continue;
        }
        let Ok(open) = Path::new(&process.path()).join("fd").read_dir() else { continue };
        for file in open.flatten() {
            let target = fs_err::read_link(file.path()).unwrap_or_default();
            let target = target.to_string_lossy();
            let inode = target.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']'));
            if let Some(inode) = inode.and_then(|digits| digits.parse().ok()) {
                let name = root::read_text(&process.path().join("comm")).ok().flatten().unwrap_or_default();
                owners.insert(inode, name.trim().to_owned());
            }
        }
    }
    owners
}

fn addresses() -> Result<Vec<LinkAddress>, Fault> {
    let all =
        nix::ifaddrs::getifaddrs().map_err(|errno| Fault::new(format!("cannot list addresses: {errno}")))?;
    let one = |entry: nix::ifaddrs::InterfaceAddress| {
        let (address, mask) = (entry.address?, entry.netmask?);
        let (address, prefix) = match (address.as_sockaddr_in(), address.as_sockaddr_in6()) {
            (Some(v4), _) => (IpAddr::from(v4.ip()), u32::from(mask.as_sockaddr_in()?.ip()).leading_ones()),
            (_, Some(v6)) => (IpAddr::from(v6.ip()), u128::from(mask.as_sockaddr_in6()?.ip()).leading_ones()),
            _ => return None,
        };
        Some(LinkAddress { link: entry.interface_name, address, prefix: u8::try_from(prefix).ok()? })
    };
    Ok(all.filter_map(one).collect())
}

fn default_route(root: &Root) -> Result<bool, Fault> {
    let v4 = text(root, "/proc/net/route")?;
    let v4 = v4.lines().skip(1).any(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words.get(1) == Some(&"00000000") && words.get(7) == Some(&"00000000")
    });
    let v6 = text(root, "/proc/net/ipv6_route")?;
    let v6 = v6.lines().any(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let everything = words.first().is_some_and(|word| word.bytes().all(|b| b == b'0'));
        everything && words.get(1) == Some(&"00") && words.last() != Some(&"lo")
    });
    Ok(v4 || v6)
}

fn features(root: &Root) -> Result<Vec<KernelFeature>, Fault> {
    let filesystems = text(root, "/proc/filesystems")?;
    let mut symbols = None;
    let mut all = Vec::new();
    for (name, symbol) in FEATURES {
        let known = filesystems.lines().any(|line| line.split_whitespace().last() == Some(name))
            || (name == "br_netfilter" && root.known("/proc/sys/net/bridge").exists())
            || module_is_in(root, name)?
            || module_is_at_hand(root, name)?;
        let present = known || symbols.get_or_insert_with(|| built_in_symbols(root)).contains(symbol);
        all.push(KernelFeature { name: name.to_owned(), present });
    }
    Ok(all)
}

/// Which of the telling symbols the running kernel has; asked only where modules leave a feature open.
fn built_in_symbols(root: &Root) -> BTreeSet<&'static str> {
    use std::io::{BufRead, BufReader};
    let mut found = BTreeSet::new();
    let Ok(file) = fs_err::File::open(root.known("/proc/kallsyms")) else { return found };
    for line in BufReader::with_capacity(1 << 16, file).lines().map_while(Result::ok) {
        let word = line.split_whitespace().nth(2).unwrap_or_default();
        found.extend(FEATURES.iter().map(|(_, symbol)| *symbol).filter(|symbol| *symbol == word));
    }
    found
}

fn leftovers(root: &Root) -> Vec<String> {
    let there = |path: &&&str| {
        let place = root.known(path);
        match fs_err::read_dir(&place) {
            Ok(mut entries) => entries.next().is_some(),
            Err(_) => place.symlink_metadata().is_ok_and(|found| !found.is_dir()),
        }
    };
    LEFTOVERS.iter().filter(there).map(|path| (*path).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_read_as_the_kernel_prints_them() {
        let line = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0";
        let expected = if cfg!(target_endian = "little") { [127, 0, 0, 1] } else { [1, 0, 0, 127] };
        assert_eq!(parse_socket(line, "0A"), Some((IpAddr::from(expected), 8080, 4711)));
        assert_eq!(parse_socket(line, "07"), None);
    }

    #[test]
    fn ranges_of_processors_are_counted() {
        assert_eq!(cpus("0-3,8\n"), 5);
        assert_eq!(cpus("0"), 1);
    }

    #[test]
    fn this_machine_can_be_looked_at() {
        let facts = gather(&Host::new(Root::host())).unwrap();
        assert!(facts.memory > 1 << 20 && facts.cpus > 0 && facts.filesystems.len() == 4);
        assert!(facts.addresses.iter().any(|address| address.address.is_loopback()));
    }

    #[test]
    fn a_folder_that_is_empty_is_no_leftover() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::at(folder.path());
        fs_err::create_dir_all(folder.path().join("etc/kubernetes")).unwrap();
        fs_err::create_dir_all(folder.path().join("var/lib/kubelet/pods")).unwrap();
        assert_eq!(leftovers(&root), ["/var/lib/kubelet"]);
    }
}
