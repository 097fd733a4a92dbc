//! Goal: what was told of alerts and what is owed comes back as it was, replaced, forgotten and paid as it should be.

use std::collections::BTreeSet;

use super::*;
use crate::access::Severity;
use crate::alert::desk::Alert;
use crate::alert::message::{AlertKey, AlertName, Tidings, Words};
use crate::alert::outbox::Owed;
use crate::alert::teller::Change;

fn alert(token: Option<&str>) -> Alert {
    let key = AlertKey {
        name: if token.is_some() { AlertName::UnexpectedGrant } else { AlertName::Blind },
        organization: "acme".into(),
        token: token.map(TokenName::new),
        permission: token.map(|_| Permission::RepoWrite),
        target: token.map(|_| "acme/it's \"x\"; --".to_owned()),
    };
    let words = Words {
        severity: Severity::Critical,
        token_owner: "ml".into(),
        summary: "ä summary".into(),
        description: "what\nand what to do'; --".into(),
        evidence: String::new(),
    };
    Alert {
        key,
        episode: at(1),
        firing: token.is_some(),
        since: at(0),
        fired_at: at(1),
        resolved_at: token.map(|_| at(7)),
        spoken_at: at(3),
        sinks: BTreeSet::from(["am".to_owned(), "a \"sink\"".to_owned()]),
        words,
    }
}

fn owed(number: i64, sink: &str, alert: &Alert, tidings: Tidings) -> Owed {
    Owed { number, sink: sink.to_owned(), message: alert.message(tidings, at(number)) }
}

everywhere! {
    what_was_told_and_what_is_owed_comes_back_until_it_is_forgotten_or_paid,
}

async fn what_was_told_and_what_is_owed_comes_back_until_it_is_forgotten_or_paid(place: Place) {
    let store = place.store().await;
    let (grant, blind) = (alert(Some("ci")), alert(None));
    let messages = [
        owed(1, "am", &grant, Tidings::Firing),
        owed(2, "am", &blind, Tidings::Resolved),
        owed(7, "a \"sink\"", &grant, Tidings::Reminder),
    ];
    let batch: Vec<Write> = [Change::Told(grant.clone()), Change::Told(blind.clone())]
        .into_iter()
        .chain(messages.iter().cloned().map(Change::Owed))
        .map(Write::Notice)
        .collect();
    store.write(&batch).await.expect("writes");
    store.close().await;
    let store = place.store().await;
    let kept = store.load(NOW).await.expect("loads");
    assert_eq!((kept.alerts, kept.owed), (vec![blind.clone(), grant.clone()], messages.to_vec()));

    let over = Alert { firing: false, resolved_at: Some(at(30)), ..grant };
    let changes =
        [Change::Told(over.clone()), Change::Forgotten(blind.key.clone()), Change::Paid(vec![1, 7, 99])];
    store.write(&changes.map(Write::Notice)).await.expect("writes");
    let kept = store.load(NOW).await.expect("loads");
    assert_eq!((kept.alerts, kept.owed), (vec![over], vec![messages[1].clone()]));
    store.close().await;
}
