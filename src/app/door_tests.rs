//! Goal: what lies on the disk makes a door or a sentence, changes are noticed, and what is broken changes nothing.
//! Method: real files in a directory of their own, certificates made for the test.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::atomic::{AtomicU32, Ordering};

use rcgen::{CertificateParams, KeyPair, date_time_ymd};

use super::*;

const NOW: Timestamp = Timestamp(1_800_000_000_000);
const WEB: &str = "tls_server_config: { cert_file: server.crt, key_file: server.key }\n";

/// A directory with a certificate and its key; gone with the test.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Folder {
    fn new() -> Folder {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("scopewatch-door-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).expect("a directory");
        let folder = Folder(path);
        folder.certify(2099);
        folder.write("web.yml", WEB);
        folder
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::write(self.0.join(name), text).expect("written");
        self.chmod(name, 0o600);
    }

    fn chmod(&self, name: &str, mode: u32) {
        fs::set_permissions(self.0.join(name), fs::Permissions::from_mode(mode)).expect("its mode");
    }

    /// A new certificate and its key.
    fn certify(&self, until: i32) {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        params.not_after = date_time_ymd(until, 12, 31);
        let key = KeyPair::generate().expect("a key");
        self.write("server.crt", params.self_signed(&key).expect("signed").pem());
        self.write("server.key", key.serialize_pem());
    }

    fn web(&self) -> PathBuf {
        self.0.join("web.yml")
    }

    fn reading(&self) -> Reading {
        Reading::take(&self.web())
    }

    fn server(&self) -> Server {
        server("0.0.0.0:10847", Some(self.web()))
    }

    fn refused(&self) -> String {
        self.reading().open(&self.web(), NOW).map(|_| ()).expect_err("refused")
    }
}

fn server(listen: &str, web_config: Option<PathBuf>) -> Server {
    Server { listen: listen.parse().expect("an address"), lifecycle: true, open_page: false, web_config }
}

#[tokio::test]
async fn a_change_opens_another_door_and_what_is_broken_changes_nothing() {
    let folder = Folder::new();
    let (mut entrance, Opened { door, warnings }) = Entrance::open(&folder.server()).expect("a door");
    assert_eq!(warnings, Vec::<String>::new());
    assert!(matches!(entrance.judge(folder.reading(), &door, NOW), News::None));

    folder.certify(2099);
    assert!(matches!(entrance.judge(folder.reading(), &door, NOW), News::Opened(_)));
    assert!(matches!(entrance.judge(folder.reading(), &door, NOW), News::None));

    let key = fs::read(folder.0.join("server.key")).expect("a key");
    folder.write("server.key", "no key");
    let News::Broken(why) = entrance.judge(folder.reading(), &door, NOW) else { panic!("it is broken") };
    assert!(why.contains("web.yml") && why.contains("key_file holds no private key"), "{why}");
    assert!(matches!(entrance.judge(folder.reading(), &door, NOW), News::None), "said once");
    folder.write("web.yml", "tls_server_config: { cert_fil: x }\n");
    let News::Broken(why) = entrance.judge(folder.reading(), &door, NOW) else { panic!("otherwise broken") };
    assert!(why.contains("web.yml:1:22") && why.contains("did you mean `cert_file`?"), "{why}");
    folder.write("web.yml", WEB);
    folder.write("server.key", key);
    assert!(matches!(entrance.judge(folder.reading(), &door, NOW), News::Mended));
    assert!(matches!(entrance.judge(folder.reading(), &door, NOW), News::None));
    // A reload saw something that was mended before the next look: else the metric would never say so.
    entrance.failed(&Fault::Usage("the web config cannot be read".to_owned()));
    assert!(matches!(entrance.judge(folder.reading(), &door, NOW), News::Mended));
}

#[tokio::test]
async fn a_certificate_out_of_its_time_is_refused_and_told_of_once_when_it_runs_out() {
    let folder = Folder::new();
    folder.certify(2027);
    let (mut entrance, Opened { door, .. }) = Entrance::open(&folder.server()).expect("a door");
    let late = Timestamp(1_900_000_000_000);
    assert!(matches!(entrance.judge(folder.reading(), &door, NOW), News::None));
    let News::Expired(why) = entrance.judge(folder.reading(), &door, late) else { panic!("it ran out") };
    assert!(why.contains("has expired (on 2027-12-31"), "{why}");
    assert!(matches!(entrance.judge(folder.reading(), &door, late), News::None), "said once");
    folder.certify(2001);
    let News::Broken(why) = entrance.judge(folder.reading(), &door, NOW) else { panic!("it has expired") };
    assert!(why.contains("has expired (on 2001-12-31"), "{why}");
    assert!(folder.refused().contains("renew it"));
}

#[tokio::test(start_paused = true)]
async fn the_files_are_looked_at_every_few_seconds() {
    let folder = Folder::new();
    let (mut entrance, _) = Entrance::open(&folder.server()).expect("a door");
    let began = tokio::time::Instant::now();
    for look in 1..=3 {
        let reading = entrance.look().await;
        assert_eq!(reading.digest, entrance.in_force);
        let took = began.elapsed();
        assert!((LOOK_EVERY * look..LOOK_EVERY * (look + 1)).contains(&took), "{took:?}");
    }
    // Without a web config there is nothing to look at.
    let (mut entrance, Opened { door, .. }) = Entrance::open(&server("127.0.0.1:1", None)).expect("open");
    assert!(!door.authenticates() && door.valid_at(NOW).is_ok());
    let looked = tokio::time::timeout(LOOK_EVERY * 10, entrance.look()).await;
    assert!(looked.is_err());
}

#[test]
fn what_cannot_be_read_is_one_sentence_with_the_key_and_the_file() {
    let folder = Folder::new();
    fs::create_dir(folder.0.join("folder")).expect("a directory");
    folder.write("large", vec![b'x'; 65 * 1024]);
    folder.write("binary", [0xff, 0xfe]);
    symlink("nowhere", folder.0.join("dangling")).expect("a link");
    let with = |cert: &str| format!("tls_server_config: {{ cert_file: {cert}, key_file: server.key }}\n");
    for (cert, why) in [
        ("absent.crt", "does not exist"),
        ("dangling", "does not exist"),
        ("web.yml/x", "does not exist"),
        ("folder", "is not a regular file"),
        ("/dev/null", "is not a regular file"),
        ("large", "is larger than 64 KiB"),
        ("binary", "holds no certificate"),
    ] {
        folder.write("web.yml", with(cert));
        let said = folder.refused();
        assert!(said.contains("cert_file") && said.contains(why) && said.lines().count() == 1, "{said}");
    }
    folder.write("web.yml", WEB.replace("server.key", "absent.key"));
    assert!(folder.refused().contains("key_file: '"));
    folder.write("web.yml", [0xff]);
    assert!(folder.refused().contains("server.web_config") && folder.refused().contains("UTF-8"));
    fs::remove_file(folder.web()).expect("removed");
    let said = folder.refused();
    assert!(said.contains("server.web_config: '") && said.contains("does not exist"), "{said}");

    // A link, as Kubernetes mounts files, is followed.
    let folder = Folder::new();
    fs::rename(folder.0.join("server.crt"), folder.0.join("real")).expect("renamed");
    symlink("real", folder.0.join("server.crt")).expect("a link");
    assert!(folder.reading().open(&folder.web(), NOW).is_ok());
}

#[test]
fn a_pasted_secret_is_not_repeated_as_a_path() {
    let folder = Folder::new();
    folder.write("web.yml", WEB.replace("server.crt", "hf_aBcDeFgHiJkLmNoPqRsTuVwXyZaBcDeFgH"));
    let said = folder.refused();
    assert!(!said.contains("aBcDeF"), "{said}");
    let read =
        read_part("server.web_config", Path::new("/x/aBcDeFgHiJkLmNoPqRsTuVwXyZ12"), 1, &mut Sha256::new());
    assert!(!read.expect_err("absent").contains("aBcDeF"));
}

#[test]
fn files_that_others_may_read_are_warned_of() {
    let folder = Folder::new();
    folder.chmod("server.key", 0o644);
    folder.chmod("server.crt", 0o644);
    folder.chmod("web.yml", 0o644);
    let opened = folder.reading().open(&folder.web(), NOW).expect("a door");
    assert_eq!(opened.warnings.len(), 1, "{:?}", opened.warnings);
    assert!(opened.warnings[0].starts_with("key_file '") && opened.warnings[0].contains("chmod o-rwx"));
    folder
        .write("web.yml", format!("basic_auth_users: {{ a: {} }}\n", bcrypt::hash("x", 4).expect("a hash")));
    folder.chmod("web.yml", 0o644);
    let opened = folder.reading().open(&folder.web(), NOW).expect("a door");
    assert!(opened.warnings.concat().contains("hashes of passwords"), "{:?}", opened.warnings);
}

#[test]
fn the_page_is_open_on_loopback_or_to_whoever_is_known_or_if_asked_for() {
    let users = || [("a".to_owned(), "$2y$10$".to_owned())].into();
    let door = |known| {
        let parts =
            if known { DoorParts { users: users(), ..DoorParts::default() } } else { DoorParts::default() };
        Door::build(parts, NOW).expect("a door")
    };
    for (listen, open_page, known, page) in [
        ("127.0.0.1:1", false, false, true),
        ("[::1]:1", false, false, true),
        ("0.0.0.0:1", false, false, false),
        ("[::]:1", false, false, false),
        ("10.0.0.1:1", true, false, true),
        ("10.0.0.1:1", false, true, true),
    ] {
        let server = Server { open_page, ..server(listen, None) };
        let access = access(&server, server.listen, door(known));
        assert_eq!((access.page, access.lifecycle), (page, true), "{listen} {open_page} {known}");
        let beyond = !server.listen.ip().is_loopback();
        let said = oddities(&server, server.listen, &access.door).concat();
        assert_eq!(said.contains("passwords travel in the clear"), beyond && known, "{said}");
        assert_eq!(said.contains("server.lifecycle"), beyond && !known, "{said}");
    }
}
