//! Who signs the deletion of a canary.
//!
//! The token that made it shows best that it was really its; whoever was refused, or was not heard twice, makes room for
//! the janitor. Knows attempts and nothing of when one may leave. Serves `hub::canary`.

use crate::intent::{Canary, DeleteOutcome, Deleter};

/// Who can sign a DELETE at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hands {
    /// The probed token is configured and has a usable secret.
    pub probed: bool,
    /// The organization has a janitor with a usable secret.
    pub janitor: bool,
}

/// Who deletes: the token that made it, unless it cannot, was refused, or was lost twice; then the janitor.
pub fn deleter(canary: &Canary, hands: Hands) -> Result<Deleter, Option<&'static str>> {
    let count = |by: Deleter, outcome: DeleteOutcome| {
        canary.deletes.iter().filter(|d| d.by == by && d.outcome == outcome).count()
    };
    let refused = |by| count(by, DeleteOutcome::Refused) > 0;
    if hands.probed
        && !refused(Deleter::Probed)
        && (count(Deleter::Probed, DeleteOutcome::Lost) < 2 || !hands.janitor)
    {
        return Ok(Deleter::Probed);
    }
    if hands.janitor && !refused(Deleter::Janitor) {
        return Ok(Deleter::Janitor);
    }
    match (refused(Deleter::Probed), refused(Deleter::Janitor)) {
        (_, true) => Err(Some("the Hub refuses its deletion to the janitor; delete it by hand and close it")),
        (true, false) => Err(Some(
            "the Hub refuses its deletion to the probed token and there is no janitor that could; delete it by hand and close it",
        )),
        (false, false) => Err(None),
    }
}
