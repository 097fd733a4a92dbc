//! Which system calls the daemon may make: what tokio, rustls, SQLite and the C library need, glibc or musl, and what
//! their newer versions try first.
//!
//! What is allowed, and what is forbidden: refused with `EPERM`. What is in neither list does not exist for the daemon
//! (`ENOSYS`), so that a library falls back to an older way; `clone3` is such a one, because its flags lie in memory,
//! where no filter can look at them. Each list is sorted. Serves the filter.

/// A system call: the kernel's name of its number, and the number here.
pub(super) type Call = (&'static str, u32);

macro_rules! calls {
    ($($name:ident)*) => { &[$((stringify!($name), linux_raw_sys::general::$name)),*] };
}

/// Allowed. Some of them only with some arguments: see the filter.
#[rustfmt::skip]
pub(super) const ALLOWED: &[Call] = calls![
    __NR_accept __NR_accept4 __NR_bind __NR_brk __NR_capget __NR_chdir __NR_clock_getres __NR_clock_gettime
    __NR_clock_nanosleep __NR_clone __NR_close __NR_close_range __NR_connect __NR_copy_file_range __NR_dup __NR_dup3
    __NR_epoll_create1 __NR_epoll_ctl __NR_epoll_pwait __NR_epoll_pwait2 __NR_eventfd2 __NR_exit __NR_exit_group
    __NR_faccessat __NR_faccessat2 __NR_fadvise64 __NR_fallocate __NR_fchmod __NR_fchmodat __NR_fchmodat2 __NR_fchown
    __NR_fchownat __NR_fcntl __NR_fdatasync __NR_flock __NR_fstat __NR_fstatfs __NR_fsync __NR_ftruncate __NR_futex
    __NR_futex_requeue __NR_futex_wait __NR_futex_waitv __NR_futex_wake __NR_get_mempolicy __NR_get_robust_list
    __NR_getcpu __NR_getcwd __NR_getdents64 __NR_getegid __NR_geteuid __NR_getgid __NR_getgroups __NR_getpeername
    __NR_getpgid __NR_getpid __NR_getppid __NR_getpriority __NR_getrandom __NR_getresgid __NR_getresuid __NR_getrlimit
    __NR_getrusage __NR_getsid __NR_getsockname __NR_getsockopt __NR_gettid __NR_gettimeofday __NR_getuid
    __NR_inotify_add_watch __NR_inotify_init1 __NR_inotify_rm_watch __NR_ioctl __NR_kill __NR_linkat __NR_listen
    __NR_lseek __NR_madvise __NR_membarrier __NR_mincore __NR_mkdirat __NR_mlock __NR_mlock2 __NR_mmap __NR_mprotect
    __NR_mremap __NR_mseal __NR_msync __NR_munlock __NR_munmap __NR_nanosleep __NR_newfstatat __NR_openat __NR_openat2
    __NR_pipe2 __NR_ppoll __NR_prctl __NR_pread64 __NR_preadv __NR_preadv2 __NR_prlimit64 __NR_pselect6 __NR_pwrite64
    __NR_pwritev __NR_pwritev2 __NR_read __NR_readahead __NR_readlinkat __NR_readv __NR_recvfrom __NR_recvmmsg
    __NR_recvmsg __NR_renameat __NR_renameat2 __NR_restart_syscall __NR_rseq __NR_rt_sigaction __NR_rt_sigpending
    __NR_rt_sigprocmask __NR_rt_sigreturn __NR_rt_sigsuspend __NR_rt_sigtimedwait __NR_sched_get_priority_max
    __NR_sched_get_priority_min __NR_sched_getaffinity __NR_sched_getattr __NR_sched_getparam __NR_sched_getscheduler
    __NR_sched_yield __NR_sendfile __NR_sendmmsg __NR_sendmsg __NR_sendto __NR_set_robust_list __NR_set_tid_address
    __NR_setsockopt __NR_shutdown __NR_sigaltstack __NR_signalfd4 __NR_socket __NR_socketpair __NR_splice __NR_statfs
    __NR_statx __NR_symlinkat __NR_sync_file_range __NR_sysinfo __NR_tgkill __NR_timer_create __NR_timer_delete
    __NR_timer_getoverrun __NR_timer_gettime __NR_timer_settime __NR_timerfd_create __NR_timerfd_gettime
    __NR_timerfd_settime __NR_times __NR_tkill __NR_truncate __NR_umask __NR_uname __NR_unlinkat __NR_utimensat
    __NR_write __NR_writev
];

/// Allowed, too, where older ways have numbers of their own.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
pub(super) const ALLOWED_OF_OLD: &[Call] = calls![
    __NR_access __NR_alarm __NR_arch_prctl __NR_chmod __NR_chown __NR_creat __NR_dup2 __NR_epoll_create __NR_epoll_wait
    __NR_eventfd __NR_futimesat __NR_getdents __NR_getpgrp __NR_inotify_init __NR_lchown __NR_link __NR_lstat
    __NR_map_shadow_stack __NR_mkdir __NR_open __NR_pause __NR_pipe __NR_poll __NR_readlink __NR_rename __NR_rmdir
    __NR_select __NR_signalfd __NR_stat __NR_symlink __NR_time __NR_unlink __NR_utime __NR_utimes
];
#[cfg(not(target_arch = "x86_64"))]
pub(super) const ALLOWED_OF_OLD: &[Call] = &[];

/// Forbidden: to start a program or a process, to reach into another one, to change who and where this one is, to
/// hand work to the kernel past this very list, and to change the machine.
#[rustfmt::skip]
pub(super) const FORBIDDEN: &[Call] = calls![
    __NR_acct __NR_add_key __NR_adjtimex __NR_bpf __NR_capset __NR_chroot __NR_clock_adjtime __NR_clock_settime
    __NR_delete_module __NR_execve __NR_execveat __NR_fanotify_init __NR_finit_module __NR_fsconfig __NR_fsmount
    __NR_fsopen __NR_fspick __NR_init_module __NR_io_setup __NR_io_submit __NR_io_uring_enter __NR_io_uring_register
    __NR_io_uring_setup __NR_kcmp __NR_kexec_file_load __NR_kexec_load __NR_keyctl __NR_memfd_create __NR_memfd_secret
    __NR_migrate_pages __NR_mknodat __NR_mount __NR_mount_setattr __NR_move_mount __NR_move_pages
    __NR_name_to_handle_at __NR_open_by_handle_at __NR_open_tree __NR_perf_event_open __NR_personality __NR_pidfd_getfd
    __NR_pidfd_open __NR_pidfd_send_signal __NR_pivot_root __NR_pkey_mprotect __NR_process_madvise
    __NR_process_mrelease __NR_process_vm_readv __NR_process_vm_writev __NR_ptrace __NR_quotactl __NR_quotactl_fd
    __NR_reboot __NR_request_key __NR_rt_sigqueueinfo __NR_rt_tgsigqueueinfo __NR_seccomp __NR_setdomainname
    __NR_setfsgid __NR_setfsuid __NR_setgid __NR_setgroups __NR_sethostname __NR_setns __NR_setregid __NR_setresgid
    __NR_setresuid __NR_setreuid __NR_setrlimit __NR_settimeofday __NR_setuid __NR_swapoff __NR_swapon __NR_syslog
    __NR_umount2 __NR_unshare __NR_userfaultfd __NR_vhangup
];

/// Forbidden, too, where older ways have numbers of their own.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
pub(super) const FORBIDDEN_OF_OLD: &[Call] = calls![
    __NR__sysctl __NR_create_module __NR_fork __NR_ioperm __NR_iopl __NR_mknod __NR_modify_ldt __NR_uselib __NR_vfork
];
#[cfg(not(target_arch = "x86_64"))]
pub(super) const FORBIDDEN_OF_OLD: &[Call] = &[];
