//! TLS and passwords over real sockets: who gets in, who does not, and what a replaced door changes.

use std::collections::BTreeMap;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair, SanType,
    date_time_ymd,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio_rustls::TlsConnector;

use super::super::door::Gate;
use super::*;

const EVERYTHING: [&str; 9] = [
    "/",
    "/metrics",
    "/style.css",
    "/findings/0",
    "/api/v1/report",
    "/api/v1/findings",
    "/api/v1/canaries",
    "/nowhere",
    "/-/reload",
];
const HEALTH: [&str; 4] = ["/-/healthy", "/livez", "/-/ready", "/readyz"];

type Authority = CertifiedIssuer<'static, KeyPair>;

/// Certificate and key, PEM.
#[derive(Clone)]
struct Pair(String, String);

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("signed")
}

/// Of this authority, for this name, until the end of this year.
fn pair(of: &Authority, name: &str, until: i32) -> Pair {
    let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
    params.subject_alt_names.push(SanType::URI("spiffe://acme/prometheus".try_into().expect("ASCII")));
    params.not_after = date_time_ymd(until, 12, 31);
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate().expect("a key");
    Pair(params.signed_by(&key, of).expect("signed").pem(), key.serialize_pem())
}

fn tls(pair: &Pair) -> TlsParts {
    TlsParts {
        cert: pair.0.clone().into(),
        key: pair.1.clone().into(),
        versions: (true, true),
        clients: None,
    }
}

fn with_clients(pair: &Pair, of: &Authority, required: bool, sans: &[&str]) -> TlsParts {
    let allowed_sans = sans.iter().map(|san| (*san).to_owned()).collect();
    TlsParts { clients: Some(ClientParts { ca: of.pem().into(), required, allowed_sans }), ..tls(pair) }
}

fn users() -> BTreeMap<String, String> {
    // The least cost that bcrypt knows.
    BTreeMap::from([("alice".to_owned(), bcrypt::hash("right", 4).expect("a hash"))])
}

/// Open to whoever comes through a door of these parts.
fn behind(parts: DoorParts) -> Access {
    Access { page: true, lifecycle: true, door: Door::build(parts, NOW).expect("a door") }
}

fn behind_tls(tls: TlsParts) -> Access {
    behind(DoorParts { tls: Some(tls), ..DoorParts::default() })
}

fn behind_passwords() -> Access {
    behind(DoorParts { users: users(), key: [7; 32], ..DoorParts::default() })
}

async fn guarded(access: Access) -> Site {
    site(|served| served.access.store(Arc::new(access))).await
}

/// A client that trusts this authority, and shows a certificate if it has one.
fn client(
    trusts: &Authority,
    shows: Option<&Pair>,
    versions: &[&'static SupportedProtocolVersion],
) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(trusts.der().clone()).expect("an authority");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).expect("versions");
    let builder = builder.with_root_certificates(roots);
    let config = match shows {
        None => builder.with_no_client_auth(),
        Some(Pair(cert, key)) => {
            let cert =
                CertificateDer::pem_slice_iter(cert.as_bytes()).collect::<Result<_, _>>().expect("PEM");
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("PEM");
            builder.with_client_auth_cert(cert, key).expect("they belong together")
        }
    };
    TlsConnector::from(Arc::new(config))
}

fn any(trusts: &Authority, shows: Option<&Pair>) -> TlsConnector {
    client(trusts, shows, &[&rustls::version::TLS12, &rustls::version::TLS13])
}

impl Site {
    /// Asks over TLS; status 0 when nothing came of it.
    async fn ask_by(&self, by: &TlsConnector, method: &str, path: &str) -> Heard {
        let name = ServerName::try_from("localhost").expect("a name");
        let Ok(mut stream) = by.connect(name, self.connect().await).await else { return Heard::of("") };
        let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let mut answer = Vec::new();
        // A server that refuses the certificate says so only after the handshake of TLS 1.3.
        if stream.write_all(head.as_bytes()).await.is_ok() {
            let _ = stream.read_to_end(&mut answer).await;
        }
        Heard::of(&String::from_utf8_lossy(&answer))
    }

    async fn ask_as(&self, path: &str, name: &str, password: &str) -> Heard {
        let code = data_encoding::BASE64.encode(format!("{name}:{password}").as_bytes());
        self.ask_with("GET", path, &format!("Host: localhost\r\nAuthorization: Basic {code}\r\n")).await
    }
}

#[tokio::test]
async fn over_tls_the_same_is_served_and_in_the_open_nothing() {
    let ours = authority();
    let site = guarded(behind_tls(tls(&pair(&ours, "localhost", 2099)))).await;
    for path in ["/", "/metrics", "/livez"] {
        assert_eq!(site.ask_by(&any(&ours, None), "GET", path).await.status, 200, "{path}");
    }
    assert_eq!(site.ask_by(&any(&authority(), None), "GET", "/livez").await.status, 0, "not whom it trusts");
    let plain = site.ask("GET", "/metrics").await;
    assert_eq!((plain.status, plain.body.as_str()), (400, "This port speaks TLS: ask by https instead.\n"));
    assert_eq!(plain.header("content-length"), plain.body.len().to_string());
    site.end().await;
}

#[tokio::test]
async fn only_the_versions_that_are_asked_for_are_spoken() {
    let ours = authority();
    let server = pair(&ours, "localhost", 2099);
    let (old, new) = (&[&rustls::version::TLS12][..], &[&rustls::version::TLS13][..]);
    for (versions, speaks_old, speaks_new) in
        [((true, true), 200, 200), ((false, true), 0, 200), ((true, false), 200, 0)]
    {
        let site = guarded(behind_tls(TlsParts { versions, ..tls(&server) })).await;
        assert_eq!(site.ask_by(&client(&ours, None, old), "GET", "/livez").await.status, speaks_old);
        assert_eq!(site.ask_by(&client(&ours, None, new), "GET", "/livez").await.status, speaks_new);
        site.end().await;
    }
}

#[tokio::test]
async fn a_required_certificate_is_required_of_all_but_health() {
    let (ours, theirs) = (authority(), authority());
    let server = pair(&ours, "localhost", 2099);
    let site = guarded(behind_tls(with_clients(&server, &theirs, true, &[]))).await;
    let (nobody, known) = (any(&ours, None), any(&ours, Some(&pair(&theirs, "prometheus", 2099))));
    for path in EVERYTHING {
        let heard = site.ask_by(&nobody, "GET", path).await;
        assert_eq!((heard.status, heard.body.contains("client certificate")), (403, true), "{path}");
    }
    assert_eq!(site.ask_by(&nobody, "POST", "/-/probe?token=ci").await.status, 403);
    for path in HEALTH {
        assert_eq!(site.ask_by(&nobody, "GET", path).await.status, 200, "{path}");
    }
    for path in ["/", "/metrics", "/livez"] {
        assert_eq!(site.ask_by(&known, "GET", path).await.status, 200, "{path}");
    }
    for (who, wrong) in [
        ("of another authority", pair(&ours, "prometheus", 2099)),
        ("expired", pair(&theirs, "prometheus", 2001)),
    ] {
        assert_eq!(site.ask_by(&any(&ours, Some(&wrong)), "GET", "/metrics").await.status, 0, "{who}");
    }
    site.end().await;

    let site = guarded(behind_tls(with_clients(&server, &theirs, false, &[]))).await;
    assert_eq!(site.ask_by(&nobody, "GET", "/metrics").await.status, 200, "only looked at if given");
    let wrong = any(&ours, Some(&pair(&ours, "prometheus", 2099)));
    assert_eq!(site.ask_by(&wrong, "GET", "/metrics").await.status, 0);
    site.end().await;
}

#[tokio::test]
async fn of_known_certificates_only_those_of_allowed_names_come_in() {
    let ours = authority();
    let server = pair(&ours, "localhost", 2099);
    for (allowed, of, status) in [
        (vec!["prometheus"], "prometheus", 200),
        (vec!["other", "PROMETHEUS"], "prometheus", 200),
        (vec!["other"], "prometheus", 403),
        (vec!["*.acme.com"], "a.acme.com", 403),
        (vec!["10.0.0.1"], "10.0.0.1", 200),
        (vec!["10.0.0.2"], "10.0.0.1", 403),
        (vec!["spiffe://acme/prometheus"], "x", 200),
        (vec!["spiffe://acme/other"], "x", 403),
    ] {
        let site = guarded(behind_tls(with_clients(&server, &ours, true, &allowed))).await;
        let by = any(&ours, Some(&pair(&ours, of, 2099)));
        assert_eq!(site.ask_by(&by, "GET", "/metrics").await.status, status, "{allowed:?} {of}");
        assert_eq!(site.ask_by(&by, "GET", "/livez").await.status, 200);
        site.end().await;
    }
}

#[tokio::test]
async fn a_silent_handshake_is_cut_off_and_gives_up_its_place() {
    let ours = authority();
    let access = behind_tls(tls(&pair(&ours, "localhost", 2099)));
    let site = site(|served| {
        served.access.store(Arc::new(access));
        served.limits.head = Duration::from_millis(50);
    })
    .await;
    for begun in [&b""[..], &[0x16, 3, 1]] {
        let mut stream = site.connect().await;
        stream.write_all(begun).await.expect("sent");
        ends(&mut stream).await;
    }
    site.end().await;

    let access = behind_tls(tls(&pair(&ours, "localhost", 2099)));
    let site = super::site(|served| {
        served.access.store(Arc::new(access));
        served.limits.connections = 2;
    })
    .await;
    let mut crowd = Vec::new();
    for _ in 0..20 {
        let mut stream = site.connect().await;
        stream.write_all(&[0x16]).await.expect("sent");
        crowd.push(stream);
        assert_eq!(site.ask_by(&any(&ours, None), "GET", "/livez").await.status, 200);
    }
    site.end().await;
}

#[tokio::test]
async fn a_replaced_certificate_is_served_from_the_next_connection_on() {
    let (first, second) = (authority(), authority());
    let site = guarded(behind_tls(tls(&pair(&first, "localhost", 2099)))).await;
    let name = ServerName::try_from("localhost").expect("a name");
    let mut kept = any(&first, None).connect(name, site.connect().await).await.expect("a handshake");
    let ask = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
    admit(&site.served.access, behind_tls(tls(&pair(&second, "localhost", 2099))));
    assert_eq!(site.ask_by(&any(&second, None), "GET", "/metrics").await.status, 200);
    assert_eq!(site.ask_by(&any(&first, None), "GET", "/metrics").await.status, 0);
    kept.write_all(ask).await.expect("sent");
    let mut heard = [0; 12];
    kept.read_exact(&mut heard).await.expect("it was not disturbed");
    assert_eq!(&heard, b"HTTP/1.1 200");
    site.end().await;
}

/// It ends at once, and not only because nothing was asked for long.
async fn ends(stream: &mut (impl tokio::io::AsyncRead + Unpin)) {
    let mut nothing = [0; 16];
    let read = tokio::time::timeout(Limits::default().head / 2, stream.read(&mut nothing)).await;
    assert_eq!(read.expect("it ends").unwrap_or(0), 0);
}

#[tokio::test]
async fn connections_end_when_more_is_asked_of_them() {
    let ours = authority();
    let server = pair(&ours, "localhost", 2099);
    let site = guarded(open(true, true)).await;
    let mut plain = site.connect().await;
    plain.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("sent");
    assert!(plain.read(&mut [0; 1024]).await.expect("answered") > 0);
    admit(&site.served.access, behind_tls(tls(&server)));
    ends(&mut plain).await;

    // Twice the same rules: the connection must know of the third.
    admit(&site.served.access, behind_tls(tls(&server)));
    let name = ServerName::try_from("localhost").expect("a name");
    let mut kept = any(&ours, None).connect(name, site.connect().await).await.expect("a handshake");
    admit(&site.served.access, behind_tls(tls(&server)));
    admit(&site.served.access, behind_tls(with_clients(&server, &ours, true, &[])));
    ends(&mut kept).await;
    site.end().await;
}

#[test]
fn what_a_connection_showed_counts_only_under_the_rules_it_was_looked_at_by() {
    let (ours, theirs) = (authority(), authority());
    let server = pair(&ours, "localhost", 2099);
    let door = |tls| behind_tls(tls).door;
    let old = door(with_clients(&server, &ours, true, &[]));
    let chain = [CertificateDer::from_pem_slice(pair(&ours, "prometheus", 2099).0.as_bytes()).expect("PEM")];
    let peer =
        Peer { tls: true, client: old.tls.as_ref().expect("TLS").met(Some(&chain)), ..Peer::default() };
    assert_eq!(old.gate(&peer, "/metrics"), Gate::Open);
    let shut = |door: &Door, path| matches!(door.gate(&peer, path), Gate::Shut(..));
    for new in [with_clients(&server, &theirs, true, &[]), with_clients(&server, &ours, true, &["other"])] {
        let new = door(new);
        assert!(shut(&new, "/metrics") && shut(&new, "/-/reload") && !shut(&new, "/livez"));
    }
    let in_the_open = Peer::default();
    assert!(matches!(door(tls(&server)).gate(&in_the_open, "/"), Gate::Shut(..)));
}

#[test]
fn what_cannot_be_spoken_with_is_told_by_its_key() {
    let ours = authority();
    let good = pair(&ours, "localhost", 2099);
    let build = |parts: TlsParts| parts.build(NOW).map(|_| ()).expect_err("refused");
    let cert = |cert: &str| TlsParts { cert: cert.into(), ..tls(&good) };
    let key = |key: &str| TlsParts { key: key.into(), ..tls(&good) };
    let ca = |ca: &str| TlsParts {
        clients: Some(ClientParts { ca: ca.into(), required: true, allowed_sans: Vec::new() }),
        ..tls(&good)
    };
    let damaged = "-----BEGIN CERTIFICATE-----\nS3cret\n-----END CERTIFICATE-----\n";
    let no_certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let no_key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    for (parts, fault) in [
        (cert(""), TlsFault::NoCertificate),
        (cert(&good.1), TlsFault::NoCertificate),
        (cert(damaged), TlsFault::BadCertificate),
        (cert(no_certificate), TlsFault::BadCertificate),
        (tls(&pair(&ours, "localhost", 2001)), TlsFault::Expired(Timestamp(1_009_756_800_000))),
        (key(""), TlsFault::NoKey),
        (key(&good.0), TlsFault::NoKey),
        (key(no_key), TlsFault::BadKey),
        (key(&pair(&ours, "localhost", 2099).1), TlsFault::Mismatch),
        (ca(""), TlsFault::NoAuthority),
        (ca(damaged), TlsFault::BadAuthority),
        (ca(no_certificate), TlsFault::BadAuthority),
    ] {
        let told = build(parts);
        assert_eq!(told, fault);
        assert!(!told.to_string().contains("S3cret") && told.to_string().contains("_file"), "{told}");
    }
    let parts = tls(&good);
    assert!(parts.build(NOW).is_ok());
    let early = Timestamp(0);
    assert!(matches!(parts.build(early).map(|_| ()), Err(TlsFault::NotYet(_)) | Ok(())));
}

#[tokio::test]
async fn a_password_is_needed_for_all_but_health() {
    let site = guarded(behind_passwords()).await;
    for path in EVERYTHING {
        for heard in [
            site.ask("GET", path).await,
            site.ask_as(path, "alice", "wrong").await,
            site.ask_as(path, "alice", "").await,
            site.ask_as(path, "nobody", "right").await,
        ] {
            assert_eq!(heard.status, 401, "{path}");
            assert_eq!(heard.header("www-authenticate"), "basic realm=\"scopewatch\", charset=\"utf-8\"");
            assert!(heard.header("content-security-policy").starts_with("default-src 'none'"));
        }
    }
    assert_eq!(site.ask("POST", "/-/reload").await.status, 401);
    for path in HEALTH {
        assert_eq!(site.ask("GET", path).await.status, 200, "{path}");
    }
    for _ in 0..2 {
        for path in ["/", "/metrics", "/api/v1/findings"] {
            assert_eq!(site.ask_as(path, "alice", "right").await.status, 200, "{path}");
        }
        assert_eq!(
            site.ask_as("/metrics", "alice", "wrong").await.status,
            401,
            "what is remembered is the right one"
        );
    }
    site.end().await;
}

#[tokio::test]
async fn a_changed_password_holds_at_once() {
    let site = guarded(behind_passwords()).await;
    assert_eq!(site.ask_as("/metrics", "alice", "right").await.status, 200);
    let hash = bcrypt::hash("new", 4).expect("a hash");
    let users = BTreeMap::from([("alice".to_owned(), hash)]);
    admit(&site.served.access, behind(DoorParts { users, ..DoorParts::default() }));
    assert_eq!(site.ask_as("/metrics", "alice", "right").await.status, 401);
    assert_eq!(site.ask_as("/metrics", "alice", "new").await.status, 200);
    admit(&site.served.access, open(true, true));
    assert_eq!(site.ask("GET", "/metrics").await.status, 200);
    site.end().await;
}

#[tokio::test]
async fn other_headers_are_no_password() {
    let site = guarded(behind_passwords()).await;
    let right = data_encoding::BASE64.encode(b"alice:right");
    for (header, status) in [
        (format!("Authorization: basic {right}"), 200),
        (format!("Authorization: Bearer {right}"), 401),
        (format!("Authorization: Basic{right}"), 401),
        (format!("Authorization: Basic {right}\r\nAuthorization: Basic {right}"), 401),
        ("Authorization: Basic ????".to_owned(), 401),
        ("Authorization: Basic ".to_owned(), 401),
        (format!("Authorization: Basic {}", data_encoding::BASE64.encode(b"alice")), 401),
        (format!("Authorization: Basic {}", data_encoding::BASE64.encode(b"\xff:right")), 401),
    ] {
        let heard = site.ask_with("GET", "/metrics", &format!("Host: localhost\r\n{header}\r\n")).await;
        assert_eq!(heard.status, status, "{header}");
    }
    site.end().await;
}

#[tokio::test]
async fn configured_headers_stand_beside_ours() {
    let given = [
        ("Content-Security-Policy", "default-src *"),
        ("X-Frame-Options", "sameorigin"),
        ("X-Content-Type-Options", "nosniff"),
        ("Strict-Transport-Security", "max-age=1"),
        ("X-XSS-Protection", "0"),
    ];
    let headers = given.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    let site = guarded(behind(DoorParts { headers, ..DoorParts::default() })).await;
    for path in ["/", "/metrics", "/nowhere"] {
        let heard = site.ask("GET", path).await;
        assert!(heard.header("content-security-policy").starts_with("default-src 'none'"), "{path}");
        assert!(heard.head.contains("\r\ncontent-security-policy: default-src *"), "{path}");
        assert_eq!(heard.header("x-frame-options"), "deny");
        assert_eq!(heard.head.matches("x-frame-options").count(), 1);
        assert_eq!(heard.head.matches("nosniff").count(), 1);
        assert_eq!(
            (heard.header("strict-transport-security"), heard.header("x-xss-protection")),
            ("max-age=1", "0")
        );
    }
    site.end().await;
}

#[test]
fn only_who_knows_everybody_authenticates() {
    let ours = authority();
    let server = pair(&ours, "localhost", 2099);
    for (access, knows) in [
        (open(true, true), false),
        (behind_tls(tls(&server)), false),
        (behind_tls(with_clients(&server, &ours, false, &[])), false),
        (behind_tls(with_clients(&server, &ours, true, &[])), true),
        (behind_passwords(), true),
    ] {
        assert_eq!(access.door.authenticates(), knows);
    }
}

/// No route takes an address, a repository or a secret: whoever adds one, or a way to pass something in, has to say so
/// here.
#[test]
fn every_route_and_what_it_takes() {
    let text = include_str!("../routes.rs");
    let routes: Vec<(&str, &str)> = text
        .split(".route(\"")
        .skip(1)
        .filter_map(|rest| {
            let (path, rest) = rest.split_once("\", ")?;
            Some((path, rest.split('(').next()?))
        })
        .collect();
    assert_eq!(
        routes,
        [
            ("/metrics", "get"),
            ("/-/healthy", "get"),
            ("/livez", "get"),
            ("/-/ready", "get"),
            ("/readyz", "get"),
            ("/-/reload", "post"),
            ("/-/probe", "post"), // ?token=NAME, a name of the config
            ("/", "get"),         // what of it is shown: names of the config, and words
            ("/style.css", "get"),
            ("/findings/{id}", "get"), // an id that the page itself made
            ("/api/v1/report", "get"),
            ("/api/v1/findings", "get"),
            ("/api/v1/canaries", "get"),
            ("/api/v1/openapi.json", "get"),
        ]
    );
    for (way_in, times) in [
        (".query()", 2),
        ("Path(", 1),
        ("Query(", 0),
        ("Json(", 0),
        ("Form(", 0),
        ("Bytes", 1), // a body that goes out
        ("into_body", 0),
        ("headers()", 3), // to the guard, and to what says how metrics may be packed
        (".nest", 0),
        (".merge", 0),
        ("_service(", 0),
    ] {
        assert_eq!(text.matches(way_in).count(), times, "{way_in}");
    }
}
