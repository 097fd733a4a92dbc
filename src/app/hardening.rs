//! What the process takes away from itself before it does anything: core dumps, readers of its memory, files that
//! others may read. And what is said where the machine could still write a secret to a disk.
//!
//! Nothing here knows a secret or a config. Serves the first lines of every command.

use std::fs;

use rustix::fs::Mode;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit, umask};

use crate::metrics::Hardening;

/// Nothing that this process makes is for anybody but its user.
const ONLY_US: Mode = Mode::RWXG.union(Mode::RWXO);

/// Closes the process towards the machine. What fails is a sentence; nothing of it is a reason not to run.
///
/// Not dumpable comes first and matters most: where cores are piped to a program, one is written in spite of
/// the limit, and the memory and environment of a dumpable process can be read by every process of its user.
pub fn harden() -> Vec<&'static str> {
    let mut failed = Vec::new();
    if !hide() {
        failed.push(
            "the system does not let this process hide its memory (PR_SET_DUMPABLE); keep other users and programs \
             off this machine",
        );
    }
    if setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }).is_err() {
        failed.push("the system does not let this process switch core dumps off; do it with `ulimit -c 0`");
    }
    umask(ONLY_US);
    failed
}

#[cfg(target_os = "linux")]
fn hide() -> bool {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    set_dumpable_behavior(DumpableBehavior::NotDumpable).is_ok()
}

/// Only Linux has it.
#[cfg(not(target_os = "linux"))]
fn hide() -> bool {
    true
}

/// Whether this process runs with all rights. The owner of `/proc/self` would not tell: what is not dumpable
/// belongs to root there.
pub(super) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// What protects this process, as far as the system tells; of Landlock it tells nothing, `writes` does.
pub(super) fn report(writes: bool) -> Vec<(Hardening, bool)> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let core = getrlimit(Resource::Core).current;
    let of_system = |check| match check {
        Hardening::Dumpable => hidden(),
        Hardening::Core => Some(core == Some(0)),
        Hardening::Root => Some(!is_root()),
        Hardening::Swap => Some(swap_warning().is_none()),
        Hardening::Landlock => Some(writes),
        Hardening::Seccomp | Hardening::NewPrivileges | Hardening::Capabilities => told(&status, check),
    };
    Hardening::ALL.iter().filter_map(|check| Some((*check, of_system(*check)?))).collect()
}

#[cfg(target_os = "linux")]
fn hidden() -> Option<bool> {
    use rustix::process::{DumpableBehavior, dumpable_behavior};
    Some(dumpable_behavior().ok()? == DumpableBehavior::NotDumpable)
}

/// Only Linux tells.
#[cfg(not(target_os = "linux"))]
fn hidden() -> Option<bool> {
    None
}

/// What the kernel's status of a process tells.
fn told(status: &str, check: Hardening) -> Option<bool> {
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    match check {
        Hardening::Seccomp => field("Seccomp:").map(|mode| mode != "0"),
        Hardening::NewPrivileges => field("NoNewPrivs:").map(|set| set == "1"),
        Hardening::Capabilities => field("CapEff:").map(|all| all.bytes().all(|digit| digit == b'0')),
        Hardening::Dumpable | Hardening::Core | Hardening::Root | Hardening::Swap | Hardening::Landlock => {
            None
        }
    }
}

/// Said where the memory of this process may come to lie on a disk.
pub(super) fn swap_warning() -> Option<&'static str> {
    let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let limit = |group: &str| fs::read_to_string(format!("/sys/fs/cgroup{group}/memory.swap.max")).ok();
    may_be_swapped(&text("/proc/swaps"), &text("/proc/self/status"), &text("/proc/self/cgroup"), limit)
        .then_some(SWAP)
}

const SWAP: &str = "this machine swaps, so that secrets in memory may be written to its disk; switch swap off, \
                    encrypt it, or set MemorySwapMax=0 (memory.swap.max) for scopewatch";

/// Whether swap is on and no control group of this process keeps it out; or whether it is there already.
/// `limit` is the swap that a control group allows.
fn may_be_swapped(swaps: &str, status: &str, group: &str, limit: impl Fn(&str) -> Option<String>) -> bool {
    let swapped = status
        .lines()
        .find_map(|line| line.strip_prefix("VmSwap:"))
        .and_then(|rest| rest.split_whitespace().next())
        .is_some_and(|size| size != "0");
    // One heading, then a line for each device or file.
    let on = swaps.lines().skip(1).any(|line| !line.trim().is_empty());
    let mut group =
        group.lines().find_map(|line| line.strip_prefix("0::")).map(|path| path.trim_end_matches('/'));
    let mut kept_out = false;
    while let Some(path) = group {
        kept_out |= limit(path).is_some_and(|most| most.trim() == "0");
        group = path.rsplit_once('/').map(|(above, _)| above);
    }
    swapped || on && !kept_out
}

#[cfg(test)]
mod tests {
    use super::*;

    const SWAPS: &str = "Filename\tType\tSize\tUsed\tPriority\n/dev/sda2 partition\t9\t0\t-2\n";
    const NONE: &str = "Filename\tType\tSize\tUsed\tPriority\n";

    #[test]
    fn what_the_kernel_tells() {
        let open = "CapEff:\t000001ffffffffff\nNoNewPrivs:\t0\nSeccomp:\t0\n";
        let shut = "CapEff:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t1\n";
        for check in [Hardening::Seccomp, Hardening::NewPrivileges, Hardening::Capabilities] {
            assert_eq!(
                (told(open, check), told(shut, check), told("", check)),
                (Some(false), Some(true), None),
                "{check}"
            );
        }
        let all: Vec<Hardening> = report(true).into_iter().map(|(check, _)| check).collect();
        assert!(all.contains(&Hardening::Core) && all.contains(&Hardening::Root), "{all:?}");
    }

    #[test]
    fn swap_is_warned_of_where_it_can_reach_this_process() {
        let status = |swap: &str| format!("VmRSS:\t   9 kB\nVmSwap:\t       {swap} kB\nThreads:\t1\n");
        let (fresh, swapped) = (status("0"), status("4"));
        let free = |_: &str| None;
        let above = |path: &str| Some(if path == "/pod" { "0\n" } else { "max\n" }.to_owned());
        for (swaps, status, group, expected) in [
            (NONE, &fresh, "0::/\n", false),
            (SWAPS, &fresh, "0::/\n", true),
            (SWAPS, &fresh, "", true),
            (NONE, &swapped, "0::/\n", true),
            ("", &String::new(), "", false),
        ] {
            assert_eq!(may_be_swapped(swaps, status, group, free), expected, "{swaps:?} {status:?}");
        }
        for (group, expected) in
            [("1:name=x:/pod\n0::/pod/scopewatch\n", false), ("0::/pod\n", false), ("0::/other\n", true)]
        {
            assert_eq!(may_be_swapped(SWAPS, &fresh, group, above), expected, "{group}");
        }
        // The limit came too late for what lies there already.
        assert!(may_be_swapped(SWAPS, &swapped, "0::/pod\n", above));
        let everywhere = |path: &str| path.is_empty().then(|| "0".to_owned());
        assert!(!may_be_swapped(SWAPS, &fresh, "0::/a/b\n", everywhere), "the group of all");
    }
}
