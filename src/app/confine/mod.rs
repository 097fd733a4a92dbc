//! What the daemon gives up for good once it has started: system calls that it does not need, and writing anywhere
//! but beside its store.
//!
//! Knows no config and no secret. What the system does not offer is a sentence, and no reason not to run. Serves the
//! start of the daemon.

#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod calls;
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod filter;
#[cfg(test)]
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod tests;
#[cfg(target_os = "linux")]
mod writes;

/// How much of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confinement {
    /// System calls, and writing anywhere but beside the store.
    Full,
    /// System calls alone: other parts of this process write elsewhere.
    Calls,
    /// Nothing.
    Off,
}

#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(super) use filter::confine_calls;
#[cfg(target_os = "linux")]
pub(super) use writes::confine_writes;

/// Other systems have nothing like it, or nobody has tried it there.
#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
pub(super) fn confine_calls() -> Result<(), String> {
    Err("there is no list of system calls for this system".to_owned())
}

/// Other systems have nothing like it.
#[cfg(not(target_os = "linux"))]
pub(super) fn confine_writes(_: Option<&std::path::Path>) -> Result<(), String> {
    Err("this system has no Landlock".to_owned())
}
