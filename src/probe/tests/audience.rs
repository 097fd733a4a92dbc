//! A token travels to one origin: of a hundred thousand pairs of token and address, exactly those are sent whose
//! scheme, host and port are the endpoint's, with no user in between.
//!
//! What is right is known from how an address was put together, and never asked of the code under test. The same
//! pairs are judged by laxer rules, as others have had them; each must be told apart, or the pairs prove nothing.

use url::Url;

use super::*;

/// How many pairs are tried, unless `SCOPEWATCH_TEST_PAIRS` says another number.
const PAIRS: usize = 100_000;

/// Endpoints: scheme, host, port as it is written, and as it is meant.
const ENDPOINTS: [(&str, &str, &str, u16); 6] = [
    ("https", "huggingface.co", "", 443),
    ("https", "hub.example", ":8443", 8443),
    ("http", "127.0.0.1", ":8080", 8080),
    ("http", "[::1]", "", 80),
    ("http", "localhost", ":80", 80),
    ("https", "10.0.0.7", ":443", 443),
];

/// Repeats itself from one run to the next.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % most
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }

    fn secret(&mut self) -> String {
        let letters = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
        let tail: String = (0..34).map(|_| char::from(letters[self.below(letters.len())])).collect();
        format!("hf_{tail}")
    }
}

/// A path that must be sent as it is written.
fn fine_path(dice: &mut Dice) -> String {
    let mut path = String::new();
    for _ in 0..=dice.below(4) {
        path.push('/');
        path.push_str(
            dice.one(&[
                "api", "models", "acme", "x.y", "...", "a%40b", "a-b_c~d", "%2f", "a:b", ";x=1", "$&+,",
            ]),
        );
    }
    if dice.below(3) == 0 {
        path.push('?');
        path.push_str(dice.one(&[
            "",
            "a=b",
            "full=true&x=%23",
            "u=https://evil.example/",
            "q=a?b/../c",
            "x=%00",
        ]));
    }
    path
}

/// One that may lead elsewhere, or says something else than it seems.
fn odd_path(dice: &mut Dice, secret: &str) -> String {
    let lure = dice.one(&[
        "",
        "/",
        "//",
        "/\\",
        "\\",
        "@",
        ":80@",
        ".",
        ":8443",
        ":443@",
        "/..",
        "/%2e%2e",
        "/.%2E",
        "\t//",
        "/\t/",
        "\r\n",
        "#@",
        "?@",
        "https://",
        "HTTP:",
        "/;@",
        "%2f%2f",
        "/@",
        "\u{ff0f}\u{ff0f}",
        "\u{3002}",
        "/./",
        " ",
        "\0",
    ]);
    let host = dice.one(&[
        "evil.example",
        "127.0.0.1:1",
        "[::1]:1",
        "huggingface.co.evil.example",
        "",
        "x/..//evil.example",
    ]);
    let tail = dice.one(&["", "/", "/api", "/api#x", "/api?x y", "/a\\b", "?x@y", "/\u{202e}x"]);
    let tail = if dice.below(8) == 0 { format!("/{secret}\r\nhost: evil") } else { tail.to_owned() };
    format!("{lure}{host}{tail}")
}

/// An address, and whether a token of this endpoint may go there.
fn address(dice: &mut Dice, endpoint: (&str, &str, &str, u16)) -> (String, bool) {
    let (scheme, host, port, number) = endpoint;
    let same = |dice: &mut Dice| dice.below(2) == 0;
    let its_scheme = same(dice) || same(dice);
    let its_host = same(dice) || same(dice);
    let its_port = same(dice) || same(dice);
    let nobody = same(dice) || same(dice);
    let said_scheme = match (its_scheme, scheme) {
        (true, _) => scheme,
        (false, "https") => "http",
        (false, _) => "https",
    };
    let said_host = match dice.below(4) {
        _ if its_host => host.to_owned(),
        0 if !host.starts_with('[') => format!("{host}.evil.example"),
        1 if !host.starts_with('[') => format!("evil-{host}.example"),
        2 => "169.254.169.254".to_owned(),
        _ => "evil.example".to_owned(),
    };
    // A port that is left out means that of the scheme that is said, not of the endpoint's.
    let usual = if said_scheme == "https" { 443 } else { 80 };
    let said_port = match (its_port, dice.below(2)) {
        (true, 0) if number == usual => String::new(),
        (true, _) if port.is_empty() => format!(":{number}"),
        (true, _) => port.to_owned(),
        (false, _) => format!(":{}", number + 1),
    };
    let user = if nobody { "" } else { dice.one(&["user@", ":pass@", "user:pass@", "huggingface.co@"]) };
    let path = fine_path(dice);
    let right = its_scheme && its_host && its_port && nobody;
    (format!("{said_scheme}://{user}{said_host}{said_port}{path}"), right)
}

/// A laxer rule: the endpoint and an address in, whether it would send.
type Rule = fn(&Url, &Url) -> bool;

const LAX: [(&str, Rule); 6] = [
    ("the same host", |own, to| own.host() == to.host()),
    ("the same beginning", |own, to| to.as_str().starts_with(own.as_str().trim_end_matches('/'))),
    ("the same end of the host", |own, to| {
        to.host_str().unwrap_or_default().contains(own.host_str().unwrap_or("-"))
            && own.scheme() == to.scheme()
    }),
    ("any scheme", |own, to| {
        own.host() == to.host() && own.port_or_known_default() == to.port_or_known_default()
    }),
    ("any port", |own, to| own.host() == to.host() && own.scheme() == to.scheme()),
    ("any user", |own, to| own.origin() == to.origin()),
];

#[derive(Default)]
struct Tally {
    sent: usize,
    wrong: Vec<String>,
    /// Of each laxer rule, and last of an address that is only put together.
    caught: [usize; LAX.len() + 1],
}

/// A path below the endpoint: sent exactly as written, or not at all.
fn judge_path(tally: &mut Tally, prober: &Prober, secret: &str, path: &str, fine: bool) {
    let own = prober.0.origin.as_str();
    let asked = Request { path: path.to_owned(), ..request(Verb::Get, "") };
    let secret = Secret::from_bytes(secret.as_bytes()).expect("fine");
    let sent = match prober.0.prepare(&asked, Some(&secret)) {
        Ok(ready) => ready.headers().contains_key(AUTHORIZATION).then(|| ready.url().to_string()),
        Err(_) => None,
    };
    tally.sent += usize::from(sent.is_some());
    let whole = format!("{own}{path}");
    if sent.as_ref().is_some_and(|url| *url != whole) || fine && sent.is_none() {
        tally.wrong.push(format!("{own} + {path:?}: {sent:?}"));
    }
    // Whoever only puts both together sends some of them elsewhere.
    let elsewhere = |url: Url| url.origin().ascii_serialization() != own || !url.username().is_empty();
    tally.caught[LAX.len()] += usize::from(Url::parse(&whole).is_ok_and(elsewhere));
}

/// A whole address, such as the client is about to send to.
fn judge_address(tally: &mut Tally, prober: &Prober, text: &str, right: bool) {
    let url = Url::parse(text).expect("an address");
    let sent = prober.0.origin.owns(&url);
    tally.sent += usize::from(sent);
    if sent != right {
        tally.wrong.push(format!("{} and {text}: {sent}", prober.0.origin.as_str()));
    }
    let own = Url::parse(prober.0.origin.as_str()).expect("an endpoint");
    for (caught, (_, rule)) in tally.caught.iter_mut().zip(LAX) {
        *caught += usize::from(rule(&own, &url) != right);
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the long form of the leak suite asks for more; a test has no start"
)]
fn pairs() -> usize {
    let asked = std::env::var("SCOPEWATCH_TEST_PAIRS").ok();
    asked.map_or(PAIRS, |text| text.parse().expect("a number of pairs"))
}

#[test]
fn a_token_is_sent_exactly_where_the_origin_is_its_own() {
    let mut dice = Dice(0x5C0F_EA7C_4B1D_2026);
    let probers: Vec<Prober> =
        ENDPOINTS.iter().map(|(scheme, host, port, _)| prober(&format!("{scheme}://{host}{port}"))).collect();
    let mut tally = Tally::default();
    let pairs = pairs();
    for pair in 0..pairs {
        let at = dice.below(ENDPOINTS.len());
        let secret = dice.secret();
        match pair % 4 {
            0 => {
                let path = fine_path(&mut dice);
                judge_path(&mut tally, &probers[at], &secret, &path, true);
            }
            1 => {
                let path = odd_path(&mut dice, &secret);
                judge_path(&mut tally, &probers[at], &secret, &path, false);
            }
            _ => {
                let (text, right) = address(&mut dice, ENDPOINTS[at]);
                judge_address(&mut tally, &probers[at], &text, right);
            }
        }
    }
    let caught = tally.caught.iter().filter(|caught| **caught > 0).count();
    println!(
        "audience: {pairs} pairs, {} sent, {} violations, {} planted, {caught} caught",
        tally.sent,
        tally.wrong.len(),
        tally.caught.len()
    );
    assert!(
        tally.wrong.is_empty(),
        "{} wrong, such as {:#?}",
        tally.wrong.len(),
        &tally.wrong[..tally.wrong.len().min(9)]
    );
    assert_eq!(caught, LAX.len() + 1, "{:?}", tally.caught);
    assert!(tally.sent > pairs / 4 && tally.sent < pairs * 3 / 4, "{}", tally.sent);
}
