//! Every answer under `tests/answers/` is read as its file says, every row of every table has one, and none is
//! called recorded that was not.
//!
//! What is wrong with the files comes out as a list, so that tests can plant each defect and want it named.

mod file_tests;
mod reading_tests;

use std::collections::{BTreeMap, BTreeSet};

use crate::access::{DenyReason, Permission, UnknownReason};
use crate::exchange::Failure;
use crate::hub::answers::{RESTRICTIONS, TEXTS, envelope};
use crate::hub::probes::ProbeRow;
use file_tests::{Entry, Means, Tag, heard, parse, texts};
use reading_tests::{QUESTIONS, read, rows};

/// The answers that third parties recorded, with status and text, as they stand in the file. To call another
/// one recorded, show the record to whoever reviews this line.
const RECORDED: &[&str] = &[
    "absent/not-found.yaml",
    "anonymous/refused.yaml",
    "refusal/repo-guard.yaml",
    "repo.create/refused-namespace.yaml",
    "whoami/dead.yaml",
];

/// The rows of which no source shows an answer: we conclude them, or want them to hold against what nobody has
/// shown. A row leaves this list when its answer is found, and none joins it unnoticed.
const ON_BELIEF: &[&str] = &[
    "absent: private",
    "absent: unclear",
    "account: odd",
    "accounts: long",
    "accounts: odd",
    "accounts: status",
    "anonymous: unclear",
    "description: moved",
    "description: odd-success",
    "endpoint.infer: another",
    "endpoint.infer: odd-success",
    "endpoint.infer: refused",
    "endpoint.read: refused",
    "endpoint.write: refused",
    "envelope: foreign",
    "job.read: another",
    "job.read: refused",
    "job.write: another",
    "job.write: refused",
    "job.write: status",
    "limits: cap-by-window",
    "org.audit_log: refused",
    "org.billing: odd-success",
    "org.billing: refused",
    "org.members: refused",
    "org.network_security: odd-success",
    "org.network_security: refused",
    "org.repositories: odd-success",
    "org.repositories: refused",
    "org.resource_groups: refused",
    "org.service_accounts: refused",
    "refusal: restricted",
    "repo-group: untold",
    "repo.create-sentinel: odd-conflict",
    "repo.create: another",
    "repo.create: disabled",
    "repo.create: group-missing",
    "repo.create: not-found",
    "repo.create: odd-success",
    "repo.create: taken-by-clone",
    "repo.delete: odd-success",
    "repo.delete: redirected",
    "repo.delete: refused",
    "repo.read: another",
    "repo.read: odd-success",
    "repo.write: odd-success",
    "repo.write: refused",
    "status: odd",
    "tokens: long",
    "tokens: odd",
    "tokens: read",
    "tokens: status",
    "user.billing: another",
    "user.billing: refused",
    "user.webhooks: refused",
    "whoami: odd-success",
];

/// The reasons that no answer gives: they are found out before a request leaves.
const NEVER_HEARD: &[UnknownReason] = &[UnknownReason::IntentNotStored];

/// Where the prober looks for the request's id.
const REQUEST_IDS: [&str; 3] = ["X-Request-Id", "X-Amzn-Trace-Id", "X-Amz-Cf-Id"];

/// What is wrong with single files: their format, or that the daemon reads them otherwise.
async fn faults(texts: &[(String, String)]) -> (Vec<String>, Vec<Entry>) {
    let (mut faults, mut files) = (Vec::new(), Vec::new());
    for (path, text) in texts {
        match parse(path, text) {
            Err(fault) => faults.push(fault),
            Ok(file) => match rows(&file.question) {
                None => faults.push(format!("{path}: nobody asks {:?}", file.question)),
                Some(rows) if !rows.contains(&file.row.as_str()) => {
                    faults.push(format!("{path}: there is no row {:?}", file.row));
                }
                Some(_) => files.push((path.clone(), file)),
            },
        }
    }
    let entries = heard(files).await;
    for Entry { path, file, outcome } in &entries {
        match read(&file.question, outcome, file.asked.as_deref(), &file.restrictions) {
            None => faults.push(format!("{path}: the question cannot be asked of it")),
            Some((row, _)) if row != file.row => {
                faults.push(format!("{path}: the row that decides is {row}"))
            }
            Some((_, means)) if means != file.means => faults.push(format!("{path}: it means {means:?}")),
            Some(_) => {}
        }
    }
    (faults, entries)
}

/// What has no answer: first the rows, then what answers carry.
fn gaps(entries: &[&Entry]) -> Vec<String> {
    let any = |fits: &dyn Fn(&Entry) -> bool| entries.iter().any(|entry| fits(entry));
    let mut wanted = Vec::new();
    for question in QUESTIONS {
        for row in rows(question).expect("a question") {
            let there = any(&|entry| entry.file.question == *question && entry.file.row == row);
            wanted.push((there, format!("{question}: {row}")));
        }
    }
    for row in ProbeRow::ALL {
        let there =
            any(&|entry| entry.file.row == row.as_str() && !QUESTIONS.contains(&&*entry.file.question));
        wanted.push((there, format!("probes: {row}")));
    }
    for permission in Permission::ALL {
        for access in ["allowed", "denied"] {
            let there = any(&|entry| {
                entry.file.question == permission.as_str()
                    && entry.file.means.access.as_deref() == Some(access)
            });
            wanted.push((there, format!("{permission} {access}")));
        }
    }
    let means = |why: &str, denied: bool| {
        any(&|Entry { file, .. }| {
            let denies = file.means.access.as_deref() == Some("denied");
            file.means.reason.as_deref() == Some(why) && denies == denied
        })
    };
    wanted.extend(DenyReason::ALL.iter().map(|why| (means(why.as_str(), true), format!("denied: {why}"))));
    let heard = UnknownReason::ALL.iter().filter(|why| !NEVER_HEARD.contains(why));
    wanted.extend(heard.map(|why| (means(why.as_str(), false), format!("undetermined: {why}"))));
    wanted.extend(carried(entries));
    wanted.into_iter().filter(|(there, _)| !there).map(|(_, what)| format!("no answer for {what}")).collect()
}

/// What answers carry besides a row: a failure, a restriction, a text, a request id, the figures of a limit.
fn carried(entries: &[&Entry]) -> Vec<(bool, String)> {
    let any = |fits: &dyn Fn(&Entry) -> bool| entries.iter().any(|entry| fits(entry));
    let mut wanted = Vec::new();
    for failure in Failure::ALL {
        wanted.push((any(&|entry| entry.outcome == Err(*failure)), format!("failure: {failure}")));
    }
    for (word, _) in RESTRICTIONS {
        let there = any(&|entry| entry.file.row == "restricted" && entry.file.restrictions == [*word]);
        wanted.push((there, format!("the restriction {word}")));
    }
    for (row, fragment, _) in TEXTS {
        let there = any(&|Entry { file, outcome, .. }| {
            let text = outcome.as_ref().ok().and_then(envelope);
            file.row == row.as_str() && text.is_some_and(|text| text.contains(fragment))
        });
        wanted.push((there, format!("the text {fragment:?}")));
    }
    for name in REQUEST_IDS {
        let there = any(&|Entry { file, .. }| {
            let id = file.headers.get(name);
            id.is_some() && file.means.request_id.as_ref() == id
        });
        wanted.push((there, format!("a request id in {name}")));
    }
    for name in FIGURES {
        let there = any(&|entry| figure(&entry.file.means, name).is_some());
        wanted.push((there, format!("the limit's {name}")));
    }
    wanted
}

/// The figures of a limit, by their names on the wire.
const FIGURES: [&str; 4] = ["r", "t", "q", "Retry-After"];

fn figure(means: &Means, name: &str) -> Option<u64> {
    match name {
        "r" => means.remaining,
        "t" => means.reset,
        "q" => means.quota,
        _ => means.retry_after,
    }
}

/// The rows for which no source shows an answer, each with its question.
fn on_belief(entries: &[Entry]) -> Vec<String> {
    let mut confirmed = BTreeMap::new();
    for Entry { file, .. } in entries.iter().filter(|entry| entry.outcome.is_ok()) {
        let row = confirmed.entry(format!("{}: {}", file.question, file.row)).or_insert(false);
        *row |= file.confirmed == Some(true);
    }
    confirmed.into_iter().filter(|(_, confirmed)| !confirmed).map(|(row, _)| row).collect()
}

#[tokio::test]
async fn every_answer_is_read_as_its_file_says_and_every_row_has_one() {
    let (faults, entries) = faults(&texts()).await;
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    let gaps = gaps(&entries.iter().collect::<Vec<_>>());
    assert!(gaps.is_empty(), "{}", gaps.join("\n"));
    let recorded: Vec<&str> =
        entries.iter().filter(|e| e.file.recorded == Some(true)).map(|e| e.path.as_str()).collect();
    assert_eq!(recorded, RECORDED);
    assert_eq!(on_belief(&entries), ON_BELIEF);
}

#[test]
fn the_readme_names_every_question_and_every_tag() {
    let readme = include_str!("../../tests/answers/README.md");
    let tags = Tag::ALL.iter().map(|tag| tag.as_str());
    for word in QUESTIONS.iter().copied().chain(tags) {
        assert!(readme.contains(&format!("`{word}`")), "{word}");
    }
}

#[tokio::test]
async fn a_row_without_its_answers_is_named() {
    let (_, entries) = faults(&texts()).await;
    let without = |gone: &dyn Fn(&Entry) -> bool| {
        gaps(&entries.iter().filter(|entry| !gone(entry)).collect::<Vec<_>>())
    };
    let named = |gaps: Vec<String>, what: &str| {
        assert!(gaps.contains(&format!("no answer for {what}")), "{what} is not named in {gaps:?}");
    };
    let rows: BTreeSet<(&str, &str)> =
        entries.iter().map(|entry| (entry.file.question.as_str(), entry.file.row.as_str())).collect();
    for (question, row) in rows.into_iter().filter(|(question, _)| QUESTIONS.contains(question)) {
        named(
            without(&|entry| entry.file.question == question && entry.file.row == row),
            &format!("{question}: {row}"),
        );
    }
    for row in ProbeRow::ALL {
        named(without(&|entry| entry.file.row == row.as_str()), &format!("probes: {row}"));
    }
    for permission in Permission::ALL {
        for access in ["allowed", "denied"] {
            let gone = |entry: &Entry| {
                entry.file.question == permission.as_str()
                    && entry.file.means.access.as_deref() == Some(access)
            };
            named(without(&gone), &format!("{permission} {access}"));
        }
    }
    for failure in Failure::ALL {
        named(without(&|entry| entry.outcome == Err(*failure)), &format!("failure: {failure}"));
    }
    for (word, _) in RESTRICTIONS {
        named(without(&|entry| entry.file.restrictions == [*word]), &format!("the restriction {word}"));
    }
    for (_, fragment, _) in TEXTS {
        let gone = |entry: &Entry| entry.file.body.as_ref().is_some_and(|body| body.contains(fragment));
        named(without(&gone), &format!("the text {fragment:?}"));
    }
    for name in REQUEST_IDS {
        let gone = |entry: &Entry| entry.file.headers.contains_key(name);
        named(without(&gone), &format!("a request id in {name}"));
    }
    for name in FIGURES {
        named(without(&|entry| figure(&entry.file.means, name).is_some()), &format!("the limit's {name}"));
    }
}

#[tokio::test]
async fn every_planted_defect_is_named() {
    let good = texts();
    let planted: &[(&str, &str, &str, &str)] = &[
        ("look/private", "row: private", "row: private\ncolour: red", "unknown field"),
        ("look/private", "row: private", "row: privy", "question/row"),
        ("look/private", "question: look", "question: gaze", "question/row"),
        ("look/private", "tag: client", "tag: hearsay", "the tag of the source is unknown"),
        ("look/private", "recorded: false", "recorded: true", "only a third party's record is recorded"),
        ("look/private", "recorded: false\n", "", "all of source"),
        ("look/private", "status: 200\n", "", "a status and a body"),
        ("look/private", "confirmed: true", "confirmed: false", "the word UNCONFIRMED"),
        ("look/unclear-other", "confirmed: false", "confirmed: true", "what is inferred is not confirmed"),
        ("look/private", "status: 200", "status: 500", "the row that decides is unclear"),
        ("look/private", "acme/private", "acme/other", "the row that decides is unclear"),
        ("look/private", "reading: sound", "reading: void", "it means"),
        ("repo.create/billing", "reason: billing", "reason: scope", "it means"),
        ("repo.create/lock", "reading: nothing-created", "reading: may-exist", "it means"),
        ("repo.create/unsent", "failure: unsent", "failure: tired", "a known name"),
        (
            "repo.create/unsent",
            "failure: unsent",
            "failure: unsent\nstatus: 200",
            "no status, headers or body",
        ),
        ("refusal/restricted-mfa", "restrictions: [mfa]\n", "", "the row that decides is unheard"),
        (
            "repo.read/hidden",
            "X-Error-Code: RepoNotFound",
            "X-Error-Code: EntryNotFound",
            "the row that decides is status",
        ),
        ("limits/window", "r=0", "r=1", "the row that decides is cap-by-window"),
        (
            "repo.create/refused-namespace",
            "asked: mcp-tool-shop-org\n",
            "",
            "the row that decides is another",
        ),
        (
            "repo.read/refused-gated",
            "asked: acme/gated",
            "asked: acme/other",
            "the row that decides is another",
        ),
        ("envelope/errors", "X-Amz-Cf-Id: cf-1", "X-Amz-Id: cf-1", "it means"),
    ];
    for (name, from, to, fault) in planted {
        let path = format!("{name}.yaml");
        let (_, text) = good.iter().find(|(known, _)| *known == path).expect("a file of this name");
        assert!(text.contains(from), "{path}: {from}");
        let (faults, _) = faults(&[(path, text.replacen(from, to, 1))]).await;
        assert!(faults.len() == 1 && faults[0].contains(fault), "{name}: {to}\n{faults:?}");
    }
    let (_, text) = good.iter().find(|(path, _)| path == "repo.read/granted.yaml").expect("a file");
    for (path, to, fault) in [
        ("repo.see/granted.yaml", "question: repo.see", "nobody asks"),
        ("look/granted.yaml", "question: look", "there is no row"),
        ("repo.create/granted.yaml", "question: repo.create", "the row that decides is odd-success"),
    ] {
        let text = text.replace("question: repo.read", to);
        let (faults, _) = faults(&[(path.to_owned(), text)]).await;
        assert!(faults.len() == 1 && faults[0].contains(fault), "{path}\n{faults:?}");
    }
}
