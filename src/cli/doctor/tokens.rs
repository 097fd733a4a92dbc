//! What the secrets, the tokens' whoami and the rights of our own tokens come to. Pure.

use crate::access::UnknownReason;
use crate::app::exam::Kept;
use crate::config::Token;
use crate::hub::shown::{quoted, shown};
use crate::hub::whoami::{Declared, Heard, Membership};
use crate::moment::Timestamp;
use crate::plan::scopes::Own;
use crate::secret::Place;

use super::rows::{Part, Row, State, halves};

/// A secret where it lies.
pub(super) fn secret(kept: &Kept) -> Row {
    let name = kept.token.as_str();
    let place = &kept.place;
    if let Some(fault) = kept.fault {
        let (seen, remedy) = halves(&fault.to_string());
        let remedy = if remedy == "see the README" {
            "put the token, and nothing else, into it".to_owned()
        } else {
            remedy
        };
        return Row::fail(Part::Secrets, name, format!("{place} {seen}"), remedy);
    }
    if let Some(twin) = &kept.twin {
        let seen = format!("{place} holds the same secret as that of '{twin}'");
        let remedy = "put each token's own secret into its place; one token under two names is asked twice";
        return Row::warn(Part::Secrets, name, seen, remedy);
    }
    if let (Place::File(path), Some(mode)) = (place, kept.mode.filter(|mode| mode & 0o007 != 0)) {
        let seen = format!("{place} may be read by every user of this machine (mode {mode:04o})");
        return Row::warn(Part::Secrets, name, seen, format!("chmod o-rwx '{}'", path.display()));
    }
    if !kept.familiar {
        let seen = format!("{place} holds something that does not begin like a token of the Hub (hf_…)");
        return Row::warn(Part::Secrets, name, seen, "see that it holds the token, and not its name");
    }
    let mode = kept.mode.map_or(String::new(), |mode| format!(" (mode {mode:04o})"));
    Row::ok(Part::Secrets, name, format!("{place}{mode} holds a token"))
}

/// One remark about a token.
type Remark = (State, String, String);

/// What the Hub says of a token.
pub(super) fn whoami(token: &Token, heard: &Heard, now: Timestamp, soon: Timestamp) -> Row {
    let name = token.name.as_str();
    let declared = match heard {
        Heard::Known(declared) => declared,
        Heard::Dead => {
            return Row::fail(
                Part::Tokens,
                name,
                "the Hub does not accept it: it was revoked, is over, or is not whole",
                format!("issue a new one on the Hub and put it into {}", token.secret),
            );
        }
        Heard::Unclear(UnknownReason::RateLimited) => return unasked(name),
        Heard::Unclear(why) => {
            return Row::fail(
                Part::Tokens,
                name,
                format!("the Hub gave no clear answer ({why})"),
                "see hub above; if it is well, try again later",
            );
        }
    };
    let membership = declared.membership(&token.organization);
    let mut said = vec![who(declared)];
    said.extend(membership.map(|membership| format!("in {} {}", token.organization, role(membership))));
    said.push(match declared.expiry() {
        Some(at) => format!("until {}", day(at)),
        None => "no end date".to_owned(),
    });
    let worst = remarks(token, declared, now, soon).into_iter().rev().max_by_key(|(state, ..)| *state);
    let seen = said.join(", ");
    match worst {
        None => Row::ok(Part::Tokens, name, seen),
        Some((State::Fail, why, remedy)) => Row::fail(Part::Tokens, name, format!("{seen}: {why}"), remedy),
        Some((_, why, remedy)) => Row::warn(Part::Tokens, name, format!("{seen}: {why}"), remedy),
    }
}

/// One that was not asked, because the Hub limits that strictly.
pub(super) fn unasked(name: &str) -> Row {
    Row::warn(
        Part::Tokens,
        name,
        "not asked: the Hub allows only so many whoami calls at a time",
        format!("try again in a quarter of an hour with --token {name}"),
    )
}

/// One that was not asked, because nothing would have answered.
pub(super) fn unreached() -> Row {
    Row::warn(Part::Tokens, "all", "not asked: the Hub cannot be reached", "mend hub above, then ask again")
}

fn who(declared: &Declared) -> String {
    let principal = match declared.principal.as_str() {
        "" => "user".to_owned(),
        word => shown(word),
    };
    let role = declared.role.as_deref().map_or("without a role".to_owned(), shown);
    let scopes: usize = declared.scopes.iter().map(|scope| scope.permissions.len()).sum();
    let scopes = match (declared.role.as_deref(), scopes) {
        (Some("fineGrained"), 0) => " without scopes".to_owned(),
        (Some("fineGrained"), 1) => " with 1 permission".to_owned(),
        (Some("fineGrained"), many) => format!(" with {many} permissions"),
        _ => String::new(),
    };
    format!("{principal} {}, {role}{scopes}", quoted(&declared.user))
}

fn role(membership: &Membership) -> String {
    membership.role.as_deref().map_or("a member".to_owned(), shown)
}

fn day(at: Timestamp) -> String {
    at.to_string().chars().take(10).collect()
}

fn remarks(token: &Token, declared: &Declared, now: Timestamp, soon: Timestamp) -> Vec<Remark> {
    let organization = &token.organization;
    let mut remarks = Vec::new();
    let renew = format!("issue a new one on the Hub and put it into {}", token.secret);
    match declared.expiry() {
        Some(at) if at <= now => remarks.push((State::Fail, "it is over".to_owned(), renew)),
        Some(at) if at <= soon => remarks.push((State::Warn, "it ends soon".to_owned(), renew)),
        _ => {}
    }
    let pinned = token.declared.as_ref().and_then(|pin| pin.user.as_deref());
    if let Some(pinned) = pinned.filter(|pinned| *pinned != declared.user) {
        let remedy = format!("see that {} holds the right token, or correct declared.user", token.secret);
        remarks.push((State::Fail, format!("the config says that it is of user '{pinned}'"), remedy));
    }
    let restrictions = declared.restrictions(organization);
    if !restrictions.is_empty() {
        let words: Vec<String> = restrictions.iter().map(|word| shown(word)).collect();
        let why = format!("{organization} bars it ({})", words.join(", "));
        let remedy = "whatever it is asked there is denied for that; lift it in the organization's settings if it is not meant";
        remarks.push((State::Warn, why, remedy.to_owned()));
    }
    if declared.membership(organization).is_none() {
        let remedy = format!("see that {} holds the right token, if that is not meant", token.secret);
        remarks.push((State::Warn, format!("it shows no place in {organization}"), remedy));
    }
    remarks
}

/// Without these the inventory is not read; everything else works.
const INVENTORY_ALONE: [&str; 1] = ["org.serviceAccounts.read"];

/// How much a role of the Hub may, as far as we need any.
fn rank(role: &str) -> u8 {
    match role {
        "admin" => 3,
        "write" => 2,
        "contributor" | "read" => 1,
        _ => 0,
    }
}

/// What one of our own tokens has, against what it needs. `role` is its user's in the organization, where shown.
pub(super) fn own(own: &Own, role: Option<&str>) -> Row {
    let name = own.token.as_str();
    let what = format!("{} of {}", own.purpose, own.organization);
    let link = format!("give it that on the Hub; a new one, filled in: {}", own.link);
    let lacking: Vec<&str> =
        own.lacks.iter().copied().filter(|lack| !INVENTORY_ALONE.contains(lack)).collect();
    let list = |lacks: &[&str]| {
        let on: Vec<String> =
            lacks.iter().map(|lack| format!("{lack} on org:{}", own.organization)).collect();
        on.join(", ")
    };
    // Whether `org.read` is the word for listing groups no document says.
    let confirmed = own.needs.iter().any(|need| need.confirmed && lacking.contains(&need.permission));
    if !lacking.is_empty() {
        let seen = format!("the {what} lacks {}", list(&lacking));
        return match confirmed {
            true => Row::fail(Part::OwnTokens, name, seen, link),
            false => Row::warn(Part::OwnTokens, name, seen, link),
        };
    }
    let (needed, why) = own.role.split_once(": ").unwrap_or((own.role, "that is what it is asked"));
    if let Some(has) = role.filter(|has| rank(has) < rank(needed)) {
        let seen =
            format!("the {what} is of a user whose role there is {}; needed is {needed}: {why}", shown(has));
        let remedy = format!("give its user the role {needed}, or take the token of one who has it");
        // Who may not write deletes nothing, whatever else more would be good for.
        let deletes = own.needs.iter().any(|need| need.permission == "repo.write");
        return match deletes && rank(has) < rank("write") {
            true => Row::fail(Part::OwnTokens, name, seen, remedy),
            false => Row::warn(Part::OwnTokens, name, seen, remedy),
        };
    }
    if !own.lacks.is_empty() {
        let seen = format!("the {what} lacks {}: service accounts are not listed", list(&own.lacks));
        return Row::warn(Part::OwnTokens, name, seen, link);
    }
    if !own.more.is_empty() {
        let seen = format!("the {what} may more than it needs: {}", own.more.join(", "));
        let remedy = format!("an auditor's token is worth stealing; take one that may less: {}", own.link);
        return Row::warn(Part::OwnTokens, name, seen, remedy);
    }
    let needs: Vec<&str> = own.needs.iter().map(|need| need.permission).collect();
    Row::ok(
        Part::OwnTokens,
        name,
        format!("the {what} has what it needs ({}), and no more", needs.join(", ")),
    )
}

/// What the janitor sees when it looks for something private.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Sight {
    /// The sentinel of the config, or what a listing names.
    Sees(String),
    /// The sentinel, and the Hub shows it not.
    NotThis(String),
    /// A listing without anything private.
    Nothing,
    /// No clear answer.
    Unclear(UnknownReason),
}

/// Whether it is a capable observer.
pub(super) fn sight(name: &str, organization: &str, sight: &Sight) -> Row {
    match sight {
        Sight::Sees(repo) => {
            Row::ok(Part::OwnTokens, name, format!("sees what is private in {organization}, such as {repo}"))
        }
        Sight::NotThis(repo) => Row::fail(
            Part::OwnTokens,
            name,
            format!("does not see {repo}, the sentinel of {organization}, as a private repository"),
            "correct sentinel, make it private, or let the janitor read it (repo.write or repo.content.read)",
        ),
        Sight::Nothing => Row::warn(
            Part::OwnTokens,
            name,
            format!(
                "sees no private repository among the first of {organization}: no denial can be proven so"
            ),
            "let it see one (repo.write on the organization), or name one that it sees as organizations[].sentinel",
        ),
        Sight::Unclear(why) => Row::fail(
            Part::OwnTokens,
            name,
            format!("what it sees in {organization} is not clear ({why})"),
            "see hub above; if it is well, try again later",
        ),
    }
}
