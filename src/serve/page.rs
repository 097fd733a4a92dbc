//! The front page: where things stand, in plain HTML without a script. Whatever comes from outside is escaped.

use std::fmt::{self, Write};

use crate::intent::Canary;
use crate::report::{Finding, Snapshot};

/// The style sheet, served beside the page so that no inline style needs to be allowed.
pub(super) const STYLE: &str = include_str!("style.css");

/// Rows of a table; the API has all of them.
const ROWS: usize = 200;

const HEAD: &str = "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
<meta name=\"viewport\" content=\"width=device-width\">\n<title>scopewatch</title>\n\
<link rel=\"icon\" href=\"data:,\">\n<link rel=\"stylesheet\" href=\"/style.css\">\n</head>\n<body>\n\
<h1>scopewatch</h1>\n<p class=\"lead\">What this organization's Hugging Face access tokens can really do.</p>\n";

const FOOT: &str = "<nav><a href=\"/metrics\">metrics</a> <a href=\"/api/v1/report\">report</a> \
<a href=\"/api/v1/findings\">findings</a> <a href=\"/api/v1/canaries\">canaries</a> \
<a href=\"/-/healthy\">health</a> <a href=\"/-/ready\">readiness</a></nav>\n</body>\n</html>\n";

/// Text for HTML, between tags or within a quoted attribute.
struct Escaped<T>(T);

impl<T: fmt::Display> fmt::Display for Escaped<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        struct Through<'a, 'b>(&'a mut fmt::Formatter<'b>);
        impl Write for Through<'_, '_> {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                for c in text.chars() {
                    match c {
                        '&' => self.0.write_str("&amp;")?,
                        '<' => self.0.write_str("&lt;")?,
                        '>' => self.0.write_str("&gt;")?,
                        '"' => self.0.write_str("&quot;")?,
                        '\'' => self.0.write_str("&#39;")?,
                        other => self.0.write_char(other)?,
                    }
                }
                Ok(())
            }
        }
        write!(Through(out), "{}", self.0)
    }
}

/// Writes the page of a snapshot.
pub(super) fn write(snapshot: &Snapshot) -> String {
    let mut out = String::from(HEAD);
    // Writing to a string cannot fail.
    let _ = summary(snapshot, &mut out)
        .and_then(|()| findings(snapshot, &mut out))
        .and_then(|()| canaries(snapshot, &mut out));
    out.push_str(FOOT);
    out
}

fn summary(snapshot: &Snapshot, out: &mut String) -> fmt::Result {
    let Some(report) = &snapshot.report else {
        return out.write_str("<p>No round has been completed yet.</p>\n");
    };
    let s = &report.summary;
    writeln!(out, "<h2>Last round</h2>\n<p>Completed <time>{}</time>.</p>", report.finished_at)?;
    out.write_str(
        "<table><thead><tr><th>checks</th><th>ok</th><th>unexpected grants</th>\
         <th>unexpected denials</th><th>unknown</th></tr></thead>\n<tbody><tr>",
    )?;
    let cells = [
        (s.checks, ""),
        (s.ok, "good"),
        (s.unexpected_grant, "bad"),
        (s.unexpected_denial, "bad"),
        (s.unknown, "unsure"),
    ];
    for (count, class) in cells {
        let class = if count == 0 { "" } else { class };
        write!(out, "<td class=\"count {class}\">{count}</td>")?;
    }
    out.write_str("</tr></tbody></table>\n")
}

fn findings(snapshot: &Snapshot, out: &mut String) -> fmt::Result {
    let lasting: Vec<&Finding> = snapshot.findings.iter().filter(|f| f.resolved_at.is_none()).collect();
    out.write_str("<h2>Findings</h2>\n")?;
    if lasting.is_empty() {
        return out.write_str("<p>Nothing lasts that is not as it should be.</p>\n");
    }
    out.write_str(
        "<table><thead><tr><th>finding</th><th>severity</th><th>organization</th><th>token</th><th>permission</th>\
         <th>target</th><th>since</th><th>what and what to do</th></tr></thead>\n<tbody>\n",
    )?;
    for finding in lasting.iter().take(ROWS) {
        writeln!(
            out,
            "<tr><td>{}</td><td class=\"{severity}\">{severity}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td>\
             <td><time>{}</time></td><td>{}</td></tr>",
            finding.kind,
            Escaped(&finding.organization),
            Escaped(finding.token.as_ref().map_or("", |token| token.as_str())),
            finding.permission.map_or("", |permission| permission.as_str()),
            Escaped(finding.target.as_deref().unwrap_or_default()),
            finding.since,
            Escaped(&finding.detail),
            severity = finding.severity,
        )?;
    }
    end_table(out, lasting.len(), "/api/v1/findings")
}

fn canaries(snapshot: &Snapshot, out: &mut String) -> fmt::Result {
    let unfinished: Vec<&Canary> = snapshot.canaries.iter().filter(|canary| canary.unfinished()).collect();
    out.write_str("<h2>Unfinished canaries</h2>\n")?;
    if unfinished.is_empty() {
        return out.write_str("<p>None: every test repository is known to be gone.</p>\n");
    }
    out.write_str(
        "<table><thead><tr><th>id</th><th>repository</th><th>type</th><th>token</th><th>state</th>\
         <th>planned</th><th>note</th></tr></thead>\n<tbody>\n",
    )?;
    for canary in unfinished.iter().take(ROWS) {
        writeln!(
            out,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{} ({})</td><td><time>{}</time></td>\
             <td>{}</td></tr>",
            canary.id,
            Escaped(&canary.repo),
            canary.kind,
            Escaped(&canary.token),
            canary.shown(),
            canary.state,
            canary.planned_at,
            Escaped(&canary.note),
        )?;
    }
    end_table(out, unfinished.len(), "/api/v1/canaries")
}

fn end_table(out: &mut String, rows: usize, all: &str) -> fmt::Result {
    out.write_str("</tbody></table>\n")?;
    if rows > ROWS {
        writeln!(out, "<p>And {} more: <a href=\"{all}\">all of them</a>.</p>", rows - ROWS)?;
    }
    Ok(())
}
