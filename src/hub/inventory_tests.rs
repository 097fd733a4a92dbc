//! Walks over scripted lists: what is read, in which forms, how far, and what leaves a list unread.

use std::time::Duration;

use serde_json::json;

use super::*;
use crate::access::TokenName;

const TOKENS: &str = "/api/organizations/acme/settings/tokens";
const ACCOUNTS: &str = "/api/organizations/acme/service-accounts";
const ONE: &str = "0000000000000000000000a1";
const TWO: &str = "0000000000000000000000a2";

fn said(status: u16, body: &Value) -> Answer {
    let body = body.to_string();
    Answer { status, content_type: "application/json".into(), body, ..Answer::default() }
}

fn linked(body: &Value, next: &str) -> Answer {
    Answer { link: Some(format!("<https://hub{next}>; rel=\"next\"")), ..said(200, body) }
}

fn walk(answer: impl Fn(&str) -> Result<Answer, Failure>) -> (Listed, Vec<String>) {
    let mut walk = InventoryWalk::new("acme", Credential::Token(TokenName::new("janitor")));
    let mut asked = Vec::new();
    while let Some(request) = walk.next() {
        assert!(!request.verb.is_unsafe() && asked.len() < 300, "a walk only reads, and ends");
        asked.push(request.path.clone());
        let outcome = answer(&request.path);
        walk.hear(&Exchange { request, sent_at: Timestamp(0), elapsed: Duration::ZERO, outcome });
    }
    (walk.finish(), asked)
}

fn account(id: &str, user: &str) -> Value {
    json!({ "_id": id, "user": user, "name": "Shown", "email": "x", "createdAt": "2026-01-01T00:00:00Z" })
}

/// Two pages of tokens, one service account with one token.
fn sound(path: &str) -> Result<Answer, Failure> {
    let second = format!("{TOKENS}?cursor=2");
    let detail = format!("{ACCOUNTS}/{ONE}");
    Ok(if path == TOKENS {
        linked(&json!([{ "_id": ONE, "displayName": "ci", "owner": { "user": "bob", "_id": TWO } }]), &second)
    } else if path == second {
        said(
            200,
            &json!([{ "_id": TWO, "displayName": "cd", "owner": "eve", "status": "new word", "x": [1] }]),
        )
    } else if path == ACCOUNTS {
        said(200, &json!([account(ONE, "svc-ci")]))
    } else if path == detail {
        let mut body = account(ONE, "svc-ci");
        body["accessTokens"] = json!([{ "_id": TWO, "displayName": "API Token", "role": "fineGrained" }]);
        said(200, &body)
    } else {
        said(404, &json!({ "error": "not here" }))
    })
}

#[test]
fn all_pages_and_all_accounts_are_read() {
    let (listed, asked) = walk(sound);
    let detail = format!("{ACCOUNTS}/{ONE}");
    assert_eq!(asked, [TOKENS, &format!("{TOKENS}?cursor=2"), ACCOUNTS, &detail]);
    let tokens = listed.tokens.expect("read");
    let owners: Vec<_> = tokens.iter().map(|entry| entry.owner.as_deref()).collect();
    assert_eq!(owners, [Some("bob"), Some("eve")]);
    let accounts = listed.accounts.expect("read");
    assert_eq!(accounts.users, ["svc-ci"]);
    assert_eq!(accounts.tokens[0].owner.as_deref(), Some("svc-ci"));
    assert!(accounts.tokens[0].account && !tokens[0].account);
}

#[test]
fn an_owner_is_a_name_in_any_form_and_never_an_id() {
    let table = [
        (json!("bob"), Some("bob")),
        (json!({ "user": "bob", "name": "Bob B." }), Some("bob")),
        (json!({ "name": "bob" }), Some("bob")),
        (json!({ "_id": ONE }), None),
        (json!(ONE), None),
        (json!(""), None),
        (json!(7), None),
        (json!(null), None),
    ];
    for (owner, expected) in table {
        let entry = token_entry(&json!({ "_id": ONE, "owner": owner })).expect("an entry");
        assert_eq!(entry.owner.as_deref(), expected, "{owner}");
    }
}

#[test]
fn whatever_is_not_the_whole_list_is_no_list() {
    let failed = |path: &'static str, answer: Result<Answer, Failure>| {
        walk(move |asked| if asked == path { answer.clone() } else { sound(asked) })
    };
    let detail: &'static str = "/api/organizations/acme/service-accounts/0000000000000000000000a1";
    let second: &'static str = "/api/organizations/acme/settings/tokens?cursor=2";
    let html = Answer { content_type: "text/html".into(), ..said(200, &json!([])) };
    let answers = [
        (Ok(said(403, &json!({ "error": "no" }))), Unread::Status(403)),
        (Ok(said(429, &json!({ "error": "slow" }))), Unread::Status(429)),
        (Ok(said(500, &json!({}))), Unread::Status(500)),
        (Ok(said(200, &json!({ "error": "no" }))), Unread::Odd),
        (Ok(said(200, &json!([7]))), Unread::Odd),
        (Ok(said(200, &json!([{}]))), Unread::Odd),
        (Ok(html), Unread::Odd),
        (Err(Failure::Timeout), Unread::Failed(Failure::Timeout)),
        (Err(Failure::Oversized), Unread::Failed(Failure::Oversized)),
    ];
    for (answer, why) in answers {
        for path in [TOKENS, second] {
            assert_eq!(failed(path, answer.clone()).0.tokens, Err(why), "{path} {answer:?}");
        }
        for path in [ACCOUNTS, detail] {
            let (listed, _) = failed(path, answer.clone());
            assert_eq!(listed.accounts, Err(why), "{path} {answer:?}");
            assert_eq!(
                listed.tokens.map(|tokens| tokens.len()),
                Ok(2),
                "the other list is known all the same"
            );
        }
    }
}

#[test]
fn who_may_not_list_the_tokens_may_list_the_accounts_and_who_is_refused_is_not_asked_on() {
    for (status, goes_on) in [(403, true), (404, true), (402, true), (401, false), (429, false), (500, false)]
    {
        let (listed, asked) =
            walk(
                |path| {
                    if path == TOKENS { Ok(said(status, &json!({ "error": "no" }))) } else { sound(path) }
                },
            );
        assert_eq!((asked.len() > 1, listed.accounts.is_ok()), (goes_on, goes_on), "{status}");
    }
}

#[test]
fn a_list_without_end_and_another_list_s_page_are_not_followed() {
    let further = |at: usize| linked(&json!([]), &format!("{TOKENS}?cursor={at}"));
    let endless = std::cell::Cell::new(0);
    let (listed, asked) = walk(|path| {
        endless.set(endless.get() + 1);
        if path.starts_with(TOKENS) { Ok(further(endless.get())) } else { sound(path) }
    });
    assert_eq!(
        (listed.tokens, asked.iter().filter(|p| p.starts_with(TOKENS)).count()),
        (Err(Unread::Long), 100)
    );
    let (listed, _) = walk(|path| {
        if path == TOKENS { Ok(linked(&json!([]), "/api/models/acme/x/jwt?write=true")) } else { sound(path) }
    });
    assert_eq!(listed.tokens, Err(Unread::Odd));
    let (listed, _) =
        walk(|path| if path.starts_with(TOKENS) { Ok(linked(&json!([]), TOKENS)) } else { sound(path) });
    assert_eq!(listed.tokens, Err(Unread::Long), "a page that is its own next");
}

#[test]
fn accounts_are_asked_one_by_one_and_not_too_many() {
    for (count, read) in [(0, true), (50, true), (51, false)] {
        let ids: Vec<Value> = (0..count).map(|n| account(&format!("{n:024x}"), "svc")).collect();
        let list = Value::Array(ids);
        let (listed, asked) = walk(|path| match path {
            TOKENS => Ok(said(200, &json!([]))),
            ACCOUNTS => Ok(said(200, &list)),
            _ => Ok(said(200, &account(ONE, "svc"))),
        });
        assert_eq!(listed.accounts.is_ok(), read, "{count}");
        assert_eq!(asked.len(), if read { 2 + count } else { 2 });
    }
    // An id that could lead elsewhere is none, and the answer is of the account that was asked.
    for list in [json!([account("../../x", "svc")]), json!([account(ONE, "other")])] {
        let (listed, _) = walk(|path| match path {
            ACCOUNTS => Ok(said(200, &list)),
            path => sound(path),
        });
        assert_eq!(listed.accounts, Err(Unread::Odd), "{list}");
    }
}

#[test]
fn what_is_over_is_not_active_and_an_unheard_status_is() {
    let now = Timestamp::parse("2026-06-01T00:00:00Z").expect("a time");
    let entry = |status: Option<&str>, expires: Option<&str>| Entry {
        status: status.map(str::to_owned),
        expires_at: expires.map(str::to_owned),
        ..Entry::default()
    };
    let table = [
        (None, None, true),
        (Some("active"), None, true),
        (Some("pending"), None, true),
        (Some("levitating"), None, true),
        (Some("Revoked"), None, false),
        (Some("denied"), None, false),
        (Some("expired"), None, false),
        (Some("active"), Some("2026-05-31T23:59:59Z"), false),
        (Some("active"), Some("2026-06-01T00:00:01Z"), true),
        (Some("active"), Some("soon"), true),
    ];
    for (status, expires, active) in table {
        assert_eq!(entry(status, expires).is_active(now), active, "{status:?} {expires:?}");
    }
}

proptest::proptest! {
    #[test]
    fn whatever_is_answered_the_walk_ends_and_a_list_is_read_only_from_good_answers(
        status in 100u16..600, body in ".*", link in proptest::option::of(".*")
    ) {
        let (listed, _) = walk(|_| Ok(Answer {
            status, content_type: "application/json".into(), body: body.clone(), link: link.clone(), ..Answer::default()
        }));
        proptest::prop_assert!((200..300).contains(&status) || (listed.tokens.is_err() && listed.accounts.is_err()));
    }
}
