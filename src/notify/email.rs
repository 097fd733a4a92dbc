//! E-mail by SMTP: one message as plain text, from and to whom the address says
//! (`smtps://HOST?from=ADDRESS&to=ADDRESS`, `to` as often as needed).
//!
//! The name of the mail server is resolved here, so that none of its addresses is connected to that may not be. Its
//! certificate must be one of the bundled roots' or of `hub.ca_files`. The same message has the same Message-ID when it
//! goes again, by which mail programs know it.

use lettre::message::{Mailbox, MessageBuilder};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use url::Url;

use crate::alert::message::{Message, Tidings};
use crate::config::{Reach, reach};

use super::client::may_connect;
use super::{Courier, DEADLINE, Delivered, Letter, TAKEN, Trouble};

pub(super) async fn deliver(courier: &Courier, url: &Url, letter: &Letter) -> Delivered {
    let Some(message) = letter.messages.first() else { return TAKEN };
    let Some(mail) = mail(url, message) else { return Trouble::Address.into() };
    let Some(transport) = transport(courier, url, letter).await else { return Trouble::Forbidden.into() };
    match transport.send(mail).await {
        Ok(_) => TAKEN,
        // A mail server that says "never" may mean us, the address or the text; all of that may be mended.
        Err(error) => {
            let code = error.status().and_then(|code| code.to_string().parse().ok());
            code.map_or(Trouble::NoAnswer, Trouble::Status).into()
        }
    }
}

/// The message as a mail; `None` where the address does not say from whom to whom.
fn mail(url: &Url, message: &Message) -> Option<lettre::Message> {
    let all = |wanted: &str| {
        let values =
            url.query_pairs().filter(move |(key, _)| key == wanted).map(|(_, value)| value.into_owned());
        values.flat_map(|value| value.split(',').map(str::to_owned).collect::<Vec<_>>()).collect::<Vec<_>>()
    };
    let from: Mailbox = all("from").first()?.trim().parse().ok()?;
    let id = format!("<{}.{}.{}@scopewatch>", message.id, message.tidings, message.at.millis());
    let mut builder: MessageBuilder =
        lettre::Message::builder().from(from).message_id(Some(id)).subject(subject(message));
    let to = all("to");
    for address in &to {
        builder = builder.to(address.trim().parse().ok()?);
    }
    if to.is_empty() {
        return None;
    }
    builder.body(body(message)).ok()
}

fn subject(message: &Message) -> String {
    let word = match message.tidings {
        Tidings::Firing => "FIRING",
        Tidings::Reminder => "STILL FIRING",
        Tidings::Resolved => "RESOLVED",
    };
    format!("[{word}] {}", message.words.summary)
}

fn body(message: &Message) -> String {
    let labels: Vec<String> =
        message.labels().into_iter().map(|(name, value)| format!("{name}: {value}")).collect();
    let mut parts = vec![message.words.description.clone(), labels.join("\r\n")];
    if !message.words.evidence.is_empty() {
        parts.push(format!("Evidence: {}", message.words.evidence));
    }
    parts.push(format!(
        "Since: {}\r\nRunbook: {}\r\nId: {}",
        message.since,
        message.key.name.runbook(),
        message.id
    ));
    parts.join("\r\n\r\n")
}

/// The way to the mail server; `None` where there is none that may be taken.
async fn transport(
    courier: &Courier,
    url: &Url,
    letter: &Letter,
) -> Option<AsyncSmtpTransport<Tokio1Executor>> {
    let host = url.host_str()?;
    let sealed = url.scheme() == "smtps";
    let port = url.port().unwrap_or(if sealed { 465 } else { 25 });
    let named = reach(url);
    let mut found = tokio::net::lookup_host((host.trim_matches(['[', ']']), port)).await.ok()?;
    let at = found.find(|at| may_connect(at, sealed)).filter(|_| named != Reach::Forbidden)?;
    let mut tls = TlsParameters::builder(host.to_owned());
    for pem in &courier.ca_files {
        tls = tls.add_root_certificate(Certificate::from_pem(pem).ok()?);
    }
    let tls = tls.build().ok()?;
    let tls = if sealed { Tls::Wrapper(tls) } else { Tls::Opportunistic(tls) };
    let builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(at.ip().to_string());
    let builder = builder.port(port).tls(tls).timeout(Some(DEADLINE));
    let password = letter.secret.as_ref().map(|secret| secret.expose()).or(url.password());
    let user = match url.username() {
        "" => url.query_pairs().find(|(key, _)| key == "from").map(|(_, from)| from.into_owned())?,
        user => user.to_owned(),
    };
    Some(match password {
        Some(password) => builder.credentials(Credentials::new(user, password.to_owned())).build(),
        None => builder.build(),
    })
}
