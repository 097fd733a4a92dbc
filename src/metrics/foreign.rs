//! Names of people and of the Hub on the page of metrics, as a function from bytes to assertions. Only tests and
//! fuzz targets have it; see `crate::foreign`.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::BytesMut;

use super::state::{Cursor, write_fresh};
use crate::access::{CheckKey, Expected, Permission, Severity, TokenName};
use crate::moment::Timestamp;
use crate::report::{CheckView, OrganizationView, Snapshot, TokenView};

/// Each line a name: of organizations, tokens, owners and targets. What is written is read back by the rules of
/// Prometheus' text format, and every name stands in it once as it is, or cut.
pub fn labels(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    // U+0001 stands for a line end, which no line can hold.
    let names: BTreeSet<String> = text.split('\n').take(8).map(|line| line.replace('\u{1}', "\n")).collect();
    let names: Vec<&String> = names.iter().collect();
    let snapshot = snapshot(&names);
    let mut page = BytesMut::new();
    let mut cursor = Cursor::default();
    // In as many pieces as can be.
    let mut more = true;
    while more {
        let mut piece = BytesMut::new();
        more = cursor.write(&snapshot, &mut piece, 1);
        page.extend_from_slice(&piece);
    }
    write_fresh(&snapshot, Some(snapshot.at), snapshot.at, &mut page);
    hold_page(&String::from_utf8_lossy(&page), &names);
}

fn hold_page(page: &str, names: &[&String]) {
    let mut series = BTreeSet::new();
    let mut shown = BTreeSet::new();
    for line in page.split('\n').filter(|line| !line.is_empty() && !line.starts_with("# ")) {
        let read = sample(line);
        assert!(read.is_some(), "not in the text format: {line:?}");
        let Some((name, labels, value)) = read else { continue };
        assert!(name.starts_with("scopewatch_") && value.parse::<f64>().is_ok(), "{line:?}");
        if name == "scopewatch_token_info" {
            shown.extend(labels.iter().filter(|(key, _)| *key == "token").map(|(_, value)| value.clone()));
        }
        let keys: BTreeSet<&str> = labels.iter().map(|(key, _)| *key).collect();
        assert_eq!(keys.len(), labels.len(), "a label that stands twice: {line:?}");
        assert!(labels.iter().all(|(_, value)| value.chars().count() <= 200), "{line:?}");
        assert!(series.insert((name, labels)), "a series that stands twice: {line:?}");
    }
    assert_eq!(shown.len(), names.len(), "names that became one, or none");
    let whole = names.iter().filter(|name| name.chars().count() <= 200);
    assert!(whole.clone().all(|name| shown.contains(*name)), "not read back: {shown:?}");
}

type Sample<'a> = (&'a str, Vec<(&'a str, String)>, &'a str);

/// `name{key="value",…} number`, with `\\`, `\"` and `\n` in values.
fn sample(line: &str) -> Option<Sample<'_>> {
    let at = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(at);
    let mut labels = Vec::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            rest = rest.strip_prefix(',').unwrap_or(rest);
            let (key, quoted) = rest.split_once("=\"")?;
            let (value, behind) = unquoted(quoted)?;
            let plain = !key.is_empty() && key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
            labels.push(plain.then_some((key, value))?);
            rest = behind;
        }
        rest = rest.strip_prefix('}')?;
    }
    Some((name, labels, rest.strip_prefix(' ')?))
}

fn unquoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.chars();
    loop {
        match chars.next()? {
            '"' => return Some((value, chars.as_str())),
            '\\' => value.push(match chars.next()? {
                'n' => '\n',
                c @ ('\\' | '"') => c,
                _ => return None,
            }),
            '\n' => return None,
            c => value.push(c),
        }
    }
}

fn snapshot(names: &[&String]) -> Snapshot {
    let at = Timestamp(1_795_000_000_000);
    let token = |name: &&String| TokenView {
        organization: (*name).clone(),
        token: TokenName::new(name),
        owner: (*name).clone(),
        severity: Severity::Critical,
        usable: Some(true),
        declared_drift: None,
        expires_at: Some(at),
        unchecked_permissions: Some(3),
    };
    let check = |name: &&String| CheckView {
        key: CheckKey::new((*name).clone(), TokenName::new(name), Permission::RepoRead, (*name).clone()),
        expected: Expected::Denied,
        allowed: Some(true),
        undetermined: Some(false),
        drift: true,
        last_conclusive: Some(at),
        prediction_mismatch: None,
    };
    let organization = |name: &&String| OrganizationView {
        name: (*name).clone(),
        quota_remaining: Some(0.5),
        unfinished: 1,
        oldest_unfinished: Some(at),
        inventory: None,
    };
    Snapshot {
        at,
        checks: names.iter().map(|name| Arc::from([check(name)])).collect(),
        tokens: names.iter().map(token).collect(),
        organizations: names.iter().map(organization).collect(),
        hub_reachable: Some(true),
        ..Snapshot::default()
    }
}
