//! Goal: a web config is read whole or refused with every mistake in it, nothing of the toolkit's is silently left
//! out, and no hash is ever shown. Method: the example, a text with all that is supported, one bad file a message
//! under `tests/config/web`.

use std::path::Path;

use super::*;

const EXAMPLE: &str = include_str!("../../../config/web.yml");
/// Of 53 characters, as the salt and the hash have.
const BODY: &str = "abcdefghijklmnopqrstuuS3cretS3cretS3cretS3cretS3cret0";

fn read(text: &str) -> Result<(Web, Vec<String>), Mistakes> {
    parse(Source { name: "web.yml", text })
}

fn fine(text: &str) -> (Web, Vec<String>) {
    read(text).unwrap_or_else(|mistakes| panic!("{text}\n{mistakes}"))
}

#[test]
fn the_example_is_valid_and_so_is_all_that_it_only_suggests() {
    let (web, warnings) = fine(EXAMPLE);
    assert_eq!(warnings, Vec::<String>::new());
    assert!(web.tls.is_some() && web.users.len() == 1 && web.headers.is_empty());
    let uncommented: Vec<String> = EXAMPLE
        .lines()
        .map(|line| {
            let bare = line.replacen("# ", "", 1);
            let key = bare.trim_start().split(':').next().unwrap_or_default();
            let known = SECTIONS.iter().any(|section| section.key(key).is_some());
            if known && line.trim_start().starts_with('#') { bare } else { line.to_owned() }
        })
        .collect();
    let (web, warnings) = fine(&uncommented.join("\n"));
    assert_eq!(warnings, Vec::<String>::new());
    let tls = web.tls.expect("TLS");
    assert_eq!(tls.versions, [TlsVersion::Tls13]);
    assert_eq!(tls.clients.expect("clients").allowed_sans, ["prometheus.acme.com"]);
    assert_eq!(web.headers, [("Strict-Transport-Security", "max-age=31536000".to_owned())]);
}

#[test]
fn all_that_is_supported_is_read() {
    let text = format!(
        "tls_server_config:\n  cert_file: server.crt\n  key_file: /etc/server.key\n  max_version: TLS12\n  \
         client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.crt\n  \
         client_allowed_sans: [prometheus, 10.0.0.1, 'spiffe://acme/prometheus', '::1']\n\
         http_server_config:\n  http2: false\n  headers:\n    X-Frame-Options: SAMEORIGIN\n    \
         X-Content-Type-Options: nosniff\n    X-XSS-Protection: '0'\n    Content-Security-Policy: default-src 'none'\n    \
         Strict-Transport-Security: ''\nbasic_auth_users:\n  alice: $2y$10${BODY}\n  token: $2b$14${BODY}\n"
    );
    let (web, warnings) = fine(&text);
    let tls = web.tls.expect("TLS");
    assert_eq!(
        (tls.cert_file.as_path(), tls.key_file.as_path()),
        (Path::new("server.crt"), Path::new("/etc/server.key"))
    );
    assert_eq!(tls.versions, [TlsVersion::Tls12]);
    let clients = tls.clients.expect("clients");
    assert!(clients.required && clients.ca_file == Path::new("ca.crt"));
    assert_eq!(clients.allowed_sans, ["prometheus", "10.0.0.1", "spiffe://acme/prometheus", "::1"]);
    assert_eq!(
        web.headers.iter().map(|(name, value)| (*name, value.as_str())).collect::<Vec<_>>(),
        [
            ("Content-Security-Policy", "default-src 'none'"),
            ("X-Frame-Options", "sameorigin"),
            ("X-Content-Type-Options", "nosniff"),
            ("X-XSS-Protection", "0"),
        ]
    );
    assert_eq!(web.users["alice"].as_str(), format!("$2y$10${BODY}"));
    assert_eq!(format!("{:?}", web.users["token"]), "PasswordHash(…)");
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].starts_with("web.yml:") && warnings[0].contains("X-Frame-Options, DENY, stays"));
}

#[test]
fn what_is_valid_and_odd_is_warned_of() {
    for empty in ["", "# nothing\n", "basic_auth_users: {}\n", "tls_server_config:\nbasic_auth_users:\n"] {
        let (web, warnings) = fine(empty);
        assert_eq!(web, Web::default());
        assert!(warnings.concat().contains("neither TLS nor passwords"), "{empty:?} {warnings:?}");
    }
    let (_, warnings) = fine(&format!("basic_auth_users: {{ a: $2y$05${BODY} }}\n"));
    assert!(warnings.concat().contains("cost 5 is quickly guessed"), "{warnings:?}");
    let (_, warnings) = fine("http_server_config: { headers: { Strict-Transport-Security: max-age=1 } }\n");
    assert!(warnings.concat().contains("no effect without TLS"), "{warnings:?}");
    let optional = "tls_server_config: { cert_file: a, key_file: b, client_auth_type: VerifyClientCertIfGiven, \
                    client_ca_file: c }\n";
    let clients = fine(optional).0.tls.and_then(|tls| tls.clients).expect("clients");
    assert!(!clients.required);
    let none = "tls_server_config: { cert_file: a, key_file: b, client_auth_type: NoClientCert }\n";
    assert_eq!(fine(none).0.tls.expect("TLS").clients, None);
}

/// One bad file a message, with exactly what is said of it beside it. Build with `SCOPEWATCH_BLESS=1` to write what
/// is said now, then read the difference.
#[test]
fn every_mistake_is_told_as_it_was_agreed() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config/web");
    let mut wrong = Vec::new();
    let mut files: Vec<_> = std::fs::read_dir(&directory).expect("a directory").flatten().collect();
    files.sort_by_key(|file| file.path());
    for path in files.iter().map(|file| file.path()).filter(|p| p.extension().is_some_and(|e| e == "yml")) {
        let text = std::fs::read_to_string(&path).expect("a file");
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let said = match read(&text) {
            Ok((_, warnings)) => panic!("{name} is read without a mistake: {warnings:?}"),
            Err(mistakes) => format!("{mistakes}\n"),
        };
        assert!(!said.contains("S3cret"), "{name} shows a secret:\n{said}");
        let expected = path.with_extension("expected");
        if option_env!("SCOPEWATCH_BLESS").is_some() {
            std::fs::write(&expected, &said).expect("written");
        } else if std::fs::read_to_string(&expected).unwrap_or_default() != said {
            wrong.push(format!("--- {name} says\n{said}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_key_that_is_refused_by_name_says_what_to_do() {
    for (section, refused) in keys::REFUSED {
        for (key, help) in *refused {
            let text = match *section {
                "the web config" => format!("{key}: x\n"),
                _ => format!("tls_server_config: {{ cert_file: a, key_file: b, {key}: x }}\n"),
            };
            let said = read(&text).expect_err("refused").to_string();
            assert!(
                said.contains(&format!("`{key}` is not supported here")) && said.contains(help),
                "{said}"
            );
        }
    }
}
