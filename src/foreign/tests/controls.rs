//! Goal: the rules and the inputs together find what they are there for.
//! Method: readers that are right but for one defect each, under the rules of their entry; the search must end.

use std::borrow::Cow;

use url::Url;

use super::super::{answers, limits, names, planted, walks, whoami};
use super::*;
use crate::access::{Access, DenyReason};
use crate::exchange::{Answer, Failure};
use crate::hub::answers::{RateLimit, rate_limit};
use crate::hub::canary::{self, Proof};
use crate::hub::classify::{CreateHeard, CreateRow, create_row};
use crate::hub::names::Signer;
use crate::hub::visit::Identity;
use crate::logging::foreign::scrub_by;
use crate::probe::foreign::{origin_by, secret_by};
use crate::secret::Secret;

type Outcome = Result<Answer, Failure>;

/// Entry whose corpus is bent, what is wrong, and the rules over the reader that has it.
type Defect = (&'static str, &'static str, fn(&[u8]));

/// A creation read rightly, but for answers of which `wrong` says something else.
fn creation(bytes: &[u8], wrong: impl Fn(&Answer) -> Option<(CreateRow, CreateHeard)>) {
    answers::create_by(bytes, |outcome: &Outcome, namespace, wanted, restrictions| {
        let right = || create_row(outcome, namespace, wanted, restrictions);
        outcome.as_ref().ok().and_then(&wrong).unwrap_or_else(right)
    });
}

fn denied() -> (CreateRow, CreateHeard) {
    (CreateRow::Refused, CreateHeard::Refused(Access::Denied(DenyReason::Scope)))
}

#[rustfmt::skip]
const DEFECTS: &[Defect] = &[
    ("create", "a failing Hub's error is a refusal", planted),
    ("create", "a page that says 403 is a refusal", |bytes| creation(bytes, |answer| (answer.status == 403).then(denied))),
    ("create", "a rate limit is a refusal", |bytes| {
        creation(bytes, |answer| (answer.status == 429 && answer.body.contains("quota")).then(denied));
    }),
    ("create", "any 201 is a grant", |bytes| creation(bytes, |answer| {
        let id = "6650f0c2a1b2c3d4e5f60718".to_owned();
        (answer.status == 201).then_some((CreateRow::Granted, CreateHeard::Created { id }))
    })),
    ("create", "a redirect is over", |bytes| creation(bytes, |answer| {
        let over = CreateHeard::Refused(Access::Undetermined(crate::access::UnknownReason::Unrecognized));
        (answer.status == 307).then_some((CreateRow::Odd, over))
    })),
    ("limits", "a wait may be as long as the Hub likes", |bytes| limits::limits_by(bytes, |answer| {
        let seconds = answer.retry_after.as_deref().and_then(|text| text.trim().parse().ok());
        RateLimit { retry_after: seconds.map(std::time::Duration::from_secs), ..rate_limit(answer) }
    })),
    ("names", "the kind is not part of what was signed", |bytes| names::names_by(bytes, |signer, repo, kind| {
        let kinds = crate::access::RepoType::ALL;
        kinds.iter().any(|any| signer.is_ours(repo, *any)) || signer.is_ours(repo, kind)
    })),
    ("names", "the last character of the MAC is not looked at", |bytes| names::names_by(bytes, |signer, repo, kind| {
        let mut tried = "abcdefghijklmnopqrstuvwxyz234567".chars().map(|last| {
            let mut repo = repo.clone();
            repo.name.pop();
            repo.name.push(last);
            repo
        });
        tried.any(|repo| Signer::is_ours(signer, &repo, kind))
    })),
    ("secret", "white space at the ends is stripped", |bytes| {
        secret_by(bytes, |bytes| Secret::from_bytes(bytes.trim_ascii()));
    }),
    ("origin", "a path is joined as a browser would", |bytes| {
        origin_by(bytes, |home, path| Url::parse(home).ok()?.join(path).ok());
    }),
    ("scrub", "only what is shaped like a token is looked for", |bytes| {
        scrub_by(bytes, |_, text| Cow::Owned(text.replace("hf_AAAABBBBCCCCDDDDEEEEFFFFGGGG", "[redacted]")));
    }),
    ("scrub", "secrets that lie over one another are taken one by one", |bytes| scrub_by(bytes, |scrub, text| {
        let text = text.replace("s3cr\"et\\with=signs", "[redacted]");
        Cow::Owned(scrub.clean(&text).into_owned())
    })),
    ("visit", "files are not looked at", |bytes| walks::visit_by(bytes, |canary, seen, signed, rules| {
        canary::prove(canary, &Identity { files: None, ..seen.clone() }, signed, rules)
    })),
    ("visit", "a repository without a bound id needs no signature", |bytes| {
        walks::visit_by(bytes, |canary, seen, _, rules| canary::prove(canary, seen, true, rules));
    }),
    ("visit", "whatever bears the name is ours", |bytes| walks::visit_by(bytes, |_, _, _, _| Proof::Ours)),
    ("whoami", "a reader counts bytes where there are characters", |bytes| {
        let text = String::from_utf8_lossy(bytes);
        assert!(text.find("\"role\": \"").is_none_or(|at| text.is_char_boundary((at + 13).min(text.len()))));
        whoami::whoami(bytes);
    }),
];

/// Inputs after which a defect counts as not found.
const PATIENCE: usize = 100_000;

#[test]
fn every_planted_defect_is_found() {
    let (mut run, mut missed) = (0, Vec::new());
    for (entry, defect, rules) in DEFECTS {
        let corpus = corpus(entry);
        let caught = (0..PATIENCE / PORTION).any(|portion| {
            inputs(&corpus, portion, PORTION).any(|input| {
                run += 1;
                holds(rules, &input).is_err()
            })
        });
        if !caught {
            missed.push(*defect);
        }
    }
    tally("fuzz/controls", DEFECTS.len(), DEFECTS.len(), 0, (DEFECTS.len(), DEFECTS.len() - missed.len()));
    println!("{run} inputs for {} defects", DEFECTS.len());
    assert!(missed.is_empty(), "not found: {missed:#?}");
}
