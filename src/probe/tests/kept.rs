//! Kept connections that end: which requests are sent once more, and which never.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

/// Answers `/first`, so that a connection is kept; then says this `times` times to whoever asks for anything else.
async fn weary(reply: Reply, times: usize) -> (Prober, server::Heard) {
    let said = AtomicUsize::new(0);
    let (endpoint, heard) = serve(move |request| {
        let weary = !request.contains(" /first ") && said.fetch_add(1, Ordering::SeqCst) < times;
        if weary { reply.clone() } else { Reply::Keep(ok("", "{}")) }
    })
    .await;
    let prober = prober(&endpoint);
    outcome(&prober, request(Verb::Get, "/first")).await.expect("an answer");
    (prober, heard)
}

/// How often `/second` was heard.
fn seconds(heard: &server::Heard) -> usize {
    heard.all().matches(" /second ").count()
}

#[tokio::test]
async fn a_read_that_a_kept_connection_swallowed_is_sent_once_more() {
    for reply in [Reply::Close(Vec::new()), Reply::Reset(Vec::new())] {
        let (prober, heard) = weary(reply.clone(), 1).await;
        let answer = outcome(&prober, request(Verb::Get, "/second")).await.expect("an answer");
        assert_eq!((answer.status, seconds(&heard), heard.connections()), (200, 2, 2));
        let signed = format!("authorization: bearer {SECRET}\r\n");
        assert_eq!(heard.all().to_ascii_lowercase().matches(&signed).count(), 3);
        // Once: a connection of its own that ends as well is a loss.
        let (prober, heard) = weary(reply, usize::MAX).await;
        assert_eq!(outcome(&prober, request(Verb::Get, "/second")).await, Err(Failure::Lost));
        assert_eq!((seconds(&heard), heard.connections()), (2, 2));
        // And what was lost on a fresh connection is never sent again.
        assert_eq!(outcome(&prober, request(Verb::Get, "/second")).await, Err(Failure::Lost));
        assert_eq!((seconds(&heard), heard.connections()), (3, 3));
    }
}

#[tokio::test]
async fn what_may_change_something_and_what_was_answered_is_never_sent_again() {
    let nothing = || Reply::Close(Vec::new());
    let text = |text: &str| text.as_bytes().to_vec();
    let cut = || Reply::Close(text("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc"));
    for (verb, reply, found) in [
        (Verb::Post, nothing(), Failure::Lost),
        (Verb::Delete, nothing(), Failure::Lost),
        (Verb::Post, Reply::Reset(Vec::new()), Failure::Lost),
        (Verb::Delete, Reply::Reset(Vec::new()), Failure::Lost),
        (Verb::Get, cut(), Failure::Lost),
        (Verb::Get, Reply::Close(text("220 mail.example ESMTP\r\n\r\n")), Failure::Lost),
        (Verb::Get, Reply::Close(text("HTTP/1.1 2000 OK\r\ncontent-length: 0\r\n\r\n")), Failure::Lost),
        (Verb::Get, Reply::Close(ok("content-encoding: gzip\r\n", "x")), Failure::Oversized),
    ] {
        let (prober, heard) = weary(reply, usize::MAX).await;
        assert_eq!(outcome(&prober, request(verb, "/second")).await, Err(found), "{verb}");
        assert_eq!(seconds(&heard), 1, "{verb}: {}", heard.all());
    }
}

#[tokio::test]
async fn both_attempts_have_one_deadline() {
    let asked = AtomicUsize::new(0);
    let (endpoint, heard) = serve(move |_| match asked.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::Keep(ok("", "{}")),
        1 => Reply::Close(Vec::new()),
        _ => Reply::Hang(Vec::new()),
    })
    .await;
    let prober = hasty(&endpoint);
    outcome(&prober, request(Verb::Get, "/first")).await.expect("an answer");
    assert_eq!(outcome(&prober, request(Verb::Get, "/second")).await, Err(Failure::Timeout));
    assert_eq!(seconds(&heard), 2);
}
