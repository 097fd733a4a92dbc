//! The lists, and what is left to a thread that was confined by them. A thread, because the rest of the tests goes on.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::thread;

use linux_raw_sys::errno::{EACCES, ENOSYS, EPERM};
use linux_raw_sys::general as kernel;
use linux_raw_sys::net::AF_INET6;
use linux_raw_sys::prctl::PR_SET_NAME;
use rustix::process::{
    DumpableBehavior, Pid, Resource, Signal, chroot, set_dumpable_behavior, setrlimit, test_kill_process,
};

use super::calls::{ALLOWED, ALLOWED_OF_OLD, Call, FORBIDDEN, FORBIDDEN_OF_OLD};
use super::confine_writes;
use super::filter::filters;

/// A directory that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("scopewatch-confine-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).expect("a directory");
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What `work` comes to in a thread of its own that has put both filters on.
fn confined<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let work = move || {
        for filter in filters().expect("filters") {
            seccompiler::apply_filter(&filter).expect("a kernel with seccomp");
        }
        work()
    };
    thread::spawn(work).join().expect("the thread ends well")
}

fn refusal<T>(result: std::io::Result<T>) -> Option<i32> {
    result.err().and_then(|error| error.raw_os_error())
}

#[test]
fn the_lists_are_sorted_and_nothing_stands_twice() {
    for list in [ALLOWED, ALLOWED_OF_OLD, FORBIDDEN, FORBIDDEN_OF_OLD] {
        for (one, next) in list.iter().zip(list.iter().skip(1)) {
            assert!(one.0 < next.0, "{} stands before {}", one.0, next.0);
        }
    }
    let all: Vec<Call> = [ALLOWED, ALLOWED_OF_OLD, FORBIDDEN, FORBIDDEN_OF_OLD].concat();
    let numbers: BTreeSet<u32> = all.iter().map(|(_, number)| *number).collect();
    assert_eq!(numbers.len(), all.len(), "a call is in two lists");
}

/// Written out once more, so that nobody moves one by mistake.
#[test]
fn what_is_dangerous_is_forbidden() {
    let forbidden: BTreeSet<&str> =
        [FORBIDDEN, FORBIDDEN_OF_OLD].concat().iter().map(|(name, _)| *name).collect();
    let dangerous = "execve execveat ptrace bpf userfaultfd keyctl add_key request_key process_vm_readv process_vm_writev \
                     unshare setns mount umount2 move_mount open_tree fsopen mount_setattr pivot_root chroot init_module \
                     finit_module delete_module kexec_load kexec_file_load perf_event_open io_uring_setup io_uring_enter \
                     io_uring_register personality reboot swapon swapoff setuid setgid setreuid setregid setresuid \
                     setresgid setgroups setfsuid setfsgid capset pidfd_getfd memfd_create seccomp setrlimit";
    let lacking = |name: &&str| !forbidden.contains(format!("__NR_{name}").as_str());
    assert_eq!(dangerous.split_whitespace().filter(lacking).collect::<Vec<_>>(), Vec::<&str>::new());
    #[cfg(target_arch = "x86_64")]
    assert_eq!(["ioperm", "iopl", "fork", "vfork"].into_iter().filter(lacking).count(), 0);
    // In no list: its flags lie in memory, where no filter can look at them.
    let listed = [ALLOWED, ALLOWED_OF_OLD].concat();
    assert!(listed.iter().all(|(name, _)| *name != "__NR_clone3"));
}

/// What the kernel answers to a call: its number for an error, 0 where it goes on.
///
/// It reads both programs as the kernel does, and where both refuse takes the one that was put on last.
fn answer(arch: u32, number: u32, arguments: [u64; 6]) -> u32 {
    let words = [number, arch, 0, 0].into_iter();
    let data: Vec<u32> =
        words.chain(arguments.into_iter().flat_map(|a| [a as u32, (a >> 32) as u32])).collect();
    let [first, last] = filters().expect("filters").map(|program| ran(&program, &data));
    match (first, last) {
        (0x7fff_0000, 0x7fff_0000) => 0,
        (code, 0x7fff_0000) | (_, code) => code & !0x0005_0000,
    }
}

/// Runs a filter: the few instructions that seccompiler writes.
fn ran(program: &[seccompiler::sock_filter], data: &[u32]) -> u32 {
    let (mut at, mut held) = (0, 0);
    loop {
        let step = &program[at];
        let jump = |so: bool| usize::from(if so { step.jt } else { step.jf });
        at += 1;
        match step.code {
            0x20 => held = data[step.k as usize / 4],
            0x54 => held &= step.k,
            0x05 => at += step.k as usize,
            0x15 => at += jump(held == step.k),
            0x25 => at += jump(held > step.k),
            0x35 => at += jump(held >= step.k),
            0x06 => return step.k,
            code => panic!("instruction {code:#x}"),
        }
    }
}

#[cfg(target_arch = "x86_64")]
const HERE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const HERE: u32 = 0xc000_00b7;

#[test]
fn every_number_is_answered_as_the_lists_say() {
    let numbers =
        |lists: [&[Call]; 2]| -> BTreeSet<u32> { lists.concat().iter().map(|(_, number)| *number).collect() };
    let (allowed, forbidden) = (numbers([ALLOWED, ALLOWED_OF_OLD]), numbers([FORBIDDEN, FORBIDDEN_OF_OLD]));
    // Arguments with which nothing is forbidden that is allowed.
    let ourselves = u64::from(std::process::id());
    for number in 0..1000 {
        let first = match number {
            kernel::__NR_clone => u64::from(kernel::CLONE_THREAD),
            kernel::__NR_prctl => u64::from(PR_SET_NAME),
            kernel::__NR_socket => u64::from(AF_INET6),
            _ => ourselves,
        };
        let expected = match (allowed.contains(&number), forbidden.contains(&number)) {
            (true, _) => 0,
            (_, true) => EPERM,
            _ => ENOSYS,
        };
        assert_eq!(answer(HERE, number, [first, 0, 0, 0, 0, 0]), expected, "call {number}");
    }
    // By the numbers of another architecture, the 32-bit one of x86 too, nothing is called at all.
    assert_eq!(answer(0x4000_0003, kernel::__NR_read, [0; 6]), 0x8000_0000, "the process is killed");
    #[cfg(target_arch = "x86_64")]
    assert_eq!(answer(HERE, 0x4000_0000 | kernel::__NR_execve, [0; 6]), ENOSYS);
}

#[test]
fn what_is_allowed_is_forbidden_with_some_arguments() {
    let high = 1 << 32;
    let ourselves = u64::from(std::process::id());
    for (number, at, value, expected) in [
        (kernel::__NR_clone, 0, u64::from(kernel::CLONE_THREAD | kernel::CLONE_VM), 0),
        (kernel::__NR_clone, 0, u64::from(kernel::CLONE_VM | kernel::CLONE_VFORK), EPERM),
        (kernel::__NR_ioctl, 1, 0x5401, 0),
        (kernel::__NR_ioctl, 1, 0x5412, EPERM),
        // The kernel looks at the lower half alone.
        (kernel::__NR_ioctl, 1, high | 0x5412, EPERM),
        (kernel::__NR_ioctl, 1, 0x541C, EPERM),
        (kernel::__NR_kill, 0, ourselves, 0),
        (kernel::__NR_kill, 0, 1, EPERM),
        (kernel::__NR_kill, 0, u64::MAX, EPERM),
        (kernel::__NR_tgkill, 0, ourselves, 0),
        (kernel::__NR_tgkill, 0, 1, EPERM),
        (kernel::__NR_mmap, 2, 3, 0),
        (kernel::__NR_mmap, 2, 5, 0),
        (kernel::__NR_mmap, 2, 7, EPERM),
        (kernel::__NR_mprotect, 2, 3, 0),
        (kernel::__NR_mprotect, 2, 5, EPERM),
        (kernel::__NR_prctl, 0, u64::from(PR_SET_NAME), 0),
        (kernel::__NR_prctl, 0, 4, EPERM), // PR_SET_DUMPABLE
        (kernel::__NR_prctl, 0, high | 4, EPERM),
        (kernel::__NR_prctl, 0, 0x5961_6d61, EPERM), // PR_SET_PTRACER
        (kernel::__NR_prlimit64, 2, 0, 0),
        (kernel::__NR_prlimit64, 2, 4096, EPERM),
        (kernel::__NR_socket, 0, u64::from(AF_INET6), 0),
        (kernel::__NR_socket, 0, 17, EPERM), // AF_PACKET
        (kernel::__NR_socket, 0, 38, EPERM), // AF_ALG
    ] {
        let mut arguments = [0; 6];
        arguments[at] = value;
        assert_eq!(answer(HERE, number, arguments), expected, "call {number} with {value:#x}");
    }
}

/// The kernel itself, with what can be called without unsafe code.
#[test]
fn a_confined_thread_cannot_do_harm() {
    let refused = confined(|| {
        let limit = rustix::process::Rlimit { current: Some(9), maximum: Some(9) };
        #[expect(clippy::disallowed_methods, reason = "to see that it is refused")]
        let program = || std::process::Command::new("/bin/true");
        [
            ("a program", refusal(program().status())),
            ("a program by fork", refusal(program().uid(0).status())),
            ("another root", refusal(chroot("/").map_err(Into::into))),
            ("dumpable", refusal(set_dumpable_behavior(DumpableBehavior::Dumpable).map_err(Into::into))),
            ("a limit", refusal(setrlimit(Resource::Nofile, limit).map_err(Into::into))),
            ("a signal to init", refusal(test_kill_process(Pid::INIT).map_err(Into::into))),
        ]
    });
    for (what, code) in refused {
        assert_eq!(code, Some(EPERM as i32), "{what}");
    }
}

#[test]
fn a_confined_thread_can_work() {
    let folder = Folder::new("work");
    let path = folder.0.clone();
    confined(move || {
        let (new, file) = (path.join("file.new"), path.join("file"));
        fs::write(&new, "text").expect("write");
        fs::File::open(&new).and_then(|file| file.sync_all()).expect("sync");
        fs::rename(&new, &file).expect("rename");
        assert_eq!(fs::read_to_string(&file).expect("read"), "text");
        assert_eq!(fs::read_dir(&path).expect("list").count(), 1);
        fs::remove_file(&file).expect("remove");
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let address = listener.local_addr().expect("an address");
        let named = thread::Builder::new().name("named".to_owned());
        let client = named
            .spawn(move || TcpStream::connect(address).and_then(|mut s| s.write_all(b"text")))
            .expect("a thread");
        let mut text = String::new();
        listener.accept().and_then(|(mut s, _)| s.read_to_string(&mut text)).expect("accept");
        client.join().expect("the thread ends").expect("sent");
        assert_eq!(text, "text");
        assert!(std::net::ToSocketAddrs::to_socket_addrs("localhost:1").expect("names").next().is_some());
        rustix::process::kill_process(rustix::process::getpid(), Signal::CONT)
            .expect("a signal to ourselves");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let slept = runtime.expect("a runtime").block_on(async { tokio::fs::metadata("/").await.is_ok() });
        assert!(slept);
        assert!(thread::spawn(|| std::panic::resume_unwind(Box::new("caught"))).join().is_err());
    });
}

#[test]
fn a_confined_thread_writes_beside_its_store_alone() {
    let (ours, others) = (Folder::new("ours"), Folder::new("others"));
    let (here, there) = (ours.0.clone(), others.0.clone());
    fs::write(there.join("old"), "text").expect("write");
    let work = move || {
        if let Err(why) = confine_writes(Some(&here.join("state.db"))) {
            return println!("skipped: {why}");
        }
        fs::write(here.join("new"), "text").expect("beside the store");
        fs::create_dir(here.join("folder")).expect("beside the store");
        fs::rename(here.join("new"), here.join("newer")).expect("beside the store");
        fs::remove_file(here.join("newer")).expect("beside the store");
        assert_eq!(fs::read_to_string(there.join("old")).expect("reading is free"), "text");
        assert!(fs::read_dir("/").is_ok());
        let denied = Some(EACCES as i32);
        let child = thread::spawn({
            let there = there.clone();
            move || refusal(fs::write(there.join("new"), "text"))
        });
        #[expect(clippy::disallowed_methods, reason = "to see that it is refused")]
        let program = refusal(std::process::Command::new("/bin/true").status());
        for (what, code) in [
            ("make", refusal(fs::write(there.join("new"), "text"))),
            ("make, in a thread of its own", child.join().expect("it ends")),
            ("append", refusal(fs::OpenOptions::new().append(true).open(there.join("old")))),
            ("truncate", refusal(fs::File::create(there.join("old")))),
            ("remove", refusal(fs::remove_file(there.join("old")))),
            ("a directory", refusal(fs::create_dir(there.join("folder")))),
            ("a link", refusal(std::os::unix::fs::symlink("old", there.join("link")))),
            ("start", program),
        ] {
            assert_eq!(code, denied, "{what}");
        }
    };
    thread::spawn(work).join().expect("the thread ends well");
}

/// The journal may be named by a link; what SQLite writes lies beside the file behind it.
#[test]
fn both_directories_of_a_linked_store_are_written() {
    let (named, behind) = (Folder::new("named"), Folder::new("behind"));
    let (link, file) = (named.0.join("state.db"), behind.0.join("real.db"));
    fs::write(&file, "").expect("write");
    let _ = fs::remove_file(&link);
    std::os::unix::fs::symlink(&file, &link).expect("a link");
    let work = move || {
        if confine_writes(Some(&link)).is_ok() {
            fs::write(link.with_extension("lock"), "").expect("beside the link");
            fs::write(file.with_extension("wal"), "").expect("beside the file");
        }
    };
    thread::spawn(work).join().expect("the thread ends well");
}
