//! Which entry is whose, and which token is missed: tables, and one property over both.

use super::*;
use crate::hub::inventory::{Accounts, Unread};
use crate::hub::whoami::Membership;

const NOW: Timestamp = Timestamp(1_795_305_500_000);

fn entry(label: &str, owner: &str, created: &str) -> Entry {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Entry {
        id: some(created),
        label: some(label),
        owner: some(owner),
        created_at: some(created),
        ..Entry::default()
    }
}

fn token(label: &str, user: &str, created: &str) -> Declared {
    let place = Membership {
        name: "acme".into(),
        id: Some("o1".into()),
        role: Some("write".into()),
        plan: None,
        restrictions: vec![],
        groups: vec![],
    };
    Declared {
        user: user.into(),
        label: Some(label.into()),
        created_at: Some(created.into()),
        role: Some("write".into()),
        organizations: vec![place],
        ..Declared::default()
    }
}

const JAN: &str = "2026-01-01T00:00:00.000Z";
const FEB: &str = "2026-02-01T00:00:00.000Z";
const MAR: &str = "2026-03-01T00:00:00.000Z";

fn unmanaged(entries: &[Entry], known: &[Declared]) -> Vec<String> {
    let known: Vec<&Declared> = known.iter().collect();
    let found = Index::new(entries).unmanaged(&known, NOW);
    found.iter().map(|e| e.created_at.clone().unwrap_or_default()).collect()
}

#[test]
fn name_and_user_decide_and_the_date_only_between_several() {
    let one = [entry("ci", "bob", JAN)];
    let none: [&str; 0] = [];
    assert_eq!(unmanaged(&one, &[token("ci", "bob", JAN)]), none);
    assert_eq!(unmanaged(&one, &[token("ci", "Bob", JAN)]), none, "users differ in more than case");
    assert_eq!(unmanaged(&one, &[token("ci", "bob", FEB)]), none, "of one alone the date is not asked");
    assert_eq!(unmanaged(&one, &[token("CI", "bob", JAN)]), [JAN]);
    assert_eq!(unmanaged(&one, &[token("ci", "eve", JAN)]), [JAN]);
    assert_eq!(unmanaged(&one, &[]), [JAN]);
    let several = [entry("ci", "bob", JAN), entry("ci", "bob", FEB), entry("ci", "bob", MAR)];
    assert_eq!(unmanaged(&several, &[token("ci", "bob", "2026-02-01T01:00:00+01:00")]), [JAN, MAR]);
    assert_eq!(unmanaged(&several, &[token("ci", "bob", FEB), token("ci", "bob", MAR)]), [JAN]);
    assert_eq!(unmanaged(&several, &[token("ci", "bob", "unread")]), none, "nobody is accused by a guess");
}

#[test]
fn what_an_entry_does_not_show_is_not_held_against_it() {
    let known = [token("ci", "bob", JAN)];
    assert!(unmanaged(&[entry("ci", "", FEB)], &known).is_empty());
    assert!(unmanaged(&[entry("", "bob", FEB)], &known).is_empty());
    assert_eq!(unmanaged(&[entry("", "eve", FEB)], &known), [FEB]);
    assert_eq!(unmanaged(&[entry("ci", "bob", JAN), entry("", "bob", FEB)], &known), [FEB]);
    let oauth = Declared { label: None, ..token("ci", "bob", JAN) };
    assert_eq!(unmanaged(&[entry("ci", "bob", JAN)], &[oauth]), [JAN], "what has no name is none of them");
    let revoked = Entry { status: Some("revoked".into()), ..entry("old", "bob", JAN) };
    assert!(unmanaged(&[revoked], &known).is_empty());
}

fn listed(tokens: &[Entry], accounts: Result<(&[&str], &[Entry]), Unread>) -> Listed {
    let accounts = accounts.map(|(users, tokens)| Accounts {
        users: users.iter().map(|user| (*user).to_owned()).collect(),
        tokens: tokens.to_vec(),
    });
    Listed { tokens: Ok(tokens.to_vec()), accounts }
}

type Edit = fn(&mut Declared);

#[test]
fn only_what_must_stand_there_is_missed() {
    let refused = Err(Unread::Status(403));
    let nobody = listed(&[], refused);
    let is = |listed: &Listed, declared: &Declared| Lists::new(listed).miss(declared, "acme") == Some(true);
    let mine = token("ci", "bob", JAN);
    assert!(is(&nobody, &mine));
    assert!(!is(&listed(&[entry("ci", "bob", JAN)], refused), &mine));
    // A denied one stands there, too.
    let denied = Entry { status: Some("denied".into()), ..entry("ci", "bob", JAN) };
    assert!(!is(&listed(&[denied], refused), &mine));
    assert!(!is(&Listed { tokens: Err(Unread::Odd), accounts: Ok(Accounts::default()) }, &mine));
    let edits: [(Edit, bool); 9] = [
        (|d| d.label = None, false),
        (|d| d.organizations.clear(), false),
        (|d| d.organizations[0].restrictions = vec!["token-revoked".into()], false),
        (|d| d.organizations[0].restrictions = vec!["sso".into()], true),
        (|d| d.role = Some("fineGrained".into()), false),
        (|d| (d.role, d.scopes) = (Some("fineGrained".into()), vec![scope("org", Some("acme"), None)]), true),
        (
            |d| (d.role, d.scopes) = (Some("fineGrained".into()), vec![scope("model", Some("acme/x"), None)]),
            true,
        ),
        (
            |d| (d.role, d.scopes) = (Some("fineGrained".into()), vec![scope("user", Some("bob"), None)]),
            false,
        ),
        (|d| d.role = None, false),
    ];
    for (at, (edit, missed)) in edits.into_iter().enumerate() {
        let mut declared = mine.clone();
        edit(&mut declared);
        assert_eq!(is(&nobody, &declared), missed, "{at}");
    }
}

fn scope(kind: &str, name: Option<&str>, id: Option<&str>) -> Scope {
    let own = |text: Option<&str>| text.map(str::to_owned);
    Scope { kind: kind.into(), name: own(name), id: own(id), permissions: vec!["repo.write".into()] }
}

#[test]
fn a_service_account_s_token_stands_among_its_own() {
    let mut mine = token("API Token", "svc-ci", JAN);
    (mine.role, mine.scopes) = (Some("fineGrained".into()), vec![scope("org", None, Some("o1"))]);
    mine.organizations[0].role = None;
    let miss = |accounts| Lists::new(&listed(&[], accounts)).miss(&mine, "acme");
    let entry = [Entry { account: true, ..entry("API Token", "svc-ci", JAN) }];
    assert_eq!(miss(Err(Unread::Status(403))), None, "nobody knows what may not be read");
    assert_eq!(miss(Ok((&["svc-ci"], &entry))), Some(false));
    assert_eq!(miss(Ok((&["svc-ci"], &[]))), Some(true));
    assert_eq!(miss(Ok((&["other"], &[]))), Some(false), "neither member nor service account");
    let unread = Listed { tokens: Err(Unread::Odd), accounts: Ok(Accounts::default()) };
    assert_eq!(Lists::new(&unread).miss(&mine, "acme"), None);
}

proptest::proptest! {
    /// A token for every entry leaves none unmanaged; without one that no other resembles, exactly its entry is
    /// unmanaged, and where its entry is gone instead, it alone is missed.
    #[test]
    fn what_is_on_both_sides_is_on_neither_list(
        pairs in proptest::collection::btree_set(("[ab]", "[xy]"), 1..4), which in 0usize..4
    ) {
        let pairs: Vec<_> = pairs.into_iter().collect();
        let entries: Vec<Entry> = pairs.iter().map(|(label, user)| entry(label, user, JAN)).collect();
        let known: Vec<Declared> = pairs.iter().map(|(label, user)| token(label, user, JAN)).collect();
        proptest::prop_assert!(unmanaged(&entries, &known).is_empty());
        let at = which % pairs.len();
        let mut fewer = known.clone();
        fewer.remove(at);
        proptest::prop_assert_eq!(unmanaged(&entries, &fewer).len(), 1);
        let mut gone = entries.clone();
        gone.remove(at);
        let gone = listed(&gone, Ok((&[], &[])));
        let missed: Vec<usize> = (0..known.len()).filter(|n| Lists::new(&gone).miss(&known[*n], "acme") == Some(true)).collect();
        proptest::prop_assert_eq!(missed, vec![at]);
    }
}
