//! What an answer must be accompanied by before it counts: that the target of a denial is there, that what was
//! granted is not open to everybody.
//!
//! Each proof is asked for once in a round and serves every check that needs it.

use crate::access::{Access, Check, DenyReason, Permission, RepoName, RepoType, Target, UnknownReason};
use crate::exchange::{Answer, Credential, Exchange, Failure, Request};
use crate::hub::answers::{closed, described, of_failure, of_status, repo_not_found};
use crate::hub::{probes, routes};
use crate::moment::Moment;

use super::checks::Stage;
use super::{Engine, Job};

/// What is to be shown.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ProofKey {
    /// This repository is there, as seen by this observer.
    There(RepoType, RepoName, Credential),
    /// What this permission reads in this organization is closed to whoever has no token.
    Closed(Permission, String),
}

/// Whether it was shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proof {
    Asked,
    Shown,
    /// Open to whoever has no token, but without what only members are shown.
    Partly,
    Not(UnknownReason),
}

impl ProofKey {
    pub(super) fn request(&self) -> Option<Request> {
        match self {
            ProofKey::There(kind, repo, observer) => Some(routes::repo_info(*kind, repo, observer.clone())),
            ProofKey::Closed(permission, organization) => {
                probes::row_of(*permission)?.request(organization, &Target::Whole, Credential::Anonymous)
            }
        }
    }

    fn judge(&self, outcome: &Result<Answer, Failure>) -> Proof {
        match self {
            ProofKey::There(_, repo, observer) => there(outcome, repo, *observer == Credential::Anonymous),
            ProofKey::Closed(permission, _) => match outcome {
                Ok(answer) if closed(answer) => Proof::Shown,
                Ok(answer) if (200..300).contains(&answer.status) => {
                    let listed = probes::row_of(*permission).is_some_and(|row| (row.granted)(answer));
                    let open = listed && !probes::shows_roles(outcome);
                    if open { Proof::Partly } else { Proof::Not(UnknownReason::NoControl) }
                }
                Ok(answer) => Proof::Not(match of_status(answer) {
                    why @ (UnknownReason::RateLimited | UnknownReason::HubError | UnknownReason::Timeout) => {
                        why
                    }
                    _ => UnknownReason::NoControl,
                }),
                Err(failure) => Proof::Not(of_failure(*failure)),
            },
        }
    }
}

/// Whether a description answers for exactly this repository.
pub(super) fn there(outcome: &Result<Answer, Failure>, wanted: &RepoName, anonymous: bool) -> Proof {
    match outcome {
        Err(failure) => Proof::Not(of_failure(*failure)),
        Ok(answer) if (200..300).contains(&answer.status) => {
            let id = described(answer).and_then(|body| Some(body.get("id")?.as_str()? == wanted.to_string()));
            match id {
                Some(true) => Proof::Shown,
                // Reading forgives another letter case, and a moved repository answers under its new name.
                Some(false) => Proof::Not(UnknownReason::TargetMissing),
                None => Proof::Not(UnknownReason::NoControl),
            }
        }
        Ok(answer) if repo_not_found(answer) && !anonymous => Proof::Not(UnknownReason::TargetMissing),
        Ok(answer) if (300..400).contains(&answer.status) => Proof::Not(UnknownReason::TargetMissing),
        Ok(answer) => Proof::Not(match of_status(answer) {
            why @ (UnknownReason::RateLimited | UnknownReason::HubError | UnknownReason::Timeout) => why,
            _ => UnknownReason::NoControl,
        }),
    }
}

impl Engine {
    /// The proof that a denial of this check needs: the target, seen by the janitor, or open to everybody.
    pub(super) fn target_proof(&self, check: &Check) -> Option<ProofKey> {
        let Target::Repo { kind, repo } = &check.target else { return None };
        let janitor = self.config.organization(&check.organization).and_then(|o| o.janitor.clone());
        let observer = janitor.map_or(Credential::Anonymous, Credential::Token);
        Some(ProofKey::There(*kind, repo.clone(), observer))
    }

    /// Asks for a proof, unless this round has it already.
    pub(super) fn ask_proof(&mut self, key: &ProofKey) {
        let Some(round) = &mut self.round else { return };
        if round.proofs.contains_key(key) {
            return;
        }
        let Some(request) = key.request() else { return };
        round.proofs.insert(key.clone(), Proof::Asked);
        self.ask(Job::Proof(key.clone()), request, None);
    }

    pub(super) fn hear_proof(&mut self, key: &ProofKey, exchange: &Exchange, now: Moment) {
        let shown = key.judge(&exchange.outcome);
        if let ProofKey::There(kind, repo, _) = key {
            self.sight(*kind, repo, &exchange.outcome, shown, now);
        }
        let Some(round) = &mut self.round else { return };
        round.proofs.insert(key.clone(), shown);
        let waiting: Vec<usize> = round
            .jobs
            .iter()
            .enumerate()
            .filter(|(_, job)| job.waits_for() == Some(key))
            .map(|(at, _)| at)
            .collect();
        for at in waiting {
            self.keep_evidence(at, exchange);
        }
    }

    /// What a check comes to whose answer waits for its proof; `None` while that is under way.
    pub(super) fn judge_by_proof(
        &self,
        check: &Check,
        stage: &Stage,
        now: Moment,
    ) -> Option<(Access, String)> {
        let key = stage.waits_for()?;
        let proof = *self.round.as_ref()?.proofs.get(key)?;
        match stage {
            Stage::Denied(why, _) => self.judge_denial(check, *why, key, proof, now),
            Stage::Granted(_, roles) => judge_grant(check, proof, *roles),
            _ => None,
        }
    }

    fn judge_denial(
        &self,
        check: &Check,
        why: DenyReason,
        key: &ProofKey,
        proof: Proof,
        now: Moment,
    ) -> Option<(Access, String)> {
        let ProofKey::There(kind, repo, observer) = key else { return None };
        let has_janitor = *observer != Credential::Anonymous;
        let unknown = |why, sentence: String| Some((Access::Undetermined(why), sentence));
        match proof {
            Proof::Asked => None,
            Proof::Not(UnknownReason::TargetMissing) => unknown(
                UnknownReason::TargetMissing,
                format!("there is no {kind} '{repo}' under exactly this name; correct the config"),
            ),
            Proof::Not(UnknownReason::NoControl) if !has_janitor => unknown(
                UnknownReason::NoControl,
                format!(
                    "nobody could show that '{repo}' exists; give the organization a janitor that can read it"
                ),
            ),
            Proof::Not(why) => unknown(why, format!("the janitor could not show that '{repo}' exists")),
            // Of a repository nothing is shown in part.
            Proof::Partly => None,
            Proof::Shown if why == DenyReason::Hidden && !self.known_alive(&check.token, now) => unknown(
                UnknownReason::NoControl,
                "nothing shows that the token is alive: its whoami is not known".to_owned(),
            ),
            Proof::Shown => Some((Access::Denied(why), String::new())),
        }
    }
}

fn judge_grant(check: &Check, proof: Proof, roles: bool) -> Option<(Access, String)> {
    match proof {
        Proof::Asked => None,
        Proof::Shown => Some((Access::Allowed, String::new())),
        Proof::Partly if roles => Some((Access::Allowed, String::new())),
        Proof::Partly | Proof::Not(UnknownReason::NoControl) => Some((
            Access::Undetermined(UnknownReason::NoControl),
            format!(
                "the Hub answers {} of '{}' without any token, too, so that the answer says nothing of this one",
                check.permission, check.organization
            ),
        )),
        Proof::Not(why) => Some((
            Access::Undetermined(why),
            "whether the same is closed to whoever has no token could not be asked".to_owned(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(status: u16, content_type: &str, body: &str) -> Proof {
        let answer =
            Answer { status, content_type: content_type.into(), body: body.into(), ..Answer::default() };
        ProofKey::Closed(Permission::OrgMembers, "acme".to_owned()).judge(&Ok(answer))
    }

    #[test]
    fn only_a_description_of_exactly_this_repository_shows_that_it_is_there() {
        let repo: RepoName = "acme/x".parse().expect("a name");
        for (body, proof) in [
            (r#"{"id":"acme/x"}"#, Proof::Shown),
            (r#"{"id":"acme/X"}"#, Proof::Not(UnknownReason::TargetMissing)),
            (r#"{"error":"Internal Error","id":"acme/x"}"#, Proof::Not(UnknownReason::NoControl)),
            (r#"{"id":"acme/y","id":"acme/x"}"#, Proof::Not(UnknownReason::NoControl)),
            (r#"{"id":null}"#, Proof::Not(UnknownReason::NoControl)),
        ] {
            let (content_type, body) = ("application/json".to_owned(), body.to_owned());
            let answer = Answer { status: 200, content_type, body, ..Answer::default() };
            assert_eq!(there(&Ok(answer), &repo, false), proof);
        }
    }

    #[test]
    fn only_the_hubs_own_word_shows_that_a_list_is_closed_or_partly_open() {
        let (json, plain) = ("application/json", "text/plain");
        let not = Proof::Not(UnknownReason::NoControl);
        for (status, kind, body, proof) in [
            (401, plain, "Invalid username or password.", Proof::Shown),
            (401, json, r#"{"error":"Invalid username or password."}"#, Proof::Shown),
            (401, json, "<!DOCTYPE html><title>Sign in</title>", not),
            (403, json, r#"{"error":"You don't have the required permissions"}"#, Proof::Shown),
            (404, json, r#"{"error":"not found"}"#, Proof::Shown),
            (403, json, r#"{"message":"Forbidden"}"#, not),
            (403, plain, "Forbidden", not),
            (404, plain, "no such page", not),
            (401, "text/html", "<html>", not),
            (200, json, r#"[{"user":"alice"}]"#, Proof::Partly),
            (200, json, "[]", Proof::Partly),
            (200, json, r#"[{"user":"alice","role":"admin"}]"#, not),
            (200, json, r#"["OK"]"#, not),
            (200, json, r#"[{"user":null}]"#, not),
            (200, json, r#"[{"user":"alice","role":null}]"#, Proof::Partly),
            (200, json, r#"{"user":"alice"}"#, not),
            (503, json, "{}", Proof::Not(UnknownReason::HubError)),
        ] {
            assert_eq!(judged(status, kind, body), proof, "{status} {body}");
        }
    }
}
