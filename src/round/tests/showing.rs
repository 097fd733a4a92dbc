//! When what changed is shown: at once, but for results that follow one another in a round of many tokens.

use std::sync::Arc;
use std::time::Duration;

use crate::access::TokenName;
use crate::report::{FindingKind, Snapshot};
use crate::round::Event;
use crate::schedule::Classes;

use super::life::{Life, S, configured};
use super::stories::{PLAIN, SERVE, holder, world};

/// A life with so many more tokens, each with one check.
fn crowd(tokens: usize) -> Life {
    let more = |n: usize| {
        format!(
            "  - {{ name: crowd-{n}, organization: acme, secret: {{ env: C }}, expect: [{{ permission: job.read, access: denied }}] }}\n"
        )
    };
    let text: String = (0..tokens).map(more).collect();
    let mut life = world(configured(&format!("{PLAIN}{text}")), SERVE, 1);
    for n in 0..tokens {
        life.hub.holders.insert(TokenName::new(&format!("crowd-{n}")), holder("carl", false, true, false));
    }
    life.quick = true;
    life.start();
    life.tell(Event::Due(Classes::ALL));
    life
}

fn is_told(shown: Option<&Arc<Snapshot>>) -> bool {
    shown.is_some_and(|shown| shown.findings.iter().any(|f| f.kind == FindingKind::UnexpectedGrant))
}

/// What was shown when, until the round is over.
fn showings(life: &mut Life) -> Vec<(Duration, Arc<Snapshot>)> {
    let mut all: Vec<(Duration, Arc<Snapshot>)> = Vec::new();
    while life.reports.is_empty() || life.shown.as_ref().is_none_or(|shown| shown.report.is_none()) {
        assert!(life.step(S(3600)), "the round ends");
        if let Some(shown) = &life.shown
            && all.last().is_none_or(|(_, last)| !Arc::ptr_eq(last, shown))
        {
            all.push((life.now, shown.clone()));
        }
    }
    all
}

#[test]
fn results_that_follow_one_another_are_written_and_shown_together() {
    for (tokens, pause, most) in [(20, 0, 20), (600, 6, 40)] {
        let mut life = crowd(tokens);
        let all = showings(&mut life);
        let pairs = all.windows(2).filter(|pair| {
            let told = |at: usize| (pair[at].1.findings.len(), pair[at].1.report.is_some());
            told(0) == told(1)
        });
        let gaps: Vec<Duration> = pairs.map(|pair| pair[1].0 - pair[0].0).collect();
        assert!(gaps.iter().filter(|gap| **gap < Duration::from_millis(pause)).count() <= 2, "{gaps:?}");
        // Findings, and what is more than a result, wait for nothing.
        assert!((3..most).contains(&all.len()), "{tokens} tokens: {} times", all.len());
        let last = &all.last().expect("shown").1;
        let checks = last.checks.iter().flat_map(|own| own.iter());
        assert_eq!(
            checks.filter(|check| check.undetermined.is_some()).count(),
            tokens + 5,
            "the end shows all"
        );
    }
}

/// The engine is woken for it, whatever else happens.
#[test]
fn a_result_waits_for_others_only_a_moment() {
    let mut life = crowd(20);
    life.quick = false;
    let mut waited = 0;
    while life.reports.is_empty() {
        assert!(life.step(S(3600)), "the round ends");
        let Some(engine) = life.engine() else { continue };
        if let Some(until) = engine.holds_until().filter(|_| !engine.saving) {
            waited += 1;
            assert!(until > life.now, "held until {until:?}, and it is {:?}", life.now);
        }
    }
    assert!(waited > 5, "{waited}");
}

#[test]
fn what_did_not_change_is_shared_with_the_snapshot_before() {
    let mut life = crowd(600);
    let all = showings(&mut life);
    let (before, after) = (&all[all.len() / 2].1, &all[all.len() / 2 + 1].1);
    let same = before.checks.iter().zip(&after.checks).filter(|(one, other)| Arc::ptr_eq(one, other)).count();
    assert!((560..603).contains(&same), "{same} of {}", after.checks.len());
}

#[test]
fn a_grant_waits_for_nothing_but_the_store() {
    let mut life = crowd(3000);
    let (mut stored, mut shown) = (None, None);
    while shown.is_none() {
        assert!(life.step(S(3600)), "the grant is found");
        if life.kept.findings.iter().any(|finding| finding.kind == FindingKind::UnexpectedGrant) {
            stored.get_or_insert(life.now);
        }
        shown = is_told(life.shown.as_ref()).then_some(life.now);
    }
    let lag = shown.zip(stored).map(|(shown, stored)| shown.saturating_sub(stored));
    assert!(life.reports.is_empty(), "in the middle of the round");
    assert!(lag.is_some_and(|lag| lag < Duration::from_millis(10)), "{lag:?} of the 30 ms of a pause");
}
