//! Whether what stands under a canary's name is ours. Everything that a look shows is compared; a field that it
//! lacks is not held against a repository; commits that could not be read prove nothing of one whose id is not bound.
//!
//! Knows the record and the look, not what follows; serves `canary`.

use std::time::Duration;

use crate::intent::Canary;
use crate::planted::{self, Defect};

use super::canary::Rules;
use super::visit::Identity;

/// Clocks may differ by this much on either side before a creation time is held against a repository.
const SKEW: Duration = Duration::from_secs(60);
/// Files that a fresh, empty repository may hold.
const INITIAL_FILES: [&str; 4] = [".gitattributes", "README.md", "index.html", "style.css"];

/// What the identity of a repository under a canary's name proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// It is ours.
    Ours,
    /// It is ours, and the whole world can see it.
    OursPublic,
    /// Something does not fit; the words say what.
    Foreign(&'static str),
    /// Nothing speaks against it, but no id is bound, and who made it could not be read or cannot be compared yet.
    Unshown,
}

/// The words of an id that is not the bound one; it latches the breaker.
pub const ID_DIFFERS: &str = "its id is not the one that was bound";

/// The words of a name that another key signed, or none.
const NOT_SIGNED: &str = "its name does not bear our signature; was canary_key changed, or the journal?";

/// Compares. `signed` says that the name bears our signature for this namespace and kind.
pub fn prove(canary: &Canary, seen: &Identity, signed: bool, rules: Rules) -> Proof {
    let adopts = planted::is(Defect::AdoptTaken) && canary.repo_id.is_none();
    if planted::is(Defect::NoIdCheck) || adopts {
        return Proof::Ours;
    }
    let differs = |shown: &Option<String>, ours: &str| shown.as_deref().is_some_and(|shown| shown != ours);
    if differs(&seen.full_name, &canary.repo.to_string()) {
        return Proof::Foreign("the Hub answers with another repository under its name");
    }
    if differs(&seen.author, &canary.repo.namespace) {
        return Proof::Foreign("it is in another namespace");
    }
    if let Some(files) = &seen.files
        && files.iter().any(|file| !INITIAL_FILES.contains(&file.as_str()))
    {
        return Proof::Foreign("it is not empty");
    }
    match &seen.commits {
        Some((count, _)) if *count > 1 => return Proof::Foreign("somebody committed to it"),
        Some((_, Some(author))) if canary.owner.as_ref().is_some_and(|owner| owner != author) => {
            return Proof::Foreign("somebody else made it");
        }
        _ => {}
    }
    if !signed {
        // Whatever the journal says: a row that was changed may point at anything.
        return Proof::Foreign(NOT_SIGNED);
    }
    let public = is_public(seen);
    let same_id = match (&canary.repo_id, &seen.id) {
        (Some(bound), Some(shown)) => bound.eq_ignore_ascii_case(shown),
        (Some(_), None) => true,
        (None, _) => false,
    };
    if same_id {
        return if public { Proof::OursPublic } else { Proof::Ours };
    }
    // No id is bound yet, or the create answer's id is of another kind than the repository's (unconfirmed):
    // then all of this must be shown, not merely not contradicted.
    let shown = made_by_owner(canary, seen) && seen.created_at.is_some();
    if canary.repo_id.is_some() && !(canary.deletes.is_empty() && shown) {
        return Proof::Foreign(ID_DIFFERS);
    }
    let (earliest, latest) = (canary.planned_at - SKEW, canary.planned_at + rules.horizon + SKEW);
    if seen.created_at.is_some_and(|at| at < earliest || at > latest) {
        return Proof::Foreign("it was created at another time");
    }
    if seen.id.is_none() || seen.full_name.is_none() {
        return Proof::Foreign("nothing proves that it is ours");
    }
    if public || seen.private.is_none() {
        return Proof::Foreign("it is not private, and its id was never told to us");
    }
    // A commit that names nobody lacks a field, which is not held against it. Commits that are not shown at all are
    // none: the next look may show them, and so it may be known by then whose token it was.
    let lacking = matches!(seen.commits, Some((1, None)));
    if made_by_owner(canary, seen) || canary.owner.is_some() && lacking {
        Proof::Ours
    } else {
        Proof::Unshown
    }
}

/// Whether the whole world can see it.
pub fn is_public(seen: &Identity) -> bool {
    seen.private == Some(false) || seen.anonymous_saw == Some(true)
}

/// Whether whoever it must be is known, and is shown to have made it.
fn made_by_owner(canary: &Canary, seen: &Identity) -> bool {
    matches!((&seen.commits, &canary.owner), (Some((1, Some(author))), Some(owner)) if author == owner)
}
