//! What a journal has of an answer, on its way to a terminal, as a function from bytes to assertions. Only tests and
//! fuzz targets have it; see `crate::foreign`.

use super::explain::{grounds_of, remembered};
use crate::access::{Access, Check, DenyReason, Expected, Permission, Question, RepoType, Target, TokenName};
use crate::app::Recorded;
use crate::explain::{Facts, explain};
use crate::moment::Timestamp;

/// The body of the answer and, after a line `---`, that of the declaration: whatever stands in them, an explanation
/// is made, and none of its lines steers a terminal.
pub fn recorded(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (answer, declared) = text.split_once("\n---\n").unwrap_or((&text, ""));
    let at = Timestamp(i64::from(u32::MAX) * 400);
    let check = Check::new(
        TokenName::new("ci"),
        Question::new(
            "acme".to_owned(),
            Permission::RepoCreate,
            Target::Create { kind: RepoType::Model, group: None },
            Expected::Denied,
        ),
    );
    for access in [Access::Allowed, Access::Denied(DenyReason::Scope)] {
        let recorded = Recorded {
            answer: Some((access, at, answer.to_owned())),
            declared: Some((declared.to_owned(), at)),
        };
        let observed = remembered(access, at, answer);
        let grounds = grounds_of(&recorded);
        let facts = Facts {
            check: &check,
            expected: true,
            endpoint: "https://huggingface.co",
            declared: grounds.declared.as_ref().map(|(declared, at)| (declared, *at)),
            known: &grounds.known,
            observed: Some(&observed),
            untried: "",
        };
        let told = explain(&facts);
        let steers =
            |c: char| c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}');
        assert!(told.lines().all(|line| !line.contains(steers)), "{told:?}");
        assert!(told.contains("May 'ci' "), "{told:?}");
    }
}
