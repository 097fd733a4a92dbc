//! TLS: whom the prober trusts. `localhost.pem` holds a certificate for `localhost` alone and its key, made
//! for these tests by the authority of `ca.pem`, whose key is gone.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned, SupportedProtocolVersion};

use super::*;

pub(super) const CA: &[u8] = include_bytes!("ca.pem");
const LOCALHOST: &[u8] = include_bytes!("localhost.pem");

const ONLY_13: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];
const ONLY_12: &[&SupportedProtocolVersion] = &[&rustls::version::TLS12];

/// TLS of these versions for the name `localhost`.
pub(super) fn localhost(versions: &[&'static SupportedProtocolVersion]) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let certificate = CertificateDer::from_pem_slice(LOCALHOST).expect("a certificate");
    let key = PrivateKeyDer::from_pem_slice(LOCALHOST).expect("a key");
    ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("a pair")
}

/// Answers one connection, in TLS of these versions; tells what it heard.
fn serve_tls(versions: &[&'static SupportedProtocolVersion]) -> (u16, std::thread::JoinHandle<String>) {
    let config = localhost(versions);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let served = std::thread::spawn(move || {
        let (stream, _) = listener.accept().expect("a client");
        let connection = ServerConnection::new(Arc::new(config)).expect("a connection");
        let mut tls = StreamOwned::new(connection, stream);
        let mut buffer = [0; 4096];
        let heard = match tls.read(&mut buffer) {
            Ok(length) => String::from_utf8_lossy(&buffer[..length]).into_owned(),
            Err(_) => String::new(),
        };
        let _ = tls.write_all(&ok("", "{}"));
        heard
    });
    (port, served)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_goes_only_to_whom_a_trusted_authority_vouches_for() {
    let trusting = |host: &str, port: u16, bundled_roots: bool, ca_files: &[&[u8]]| {
        let ca_files = ca_files.iter().map(|file| file.to_vec()).collect();
        let endpoint = format!("https://{host}:{port}");
        Prober::new(Settings { bundled_roots, ca_files, ..settings(&endpoint) }).expect("a prober")
    };
    for versions in [ONLY_13, ONLY_12] {
        let (port, served) = serve_tls(versions);
        let answer = outcome(&trusting("localhost", port, true, &[CA]), request(Verb::Get, "/x")).await;
        assert_eq!(answer.expect("an answer").status, 200);
        assert!(served.join().expect("served").contains(SECRET));
    }
    for (host, files) in [("localhost", &[][..]), ("127.0.0.1", &[CA][..])] {
        let (port, served) = serve_tls(rustls::ALL_VERSIONS);
        let found = outcome(&trusting(host, port, true, files), request(Verb::Post, "/x")).await;
        assert_eq!(found, Err(Failure::Unsent), "{host}");
        assert_eq!(served.join().expect("served"), "");
    }
    // The system's roots and ours together; and ours alone suffice where the system has none.
    let (port, served) = serve_tls(rustls::ALL_VERSIONS);
    let answer = outcome(&trusting("localhost", port, false, &[CA]), request(Verb::Get, "/x")).await;
    assert_eq!(answer.expect("an answer").status, 200);
    served.join().expect("served");
}

#[tokio::test]
async fn no_token_is_said_in_the_clear_and_a_handshake_that_hangs_was_not_a_request() {
    let (endpoint, heard) = serve(|_| Reply::Close(Vec::new())).await;
    let hasty = hasty(&endpoint.replace("http:", "https:"));
    let exchange = hasty.send(&keyring(), request(Verb::Post, "/x"), Timestamp(0)).await;
    assert_eq!(exchange.outcome, Err(Failure::Unsent));
    assert_eq!(heard.connections(), 1);
    assert!(!heard.all().contains("hf_") && !heard.all().contains("HTTP"));
}

#[test]
fn a_file_without_a_certificate_is_named_by_its_number() {
    let broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_vec();
    for file in [Vec::new(), b"hello".to_vec(), broken, b"-----BEGIN CERTIFICATE-----\n".to_vec()] {
        let ca_files = vec![CA.to_vec(), file];
        let fault =
            Prober::new(Settings { ca_files, ..settings("https://hub.invalid") }).expect_err("a fault");
        assert_eq!(fault, ProberFault::CaFile(2));
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test starts itself with another environment")]
fn a_system_without_certificates_is_a_clear_fault_unless_there_is_no_tls() {
    let mut command = std::process::Command::new(std::env::current_exe().expect("this program"));
    command.env("SSL_CERT_FILE", "/dev/null").env("SSL_CERT_DIR", "/nonexistent");
    command.args(["--ignored", "--exact", "probe::tests::tls::on_a_system_without_certificates"]);
    let output = command.output().expect("runs");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && told.contains("1 passed"), "{told}");
}

#[test]
#[ignore = "run by the test above, in a process with another environment"]
fn on_a_system_without_certificates() {
    let system = |endpoint: &str, ca_files| {
        Prober::new(Settings { bundled_roots: false, ca_files, ..settings(endpoint) }).err()
    };
    assert_eq!(system("https://hub.invalid", Vec::new()), Some(ProberFault::NoRoots));
    assert_eq!(system("https://hub.invalid", vec![CA.to_vec()]), None);
    assert_eq!(system("http://127.0.0.1:1", Vec::new()), None);
    assert!(ProberFault::NoRoots.to_string().contains("ca-certificates"));
}

#[tokio::test(flavor = "multi_thread")]
async fn why_a_handshake_fails_is_one_of_a_closed_list_and_no_token_was_said() {
    let trusting = |endpoint: &str, ca_files: &[&[u8]]| {
        let ca_files = ca_files.iter().map(|file| file.to_vec()).collect();
        Prober::new(Settings { ca_files, ..settings(endpoint) }).expect("a prober")
    };
    let harmless = request(Verb::Get, "/x");
    for (host, files, expected) in
        [("localhost", &[][..], TlsTrouble::UnknownIssuer), ("127.0.0.1", &[CA][..], TlsTrouble::OtherName)]
    {
        let (port, served) = serve_tls(rustls::ALL_VERSIONS);
        let prober = trusting(&format!("https://{host}:{port}"), files);
        assert_eq!(prober.tls_trouble(&harmless).await, Some(expected));
        assert_eq!(served.join().expect("served"), "");
    }
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let served = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        let _ = stream.write_all(&ok("", "{}"));
    });
    let prober = trusting(&format!("https://localhost:{port}"), &[]);
    assert_eq!(prober.tls_trouble(&harmless).await, Some(TlsTrouble::NotTls));
    served.join().expect("served");
    let (port, served) = serve_tls(rustls::ALL_VERSIONS);
    let prober = trusting(&format!("https://localhost:{port}"), &[CA]);
    assert_eq!(prober.tls_trouble(&harmless).await, None, "nothing is wrong with it");
    assert!(!served.join().expect("served").contains("hf_"), "it is asked without a token");
}

#[tokio::test]
async fn the_way_is_told_step_by_step() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let open = listener.local_addr().expect("an address");
    let way = settings(&format!("http://{open}")).way().await.expect("a way");
    assert_eq!((way.host.as_str(), way.proxied), (open.to_string().as_str(), false));
    assert_eq!(way.connected.expect("tried").expect("connected").0, open);
    let proxied = Settings { proxy: Some(format!("http://{open}")), ..settings("https://hub.invalid") };
    let way = proxied.way().await.expect("a way");
    assert!(way.proxied && way.connected.expect("tried").is_ok());
    drop(listener);
    let way = settings(&format!("http://{open}")).way().await.expect("a way");
    assert_eq!(way.connected, Some(Err(Obstacle::Refused)));
    let way = settings("https://hub.invalid").way().await.expect("a way");
    assert_eq!((way.found, way.connected), (Err(Obstacle::NoAddress), None));
    assert!(settings("nothing").way().await.is_none());
}
