//! A control group for each host, in every hierarchy of the machine.
//!
//! systemd-nspawn gives a host a control-group namespace whose root is the group that it was started in. With a group
//! of its own, each host sees a whole hierarchy that starts at `/`, and hosts cannot tread on one another. With v1 or
//! hybrid hierarchies the groups are made below the owner's own groups, so that limits set on the owner hold for its
//! hosts too. With v2 only they are made at the root, since a group that holds processes may not also hand out controllers.

use std::path::{Path, PathBuf};

use fs_err as fs;

use crate::{HostSpec, HostsError};

/// The controllers that kubelet and containerd need.
pub(crate) const NEEDED: [&str; 4] = ["cpu", "cpuset", "memory", "pids"];

/// One hierarchy: its controllers (`name=systemd` for that one, none for v2) and the folder of the owner's own group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    pub(crate) controllers: Vec<String>,
    pub(crate) dir: PathBuf,
    pub(crate) v2: bool,
}

/// The machine's mounted hierarchies.
pub(crate) fn hierarchies() -> Result<Vec<Hierarchy>, HostsError> {
    let own = fs::read_to_string("/proc/self/cgroup")?;
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    Ok(parse(&own, &mounts))
}

fn parse(own: &str, mounts: &str) -> Vec<Hierarchy> {
    let v2_only = own.lines().count() == 1;
    let found = own.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let controllers: Vec<String> =
            parts.next()?.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
        let v2 = controllers.is_empty();
        let point = mounts.lines().find_map(|mount| mount_point(mount, &controllers))?;
        let path = if v2 && v2_only { "" } else { parts.next()?.trim_start_matches('/') };
        Some(Hierarchy { controllers, dir: Path::new(point).join(path), v2 })
    });
    found.collect()
}

/// The mount point in a line of `mountinfo`, where that line is the hierarchy with these controllers.
fn mount_point<'a>(line: &'a str, controllers: &[String]) -> Option<&'a str> {
    let (before, after) = line.split_once(" - ")?;
    let mut after = after.split(' ');
    let kind = after.next()?;
    let options: Vec<&str> = after.nth(1)?.split(',').collect();
    let fits = match kind {
        "cgroup2" => controllers.is_empty(),
        "cgroup" => {
            !controllers.is_empty() && controllers.iter().all(|name| options.contains(&name.as_str()))
        }
        _ => false,
    };
    fits.then(|| before.split(' ').nth(4))?
}

/// The folders of the group `name` below each of the owner's groups; they need not be there.
pub(crate) fn folders(name: &str) -> Result<Vec<PathBuf>, HostsError> {
    Ok(hierarchies()?.into_iter().map(|hierarchy| hierarchy.dir.join(name)).collect())
}

/// Makes the group `site/host` in each hierarchy, with the host's limits, and gives back its folders.
pub(crate) fn create(site: &str, host: &HostSpec) -> Result<Vec<PathBuf>, HostsError> {
    let mut made = Vec::new();
    for hierarchy in hierarchies()? {
        let group = hierarchy.dir.join(site).join(&host.name);
        fs::create_dir_all(&group)?;
        if hierarchy.v2 {
            hand_down(&[&hierarchy.dir, &hierarchy.dir.join(site)])?;
        }
        if hierarchy.controllers.iter().any(|name| name == "cpuset") {
            fill_cpuset(&hierarchy.dir, &[&hierarchy.dir.join(site), &group])?;
        }
        limit(&group, host)?;
        made.push(group);
    }
    Ok(made)
}

/// v2: lets the children of these groups use all controllers that the groups themselves have.
fn hand_down(groups: &[&Path]) -> Result<(), HostsError> {
    for group in groups {
        for controller in fs::read_to_string(group.join("cgroup.controllers"))?.split_whitespace() {
            fs::write(group.join("cgroup.subtree_control"), format!("+{controller}"))?;
        }
    }
    Ok(())
}

/// v1: a new cpuset group is empty and takes no process until it is filled.
fn fill_cpuset(from: &Path, groups: &[&Path]) -> Result<(), HostsError> {
    for name in ["cpuset.cpus", "cpuset.mems"] {
        let value = fs::read_to_string(from.join(name))?;
        for group in groups {
            fs::write(group.join(name), value.trim())?;
        }
    }
    Ok(())
}

/// Sets the host's limits, in whichever of v1 and v2 has the files for them.
fn limit(group: &Path, host: &HostSpec) -> Result<(), HostsError> {
    let memory = host.memory_mib.map(|mib| (mib * 1024 * 1024).to_string());
    let quota = host.cpu_milli.map(|milli| u64::from(milli) * 100);
    let settings = [
        ("memory.limit_in_bytes", memory.clone()),
        ("memory.max", memory),
        ("cpu.cfs_quota_us", quota.map(|us| us.to_string())),
        ("cpu.max", quota.map(|us| format!("{us} 100000"))),
    ];
    for (name, value) in settings {
        let file = group.join(name);
        if let Some(value) = value.filter(|_| file.exists()) {
            fs::write(file, value)?;
        }
    }
    Ok(())
}

/// The processes in these groups and all groups below them.
pub(crate) fn processes(groups: &[PathBuf]) -> Vec<i32> {
    let all = groups.iter().flat_map(|group| walkdir::WalkDir::new(group).into_iter().flatten());
    let members = all
        .filter(|entry| entry.file_name() == "cgroup.procs")
        .filter_map(|entry| fs::read_to_string(entry.path()).ok());
    members.flat_map(|text| text.lines().filter_map(|line| line.parse().ok()).collect::<Vec<i32>>()).collect()
}

/// Removes these groups and all groups below them. A group that still holds processes stays.
pub(crate) fn remove(groups: &[PathBuf]) {
    for group in groups {
        for entry in walkdir::WalkDir::new(group).contents_first(true).into_iter().flatten() {
            if entry.file_type().is_dir() {
                // What stays is found and named by the caller.
                let _ = fs::remove_dir(entry.path());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hybrid_hierarchies_keep_the_owners_group() {
        let own = "9:name=systemd:/\n4:memory:/a/b\n1:cpu,cpuacct:/\n0::/\n";
        let mounts = "\
            30 1 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n\
            31 1 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
            32 1 0:37 / /sys/fs/cgroup/systemd rw,relatime shared:3 - cgroup cgroup rw,name=systemd\n\
            33 1 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
        let dirs: Vec<_> = parse(own, mounts).into_iter().map(|h| (h.dir, h.v2)).collect();
        let expected =
            [("systemd/", false), ("memory/a/b", false), ("cpu,cpuacct/", false), ("unified/", true)];
        assert_eq!(dirs, expected.map(|(dir, v2)| (Path::new("/sys/fs/cgroup").join(dir), v2)));
    }

    #[test]
    fn with_v2_only_groups_start_at_the_root() {
        let mounts = "30 1 0:29 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n";
        let found = parse("0::/user.slice/session-1.scope\n", mounts);
        assert_eq!(found, [Hierarchy { controllers: vec![], dir: "/sys/fs/cgroup".into(), v2: true }]);
    }
}
