//! Goal: whatever stands in a configuration, and however it is mistyped, no secret comes out again.
//! Method: secrets planted in every scalar of a whole configuration, in odd places, and under random edits.

use proptest::prelude::*;

use super::*;

/// A word that must never be seen, in the shapes that secrets have here.
const PLANTED: &str = "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";

/// Whether six characters in a row of a secret stand in a text; its well-known prefix is none of it.
fn shows(text: &str, secret: &str) -> bool {
    let prefixes = ["hf_oauth_", "hf_jwt_", "api_org_", "hf_"];
    let secret = prefixes.iter().find_map(|prefix| secret.strip_prefix(prefix)).unwrap_or(secret).as_bytes();
    secret.windows(6).any(|window| text.as_bytes().windows(6).any(|seen| seen == window))
}

/// Where each scalar of a tree stands, keys included.
fn scalars(node: &tree::Node, found: &mut Vec<std::ops::Range<usize>>) {
    match &node.value {
        tree::Value::Text(_) => found.push(node.at.start..node.at.end),
        tree::Value::Empty => {}
        tree::Value::List(items) => items.iter().for_each(|item| scalars(item, found)),
        tree::Value::Map(pairs) => pairs.iter().for_each(|(key, value)| {
            scalars(key, found);
            scalars(value, found);
        }),
    }
}

fn places(text: &str) -> Vec<std::ops::Range<usize>> {
    let mut log = mistakes::Log::new();
    let source = log.add("x", text);
    let mut found = Vec::new();
    scalars(&tree::read(&mut log, source).expect("a tree"), &mut found);
    found
}

#[test]
fn a_token_in_any_scalar_is_never_shown() {
    let places = places(WHOLE);
    assert!(places.len() > 150);
    for token in [
        PLANTED,
        "hf_demo_Qx7pLwZt",
        "hf_oauth_QxPlMw.ZtRvYk",
        "hf_jwt_QxPlMw-ZtRvYk",
        "api_org_QxPlMwZtRvYk",
    ] {
        let mut all = WHOLE.to_owned();
        for place in places.iter().rev() {
            for planted in
                [token.to_owned(), format!("\"https://user:{token}@host/{token}\""), format!("'a {token} b'")]
            {
                let mut text = WHOLE.to_owned();
                text.replace_range(place.clone(), &planted);
                let said = said(&text);
                assert!(!shows(&said, token), "planted at {place:?}:\n{said}");
                // And with something wrong in each line around it; once is enough, it is the slow half.
                if token != PLANTED {
                    continue;
                }
                let said = self::said(&text.replace("acme", "acmee").replace("access", "acces"));
                assert!(!shows(&said, token), "planted at {place:?}:\n{said}");
            }
            all.replace_range(place.clone(), token);
        }
        assert!(!shows(&said(&all), token));
    }
}

#[test]
fn names_that_only_begin_like_a_token_are_names() {
    let text = WHOLE
        .replace("acme/token-test-model", "acme/hf_tokenizer_small")
        .replace("owner: ml-platform", "owner: hf_platform_team")
        .replace("/run/secrets/janitor", "/run/secrets/hf_janitor_token");
    assert!(read(&text).is_ok());
    let text = WHOLE.replace("name: limited-test-token", "name: hf_demo_limited");
    assert_eq!(read(&text).map_err(|mistakes| mistakes.count()), Err(1));
}

#[test]
fn passwords_and_paths_of_sinks_are_never_shown() {
    let secret = "s3cr3tp4ssw0rdx";
    for (from, to) in [
        ("url: \"http://alertmanager:9093\"", format!("url: \"http://8.8.8.8/{secret}\"")),
        ("url: \"http://alertmanager:9093\"", format!("url: 8.8.8.8/{secret}")),
        ("url: \"http://alertmanager:9093\"", format!("urk: https://hooks.slack.com/services/{secret}")),
        ("endpoint: https://huggingface.co/", format!("endpoint: https://me:{secret}@huggingface.co")),
        ("endpoint: https://huggingface.co/", format!("endpoint: https//me:{secret}@huggingface.co")),
        ("proxy: http://egress:3128", format!("proxy: http://{secret}@egress:3128")),
        ("proxy: http://egress:3128", format!("proxy: http://me:p/{secret}@egress:3128")),
        ("url: sqlite:///var/lib/scopewatch/state.db", format!("url: postgres://me:{secret}@db/x")),
        ("url: sqlite:///var/lib/scopewatch/state.db", format!("url: postgres://db/x?password={secret}")),
        ("{ file: /run/secrets/canary-key }", secret.to_owned()),
        ("{ file: /run/secrets/canary-key }", format!("{{ env: {secret}%, file: x }}")),
        ("{ file: /run/secrets/canary-key }", format!("|\n  {secret}\n  {secret}")),
        ("{ file: /run/secrets/canary-key }", format!("\"{secret}")),
        ("{ file: /run/secrets/canary-key }", format!("[{{ a: {secret} }}, {secret}]")),
        ("    owner: ml-platform", format!("    password: {secret}")),
        ("    owner: ml-platform", format!("    api_key: [{secret}, : x")),
        ("    owner: ml-platform", format!("    \"secret\" : {secret}: x")),
    ] {
        let text = WHOLE.replace(from, &to);
        assert_ne!(text, WHOLE, "{from}");
        let said = said(&text);
        assert!(read(&text).is_err(), "{to} is read");
        assert!(!shows(&said, secret), "{to}:\n{said}");
    }
}

/// The whole configuration with secrets where people put them by mistake.
fn leaky() -> String {
    WHOLE
        .replace("owner: ml-platform", &format!("secret_: {PLANTED}"))
        .replace("{ file: /run/secrets/janitor }", PLANTED)
        .replace("{ file: /run/secrets/slack }", &format!("\"https://hooks.slack.com/{PLANTED}\""))
        .replace("{ env: SIEM_URL }", &format!("https://user:{PLANTED}@siem/"))
        .replace("# by name or id", &format!("# {PLANTED}"))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_edit_panics_or_shows_a_token(edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3), 1..6)) {
        let mut bytes = leaky().into_bytes();
        for (index, byte, kind) in edits {
            let at = index.index(bytes.len());
            // Whoever mistypes the token itself has made another text, which nobody could know.
            let token = bytes.windows(PLANTED.len()).enumerate().any(|(start, window)| {
                window == PLANTED.as_bytes() && (start..start + window.len()).contains(&at)
            });
            match kind {
                _ if token => {}
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => { bytes.remove(at); }
            }
        }
        let said = said(&String::from_utf8_lossy(&bytes));
        prop_assert!(!shows(&said, PLANTED), "{said}");
    }

    #[test]
    fn no_text_panics(text in "[-a-z:{}\\[\\]\"'|>&*!%@#?, \n\t\u{e4}\u{202e}]{0,200}") {
        let _ = said(&text);
    }
}
