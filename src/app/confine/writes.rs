//! Landlock: nothing is written, made, renamed or removed but beneath the store's directory, and no program is started.
//!
//! Reading stays free, because a reload may name token files that lie anywhere. Serves the start of the daemon.

use std::fs::canonicalize;
use std::path::{Path, absolute};

use landlock::{
    ABI, AccessFs, BitFlags, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetStatus,
};

/// The oldest version that stops truncating as well (Linux 6.2). What an older one offers is taken and not called enough.
const ENOUGH: ABI = ABI::V3;

/// Confines this thread, and those that it starts from now on, to the directory of this store: the one that its path
/// names and the one behind all links; to none where the store is no file. Fails where the system does not hold all of it; what it does hold, holds then.
pub(in crate::app) fn confine_writes(store: Option<&Path>) -> Result<(), String> {
    let writes: BitFlags<AccessFs> = AccessFs::from_write(ENOUGH);
    let failed = |error: &dyn std::error::Error| format!("Landlock failed ({error})");
    let mut rules = Ruleset::default()
        .handle_access(writes | AccessFs::Execute)
        .and_then(Ruleset::create)
        .map_err(|error| failed(&error))?;
    let named = store.map(|store| absolute(store).unwrap_or_else(|_| store.to_owned()));
    let behind = named.as_ref().map(|named| canonicalize(named).unwrap_or_else(|_| named.clone()));
    for directory in [&named, &behind].into_iter().flatten().filter_map(|path| path.parent()) {
        // One that is not there is not written to either; opening the store says so.
        if let Ok(directory) = PathFd::new(directory) {
            rules = rules.add_rule(PathBeneath::new(directory, writes)).map_err(|error| failed(&error))?;
        }
    }
    match rules.restrict_self().map_err(|error| failed(&error))?.ruleset {
        RulesetStatus::FullyEnforced => Ok(()),
        RulesetStatus::PartiallyEnforced => {
            Err("this kernel's Landlock holds only a part of it; Linux 6.2 and newer hold all".to_owned())
        }
        RulesetStatus::NotEnforced => Err("this kernel has no Landlock, or it is switched off".to_owned()),
    }
}
