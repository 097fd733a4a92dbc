//! What is to be recorded, without the character NUL, which PostgreSQL cannot keep in text. It is taken out before
//! anything is written, so that the rows are to the letter what the record says. Serves `keeper`.

use std::borrow::Cow;

use super::{Breaker, Creation, Pause, Write};

/// The batch as it can be written: the same one where nothing is to be done, which is nearly always.
pub(super) fn batch(batch: &[Write]) -> Cow<'_, [Write]> {
    let is_plain = |entry: &Write| !texts(&mut entry.clone()).iter().any(|text| text.contains('\0'));
    if batch.iter().filter(|entry| is_recorded(entry)).all(is_plain) {
        return Cow::Borrowed(batch);
    }
    let mut plain = batch.to_vec();
    for text in plain.iter_mut().flat_map(texts) {
        *text = text.replace('\0', "\u{fffd}");
    }
    Cow::Owned(plain)
}

/// Results are many, and no entry of the record tells of them.
fn is_recorded(entry: &Write) -> bool {
    entry.of_canaries() || matches!(entry, Write::Finding(_))
}

/// The texts of which the record tells and that others may have written.
fn texts(entry: &mut Write) -> Vec<&mut String> {
    match entry {
        Write::Canary { canary, event, .. } => {
            let maybe = [&mut canary.group, &mut canary.owner, &mut canary.repo_id];
            let always = [&mut canary.target, &mut canary.note, event];
            maybe.into_iter().flatten().chain(always).collect()
        }
        Write::Creation(Creation { owner, .. }) | Write::Pause(Pause { owner, .. }) => vec![owner],
        Write::Breaker(Breaker { organization, why, .. }) => vec![organization, why],
        Write::Unlatch { organization, .. } => vec![organization],
        Write::Finding(finding) => {
            [&mut finding.organization, &mut finding.detail].into_iter().chain(&mut finding.target).collect()
        }
        // No entry of the record tells of these; what binds them takes it out.
        Write::Check(_)
        | Write::Answer(_)
        | Write::ForgetCheck(_)
        | Write::Declared(_)
        | Write::Notice(_) => Vec::new(),
    }
}
