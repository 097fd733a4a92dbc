//! Whatever is answered: it is refused in a sentence, or the config that is written is valid and says just that.

use std::collections::VecDeque;
use std::io;

use proptest::prelude::*;

use super::answers::*;
use super::ask::{Asker, Line, Who, gather};
use super::*;
use crate::access::{Expected, Method, Permission, RepoType, Target};
use crate::config::StorePlace;

/// Answers that would break a config, or mean something else in it.
#[rustfmt::skip]
const HOSTILE: &[&str] = &[
    "", " ", "-", "--", "~", "null", "true", "no", "ON", "1", "0x10", "1e3", ".inf", "inf", "nan", "none", "y", "on: off", "a: b", "a #b", "#a",
    "- a", "? a", "[a]", "{a: b}", "&a", "*a", "!a", "|", ">", "%a", "@a", "`a`", "'", "\"", "\\", "a'b\"c\\d", "''",
    "}, { name: x", "acme\n  janitor: evil", "a\r\nb", "a\tb", "a\u{0}b", "a\u{1b}[31mb", "\u{7f}", "\u{85}", "\u{a0}",
    "\u{2028}", "\u{feff}a", "\u{202e}a", "ä", "日本", "🦀", "---", "...", "a/../b", "../x", "/", "//", "a/b/c",
    "hf_TESTtestTESTtestTESTtestTESTtest00", "hf_short", "env:", "env:A B", "env:A", "file:", "file:x", "x=y", "=",
    "postgres://u:p@h/d", "postgres://u@h/d", "http://x", "sqlite://", "sqlite://:memory:", "$(id)", "${HOME}", "<<",
];

/// All answers with this text in every place of free text, and what was refused.
fn everywhere(text: &str) -> (Answers, Vec<String>) {
    let mut all = trial();
    let mut refused = Vec::new();
    let mut take = |wrong: Result<(), String>| refused.extend(wrong.err());
    let read = |text: &str| never(text).map_or(Ok(()), Err);
    take(read(text).and_then(|()| organization(text)).map(|name| all.organization = name));
    take(read(text).and_then(|()| token(text, &[])).map(|name| all.tokens[0].token.name = name));
    take(read(text).and_then(|()| place(text, &[])).map(|place| all.tokens[0].token.place = place));
    take(read(text).and_then(|()| group(text)).map(|group| all.group = group));
    take(read(text).and_then(|()| store(text)).map(|store| all.store = store));
    take(read(text).and_then(|()| endpoint(text)).map(|endpoint| all.endpoint = endpoint));
    take(read(text).and_then(|()| repos(text)).map(|repos| all.tokens[0].writes = repos));
    (all, refused)
}

fn comes_back(answers: &Answers) {
    let config = parsed(answers).unwrap_or_else(|wrong| panic!("{wrong}\n{}", text::render(answers))).config;
    assert_eq!(config.organizations[0].name, answers.organization);
    assert_eq!(config.organizations.len(), 1);
    let token = config.tokens.last().expect("a token");
    let answered = &answers.tokens[answers.tokens.len() - 1];
    assert_eq!((token.name.as_str(), &token.secret), (&*answered.token.name, &answered.token.place));
    assert_eq!(config.tokens.len(), answers.tokens.len() + usize::from(answers.janitor.is_some()));
    let janitor = config.organizations[0].janitor.as_ref().map(|name| name.as_str().to_owned());
    assert_eq!(janitor, answers.janitor.as_ref().map(|named| named.name.clone()));
    let groups = token.checks.iter().filter_map(|check| match &check.target {
        Target::Create { group, .. } => group.clone(),
        _ => None,
    });
    let groups: Vec<_> = groups.collect();
    let wanted = answers.group.clone().filter(|_| answers.creating == Creating::Canaries);
    assert_eq!(groups, wanted.into_iter().collect::<Vec<_>>());
    let written = token.checks.iter().filter(|check| check.permission == Permission::RepoWrite);
    let written: Vec<_> = written.map(|check| (check.target.clone(), check.expected)).collect();
    let target = |repo: &Repo| Target::Repo { kind: repo.kind, repo: repo.name.clone() };
    let wanted: Vec<_> = (answered.writes.iter().map(|repo| (target(repo), Expected::Allowed)))
        .chain(answered.never_writes.iter().map(|repo| (target(repo), Expected::Denied)))
        .collect();
    assert_eq!(written, wanted);
    match &config.store {
        StorePlace::Sqlite(path) => assert_eq!(format!("sqlite://{}", path.display()), answers.store),
        StorePlace::PostgresUrl(url) => assert_eq!(*url, answers.store),
        StorePlace::Postgres(place) => panic!("{place}"),
    }
}

#[test]
fn a_hostile_answer_is_refused_in_a_sentence_or_stays_one_value() {
    for text in HOSTILE {
        let (answers, refused) = everywhere(text);
        comes_back(&answers);
        for wrong in &refused {
            assert!(wrong.len() > 10 && !wrong.contains(char::is_control), "{text:?}: {wrong:?}");
        }
        if never(text).is_some() {
            assert_eq!(refused.len(), 7, "{text:?}");
        }
    }
    let (answers, refused) = everywhere("hf_TESTtestTESTtestTESTtestTESTtest00");
    assert!(!text::render(&answers).contains("AAAA") && !refused.concat().contains("AAAA"));
}

#[test]
fn odd_names_are_names() {
    for text in
        ["it's: \"quoted\" #1", "{a: b}", "\\", "- x", "*a", "日本 🦀", "null", "1e3", "a\u{2028}b", "$(id)"]
    {
        let (answers, refused) = everywhere(text);
        assert_eq!(answers.tokens[0].token.name, text, "{refused:?}");
        assert_eq!(answers.group.as_deref(), Some(text), "{refused:?}");
        comes_back(&answers);
    }
}

#[test]
fn what_a_question_refuses() {
    let one = [Named { name: "a".to_owned(), place: Place::File("/a".into()) }];
    let refused: &[(&str, Option<String>)] = &[
        ("already", token("a", &one).err()),
        ("place of its own", place("/a", &one).err()),
        ("names no file", place("/a/", &[]).err()),
        ("environment variable", place("env:A-B", &[]).err()),
        ("no repository", repo("acme").err()),
        ("no repository", repo("branch:acme/x").err()),
        ("both", other_repos("acme/x", &[repo("acme/x").expect("fine")]).err()),
        ("is not in acme", sentinel("other/x", "acme").err()),
        ("password", store("postgres://u:p@h/d").err()),
        ("plain http", endpoint("http://hub.example").err()),
        ("yes or no", yes("maybe").err()),
    ];
    for (word, wrong) in refused {
        assert!(wrong.as_ref().is_some_and(|wrong| wrong.contains(word)), "{word}: {wrong:?}");
    }
}

fn kinds() -> impl Strategy<Value = RepoType> {
    prop_oneof![Just(RepoType::Model), Just(RepoType::Dataset), Just(RepoType::Space)]
}

fn any_repo() -> impl Strategy<Value = Repo> {
    (kinds(), "[A-Za-z0-9_-][A-Za-z0-9._-]{0,8}/[A-Za-z0-9_-][A-Za-z0-9._-]{0,8}")
        .prop_map(|(kind, name)| Repo { kind, name: name.parse().expect("a name") })
}

fn free_text() -> impl Strategy<Value = String> {
    let odd = prop_oneof![
        any::<char>(),
        prop::sample::select(" :#'\"\\-?[]{},&*!|>%@`~=/.\n\t".chars().collect::<Vec<_>>())
    ];
    prop_oneof![prop::collection::vec(odd, 0..12).prop_map(String::from_iter), "[a-z-]{1,12}"]
}

proptest! {
    #[test]
    fn every_answer_comes_back_as_it_was_given(
        texts in prop::collection::vec(free_text(), 5),
        writes in prop::collection::vec(any_repo(), 0..3),
        never_writes in prop::collection::vec(any_repo(), 0..3),
        creates: bool,
        how in 0..3,
        kind in kinds(),
    ) {
        let mut all = trial();
        let fine = |text: &String| never(text).is_none();
        let [name, watched, janitor_name, file, grouped] = [0, 1, 2, 3, 4].map(|at: usize| texts[at].clone());
        if fine(&name) && let Ok(name) = organization(&name) {
            all.organization = name;
        }
        let at = file.trim().to_owned();
        if fine(&janitor_name) && let Ok(name) = token(&janitor_name, &[]) {
            all.janitor = Some(Named { name, place: Place::Env("OTHER".into()) });
        }
        let taken: Vec<Named> = all.janitor.iter().cloned().collect();
        if fine(&watched) && let Ok(name) = token(&watched, &taken) {
            all.tokens[0].token.name = name;
        }
        if fine(&at) && let Ok(place) = place(&at, &taken) {
            all.tokens[0].token.place = place;
        }
        if fine(&grouped) && let Ok(group) = group(&grouped) {
            all.group = group;
        }
        prop_assume!(all.janitor.as_ref().is_none_or(|janitor| janitor.name != all.tokens[0].token.name));
        let written = |repos: &[Repo]| repos.iter().map(|repo| format!("{}:{}", repo.kind, repo.name)).collect::<Vec<_>>().join(" ");
        all.tokens[0].writes = repos(&written(&writes)).expect("repositories");
        all.tokens[0].never_writes = other_repos(&written(&never_writes), &all.tokens[0].writes).unwrap_or_default();
        all.tokens[0].creates = creates;
        all.creating = match how {
            0 => Creating::Canaries,
            1 => Creating::Untried,
            _ => sentinel(&format!("{kind}:{}/taken", all.organization), &all.organization).expect("a sentinel"),
        };
        comes_back(&all);
        let config = parsed(&all).expect("valid").config;
        let created: Vec<_> = config.tokens.iter().flat_map(|token| &token.checks)
            .filter(|check| check.permission == Permission::RepoCreate).collect();
        let expected = if creates { Expected::Allowed } else { Expected::Denied };
        prop_assert!(created.iter().all(|check| check.expected == expected));
        prop_assert!(created.iter().all(|check| matches!(check.method, Method::Canary) == (how == 0)));
    }
}

/// What the program says and comes to, given these lines; `None` as a line is the end.
fn told(args: &InitArgs, who: Who, answers: &[&str]) -> (Result<Answers, Fault>, String, usize) {
    let mut left: VecDeque<String> = answers.iter().map(|&line| line.to_owned()).collect();
    let mut out = Vec::new();
    let mut lines = || left.pop_front().map_or(Line::End, Line::Answer);
    let result = gather(args, &mut Asker { who, lines: &mut lines, out: &mut out });
    (result, String::from_utf8(out).expect("text"), left.len())
}

fn plain() -> InitArgs {
    InitArgs { secrets: "/run/secrets".to_owned(), endpoint: HUB.to_owned(), ..InitArgs::default() }
}

#[test]
fn a_person_is_asked_again_until_the_answer_will_do() {
    let lines = [
        "a b",
        "",
        "acme",
        "",
        "",
        "",
        "ci",
        "/run/secrets/janitor",
        "env:CI",
        "perhaps",
        "n",
        "acme",
        "acme/m, dataset:acme/d",
        "acme/m",
        "acme/p",
        "-",
        "",
        "",
    ];
    let (answers, said, left) = told(&plain(), Who::Person, &lines);
    let answers = answers.expect("answers");
    assert_eq!(left, 0, "{said}");
    assert_eq!(answers.organization, "acme");
    assert_eq!(answers.tokens.len(), 1);
    let token = &answers.tokens[0];
    assert_eq!((token.token.name.as_str(), &token.token.place), ("ci", &Place::Env("CI".to_owned())));
    assert_eq!(
        token.writes.iter().map(|repo| repo.name.to_string()).collect::<Vec<_>>(),
        ["acme/m", "acme/d"]
    );
    assert_eq!(token.never_writes.len(), 1);
    for refused in [
        "is not the name of an organization",
        "an answer is needed",
        "lies there already",
        "yes or no",
        "no repository",
        "both",
    ] {
        assert!(said.contains(refused), "{refused} is not in:\n{said}");
    }
    comes_back(&answers);
}

#[test]
fn who_goes_away_leaves_nothing_and_a_pipe_that_ends_leaves_the_defaults() {
    let (answers, ..) = told(&plain(), Who::Person, &["acme", "-"]);
    assert!(matches!(answers, Err(Fault::Interrupted(_))), "{answers:?}");
    let (answers, said, _) = told(&plain(), Who::Pipe, &["acme", "-"]);
    let answers = answers.expect("answers");
    assert_eq!((answers.janitor, answers.tokens[0].token.name.as_str()), (None, "ci-bot"));
    assert_eq!(said, "", "nobody reads questions");
    let (answers, ..) = told(&plain(), Who::Pipe, &["a b", "acme"]);
    assert!(
        matches!(&answers, Err(Fault::Usage(why)) if why.contains("name of an organization")),
        "{answers:?}"
    );
    for who in [Who::Nobody, Who::Pipe] {
        let (answers, ..) = told(&plain(), who, &[]);
        assert!(matches!(&answers, Err(Fault::Usage(why)) if why.contains("--org")), "{answers:?}");
    }
}

#[test]
fn every_question_has_its_flag() {
    let text = |text: &str| Some(text.to_owned());
    let args = InitArgs {
        org: text("acme"),
        token: vec!["a".to_owned(), "b=c".to_owned()],
        janitor: text("-"),
        secret: vec!["a=env:A".to_owned(), "b=c=/x=y".to_owned()],
        may_create: vec!["a".to_owned()],
        may_write: vec!["acme/all".to_owned(), "b=c=acme/b".to_owned()],
        must_not_write: vec!["a=acme/never".to_owned()],
        resource_group: text("g"),
        canaries: text("yes"),
        store: text("/x/state.db"),
        ..plain()
    };
    // A person is asked what no flag says: whether the second may create, and where it must not write.
    let (answers, said, left) = told(&args, Who::Person, &["no", "-"]);
    let answers = answers.expect("answers");
    assert_eq!(left, 0, "{said}");
    let [a, b] = &answers.tokens[..] else { panic!("{answers:?}") };
    assert_eq!(
        (a.creates, a.writes.len(), a.never_writes.len(), &a.token.place),
        (true, 1, 1, &Place::Env("A".into()))
    );
    assert_eq!((b.creates, b.writes.len(), b.never_writes.len()), (false, 2, 0));
    assert_eq!(b.token.place, Place::File("/x=y".into()));
    assert_eq!((answers.group.as_deref(), answers.store.as_str()), (Some("g"), "sqlite:///x/state.db"));
    comes_back(&answers);
    type Change = fn(&mut InitArgs);
    let strange: [(&str, Change); 9] = [
        ("--secret", |args| args.secret.push("nobody=/x".to_owned())),
        ("--secret", |args| args.secret.push("/x".to_owned())),
        ("--may-create", |args| args.may_create.push("nobody".to_owned())),
        ("--may-write", |args| args.may_write.push("nobody=acme/x".to_owned())),
        // Nothing is asked of the janitor.
        ("--must-not-write", |args| args.must_not_write.push("janitor=acme/x".to_owned())),
        ("--may-create", |args| args.may_create.push("janitor".to_owned())),
        ("--sentinel", |args| {
            (args.canaries, args.sentinel) = (Some("yes".to_owned()), Some("acme/x".to_owned()));
        }),
        ("--resource-group", |args| {
            (args.canaries, args.resource_group) = (Some("no".to_owned()), Some("g".to_owned()));
        }),
        ("--may-create", |args| {
            args.canaries = Some("no".to_owned());
            args.may_create.push("ci-bot".to_owned());
        }),
    ];
    for (flag, change) in strange {
        let mut args = InitArgs { org: text("acme"), ..plain() };
        change(&mut args);
        let (answers, ..) = told(&args, Who::Nobody, &[]);
        assert!(matches!(&answers, Err(Fault::Usage(why)) if why.contains(flag)), "{flag}: {answers:?}");
    }
}

#[test]
fn a_long_or_odd_line_is_one_answer() {
    let mut input = io::Cursor::new(b"one\r\ntwo\n\xff\xfe\nlast".to_vec());
    let lines: Vec<String> = std::iter::from_fn(|| read_line(&mut input)).collect();
    assert_eq!(lines, ["one", "two", "\0\0", "last"]);
    assert!(never("\0\0").is_some());
}

#[test]
fn a_file_is_written_whole_and_never_over_another() {
    let directory = std::env::temp_dir().join(format!("scopewatch-init-{}", std::process::id()));
    fs::create_dir_all(&directory).expect("a directory");
    let path = directory.join("scopewatch.yaml");
    write(&path, "one", false).expect("written");
    assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o644);
    let again = write(&path, "two", false);
    assert!(matches!(&again, Err(Fault::Usage(why)) if why.contains("--force")), "{again:?}");
    assert!(free(&path, false).is_err() && free(&path, true).is_ok() && free(&directory, true).is_err());
    assert_eq!(fs::read_to_string(&path).expect("text"), "one");
    write(&path, "two", true).expect("written");
    assert_eq!(fs::read_to_string(&path).expect("text"), "two");
    let nowhere = write(&directory.join("no/x.yaml"), "x", false);
    assert!(matches!(&nowhere, Err(Fault::Usage(why)) if why.contains("directory")), "{nowhere:?}");
    let left: Vec<_> = fs::read_dir(&directory).expect("listed").filter_map(Result::ok).collect();
    assert_eq!(left.len(), 1, "{left:?}");
    fs::remove_dir_all(&directory).expect("removed");
}

#[test]
fn creations_fit_into_a_day() {
    let of = |tokens: usize| {
        let token = (0..tokens).map(|n| format!("t{n}")).collect();
        let args = InitArgs { org: Some("acme".into()), token, ..plain() };
        told(&args, Who::Nobody, &[]).0.expect("answers")
    };
    for (tokens, cron) in [(1, "0 5 * * * *"), (4, "0 5 * * * *"), (5, "0 5 */2 * * *"), (200, "0 5 4 * * *")]
    {
        let answers = of(tokens);
        let text = super::text::render(&answers);
        assert!(text.contains(&format!("\n  canary: \"{cron}\"")), "{tokens}: {text}");
        let parsed = parsed(&answers).expect("valid").config;
        let most = usize::try_from(parsed.organizations[0].max_creations_per_day);
        assert_eq!(most, Ok(super::text::CREATIONS_PER_DAY));
        let creates = parsed.tokens.iter().flat_map(|token| &token.checks).filter(|check| check.creates());
        assert_eq!(creates.count(), tokens * 2);
    }
}
