//! Defects that tests plant into the real code, one at a time, to show that they would be noticed.
//!
//! In this crate's own tests a thread plants them; with the feature `failpoints`, which no release can have, the
//! environment, for tests/crash and tests/storage. Everywhere else `is` is the constant `false`. Serves `hub`, `round`,
//! `store` and whoever tests them.

use crate::access::words;

words! {
    /// What may be wrong on purpose. The first twelve are the weakenings under which the model of the canary
    /// protocol was shown to break, the next seven those of the model of alerts.
    Defect {
        PostFirst = "POST before journal",
        LossyJournal = "journal not durable",
        RePost = "re-POST after crash",
        NoCreateHorizon = "absent is gone before the create horizon",
        NoDeleteHorizon = "retry DELETE before its horizon",
        BlindTrusted = "404 of a blind or revoked observer trusted",
        NoIdCheck = "delete without id check",
        HolderNotEpoch = "holder check instead of epoch",
        NoCheckAtSend = "no check at send",
        AdoptTaken = "409 adopted, guessable name",
        NotFoundIsGone = "404 to DELETE taken as gone",
        NoSweeper = "journal loses intent, no sweeper",
        MemoryQueue = "alert queued in memory, no outbox",
        AckBeforeSend = "marked sent before the ack",
        NoResend = "no periodic resend",
        InconclusiveIsOk = "inconclusive counts as OK",
        ResolveOnFirst = "resolve on first OK",
        RestartForgets = "restart forgets firing",
        ShortEndsAt = "endsAt shorter than our downtime",
    }
}

impl Defect {
    /// Those of the model of the canary protocol, and those of the model of alerts.
    pub const MODELS: (&'static [Defect], &'static [Defect]) = Defect::ALL.split_at(12);
}

/// Whether this defect is planted.
#[cfg(not(any(test, feature = "failpoints")))]
pub const fn is(_: Defect) -> bool {
    false
}

#[cfg(all(feature = "failpoints", not(test)))]
pub use chosen::{choose, is};
#[cfg(test)]
pub use here::{is, with};

#[cfg(all(feature = "failpoints", not(test)))]
mod chosen {
    use std::sync::OnceLock;

    use super::Defect;

    static CHOSEN: OnceLock<Defect> = OnceLock::new();

    /// Whether this defect is planted in this process.
    pub fn is(defect: Defect) -> bool {
        CHOSEN.get() == Some(&defect)
    }

    /// Plants it, for as long as the process lives.
    pub fn choose(defect: Defect) {
        CHOSEN.get_or_init(|| defect);
    }
}

#[cfg(test)]
mod here {
    use std::cell::Cell;

    use super::Defect;

    thread_local! {
        static PLANTED: Cell<Option<Defect>> = const { Cell::new(None) };
    }

    /// Whether this defect is planted in this thread.
    pub fn is(defect: Defect) -> bool {
        PLANTED.with(Cell::get) == Some(defect)
    }

    /// Plants a defect for as long as this takes.
    pub fn with<T>(defect: Option<Defect>, run: impl FnOnce() -> T) -> T {
        struct Uproot;
        impl Drop for Uproot {
            fn drop(&mut self) {
                PLANTED.with(|planted| planted.set(None));
            }
        }
        PLANTED.with(|planted| planted.set(defect));
        let _uproot = Uproot;
        run()
    }
}
