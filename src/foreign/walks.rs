//! Walks that ask one thing after another: looks, visits to a canary with what they lead to, the inventory, the
//! controls. Whatever comes back, a walk ends, stays below its own addresses, and says only what an answer showed.

use std::time::Duration;

use crate::access::{RepoName, RepoType, TokenName};
use crate::exchange::{Answer, Credential, Exchange, Failure, Request};
use crate::hub::canary::{self, Intent, Next, Rules};
use crate::hub::classify::is_object_id;
use crate::hub::control::{self, ControlWalk, Plan};
use crate::hub::hands::Hands;
use crate::hub::inventory::{ACCOUNTS, InventoryWalk, Listed, PAGES};
use crate::hub::managed::Lists;
use crate::hub::readings;
use crate::hub::routes;
use crate::hub::sweep::{self, Judged, SweepWalk};
use crate::hub::visit::{Identity, Observer, Sight, Visit};
use crate::hub::whoami::Declared;
use crate::intent::{Canary, CanaryState};
use crate::moment::Timestamp;

use super::steers;
use super::wire::{self, Said, is_success, object};

type Outcome = Result<Answer, Failure>;

/// When all of this happens.
const NOW: Timestamp = Timestamp(1_795_000_000_000);
const RULES: Rules = Rules { horizon: Duration::from_secs(900) };

fn name(name: &str) -> RepoName {
    RepoName { namespace: "acme".to_owned(), name: name.to_owned() }
}

fn token(name: &str) -> Credential {
    Credential::Token(TokenName::new(name))
}

fn status(outcome: &Outcome) -> u16 {
    outcome.as_ref().map_or(0, |answer| answer.status)
}

/// The body of a success.
fn shown(outcome: &Outcome) -> Option<serde_json::Value> {
    outcome.as_ref().ok().filter(|_| is_success(outcome)).and_then(object)
}

pub(super) fn readings(bytes: &[u8]) {
    for said in wire::read(bytes) {
        let outcome = said.outcome();
        let body = shown(&outcome);
        let text = |field: &str| body.as_ref().and_then(|body| body.get(field)?.as_str());
        let canary = name("canary");
        match readings::overview(&outcome, "acme") {
            (readings::OverviewRow::Confirmed, _) => assert_eq!(text("name"), Some("acme")),
            (readings::OverviewRow::OtherCase, name) => assert!(name.as_deref() != Some("acme")),
            (readings::OverviewRow::Absent, _) => assert_eq!(status(&outcome), 404),
            (readings::OverviewRow::Unclear, _) => {}
        }
        if let Some(repo) = readings::listing(&outcome, "acme", |repo| *repo == canary).1 {
            assert!(body.is_some() && repo.namespace == "acme" && repo != canary);
            assert!(repo.to_string().parse::<RepoName>().is_ok(), "{repo} is no name");
        }
        let named = |item: &serde_json::Value| item.get("id").is_some_and(serde_json::Value::is_string);
        let list = body.as_ref().and_then(|body| body.as_array()).filter(|list| list.iter().all(named));
        let listed = readings::listed(&outcome, &canary);
        // A list in which a key stands twice, or that tells of no names, is none.
        assert!(list.is_some() || listed == readings::ListedRow::Unclear);
        if readings::look(&outcome, &canary) == readings::LookRow::Private {
            assert_eq!(text("id"), Some("acme/canary"));
        }
        match readings::anonymous(&outcome) {
            readings::AnonymousRow::Refused => assert!(matches!(status(&outcome), 401 | 403 | 404)),
            readings::AnonymousRow::Seen => assert!(body.is_some()),
            readings::AnonymousRow::Unclear => {}
        }
        if let Some(identity) = readings::description(&outcome).1 {
            assert!(text("error").is_none() && (identity.full_name.is_some() || identity.id.is_some()));
            assert_eq!((text("id"), text("_id")), (identity.full_name.as_deref(), identity.id.as_deref()));
        }
        let commits = readings::commits(&outcome).1;
        assert!(commits.as_ref().is_none_or(|(count, _)| Some(*count) == list.map(Vec::len)));
        assert!(commits.is_none_or(|(count, author)| count == 1 || author.is_none()));
        let groups = readings::groups(&outcome).1.unwrap_or_default();
        assert!(groups.iter().all(|(_, id)| is_object_id(id)));
        let grouped = readings::grouped(&outcome);
        assert!(
            grouped
                .iter()
                .all(|(_, repo, id)| { is_object_id(id) && repo.to_string().parse::<RepoName>().is_ok() })
        );
        let group = readings::group_of(&outcome).1;
        assert!(group.is_none() || group.as_deref() == text("id"));
        links(&said);
    }
}

/// Of what follows, only path and query are the answer's to choose.
fn links(said: &Said) {
    let Ok(Answer { link: Some(link), .. }) = said.outcome() else { return };
    let asked = routes::organization_tokens("acme", token("janitor"));
    if let Some(Request { path, .. }) = routes::page_after(&link, &asked) {
        assert!(path.starts_with("/api/") && link.contains(&path), "{path:?} of {link:?}");
        assert_eq!(path.split('?').next(), asked.path.split('?').next(), "another list");
    }
}

/// Answers one request of a walk: the next of the text, then nothing any more.
fn exchange(request: Request, said: &mut impl Iterator<Item = Said>) -> Exchange {
    let outcome = said.next().map_or(Err(Failure::Timeout), |said| said.outcome());
    Exchange { request, sent_at: NOW, elapsed: Duration::ZERO, outcome }
}

pub(super) fn visit(bytes: &[u8]) {
    visit_by(bytes, canary::prove);
}

/// The rules of a visit, and of what it leads to, over whatever proves that a repository is ours.
pub(super) fn visit_by(bytes: &[u8], prove: impl Fn(&Canary, &Identity, bool, Rules) -> canary::Proof) {
    let answers = wire::read(bytes);
    let (first, more) = (bytes.first().copied().unwrap_or_default(), bytes.len());
    let witness = first.is_multiple_of(2).then(|| (RepoType::Model, name("seen")));
    let janitor =
        Observer { credential: token("janitor"), capable: first % 4 != 1, witness: witness.clone() };
    let probed = Observer { credential: token("probed"), capable: first.is_multiple_of(3), witness: None };
    let observers = vec![janitor, probed];
    let janitor = token("janitor");
    let repo = name("scopewatch-canary-x");
    let mut visit =
        Visit::new(repo.clone(), RepoType::Model, observers, more % 2 == 1, more.is_multiple_of(3), None);
    let (mut said, mut heard) = (answers.into_iter(), Vec::new());
    while let Some(request) = visit.next() {
        assert!(heard.len() < 16, "a visit of two observers ends");
        let exchange = exchange(request, &mut said);
        visit.hear(&exchange);
        heard.push(exchange);
    }
    let sight = visit.sight();
    let last = heard.last();
    match &sight {
        Sight::Present(identity, by) => {
            let body = last.and_then(|exchange| shown(&exchange.outcome));
            let id = body.as_ref().and_then(|body| body.get("id")?.as_str());
            assert_eq!(identity.full_name.as_deref(), id, "not as the last answer shows it");
            assert!(last.is_some_and(|exchange| exchange.request.credential == *by));
        }
        Sight::Absent { listed_absent } => {
            let unseen = heard.iter().any(|exchange| status(&exchange.outcome) == 404);
            assert!(unseen, "absent, and nobody said not found");
            let listing = heard.iter().rfind(|e| e.request.route == "/api/{type}");
            let listed = listing.is_some_and(|e| is_success(&e.outcome));
            assert!(!listed_absent || listed, "not listed, and nobody listed");
            let still = last.is_some_and(|e| {
                e.request.credential != janitor || witness.is_none() || e.request.path.ends_with("/seen")
            });
            assert!(!listed_absent || still, "absent, and the one who said so may be blind");
        }
        Sight::Moved => assert!(last.is_some_and(|e| matches!(status(&e.outcome), 300..=399))),
        Sight::Blind(_) => {}
    }
    for state in CanaryState::ALL {
        for id in [None, Some("0123456789abcdef01234567")] {
            for signed in [false, true] {
                lead_to(*state, id, signed, &sight, &prove);
            }
        }
    }
}

fn lead_to(
    state: CanaryState,
    id: Option<&str>,
    signed: bool,
    sight: &Sight,
    prove: &impl Fn(&Canary, &Identity, bool, Rules) -> canary::Proof,
) {
    let intent = Intent {
        epoch: 1,
        id: 1,
        repo: name("scopewatch-canary-x"),
        kind: RepoType::Model,
        group: None,
        target: "model".to_owned(),
        token: TokenName::new("probed"),
        owner: Some("bob".to_owned()),
    };
    let planned = canary::planned(intent, NOW);
    let mut canary = Canary { state, repo_id: id.map(str::to_owned), ..planned };
    if let Sight::Present(seen, _) = sight {
        let ours = !matches!(prove(&canary, seen, signed, RULES), canary::Proof::Foreign(_));
        assert!(
            !ours || fits(seen, id, signed),
            "not shown to be ours: {seen:?}, bound {id:?}, signed {signed}"
        );
    }
    let hands = Hands { probed: true, janitor: true };
    let later = NOW + RULES.horizon * 3;
    let (_, next) = canary::after_sight(&mut canary, sight, signed, hands, later, RULES);
    if let Next::Delete(_) = next {
        let Sight::Present(seen, _) = sight else { unreachable!("deleted without a look: {sight:?}") };
        assert!(fits(seen, id, signed), "deleted: {seen:?}, bound {id:?}, signed {signed}");
        assert!(canary.repo_id.is_some(), "deleted without a bound id");
    }
    if canary.state == CanaryState::Gone && state != CanaryState::Gone {
        assert!(matches!(sight, Sight::Absent { .. }), "gone by {sight:?}");
    }
    assert!(!steers(&canary.note), "words of the Hub in {:?}", canary.note);
}

/// Whether what is seen may be ours at all. Nothing that is shown may differ; where no id is bound, or another one,
/// it must be private, named, signed, and not made at another time.
fn fits(seen: &Identity, bound: Option<&str>, signed: bool) -> bool {
    let plain = [".gitattributes", "README.md", "index.html", "style.css"];
    let same = |shown: &Option<String>, ours: &str| shown.as_deref().is_none_or(|shown| shown == ours);
    let empty = seen.files.iter().flatten().all(|file| plain.contains(&file.as_str()));
    let alone = seen.commits.as_ref().is_none_or(|(count, by)| *count <= 1 && same(by, "bob"));
    let by_id = bound.is_some_and(|id| seen.id.as_ref().is_none_or(|shown| shown.eq_ignore_ascii_case(id)));
    let around =
        |at: Timestamp| at.since(NOW) <= Duration::from_secs(960) && NOW.since(at) <= Duration::from_secs(60);
    let proven = signed
        && seen.id.is_some()
        && seen.full_name.is_some()
        && seen.private == Some(true)
        && seen.anonymous_saw != Some(true)
        && seen.created_at.is_none_or(around);
    same(&seen.full_name, "acme/scopewatch-canary-x")
        && same(&seen.author, "acme")
        && empty
        && alone
        && (by_id || proven)
}

pub(super) fn inventory(bytes: &[u8]) {
    let mut walk = InventoryWalk::new("acme", token("janitor"));
    let mut said = wire::read(bytes).into_iter();
    let mut heard = Vec::new();
    while let Some(request) = walk.next() {
        assert!(heard.len() as u32 <= 2 * PAGES + ACCOUNTS, "the walk ends");
        let below = ["/api/organizations/acme/settings/tokens", "/api/organizations/acme/service-accounts"];
        let path = request.path.split('?').next().unwrap_or_default();
        let known = |start: &&str| {
            path.strip_prefix(*start).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        assert!(below.iter().any(known), "asks {path:?}");
        assert!(path.rsplit('/').next().is_some_and(|end| !end.is_empty() && end != ".."), "asks {path:?}");
        let exchange = exchange(request, &mut said);
        walk.hear(&exchange);
        heard.push(exchange);
    }
    let listed: Listed = walk.finish();
    if listed.tokens.is_ok() && listed.accounts.is_ok() {
        assert!(
            heard.iter().all(|exchange| shown(&exchange.outcome).is_some()),
            "a list that was not read whole"
        );
    }
    let entries = listed.tokens.iter().flatten();
    assert!(entries.clone().all(|entry| entry.id.is_some() || entry.label.is_some()), "an entry of nothing");
    // Whoever is known is held against the lists, whatever stands in them.
    let label = entries.clone().find_map(|entry| entry.label.clone());
    let declared =
        Declared { user: "bob".to_owned(), label, role: Some("write".to_owned()), ..Declared::default() };
    let lists = Lists::new(&listed);
    if listed.tokens.is_err() && listed.accounts.is_err() {
        assert_ne!(lists.miss(&declared, "acme"), Some(true), "missed on no list");
    }
    if let Some(index) = &lists.tokens {
        let unmanaged = index.unmanaged(&[&declared], NOW).len();
        assert!(unmanaged <= entries.count());
    }
}

pub(super) fn control(bytes: &[u8]) {
    let more = bytes.len();
    let plan = Plan {
        organization: "acme".to_owned(),
        observer: token("janitor"),
        janitor: more % 2 == 1,
        sentinel: (more.is_multiple_of(3)).then(|| name("sentinel")),
        absent: name("no-such-x"),
        with_groups: more % 5 < 2,
    };
    let sentinel = plan.sentinel.clone();
    let mut walk = ControlWalk::new(plan);
    let mut said = wire::read(bytes).into_iter();
    let mut heard = Vec::new();
    while let Some(request) = walk.next() {
        assert!(heard.len() < 8 + 3 * usize::from(control::PAGES), "the walk ends");
        assert!(request.path.starts_with("/api/") && !request.verb.is_unsafe(), "asks {:?}", request.path);
        let exchange = exchange(request, &mut said);
        walk.hear(&exchange);
        heard.push(exchange);
    }
    let found = walk.finish();
    assert!(!steers(&found.why), "words of the Hub in {:?}", found.why);
    assert_eq!(found.result.is_ok(), found.why.is_empty());
    assert!(found.seen.iter().all(|seen| seen.repo.namespace == "acme"));
    if found.result.is_ok() {
        let named = heard.first().and_then(|first| shown(&first.outcome));
        assert!(named.is_some_and(|body| body.get("name").and_then(|n| n.as_str()) == Some("acme")));
        let refused = |e: &Exchange| e.request.path.ends_with("/acme/no-such-x") && status(&e.outcome) == 404;
        assert!(heard.iter().any(refused), "nothing was shown to be hidden");
        if found.sentinel_seen {
            assert!(sentinel.is_some_and(|s| found.seen.iter().any(|seen| seen.repo == s)));
        }
    }
    let admin = Declared { user: "ann".to_owned(), ..Declared::default() };
    let can_see = control::capable(&found, Some(&admin), "acme", None);
    assert!(!can_see || (found.result.is_ok() && !found.seen.is_empty()), "capable of nothing it saw");
}

pub(super) fn sweep(bytes: &[u8]) {
    let mut walk = SweepWalk::new("acme", "scopewatch-canary", token("janitor"));
    let mut said = wire::read(bytes).into_iter();
    let mut heard: Vec<Exchange> = Vec::new();
    while let Some(request) = walk.next() {
        assert!(heard.len() < 3 * 50, "the walk ends");
        let path = request.path.split('?').next().unwrap_or_default();
        assert!(["/api/models", "/api/datasets", "/api/spaces"].contains(&path), "asks {path:?}");
        assert!(!request.verb.is_unsafe());
        let exchange = exchange(request, &mut said);
        walk.hear(&exchange);
        heard.push(exchange);
    }
    let swept = walk.finish();
    for hit in &swept.hits {
        assert!(
            hit.repo.namespace == "acme" && hit.repo.name.starts_with("scopewatch-canary-"),
            "{}",
            hit.repo
        );
        assert!(hit.repo.to_string().parse::<RepoName>().is_ok(), "{} is no name", hit.repo);
        let old = hit.created_at.is_some_and(|at| NOW >= at + RULES.horizon * 2);
        assert_eq!(sweep::judge(hit, false, None, NOW, RULES), Judged::Foreign, "not signed");
        let judged = sweep::judge(hit, true, None, NOW, RULES);
        assert_eq!(judged == Judged::Orphan, old || hit.created_at.is_none(), "{hit:?}");
        let janitor = TokenName::new("janitor");
        let adopted = sweep::adopted(7, 1, hit, &janitor, NOW, RULES);
        assert_eq!(adopted.is_some(), old, "adopted: {hit:?}");
        assert!(
            adopted.is_none_or(|canary| canary.state == CanaryState::Unknown && canary.repo_id.is_none())
        );
    }
    if swept.complete {
        assert!(
            heard.iter().all(|e| shown(&e.outcome).is_some_and(|body| body.is_array())),
            "not all were listings"
        );
        let more = |e: &Exchange| {
            e.outcome
                .as_ref()
                .is_ok_and(|a| a.link.as_deref().is_some_and(|link| link.contains("rel=\"next\"")))
        };
        // What follows was asked for, or the listing was not read to its end.
        let ends = heard
            .windows(2)
            .filter(|pair| pair[0].request.path.split('?').next() != pair[1].request.path.split('?').next());
        let ends = ends.map(|pair| &pair[0]).chain(heard.last());
        assert!(!ends.into_iter().any(more), "a listing with a further page counts as whole");
    }
}
