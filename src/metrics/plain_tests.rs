//! The text of a snapshot against a writer that puts each line together with `format!`, over odd names.

use std::fmt::Write;
use std::sync::Arc;

use bytes::BytesMut;
use proptest::prelude::*;
use sha2::{Digest, Sha256};

use super::state::Cursor;
use crate::access::{CheckKey, Expected, Permission, Severity, TokenName, Verdict};
use crate::moment::Timestamp;
use crate::report::{CheckView, OrganizationView, Snapshot, TokenView};

/// A label's value, as the contract has it.
fn escaped(value: &str) -> String {
    let mut value = value.to_owned();
    if value.chars().count() > 200 {
        let digest = data_encoding::HEXLOWER.encode(&Sha256::digest(&value)[..4]);
        value = value.chars().take(191).chain(['~']).chain(digest.chars()).collect();
    }
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn flag(value: bool) -> String {
    u8::from(value).to_string()
}

fn seconds(at: Timestamp) -> String {
    at.seconds().to_string()
}

/// Labels and value of each series.
type Series = Vec<(String, Option<String>)>;

fn of_checks(snapshot: &Snapshot, kinds: bool, value: impl Fn(&CheckView) -> Option<String>) -> Series {
    let line = |check: &CheckView| {
        let key = &check.key;
        let [organization, token, target] = [&key.organization, key.token.as_str(), &key.target].map(escaped);
        let permission = key.permission.as_str();
        let kind = match check.expected {
            _ if !kinds => String::new(),
            Expected::Denied => format!(r#",kind="{}""#, Verdict::UnexpectedGrant),
            Expected::Allowed => format!(r#",kind="{}""#, Verdict::UnexpectedDenial),
        };
        let labels = format!(
            r#"{{organization="{organization}",token="{token}",permission="{permission}",target="{target}"{kind}}}"#
        );
        (labels, value(check))
    };
    snapshot.checks.iter().flat_map(|own| own.iter()).map(line).collect()
}

fn of_tokens(snapshot: &Snapshot, owners: bool, value: impl Fn(&TokenView) -> Option<String>) -> Series {
    let line = |view: &TokenView| {
        let [organization, token, owner] =
            [&view.organization, view.token.as_str(), &view.owner].map(escaped);
        let more = match owners {
            true => format!(r#",token_owner="{owner}",severity="{}""#, view.severity),
            false => String::new(),
        };
        (format!(r#"{{organization="{organization}",token="{token}"{more}}}"#), value(view))
    };
    snapshot.tokens.iter().map(line).collect()
}

fn of_organizations(snapshot: &Snapshot, value: impl Fn(&OrganizationView) -> Option<String>) -> Series {
    let line =
        |view: &OrganizationView| (format!(r#"{{organization="{}"}}"#, escaped(&view.name)), value(view));
    snapshot.organizations.iter().map(line).collect()
}

/// The lines of every family, in order, without their names.
fn families(all: &Snapshot) -> [(&'static str, Series); 14] {
    [
        ("check_expected_allowed", of_checks(all, false, |c| Some(flag(c.expected == Expected::Allowed)))),
        ("check_allowed", of_checks(all, false, |c| c.allowed.map(flag))),
        ("check_undetermined", of_checks(all, false, |c| c.undetermined.map(flag))),
        (
            "check_last_conclusive_timestamp_seconds",
            of_checks(all, false, |c| c.last_conclusive.map(seconds)),
        ),
        ("prediction_mismatch", of_checks(all, false, |c| c.prediction_mismatch.map(flag))),
        ("check_drift", of_checks(all, true, |c| Some(flag(c.drift)))),
        ("token_info", of_tokens(all, true, |_| Some(flag(true)))),
        ("token_usable", of_tokens(all, false, |t| t.usable.map(flag))),
        ("token_declared_drift", of_tokens(all, false, |t| t.declared_drift.map(flag))),
        ("token_expiry_timestamp_seconds", of_tokens(all, false, |t| t.expires_at.map(seconds))),
        (
            "token_unchecked_permissions",
            of_tokens(all, false, |t| t.unchecked_permissions.map(|n| n.to_string())),
        ),
        ("hub_quota_remaining_ratio", of_organizations(all, |o| o.quota_remaining.map(|n| n.to_string()))),
        ("canaries_unfinished", of_organizations(all, |o| Some(o.unfinished.to_string()))),
        ("hub_reachable", vec![(String::new(), all.hub_reachable.map(flag))]),
    ]
}

/// The whole text; what HELP says is taken from `like`, where it must stand.
fn plain(snapshot: &Snapshot, like: &str) -> String {
    let mut text = String::new();
    for (name, series) in families(snapshot) {
        let mut head = true;
        for (labels, value) in series {
            let Some(value) = value else { continue };
            if std::mem::take(&mut head) {
                let begin = format!("# HELP scopewatch_{name} ");
                let help = like.lines().find_map(|line| line.strip_prefix(&begin)).unwrap_or("missing");
                writeln!(text, "{begin}{help}\n# TYPE scopewatch_{name} gauge").expect("it is memory");
            }
            writeln!(text, "scopewatch_{name}{labels} {value}").expect("it is memory");
        }
    }
    text
}

/// The text in pieces of at least `limit` bytes.
fn written(snapshot: &Snapshot, limit: usize) -> String {
    let (mut cursor, mut text, mut more) = (Cursor::default(), vec![], true);
    while more {
        let mut piece = BytesMut::new();
        more = cursor.write(snapshot, &mut piece, limit);
        text.extend_from_slice(&piece);
    }
    String::from_utf8(text).expect("names are text, and so is what is made of them")
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        Just("acme".to_owned()),
        r#"[\\"\n]{1,4}"#,
        r#"[a-c\\"\n\r{}=, äß한😀]{0,40}"#,
        r#"[a"ä]{199,203}"#,
        ".{0,20}",
    ]
}

fn moment() -> impl Strategy<Value = Timestamp> {
    let round = (0..2_000_000_000_i64, 0..4_u32).prop_map(|(n, zeros)| n * 10_i64.pow(zeros));
    prop_oneof![round, -3000..3000_i64, -4_000_000_000_000..4_000_000_000_000_i64].prop_map(Timestamp)
}

fn expected() -> impl Strategy<Value = Expected> {
    prop_oneof![Just(Expected::Allowed), Just(Expected::Denied)]
}

fn check(names: [String; 2]) -> impl Strategy<Value = CheckView> {
    // Now and then another organization or token among those of one: whose checks stand together is no promise.
    let names = prop_oneof![9 => Just(names), 1 => [name(), name()]];
    let key = (names, prop::sample::select(Permission::ALL), name());
    let key = key.prop_map(|([organization, token], permission, target)| {
        CheckKey::new(organization, TokenName::new(&token), permission, target)
    });
    let flag = any::<Option<bool>>;
    (key, expected(), flag(), flag(), any::<bool>(), prop::option::of(moment()), flag()).prop_map(
        |(key, expected, allowed, undetermined, drift, last_conclusive, prediction_mismatch)| CheckView {
            key,
            expected,
            allowed,
            undetermined,
            drift,
            last_conclusive,
            prediction_mismatch,
        },
    )
}

fn token() -> impl Strategy<Value = TokenView> {
    let flag = any::<Option<bool>>;
    let who = (name(), name(), name(), prop::sample::select(Severity::ALL));
    (who, flag(), flag(), prop::option::of(moment()), any::<Option<u16>>()).prop_map(
        |((organization, token, owner, severity), usable, declared_drift, expires_at, unchecked)| TokenView {
            organization,
            token: TokenName::new(&token),
            owner,
            severity,
            usable,
            declared_drift,
            expires_at,
            unchecked_permissions: unchecked.map(u64::from),
        },
    )
}

fn snapshot() -> impl Strategy<Value = Snapshot> {
    let own = [name(), name()].prop_flat_map(|names| prop::collection::vec(check(names), 0..5));
    let checks = prop::collection::vec(own.prop_map(Arc::from), 0..4);
    let tokens = prop::collection::vec(token(), 0..3);
    let organization = (name(), prop::option::of(0.0..1.0_f64), 0..9_u64);
    let organization = organization.prop_map(|(name, quota_remaining, unfinished)| OrganizationView {
        name,
        quota_remaining,
        unfinished,
        oldest_unfinished: None,
        inventory: None,
    });
    (checks, tokens, prop::collection::vec(organization, 0..3), any::<Option<bool>>()).prop_map(
        |(checks, tokens, organizations, hub_reachable)| Snapshot {
            checks,
            tokens,
            organizations,
            hub_reachable,
            ..Snapshot::default()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn every_byte_is_as_written_plainly(snapshot in snapshot(), limit in prop_oneof![Just(1), 1..5000_usize, Just(1 << 20)]) {
        let text = written(&snapshot, limit);
        prop_assert_eq!(&text, &plain(&snapshot, &text));
    }
}
