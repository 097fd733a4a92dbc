//! The controls of a round: requests of our own that show that an answer can mean something.
//!
//! One walk for each organization and observer. Granted side: the organization's overview returns exactly this
//! name, and one private repository that the observer lists can be read by it. Denied side: an unguessable name
//! is "not found" to the same observer, and an anonymous look at a private repository is refused. Without them a
//! mistyped organization would be denied for ever, and a Hub that says yes to everything would look like a leak.

use crate::access::{RepoName, RepoType, UnknownReason};
use crate::exchange::{Answer, Credential, Exchange, Failure, Request};

use super::answers::{of_outcome, of_status};
use super::readings::{self, AnonymousRow, ListingRow, LookRow, OverviewRow};
use super::routes;
use super::whoami::Declared;

/// What the controls of one organization came to, as seen by one observer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Control {
    /// Whether answers of this round mean something; else why they don't.
    pub result: Result<(), UnknownReason>,
    /// One sentence for people: what failed and what to do. Empty when nothing did.
    pub why: String,
    /// Private repositories of the organization that the observer read.
    pub seen: Vec<Seen>,
    /// Whether one of them is the configured sentinel.
    pub sentinel_seen: bool,
    /// Resource groups by name and id; `None` when they were not asked for or may not be listed.
    pub groups: Option<Vec<(String, String)>>,
    /// Repositories and the id of the group that each is in, as far as the groups were listed with them.
    pub grouped: Vec<(RepoType, RepoName, String)>,
}

/// One private repository that the observer could read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub kind: RepoType,
    pub repo: RepoName,
    /// The id of its resource group; `None` outside of any, or where it was not asked.
    pub group: Option<String>,
}

/// What the walk is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub organization: String,
    /// The janitor where there is one, else the probed token.
    pub observer: Credential,
    /// Whether the observer is the janitor; only then must it be able to read what it lists.
    pub janitor: bool,
    pub sentinel: Option<RepoName>,
    /// An unguessable name in the organization.
    pub absent: RepoName,
    /// Whether resource groups are to be listed, because a check or a canary names one.
    pub with_groups: bool,
}

#[derive(Debug, Clone, PartialEq)]
enum Stage {
    Overview,
    Groups,
    Sentinel,
    List(usize),
    /// A further page of a listing: which listing, which page, its address.
    Page(usize, u8, Request),
    Read(RepoType, RepoName),
    Group(RepoType, RepoName),
    Absent,
    Anonymous,
    Done,
}

/// Pages of a listing that are read in search of a private repository; a sentinel needs none.
pub const PAGES: u8 = 5;

/// The walk: `next` says what to ask, `hear` takes what came back.
#[derive(Debug, Clone)]
pub struct ControlWalk {
    plan: Plan,
    stage: Stage,
    control: Control,
}

impl ControlWalk {
    /// A walk that has not begun.
    pub fn new(plan: Plan) -> ControlWalk {
        let control = Control {
            result: Ok(()),
            why: String::new(),
            seen: vec![],
            sentinel_seen: false,
            groups: None,
            grouped: vec![],
        };
        ControlWalk { plan, stage: Stage::Overview, control }
    }

    /// The next request, or `None` when the walk is over.
    pub fn next(&self) -> Option<Request> {
        let plan = &self.plan;
        let observer = plan.observer.clone();
        Some(match &self.stage {
            Stage::Overview => routes::overview(&plan.organization, observer),
            Stage::Groups => routes::resource_groups(&plan.organization, observer),
            Stage::Sentinel => {
                routes::repo_info(RepoType::Model, plan.sentinel.as_ref().unwrap_or(&plan.absent), observer)
            }
            Stage::List(at) => routes::list(*RepoType::ALL.get(*at)?, &plan.organization, None, observer),
            Stage::Page(_, _, request) => request.clone(),
            Stage::Read(kind, repo) => routes::repo_info(*kind, repo, observer),
            Stage::Group(kind, repo) => routes::repo_group(*kind, repo, observer),
            Stage::Absent => routes::repo_info(RepoType::Model, &plan.absent, observer),
            Stage::Anonymous => {
                let seen = self.control.seen.first()?;
                routes::repo_info(seen.kind, &seen.repo, Credential::Anonymous)
            }
            Stage::Done => return None,
        })
    }

    /// What the walk came to; only meaningful when `next` is `None`.
    pub fn finish(self) -> Control {
        self.control
    }

    /// Takes the answer to the request of `next`.
    pub fn hear(&mut self, exchange: &Exchange) {
        let outcome = &exchange.outcome;
        match self.stage.clone() {
            Stage::Overview => self.hear_overview(outcome),
            Stage::Groups => {
                self.control.groups = readings::groups(outcome).1;
                self.control.grouped = readings::grouped(outcome);
                self.stage = self.first_look();
            }
            Stage::Sentinel => self.hear_sentinel(outcome),
            Stage::List(at) => self.hear_list(at, 1, exchange),
            Stage::Page(at, page, _) => self.hear_list(at, page, exchange),
            Stage::Read(kind, repo) => self.hear_read(kind, repo, outcome),
            Stage::Group(kind, repo) => {
                let group = readings::group_of(outcome).1;
                self.control.seen.push(Seen { kind, repo, group });
                self.stage = Stage::Absent;
            }
            Stage::Absent => self.hear_absent(outcome),
            Stage::Anonymous => self.hear_anonymous(outcome),
            Stage::Done => {}
        }
    }

    fn fail(&mut self, why: UnknownReason, sentence: String) {
        self.control.result = Err(why);
        self.control.why = sentence;
        self.stage = Stage::Done;
    }

    fn hear_overview(&mut self, outcome: &Result<Answer, Failure>) {
        let wanted = self.plan.organization.clone();
        let (row, name) = readings::overview(outcome, &wanted);
        match row {
            OverviewRow::Confirmed => {
                self.stage = if self.plan.with_groups { Stage::Groups } else { self.first_look() };
            }
            OverviewRow::OtherCase => self.fail(
                UnknownReason::NoControl,
                format!("the organization is spelled '{name}' on the Hub, not '{wanted}'; creating is case-sensitive, so correct the name in the config", name = name.unwrap_or_default()),
            ),
            OverviewRow::Absent => self.fail(
                UnknownReason::NoControl,
                format!("there is no organization '{wanted}' on the Hub; correct the name in the config"),
            ),
            OverviewRow::Unclear => {
                let why = self.reason(outcome);
                let cause = self.cause(outcome);
                self.fail(why, format!("the Hub did not confirm that the organization '{wanted}' exists: {cause}"));
            }
        }
    }

    /// Why a control got no usable answer. A dead janitor is no fault of the probed token.
    fn reason(&self, outcome: &Result<Answer, Failure>) -> UnknownReason {
        match of_outcome(outcome) {
            UnknownReason::TokenInvalid if self.plan.janitor => UnknownReason::NoControl,
            UnknownReason::Unrecognized | UnknownReason::Conflict | UnknownReason::Billing => {
                UnknownReason::NoControl
            }
            why => why,
        }
    }

    /// Why the janitor does not see what it must see.
    fn unseen(&self, row: LookRow, outcome: &Result<Answer, Failure>) -> UnknownReason {
        if row == LookRow::NotFound { UnknownReason::NoControl } else { self.reason(outcome) }
    }

    /// What was wrong with an answer, and what to do, as the end of a sentence.
    fn cause(&self, outcome: &Result<Answer, Failure>) -> String {
        match outcome {
            Err(Failure::NoSecret) if self.plan.janitor => {
                "the janitor's secret is unusable; mend it".to_owned()
            }
            Err(Failure::NoSecret) => "the token's secret is unusable; mend it".to_owned(),
            Err(Failure::Unsent) => "it could not be reached; check the network and hub.endpoint".to_owned(),
            Err(Failure::Timeout) => "it did not answer in time (hub.request_timeout)".to_owned(),
            Err(failure) => format!("there was no complete answer ({failure})"),
            Ok(answer) => match (answer.status, of_status(answer)) {
                (_, UnknownReason::TokenInvalid) if self.plan.janitor => {
                    "it does not accept the janitor's token (401); renew it".to_owned()
                }
                (_, UnknownReason::TokenInvalid) => "it does not accept the token (401); renew it".to_owned(),
                (_, UnknownReason::RateLimited) => {
                    "it limits the rate (429); it is asked again later".to_owned()
                }
                (status @ 200..=299, _) => {
                    format!("the answer ({status}) was not one of the Hub's; check what stands in between")
                }
                (status, _) => format!("it answered {status}; it is asked again in the next round"),
            },
        }
    }

    fn first_look(&self) -> Stage {
        match (&self.plan.sentinel, self.plan.janitor) {
            (Some(_), true) => Stage::Sentinel,
            _ => Stage::List(0),
        }
    }

    fn hear_sentinel(&mut self, outcome: &Result<Answer, Failure>) {
        let Some(sentinel) = self.plan.sentinel.clone() else {
            self.stage = Stage::List(0);
            return;
        };
        let row = readings::look(outcome, &sentinel);
        if row == LookRow::Private {
            self.control.sentinel_seen = true;
            self.control.seen.push(Seen { kind: RepoType::Model, repo: sentinel, group: None });
            self.stage = Stage::List(0);
            return;
        }
        self.fail(
            self.unseen(row, outcome),
            format!("the janitor does not see the sentinel '{sentinel}' as a private model; give the janitor read access to it, or name another one"),
        );
    }

    fn hear_list(&mut self, at: usize, page: u8, exchange: &Exchange) {
        let outcome = &exchange.outcome;
        let Some(kind) = RepoType::ALL.get(at).copied() else {
            self.stage = Stage::Absent;
            return;
        };
        let known = |repo: &RepoName| self.control.seen.iter().any(|seen| seen.repo == *repo);
        let (row, private) = readings::listing(outcome, &self.plan.organization, known);
        if row == ListingRow::Unclear {
            if self.plan.janitor {
                let why = self.reason(outcome);
                let (who, cause) = (&self.plan.organization, self.cause(outcome));
                self.fail(why, format!("the janitor cannot list the repositories of '{who}': {cause}"));
            } else {
                self.stage = Stage::Absent;
            }
            return;
        }
        let link = outcome.as_ref().ok().and_then(|answer| answer.link.as_deref());
        let further = link.and_then(|link| routes::page_after(link, &exchange.request));
        self.stage = match (private, further) {
            (Some(repo), _) => Stage::Read(kind, repo),
            (None, Some(request)) if page < PAGES => Stage::Page(at, page + 1, request),
            _ if at + 1 < RepoType::ALL.len() => Stage::List(at + 1),
            _ => Stage::Absent,
        };
    }

    fn hear_read(&mut self, kind: RepoType, repo: RepoName, outcome: &Result<Answer, Failure>) {
        let row = readings::look(outcome, &repo);
        if row == LookRow::Private {
            if self.plan.with_groups {
                self.stage = Stage::Group(kind, repo);
            } else {
                self.control.seen.push(Seen { kind, repo, group: None });
                self.stage = Stage::Absent;
            }
        } else if self.plan.janitor {
            let why = self.unseen(row, outcome);
            self.fail(why, "the janitor lists a private repository that it cannot read; give it read access to the organization's repositories".to_owned());
        } else {
            self.stage = Stage::Absent;
        }
    }

    fn hear_absent(&mut self, outcome: &Result<Answer, Failure>) {
        match readings::look(outcome, &self.plan.absent) {
            LookRow::NotFound => {
                self.stage = if self.control.seen.is_empty() { Stage::Done } else { Stage::Anonymous };
            }
            _ => {
                let why = self.reason(outcome);
                self.fail(why, "the Hub did not say 'not found' of a repository that cannot exist, so its answers prove nothing".to_owned());
            }
        }
    }

    fn hear_anonymous(&mut self, outcome: &Result<Answer, Failure>) {
        match readings::anonymous(outcome) {
            AnonymousRow::Refused => self.stage = Stage::Done,
            AnonymousRow::Seen | AnonymousRow::Unclear => {
                let why = self.reason(outcome);
                self.fail(why, "the Hub did not refuse an anonymous look at a private repository, so its answers prove nothing".to_owned());
            }
        }
    }
}

/// Whether an observer's "not found" proves absence in this place: in this round it saw the sentinel or another
/// private repository there, its whoami is fresh (the caller sees to that) and shows nothing that bars it. The
/// root is seen by every member with a role in the organization, every group by its admins (Hub docs, resource
/// groups), so that any private repository of the organization proves those.
pub fn capable(
    control: &Control,
    declared: Option<&Declared>,
    organization: &str,
    group: Option<&str>,
) -> bool {
    let Some(declared) = declared else { return false };
    let restricted = !declared.restrictions(organization).is_empty();
    if control.result.is_err() || restricted || control.seen.is_empty() {
        return false;
    }
    let role = declared.membership(organization).and_then(|m| m.role.as_deref());
    // Whether whoami shows the organizations of every token is unconfirmed; a role that is not shown bars
    // nobody from the root, and opens no group.
    let by_role = match group {
        None => role != Some("no_access"),
        Some(_) => role == Some("admin"),
    };
    control.sentinel_seen
        || by_role
        || group.is_some_and(|group| control.seen.iter().any(|s| s.group.as_deref() == Some(group)))
}

#[cfg(test)]
#[path = "control_tests.rs"]
mod tests;
