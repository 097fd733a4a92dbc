//! The files of `tests/answers/`: their format, what may stand in them together, and how one becomes what the
//! daemon gets to read.
//!
//! An answer goes through a real server on loopback and the prober, so that it is cut and folded as the Hub's are.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Response, Uri};
use serde::Deserialize;

use crate::access::words;
use crate::exchange::{Answer, Credential, Failure, Request, Verb};
use crate::moment::Timestamp;
use crate::probe::{Keyring, Prober, Settings};

pub(super) type Outcome = Result<Answer, Failure>;

words! {
    /// Where an answer is from.
    Tag {
        Spec = "spec",
        Doc = "doc",
        Client = "client",
        JavaScript = "javascript",
        Staff = "staff",
        Issue = "issue",
        ThirdPartyRecord = "third-party-record",
        Inferred = "inferred",
    }
}

/// One answer, or the lack of one, and what it must come to.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) source: Option<Source>,
    pub(super) recorded: Option<bool>,
    pub(super) confirmed: Option<bool>,
    pub(super) ours: Option<String>,
    pub(super) question: String,
    pub(super) row: String,
    /// What was asked about, where it is not what the README says.
    pub(super) asked: Option<String>,
    pub(super) status: Option<u16>,
    #[serde(default)]
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: Option<String>,
    pub(super) failure: Option<String>,
    #[serde(default)]
    pub(super) restrictions: Vec<String>,
    pub(super) means: Means,
    /// Whether the simulated Hub says the same; a test beside it compares.
    #[serde(default, rename = "simulated")]
    pub(super) _simulated: bool,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Source {
    pub(super) tag: String,
    #[serde(rename = "where")]
    pub(super) place: String,
}

/// What the daemon makes of it. What does not belong to the question is left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Means {
    pub(super) reading: Option<String>,
    pub(super) access: Option<String>,
    pub(super) reason: Option<String>,
    pub(super) text: Option<String>,
    pub(super) user: Option<String>,
    pub(super) role: Option<String>,
    pub(super) restrictions: Option<String>,
    pub(super) remaining: Option<u64>,
    pub(super) reset: Option<u64>,
    pub(super) quota: Option<u64>,
    pub(super) retry_after: Option<u64>,
    pub(super) request_id: Option<String>,
}

/// A file with its place below `tests/answers/`, and what the daemon gets to read.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) path: String,
    pub(super) file: File,
    pub(super) outcome: Outcome,
}

/// Path and text of every file, sorted. There is nothing there but a README and folders of YAML files.
pub(super) fn texts() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/answers");
    let mut texts = Vec::new();
    for folder in fs::read_dir(&root).expect("tests/answers can be read") {
        let folder = folder.expect("an entry").path();
        if folder.file_name().is_some_and(|name| name == "README.md") {
            continue;
        }
        for file in fs::read_dir(&folder).unwrap_or_else(|_| panic!("{} is a folder", folder.display())) {
            let file = file.expect("an entry").path();
            let name = file.strip_prefix(&root).expect("below").to_string_lossy().replace('\\', "/");
            texts.push((name, fs::read_to_string(&file).expect("a text")));
        }
    }
    texts.sort();
    texts
}

/// Reads one, strictly.
pub(super) fn parse(path: &str, text: &str) -> Result<File, String> {
    let file: File = serde_saphyr::from_str(text).map_err(|error| format!("{path}: {error}"))?;
    let faults = faults(path, &file);
    if faults.is_empty() { Ok(file) } else { Err(format!("{path}: {}", faults.join("; "))) }
}

/// What may not stand together. Only what a third party recorded is called recorded; what nobody has shown says
/// so; what never arrived has no source.
fn faults(path: &str, file: &File) -> Vec<&'static str> {
    let mut faults = Vec::new();
    let mut want = |fine: bool, fault: &'static str| {
        if !fine {
            faults.push(fault);
        }
    };
    let name = path.strip_prefix(&format!("{}/", file.question)).and_then(|name| name.strip_suffix(".yaml"));
    let rest = name.and_then(|name| name.strip_prefix(file.row.as_str()));
    want(
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-')),
        "the path is not question/row[-more].yaml",
    );
    match (&file.source, file.recorded, file.confirmed, &file.ours) {
        (Some(source), Some(recorded), Some(confirmed), Some(ours)) => {
            let tag = source.tag.parse::<Tag>();
            want(tag.is_ok(), "the tag of the source is unknown");
            want(
                !source.place.is_empty() && !ours.is_empty(),
                "where it is from, and what is ours, is not said",
            );
            want(!recorded || tag == Ok(Tag::ThirdPartyRecord), "only a third party's record is recorded");
            want(!recorded || confirmed, "what was recorded is confirmed");
            want(!confirmed || tag != Ok(Tag::Inferred), "what is inferred is not confirmed");
            want(
                confirmed != ours.contains("UNCONFIRMED"),
                "`confirmed` and the word UNCONFIRMED do not fit",
            );
            want(file.status.is_some() && file.body.is_some(), "an answer has a status and a body");
            want(file.failure.is_none(), "an answer is no failure");
        }
        (None, None, None, None) => {
            let known = file.failure.as_deref().is_some_and(|failure| failure.parse::<Failure>().is_ok());
            want(known, "a failure has a known name, an answer has source, recorded, confirmed and ours");
            let bare = file.status.is_none() && file.body.is_none() && file.headers.is_empty();
            want(bare, "a failure has no status, headers or body");
        }
        _ => want(false, "an answer has all of source, recorded, confirmed and ours, a failure none"),
    }
    faults
}

/// Sends every answer over loopback and has it read by the prober.
pub(super) async fn heard(files: Vec<(String, File)>) -> Vec<Entry> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
    let served: Arc<Vec<File>> = Arc::new(files.iter().map(|(_, file)| file.clone()).collect());
    let app = axum::Router::new().fallback(move |uri: Uri| {
        let served = served.clone();
        async move { respond(&served, &uri) }
    });
    let asking = async {
        let (prober, mut entries) = (prober(endpoint), Vec::new());
        for (at, (path, file)) in files.into_iter().enumerate() {
            let outcome = match file.failure.as_deref().and_then(|failure| failure.parse().ok()) {
                Some(failure) => Err(failure),
                None => prober.send(&Keyring::new(), request(at), Timestamp(0)).await.outcome,
            };
            entries.push(Entry { path, file, outcome });
        }
        entries
    };
    tokio::select! {
        _ = axum::serve(listener, app).into_future() => panic!("the server ended"),
        entries = asking => entries,
    }
}

fn respond(served: &[File], uri: &Uri) -> Response<Body> {
    let at: usize = uri.path().trim_start_matches('/').parse().expect("a number");
    let file = &served[at];
    let mut response = Response::builder().status(file.status.expect("a status"));
    for (name, value) in &file.headers {
        response = response.header(name, value);
    }
    response.body(Body::from(file.body.clone().unwrap_or_default())).expect("a response")
}

fn request(at: usize) -> Request {
    let path = format!("/{at}");
    Request { verb: Verb::Get, route: "/test", path, body: None, credential: Credential::Anonymous }
}

fn prober(endpoint: String) -> Prober {
    let settings = Settings {
        endpoint,
        request_timeout: Duration::from_secs(20),
        proxy: None,
        ca_files: Vec::new(),
        bundled_roots: true,
        read_only: false,
        user_agent: "scopewatch/test".into(),
    };
    Prober::new(settings).expect("a prober")
}
