//! seccomp: the lists of system calls as two filters that every thread gets, and what is forbidden by its arguments.
//!
//! Two, because one has one answer for whatever it does not know: the first lets through what is allowed and calls
//! everything else absent; the second, put on last, so that its answer counts where both refuse, refuses what is
//! forbidden. Serves the start of the daemon.

use std::collections::BTreeMap;
use std::env::consts::ARCH;

use linux_raw_sys::errno::{ENOSYS, EPERM};
use linux_raw_sys::general::{self as kernel, CLONE_THREAD, PROT_EXEC, PROT_WRITE};
use linux_raw_sys::ioctl::{TIOCLINUX, TIOCSTI};
use linux_raw_sys::net::{AF_INET, AF_INET6, AF_NETLINK, AF_UNIX};
use linux_raw_sys::prctl;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter_all_threads,
};

use super::calls::{ALLOWED, ALLOWED_OF_OLD, Call, FORBIDDEN, FORBIDDEN_OF_OLD};

/// What `prctl` is left for: names of threads and of memory, and questions. Not to become dumpable again.
const PRCTL: [u32; 6] = [
    prctl::PR_SET_NAME,
    prctl::PR_GET_NAME,
    prctl::PR_GET_DUMPABLE,
    prctl::PR_GET_NO_NEW_PRIVS,
    prctl::PR_CAPBSET_READ,
    prctl::PR_SET_VMA,
];

/// Families of sockets: the network, its names (glibc asks the kernel for our addresses), and local services of names.
const FAMILIES: [u32; 4] = [AF_UNIX, AF_INET, AF_INET6, AF_NETLINK];

/// Confines every thread of this process, now and later. Fails where the system refuses; a filter that was put on
/// before that stays.
pub(in crate::app) fn confine_calls() -> Result<(), String> {
    for filter in filters().map_err(|error| format!("the list of system calls is wrong ({error})"))? {
        apply_filter_all_threads(&filter).map_err(|error| format!("seccomp failed ({error})"))?;
    }
    Ok(())
}

/// Both, in the order in which they are put on.
pub(super) fn filters() -> Result<[BpfProgram; 2], BackendError> {
    let target = TargetArch::try_from(ARCH)?;
    let (allow, refuse) = (SeccompAction::Allow, SeccompAction::Errno);
    let always = |lists: [&[Call]; 2]| -> BTreeMap<i64, Vec<SeccompRule>> {
        lists.concat().into_iter().map(|(_, number)| (i64::from(number), Vec::new())).collect()
    };
    // The second filter has yet to be put on; it takes this away again.
    let mut allowed = always([ALLOWED, ALLOWED_OF_OLD]);
    allowed.insert(i64::from(kernel::__NR_seccomp), Vec::new());
    let mut forbidden = always([FORBIDDEN, FORBIDDEN_OF_OLD]);
    forbidden.extend(by_argument()?);
    Ok([
        SeccompFilter::new(allowed, refuse(ENOSYS), allow.clone(), target)?.try_into()?,
        SeccompFilter::new(forbidden, allow, refuse(EPERM), target)?.try_into()?,
    ])
}

/// What is forbidden of calls that are allowed. The kernel takes half a register where C has an `int`: only that half
/// is looked at, or the other one would be a way around.
fn by_argument() -> Result<Vec<(i64, Vec<SeccompRule>)>, BackendError> {
    use SeccompCmpArgLen::{Dword, Qword};
    use SeccompCmpOp::{Eq, MaskedEq, Ne};
    let is = |at, size, how, value| SeccompCondition::new(at, size, how, value);
    let none_of = |at, values: &[u32]| -> Result<SeccompRule, BackendError> {
        let each = values.iter().map(|value| is(at, Dword, Ne, u64::from(*value)));
        SeccompRule::new(each.collect::<Result<_, _>>()?)
    };
    let one = |condition| SeccompRule::new(vec![condition]);
    let ourselves = [rustix::process::getpid().as_raw_nonzero().get().unsigned_abs()];
    let (executable, both) = (u64::from(PROT_EXEC), u64::from(PROT_EXEC | PROT_WRITE));
    let thread = u64::from(CLONE_THREAD);
    let rules = vec![
        // A thread, not a process.
        (kernel::__NR_clone, vec![one(is(0, Qword, MaskedEq(thread), 0)?)?]),
        // Typing into the terminal of whoever started us.
        (
            kernel::__NR_ioctl,
            vec![one(is(1, Dword, Eq, u64::from(TIOCSTI))?)?, one(is(1, Dword, Eq, u64::from(TIOCLINUX))?)?],
        ),
        (kernel::__NR_kill, vec![none_of(0, &ourselves)?]),
        (kernel::__NR_tgkill, vec![none_of(0, &ourselves)?]),
        // Memory that was written is never run. A library that is loaded late (for names of hosts) comes from a file.
        (kernel::__NR_mmap, vec![one(is(2, Qword, MaskedEq(both), both)?)?]),
        (kernel::__NR_mprotect, vec![one(is(2, Qword, MaskedEq(executable), executable)?)?]),
        (kernel::__NR_prctl, vec![none_of(0, &PRCTL)?]),
        // Limits may be asked for.
        (kernel::__NR_prlimit64, vec![one(is(2, Qword, Ne, 0)?)?]),
        (kernel::__NR_socket, vec![none_of(0, &FAMILIES)?]),
    ];
    Ok(rules.into_iter().map(|(number, rules)| (i64::from(number), rules)).collect())
}
