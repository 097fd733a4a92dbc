//! The bounds of the HTTP side: sizes, times, connections, and the end.

use super::*;

#[tokio::test]
async fn bodies_and_heads_are_bounded() {
    let site = site(|_| {}).await;
    let heard =
        site.send("POST /-/reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999999\r\n\r\n").await;
    assert_eq!((heard.status, heard.header("connection")), (413, "close"));
    let mut stream = site.connect().await;
    let endless = format!("GET /livez HTTP/1.1\r\nHost: localhost\r\nX: {}", "x".repeat(2 * HEAD_LIMIT));
    // The server may close before all of it is written.
    let _ = stream.write_all(endless.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let heard = Heard::of(&String::from_utf8_lossy(&answer));
    assert!([0, 431].contains(&heard.status), "{heard:?}");
    assert_eq!(site.ask("GET", "/livez").await.status, 200);
    site.end().await;
}

#[tokio::test]
async fn a_slow_head_is_cut_off() {
    let site = site(|served| served.limits.head = Duration::from_millis(50)).await;
    let heard = site.send("GET /livez HTTP/1.1\r\nHost: local").await;
    assert!([0, 408].contains(&heard.status), "{heard:?}");
    let heard = site.send("").await;
    assert!([0, 408].contains(&heard.status), "who says nothing is cut off as well");
    site.end().await;
}

#[tokio::test]
async fn a_connection_beyond_the_bound_waits_while_all_are_answered() {
    let mut site = site(|served| served.limits.connections = 1).await;
    let mut first = site.connect().await;
    first.write_all(b"POST /-/reload HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("sent");
    let Some(Command::Reload(answer)) = site.commands.recv().await else { panic!("a reload") };
    let mut second = site.connect().await;
    second.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("sent");
    let mut heard = [0; 512];
    let waited = tokio::time::timeout(Duration::from_millis(50), second.read(&mut heard)).await;
    assert!(waited.is_err(), "there is no place yet");
    answer.send(Ok(())).expect("somebody waits");
    // The first has its answer and falls silent; that is enough.
    assert!(first.read(&mut [0; 512]).await.expect("answered") > 0);
    assert!(second.read(&mut heard).await.expect("answered") > 0);
    assert_eq!(first.read(&mut [0; 512]).await.expect("closed"), 0);
    drop(second);
    site.end().await;
}

#[tokio::test]
async fn who_is_silent_longest_gives_up_his_place() {
    let site = site(|served| served.limits.connections = 2).await;
    let mut silent = site.connect().await;
    let mut spoke = site.connect().await;
    spoke.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("sent");
    assert!(spoke.read(&mut [0; 512]).await.expect("answered") > 0);
    assert_eq!(
        site.send("GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.status,
        200
    );
    assert_eq!(silent.read(&mut [0; 512]).await.expect("closed"), 0, "it never said anything");
    spoke.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("sent");
    assert!(spoke.read(&mut [0; 512]).await.expect("answered") > 0, "it was silent for a shorter time");
    // However many come and say nothing: whoever asks is answered.
    let mut crowd = Vec::new();
    for _ in 0..20 {
        crowd.push(site.connect().await);
        assert_eq!(
            site.send("GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.status,
            200
        );
    }
    site.end().await;
}

#[tokio::test]
async fn a_connection_ends_with_its_life() {
    let site = site(|served| served.limits.life = Duration::from_millis(50)).await;
    let mut stream = site.connect().await;
    stream.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("sent");
    let mut text = String::new();
    stream.read_to_string(&mut text).await.expect("answered, then closed");
    assert_eq!(Heard::of(&text).status, 200);
    site.end().await;
}

#[tokio::test]
async fn answers_under_way_are_finished_and_idle_connections_closed() {
    let mut site = site(|_| {}).await;
    let mut idle = site.connect().await;
    idle.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("sent");
    assert!(idle.read(&mut [0; 512]).await.expect("answered") > 0);
    let silent = site.connect().await;
    let mut busy = site.connect().await;
    busy.write_all(b"POST /-/reload HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("sent");
    let Some(Command::Reload(answer)) = site.commands.recv().await else { panic!("a reload") };
    site.shutdown.cancel();
    assert_eq!(idle.read(&mut [0; 512]).await.expect("closed"), 0);
    assert_eq!(site.served.ready.missing(), Some("stopping"));
    assert!(TcpStream::connect(site.address).await.is_err(), "nobody listens any more");
    answer.send(Ok(())).expect("awaited");
    let mut text = String::new();
    busy.read_to_string(&mut text).await.expect("answered");
    assert_eq!(Heard::of(&text).status, 200);
    drop(silent);
    site.end().await;
}

#[tokio::test]
async fn the_end_does_not_wait_for_ever() {
    let mut site = site(|served| served.limits.drain = Duration::from_millis(50)).await;
    let mut busy = site.connect().await;
    busy.write_all(b"POST /-/reload HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("sent");
    let held = site.commands.recv().await;
    assert!(matches!(held, Some(Command::Reload(_))));
    site.end().await;
    let mut text = String::new();
    busy.read_to_string(&mut text).await.expect("closed");
    assert_eq!(text, "");
}

#[test]
fn only_failures_of_one_connection_are_no_reason_to_pause() {
    for kind in [io::ErrorKind::ConnectionAborted, io::ErrorKind::ConnectionReset] {
        assert!(of_one_connection(&kind.into()));
    }
    let too_many_files = io::Error::from_raw_os_error(24);
    assert!(!of_one_connection(&too_many_files));
}
