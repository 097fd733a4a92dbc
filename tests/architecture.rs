//! The floor plan of `src/`, held as data and checked against the text of every file.
//!
//! Goal: the decision core stays free of clock, dice, files and network; edges stay strangers to one another; only
//! what sends a secret may open one. Method: [`violations`] is a pure function over (path, text); one test gives it
//! `src/`, the others plant every defect once and want it refused. Comments, literals and test modules do not count.
//! Limits: it reads text, so it does not see through macros, and it wants one room a `use` line.

use std::path::Path;
use std::{fs, io};

use Kind::{Apart, Core, Edge, Shell, Word};

/// What a room is. Words and core are pure; edges do one kind of input and output each.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Word,
    Core,
    Edge,
    Shell,
    Apart,
}

/// Who may use whom: the room, its kind, the rooms it may name besides itself.
#[rustfmt::skip]
const ROOMS: &[(&str, Kind, &str)] = &[
    ("access",    Word,  ""),
    ("moment",    Word,  ""),
    ("planted",   Word,  "access"), // defects of tests; in every build that anybody runs it is the constant `false`
    ("secret",    Word,  ""),
    ("exchange",  Word,  "access moment"),
    ("errand",    Word,  "access exchange moment"),
    ("intent",    Word,  "access moment"),
    ("report",    Word,  "access intent moment"),

    ("config",    Core,  "access moment report secret"),
    ("schedule",  Core,  "access config moment"),
    ("plan",      Core,  "access config exchange hub moment pace schedule"), // names each request as it will be sent
    ("pace",      Core,  "access moment"),
    ("hub",       Core,  "access exchange intent moment planted"), // never secret: what knows the Hub's paths holds no token
    ("compare",   Core,  "access"),
    ("alert",     Core,  "access compare config moment planted report"),
    ("baseline",  Core,  "access config moment report"), // today's answers as expectations, in the config's words
    ("render",    Core,  "access config intent moment report"), // a report in, a text out; who writes it is the shell
    ("explain",   Core,  "access compare hub moment report"),

    ("probe",     Edge,  "access exchange moment secret"), // never hub: what holds tokens knows no provider
    ("store",     Edge,  "access alert intent moment planted report"),
    ("metrics",   Edge,  "access alert intent moment report"),
    ("notify",    Edge,  "access alert config moment report secret"), // config: kinds of sink, and how far an address may be
    ("serve",     Edge,  "access intent metrics moment render report"), // render: the schemas that its API promises
    ("logging",   Edge,  "access secret"),

    ("round",     Shell, "access errand exchange intent moment planted report secret \
                          config schedule plan pace hub compare alert explain probe store"),
    ("app",       Shell, "access errand exchange intent moment planted report secret config schedule plan pace hub compare alert \
                          probe store metrics notify serve logging round"),
    ("cli",       Shell, "access exchange intent moment report secret config schedule plan pace hub compare alert \
                          explain render baseline probe store metrics notify serve logging round app simulator"),
    // Asks every reader of foreign bytes; only tests and fuzz targets are built with it.
    ("foreign",   Shell, "access exchange intent moment report secret config pace hub compare alert explain \
                          probe store metrics logging round cli simulator"),
    ("main",      Shell, "cli"),
    ("lib",       Shell, ""), // declares the rooms, uses none

    ("simulator", Apart, ""), // shares nothing, or the tests would compare our belief with itself
    ("failpoint", Apart, ""), // a macro, so that no room names it; it reads the environment, and no release has it
];

/// What words and core never say, and why. Addresses as plain values (`SocketAddr`, `IpAddr`) are fine.
#[rustfmt::skip]
const IMPURE: &[(&str, &[&str])] = &[
    ("no clock: the time comes in as an argument", &["SystemTime", "Instant::now", "Utc::now", "Local::now"]),
    ("no environment", &["std::env", "env::var", "env::vars", "env::var_os", "std::process"]),
    ("no files: the text comes in as an argument", &["std::fs", "fs::read", "fs::write", "File::", "std::io::stdin"]),
    ("no network", &["TcpStream", "TcpListener", "UdpSocket", "UnixStream", "ToSocketAddrs", "reqwest", "hyper", "axum"]),
    ("no runtime and no database", &["tokio", "tokio_util", "std::thread", "sqlx"]),
    ("no dice: randomness comes in as an argument", &["getrandom", "rand::", "use rand", "new_v4", "now_v7"]),
    ("nothing printed", &["print!", "println!", "eprint!", "eprintln!"]),
    ("one module of std a line, so that this test can read it", &["std::{"]),
    ("nothing to die in the middle of: points are for what touches the world", &["failpoint!"]),
];

/// What no file says, tests included, and why.
#[rustfmt::skip]
const NOWHERE: &[(&str, &[&str])] = &[
    ("no unsafe code", &["unsafe"]),
    ("nothing unfinished is committed", &["todo!", "unimplemented!", "dbg!"]),
];

/// Ways around this plan. A test module may lie in a file of any name.
const DETOURS: (&str, &[&str]) =
    ("no way around the floor plan", &["crate as", "extern crate", "#[path", "include!"]);

const WALL_CLOCK: &[&str] = &["SystemTime::now", "Utc::now", "Local::now"];
const READS_WALL_CLOCK: &[&str] = &["app", "simulator"]; // the simulator has a clock of its own
const MAY_EXPOSE: &[&str] = &["secret", "probe", "notify", "app", "logging"];
const LINES_MAX: usize = 600;

/// Everything in `files` (path below `src/`, text) that breaks the plan, as `src/file:line: what: which rule`.
fn violations(files: &[(String, String)]) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in files {
        let mut broken =
            |line: usize, what: &str, rule: &str| found.push(format!("src/{path}:{line}: {what}: {rule}"));
        if !text.starts_with("//!") {
            broken(1, "no header", "every file begins with //! what it knows and whom it serves");
        }
        let lines = text.lines().count();
        if lines > LINES_MAX {
            broken(lines, &format!("{lines} lines"), "think at 400, split at 600");
        }
        let name = path.split('/').next().unwrap_or(path).trim_end_matches(".rs");
        let Some((room, kind, may_use)) = ROOMS.iter().find(|row| row.0 == name) else {
            broken(1, &format!("room `{name}`"), "every room has its row in tests/architecture.rs");
            continue;
        };
        let code = without_literals(text);
        for (at, line) in code.lines().enumerate() {
            said(line, NOWHERE, |what, rule| broken(at + 1, what, rule));
        }
        if path.ends_with("/tests.rs") || path.ends_with("_tests.rs") {
            continue; // a test may use what it needs
        }
        for (at, line) in without_tests(&code).lines().enumerate() {
            let mut broken = |what: &str, rule: &str| broken(at + 1, what, rule);
            for used in rooms_named(line, depth(path)) {
                if used.is_empty() {
                    broken("`crate::{` or `crate::*`", "imports are one room a line");
                } else if used != *room && !may_use.split_whitespace().any(|allowed| allowed == used) {
                    broken(&format!("uses `{used}`"), &format!("`{room}` may use only [{may_use}]"));
                }
            }
            said(line, &[DETOURS], &mut broken);
            if matches!(kind, Word | Core) {
                said(line, IMPURE, &mut broken);
            } else if !READS_WALL_CLOCK.contains(room) {
                said(line, &[("only `app` reads the wall clock", WALL_CLOCK)], &mut broken);
            }
            if !MAY_EXPOSE.contains(room) {
                said(line, &[("only what sends a secret opens it", &["expose"])], &mut broken);
            }
            if *room != "secret" {
                said(line, &[("a Secret has one door, `expose`", &["expose_secret"])], &mut broken);
            }
        }
    }
    found
}

/// Reports each phrase of `rules` that `line` says as whole words.
fn said(line: &str, rules: &[(&str, &[&str])], mut report: impl FnMut(&str, &str)) {
    for (rule, phrases) in rules {
        for phrase in phrases.iter().filter(|phrase| !after(line, phrase).is_empty()) {
            report(&format!("says `{phrase}`"), rule);
        }
    }
}

/// What follows each whole-word occurrence of `phrase` in `line`.
fn after<'a>(line: &'a str, phrase: &str) -> Vec<&'a str> {
    let part_of_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let mut rests = Vec::new();
    for (at, _) in line.match_indices(phrase) {
        let (before, rest) = line.split_at(at);
        let rest = rest.split_at(phrase.len()).1;
        let cut_in_front = part_of_word(phrase.chars().next()) && part_of_word(before.chars().next_back());
        let cut_behind = part_of_word(phrase.chars().next_back()) && part_of_word(rest.chars().next());
        if !cut_in_front && !cut_behind {
            rests.push(rest);
        }
    }
    rests
}

/// The rooms that `line` names by a path from the crate's root; "" stands for a group or a glob at the root.
fn rooms_named(line: &str, depth: usize) -> Vec<&str> {
    let words = |rest| str::split(rest, |c: char| !c.is_alphanumeric() && c != '_');
    let mut rooms = Vec::new();
    for rest in after(line, "crate::").into_iter().chain(after(line, "scopewatch::")) {
        rooms.extend(words(rest).next());
    }
    for rest in after(line, &"super::".repeat(depth)) {
        let rest = rest.trim_start_matches("super::");
        let named = if rest.starts_with('{') { usize::MAX } else { 1 };
        rooms.extend(words(rest).take(named).filter(|word| ROOMS.iter().any(|row| row.0 == *word)));
    }
    rooms
}

/// How many `super::` lead from a file to the crate's root.
fn depth(path: &str) -> usize {
    path.trim_end_matches("/mod.rs").split('/').count()
}

/// The code with comments and the insides of literals blanked, line for line.
fn without_literals(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let hidden = hidden_length(rest, code.chars().next_back());
        let (head, tail) = rest.split_at(if hidden == 0 { first.len_utf8() } else { hidden });
        code.push_str(&if hidden == 0 { head.to_owned() } else { blank(head) });
        rest = tail;
    }
    code
}

/// The bytes of the comment or literal that `rest` begins with, or 0.
fn hidden_length(rest: &str, before: Option<char>) -> usize {
    let upto = |end: &str, from: usize| {
        rest.get(from..).and_then(|tail| tail.find(end)).map_or(rest.len(), |at| from + at + end.len())
    };
    if rest.starts_with("//") {
        return upto("\n", 0);
    }
    if rest.starts_with("/*") {
        let (mut deep, mut at) = (1, 2);
        while deep > 0 && at < rest.len() {
            let (open, close) = (upto("/*", at), upto("*/", at));
            deep = if open < close { deep + 1 } else { deep - 1 };
            at = open.min(close);
        }
        return at;
    }
    let hashes = rest.strip_prefix('r').map(|tail| tail.chars().take_while(|c| *c == '#').count());
    if let Some(hashes) = hashes
        && rest.chars().nth(1 + hashes) == Some('"')
        && !before.is_some_and(|c| (c.is_alphanumeric() || c == '_') && c != 'b' && c != 'c')
    {
        return upto(&format!("\"{}", "#".repeat(hashes)), 2 + hashes);
    }
    let quote = if rest.starts_with('"') { '"' } else { '\'' };
    let mut chars = rest.char_indices().skip(1);
    match (rest.chars().next(), rest.chars().nth(1), rest.chars().nth(2)) {
        (Some('"'), ..) | (Some('\''), Some('\\'), _) | (Some('\''), _, Some('\'')) => {}
        _ => return 0, // plain code, or the tick of a lifetime
    }
    while let Some((at, c)) = chars.next() {
        if c == '\\' {
            chars.next();
        } else if c == quote {
            return at + 1;
        }
    }
    rest.len()
}

/// The code with each item under `#[cfg(test)]` blanked: up to its closing brace, or its `;`.
fn without_tests(code: &str) -> String {
    let Some((before, rest)) = code.split_once("#[cfg(test)]") else { return code.to_owned() };
    let mut deep = 0;
    let end = rest.char_indices().find(|(_, c)| {
        deep += i32::from(*c == '{') - i32::from(*c == '}');
        deep == 0 && matches!(c, '}' | ';')
    });
    let (item, tail) = rest.split_at(end.map_or(rest.len(), |(at, _)| at + 1));
    format!("{before}{}{}", blank(item), without_tests(tail))
}

/// Only the line ends of `text`, so that line numbers stay true.
fn blank(text: &str) -> String {
    text.chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect()
}

/// Every Rust file below `folder`, its path relative to `root`.
fn read(root: &Path, folder: &Path, files: &mut Vec<(String, String)>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            read(root, &path, files)?;
        } else if path.extension().is_some_and(|end| end == "rs") {
            let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().replace('\\', "/");
            files.push((name, fs::read_to_string(&path)?));
        }
    }
    files.sort();
    Ok(())
}

#[test]
fn the_house_keeps_to_its_plan() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    read(&src, &src, &mut files).expect("src can be read");
    assert!(files.iter().any(|(path, _)| path == "lib.rs"), "src/lib.rs was not read");
    let found = violations(&files);
    assert!(found.is_empty(), "{} violation(s):\n{}", found.len(), found.join("\n"));
}

#[test]
fn the_plan_itself_keeps_the_kinds_apart() {
    for (room, kind, may_use) in ROOMS {
        for used in may_use.split_whitespace() {
            let used_kind = ROOMS.iter().find(|row| row.0 == used).map(|row| row.1);
            let fits = match (kind, used_kind.expect("every room named has a row")) {
                (Word, Word) | (Core | Edge | Shell, Word | Core) | (Shell, Edge | Shell) => true,
                (Edge, Edge) => (*room, used) == ("serve", "metrics"),
                (Shell, Apart) => matches!(*room, "cli" | "foreign"),
                _ => false,
            };
            assert!(fits, "`{room}` must not use `{used}`");
        }
    }
}

/// One file below a header line, as the only file of a house.
fn house(path: &str, body: &str) -> Vec<String> {
    violations(&[(path.to_owned(), format!("//! A header.\n{body}\n"))])
}

#[test]
fn every_planted_defect_is_refused() {
    #[rustfmt::skip]
    let planted: &[(&str, &str, &str)] = &[
        ("hub/actions.rs", "use crate::secret::Secret;",                "uses `secret`"),
        ("hub/actions.rs", "use super::super::secret::Secret;",         "uses `secret`"),
        ("probe.rs",       "fn f() { crate::hub::next() }",             "uses `hub`"),
        ("probe.rs",       "use super::{hub, access};",                 "uses `hub`"),
        ("access.rs",      "use crate::report::Report;",                "uses `report`"),
        ("store/sqlite.rs","use crate::serve::Snapshot;",               "uses `serve`"),
        ("app.rs",         "use crate::simulator::Hub;",                "uses `simulator`"),
        ("simulator/mod.rs","use crate::access::Access;",               "uses `access`"),
        ("main.rs",        "use scopewatch::app::App;",                 "uses `app`"),
        ("plan.rs",        "use crate::{access, config};",              "one room a line"),
        ("plan.rs",        "use crate::*;",                             "one room a line"),
        ("plan.rs",        "use crate::helpers::x;",                    "uses `helpers`"),
        ("plan.rs",        "use crate as ours;",                        "says `crate as`"),
        ("util.rs",        "",                                          "room `util`"),
        ("schedule.rs",    "use std::time::SystemTime;",                "says `SystemTime`"),
        ("schedule.rs",    "fn f() { Instant::now(); }",                "says `Instant::now`"),
        ("schedule.rs",    "fn f() { chrono::Utc::now(); }",            "says `Utc::now`"),
        ("schedule.rs",    "fn f() { chrono::Local::now(); }",          "says `Local::now`"),
        ("config/mod.rs",  "fn f() { std::env::home_dir(); }",          "says `std::env`"),
        ("config/mod.rs",  "use std::fs::metadata;",                    "says `std::fs`"),
        ("config/mod.rs",  "fn f() { File::open(p); }",                 "says `File::`"),
        ("config/mod.rs",  "use std::{env, fs};",                       "says `std::{`"),
        ("hub/mod.rs",     "use std::net::TcpStream;",                  "says `TcpStream`"),
        ("hub/mod.rs",     "use reqwest::Url;",                         "says `reqwest`"),
        ("pace.rs",        "use tokio::time;",                          "says `tokio`"),
        ("pace.rs",        "fn f() { getrandom::u64(); }",              "says `getrandom`"),
        ("pace.rs",        "fn f() { rand::random(); }",                "says `rand::`"),
        ("alert.rs",       "fn f() { println!(); }",                    "says `println!`"),
        ("serve/api.rs",   "fn f(s: &Secret) { s.expose(); }",          "says `expose`"),
        ("cli/audit.rs",   "fn f() { o.map(Secret::expose); }",         "says `expose`"),
        ("probe.rs",       "fn f() { s.expose_secret(); }",             "says `expose_secret`"),
        ("store/mod.rs",   "fn f() { SystemTime::now(); }",             "only `app` reads the wall clock"),
        ("cli/mod.rs",     "fn f() { Utc::now(); }",                    "only `app` reads the wall clock"),
        ("probe.rs",       "fn f() { unsafe { g() } }",                 "says `unsafe`"),
        ("probe.rs",       "#[cfg(test)]\nmod tests { unsafe fn f() {} }", "says `unsafe`"),
        ("round.rs",       "fn f() { todo!() }",                        "says `todo!`"),
        ("round.rs",       "fn f() { unimplemented!() }",               "says `unimplemented!`"),
        ("round.rs",       "fn f() { dbg!(1); }",                       "says `dbg!`"),
        ("round.rs",       "include!(X);",                              "says `include!`"),
        ("plan.rs",        "#[cfg(test)]\nmod tests;\nuse tokio::time;", "src/plan.rs:4: says `tokio`"),
        ("plan.rs",        "fn f() -> &'static str { \"\\\"\" } use tokio::time;", "src/plan.rs:2: says `tokio`"),
    ];
    for (path, body, refusal) in planted {
        let found = house(path, body);
        assert!(
            found.len() == 1 && found.iter().all(|one| one.contains(refusal)),
            "{path}: {body}\n{found:#?}"
        );
        assert!(found.iter().all(|one| one.starts_with(&format!("src/{path}:"))), "{found:#?}");
    }
    for phrase in IMPURE.iter().chain(NOWHERE).chain(&[DETOURS]).flat_map(|rule| rule.1) {
        let found = house("plan.rs", phrase).concat();
        assert!(found.contains(&format!("src/plan.rs:2: says `{phrase}`")), "{phrase}\n{found}");
    }
    let headless = violations(&[("plan.rs".to_owned(), "// no header\n".to_owned())]);
    assert!(headless.concat().contains("src/plan.rs:1: no header"), "{headless:#?}");
    assert!(house("plan.rs", &"\n".repeat(LINES_MAX)).concat().contains("lines: think at 400"));
}

#[test]
fn what_the_plan_allows_is_let_through() {
    let allowed: &[(&str, &str)] = &[
        ("main.rs", "use scopewatch::cli;"),
        ("app/mod.rs", "use crate::round::Round;\nfn f() { SystemTime::now(); s.expose(); }"),
        ("simulator/clock.rs", "fn f() { SystemTime::now(); }"),
        (
            "config/mod.rs",
            "use std::net::SocketAddr;\nuse self::yaml::Raw;\nfn f() { Place::File(p); crate::config::g(); }",
        ),
        ("config/yaml.rs", "use super::Config;\nmacro_rules! m { () => { $crate::access::Name } }"),
        (
            "hub/mod.rs",
            "/* unsafe /* tokio */ dbg! */ // todo!\nconst A: &str = r#\"tokio \" expose\"#; const B: char = '\"';",
        ),
        (
            "plan.rs",
            "#[cfg(test)]\nmod tests {\n    use crate::{app, hub};\n    fn f() { tokio::spawn(g); }\n}\nfn h() {}",
        ),
        ("plan.rs", "#[cfg(test)]\n#[path = \"plan_tests.rs\"]\nmod tests;"),
        ("hub/canary_tests.rs", "use crate::simulator::Hub;"),
        ("plan/tests.rs", "use tokio::time;\nuse crate::simulator::Hub;"),
    ];
    for (path, body) in allowed {
        assert_eq!(house(path, body), Vec::<String>::new(), "{path}: {body}");
    }
}
