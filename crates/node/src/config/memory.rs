//! The memory that this process may use.

use std::{fs, path::Path};

/// The memory of this machine in bytes, or the limit of the process's control group if that is lower. The result is 0 if
/// the memory is unknown, which leads to the smallest limits.
pub(super) fn usable() -> u64 {
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let machine = total(&meminfo).unwrap_or(0);
    let group = group_limit(&groups, Path::new("/sys/fs/cgroup"));
    group.map_or(machine, |limit| limit.min(machine))
}

/// `MemTotal` of `/proc/meminfo`.
fn total(meminfo: &str) -> Option<u64> {
    let line = |line: &str| line.strip_prefix("MemTotal:").map(str::to_owned);
    let kib: u64 = meminfo
        .lines()
        .find_map(line)?
        .split_whitespace()
        .next()?
        .parse()
        .ok()?;
    Some(kib.saturating_mul(1024))
}

/// The lowest limit of the process's control group and the groups above it. `groups` is the content of
/// `/proc/self/cgroup`, and `root` the place where the control groups are mounted. See cgroups(7).
fn group_limit(groups: &str, root: &Path) -> Option<u64> {
    let limits = groups.lines().flat_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (_, controllers, path) = (fields.next(), fields.next(), fields.next());
        let (root, files): (_, &[&str]) = match controllers {
            // Version 2 has one hierarchy, which names no controllers. Above `memory.high`, the kernel slows the process down.
            Some("") => (root.to_path_buf(), &["memory.max", "memory.high"]),
            Some(list) if list.split(',').any(|name| name == "memory") => {
                (root.join("memory"), &["memory.limit_in_bytes"])
            }
            _ => return Vec::new(),
        };
        let path = Path::new(path.unwrap_or("/").trim_start_matches('/'));
        // In a container, the path may be outside of the mounted directory. The group at its root applies in any case.
        let groups = path.ancestors().map(|group| root.join(group));
        let files = groups.flat_map(|group| files.iter().map(move |file| group.join(file)));
        files.filter_map(|file| limit(&file)).collect()
    });
    limits.min()
}

/// A file's number. The word `max` means no limit.
fn limit(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(root: &Path, path: &str, file: &str, limit: &str) {
        let group = root.join(path);
        fs::create_dir_all(&group).unwrap();
        fs::write(group.join(file), limit).unwrap();
    }

    #[test]
    fn the_lowest_limit_on_the_way_to_the_root_counts() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let groups = "0::/system.slice/bowline.service\n";
        assert_eq!(group_limit(groups, root), None);
        group(root, "system.slice/bowline.service", "memory.max", "max\n");
        assert_eq!(group_limit(groups, root), None);
        group(root, "system.slice", "memory.max", "268435456\n");
        assert_eq!(group_limit(groups, root), Some(256 << 20));
        group(
            root,
            "system.slice/bowline.service",
            "memory.max",
            "134217728\n",
        );
        assert_eq!(group_limit(groups, root), Some(128 << 20));
        // Above this limit, the kernel slows the group down.
        group(root, "system.slice", "memory.high", "67108864\n");
        assert_eq!(group_limit(groups, root), Some(64 << 20));
        group(root, "system.slice", "memory.high", "max\n");
        // A group outside of the path has no effect.
        group(root, "user.slice", "memory.max", "1\n");
        assert_eq!(group_limit(groups, root), Some(128 << 20));
    }

    #[test]
    fn a_container_whose_path_is_not_mounted_has_the_limit_of_the_root() {
        let root = tempfile::tempdir().unwrap();
        group(root.path(), "", "memory.max", "268435456\n");
        for groups in ["0::/\n", "0::/../../docker/0123\n", "0::/docker/0123\n"] {
            assert_eq!(
                group_limit(groups, root.path()),
                Some(256 << 20),
                "{groups}"
            );
        }
    }

    #[test]
    fn version_1_has_a_hierarchy_for_memory() {
        let root = tempfile::tempdir().unwrap();
        let groups = "5:cpu,cpuacct:/jobs\n4:memory:/jobs/7\n0::/ignored\n";
        group(
            root.path(),
            "memory/jobs/7",
            "memory.limit_in_bytes",
            "9223372036854771712\n",
        );
        group(
            root.path(),
            "memory/jobs",
            "memory.limit_in_bytes",
            "536870912\n",
        );
        group(root.path(), "cpu/jobs", "memory.limit_in_bytes", "1\n");
        assert_eq!(group_limit(groups, root.path()), Some(512 << 20));
    }

    #[test]
    fn the_defaults_follow_a_group_of_256_mib() {
        let limits = conn_state::LimitsConfig::for_memory(256 << 20);
        assert_eq!(limits.max_inbound, 128);
        assert!(usable() > 0, "this machine's memory is known");
        assert_eq!(total("MemFree: 1 kB\nMemTotal:   2048 kB\n"), Some(2 << 20));
    }
}
