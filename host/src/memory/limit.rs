//! How large the process's byte budget is, and why.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::config::model::MemoryLimit;

const CGROUP_PERCENT: u64 = 80;
const AVAILABLE_PERCENT: u64 = 50;
/// Of the budget, for the queues of all exporters together.
const QUEUES_PERCENT: u64 = 25;
/// Of the budget, for all tail samplers together, unless their files say how much.
const TAIL_PERCENT: u64 = 40;
/// Where neither a cgroup nor /proc tells anything.
const UNKNOWN_BYTES: u64 = 512 << 20;

/// The budget and where it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Bytes.
    pub bytes: u64,
    /// Why as many.
    pub reason: Reason,
}

/// Where a budget comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// `memory_limiter` in the file.
    Configured,
    /// A share of the cgroup's limit.
    Cgroup,
    /// A share of what was available at start.
    Available,
    /// Nothing is known of this machine.
    Unknown,
}

impl Limit {
    /// Bytes that each of `exporters` queues may hold.
    pub fn queue_bytes(&self, exporters: usize) -> u64 {
        self.bytes / 100 * QUEUES_PERCENT / (exporters.max(1) as u64)
    }

    /// Bytes that each of `samplers` tail samplers may hold.
    pub fn tail_bytes(&self, samplers: usize) -> u64 {
        self.bytes / 100 * TAIL_PERCENT / (samplers.max(1) as u64)
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = match self.reason {
            Reason::Configured => "memory_limiter",
            Reason::Cgroup => "80 % of the cgroup's limit",
            Reason::Available => "50 % of the memory available at start",
            Reason::Unknown => "this machine does not tell its memory",
        };
        write!(f, "{} MiB ({reason})", self.bytes >> 20)
    }
}

/// The budget that the configuration asks for on this machine.
pub fn of(configured: &MemoryLimit) -> Limit {
    let (cgroup, available) = (cgroup_bytes_max(), available_bytes());
    let share = |bytes: u64, percent: u64| bytes / 100 * percent;
    match *configured {
        MemoryLimit::Bytes(bytes) => Limit { bytes, reason: Reason::Configured },
        MemoryLimit::Percent(percent) => {
            let whole = cgroup.or(total_bytes()).unwrap_or(UNKNOWN_BYTES);
            Limit { bytes: share(whole, u64::from(percent)), reason: Reason::Configured }
        }
        MemoryLimit::Auto => match (cgroup, available) {
            (Some(bytes), _) => Limit { bytes: share(bytes, CGROUP_PERCENT), reason: Reason::Cgroup },
            (None, Some(bytes)) => Limit { bytes: share(bytes, AVAILABLE_PERCENT), reason: Reason::Available },
            (None, None) => Limit { bytes: UNKNOWN_BYTES, reason: Reason::Unknown },
        },
    }
}

/// The smallest limit of this process's cgroup and those above it; v2 first, then v1.
fn cgroup_bytes_max() -> Option<u64> {
    let own = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let v2 = own.lines().find_map(|line| line.strip_prefix("0::")).and_then(|path| {
        let folder = Path::new("/sys/fs/cgroup").join(path.trim_start_matches('/'));
        smallest(&folder, Path::new("/sys/fs/cgroup"), "memory.max")
    });
    v2.or_else(|| {
        let path = own.lines().find_map(|line| line.split_once(":memory:").map(|(_, path)| path))?;
        let root = Path::new("/sys/fs/cgroup/memory");
        smallest(&root.join(path.trim_start_matches('/')), root, "memory.limit_in_bytes")
    })
    // v1 writes "no limit" as a number near 2^63.
    .filter(|&bytes| bytes < 1 << 60)
}

fn smallest(folder: &Path, root: &Path, file: &str) -> Option<u64> {
    let folders = folder.ancestors().take_while(|folder| folder.starts_with(root)).map(PathBuf::from);
    // Inside a container the path of the host may not exist; the root then is the container's own group.
    let read = |folder: PathBuf| std::fs::read_to_string(folder.join(file)).ok()?.trim().parse::<u64>().ok();
    folders.chain([root.to_path_buf()]).filter_map(read).min()
}

fn available_bytes() -> Option<u64> {
    meminfo("MemAvailable:")
}

fn total_bytes() -> Option<u64> {
    meminfo("MemTotal:")
}

fn meminfo(key: &str) -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_decides_where_it_says_something() {
        assert_eq!(of(&MemoryLimit::Bytes(5 << 20)), Limit { bytes: 5 << 20, reason: Reason::Configured });
        let half = of(&MemoryLimit::Percent(50));
        let all = of(&MemoryLimit::Percent(100));
        assert!(half.bytes > 0 && half.bytes <= all.bytes / 2 + 100);
    }

    #[test]
    fn tail_samplers_share_two_fifths() {
        let limit = Limit { bytes: 1000, reason: Reason::Configured };
        assert_eq!([0, 1, 2, 3].map(|samplers| limit.tail_bytes(samplers)), [400, 400, 200, 133]);
    }

    #[test]
    fn the_smallest_limit_up_the_tree_counts() {
        let root = tempfile::tempdir().expect("temporary folder");
        let inner = root.path().join("a/b");
        std::fs::create_dir_all(&inner).expect("made");
        std::fs::write(inner.join("memory.max"), "max\n").expect("written");
        std::fs::write(root.path().join("a/memory.max"), "1000\n").expect("written");
        std::fs::write(root.path().join("memory.max"), "2000\n").expect("written");
        assert_eq!(smallest(&inner, root.path(), "memory.max"), Some(1000));
    }
}
