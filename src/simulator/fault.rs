//! Faults that a person or a test asks the simulated Hub to commit.
//! Knows which request a fault strikes, whether before or after it takes effect, and how it disfigures an
//! answer; knows nothing of sockets. Serves the hub, which picks, and the server, which carries out.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::Serialize;
use serde_json::Value;

use crate::simulator::answer::Answer;
use crate::simulator::route::FAMILIES;
use crate::simulator::world::World;

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum FaultKind {
    /// Another status, in the Hub's own error envelope unless a body is given.
    Status,
    /// The answer comes late. A delayed request takes effect even when the client gave up on it.
    Delay,
    /// The connection is reset.
    Reset,
    /// The request takes effect, then the connection is reset.
    CreateThenDrop,
    /// Half of the body comes, then the connection breaks.
    CutBody,
    /// A 200 whose body is not what the route promises.
    WrongShape,
    Redirect,
    Html,
    /// No answer ever.
    Hang,
    /// An honest answer, but what was made is found, and what was taken away is gone, only after `delay_ms`.
    /// Only for routes that make or take away a repository; creating and deleting see the truth at once.
    Lag,
}

impl FaultKind {
    pub(super) fn name(self) -> &'static str {
        match self {
            FaultKind::Status => "status",
            FaultKind::Delay => "delay",
            FaultKind::Reset => "reset",
            FaultKind::CreateThenDrop => "create_then_drop",
            FaultKind::CutBody => "cut_body",
            FaultKind::WrongShape => "wrong_shape",
            FaultKind::Redirect => "redirect",
            FaultKind::Html => "html",
            FaultKind::Hang => "hang",
            FaultKind::Lag => "lag",
        }
    }

    /// Faults that disfigure an answer strike after the request took effect, the others in its stead.
    fn usually(self) -> Apply {
        match self {
            FaultKind::CreateThenDrop | FaultKind::CutBody | FaultKind::WrongShape => Apply::After,
            _ => Apply::Before,
        }
    }
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Apply {
    Before,
    After,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Fault {
    pub(super) route: String,
    pub(super) kind: FaultKind,
    #[serde(default)]
    method: Option<String>,
    /// A token's name.
    #[serde(default)]
    token: Option<String>,
    /// A part of the path, or of the body: a creation has its repository's name only there.
    #[serde(default)]
    contains: Option<String>,
    #[serde(default)]
    status: Option<u16>,
    #[serde(default)]
    body: Option<Value>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) delay_ms: u64,
    /// A request in whose stead the fault strikes takes effect all the same, so long after the fault showed.
    #[serde(default)]
    pub(super) late_ms: Option<u64>,
    /// How often it strikes; for ever when absent.
    #[serde(default)]
    times: Option<u64>,
    /// How many requests that it would strike it lets pass first.
    #[serde(default)]
    skip: u64,
    #[serde(default)]
    apply: Option<Apply>,
}

/// What a fault is matched against.
pub(super) struct Victim<'a> {
    pub(super) family: &'a str,
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    pub(super) body: &'a str,
    pub(super) token: Option<&'a str>,
}

#[derive(Default)]
pub(super) struct Faults(Vec<Fault>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    faults: Vec<Fault>,
}

impl Faults {
    pub(super) fn parse(value: Value, world: &World) -> Result<Faults, String> {
        let order: Order = serde_json::from_value(value).map_err(|error| error.to_string())?;
        for fault in &order.faults {
            if fault.route != "*" && !FAMILIES.contains(&fault.route.as_str()) {
                return Err(format!("no route {:?}: use * or one of {}", fault.route, FAMILIES.join(", ")));
            }
            let lags = ["create", "delete", "move"].contains(&fault.route.as_str());
            if fault.kind == FaultKind::Lag && !lags {
                return Err("kind lag: only for the routes create, delete and move".to_owned());
            }
            if fault.late_ms.is_some() && (fault.kind == FaultKind::Lag || fault.lets_through()) {
                return Err("late_ms: only for faults that strike before the request takes effect".to_owned());
            }
            if let Some(token) = fault.token.as_ref().filter(|token| !world.tokens.contains_key(*token)) {
                return Err(format!("no token {token:?} in the world"));
            }
            if fault.status.is_some_and(|status| !(200..600).contains(&status)) {
                return Err("status: must be between 200 and 599".to_owned());
            }
        }
        Ok(Faults(order.faults))
    }

    /// The first fault that strikes, with its count taken down.
    pub(super) fn strike(&mut self, victim: &Victim<'_>) -> Option<Fault> {
        for fault in &mut self.0 {
            if !fault.fits(victim) || fault.times == Some(0) {
                continue;
            }
            if fault.skip > 0 {
                fault.skip -= 1;
                continue;
            }
            fault.times = fault.times.map(|times| times - 1);
            return Some(fault.clone());
        }
        None
    }

    pub(super) fn list(&self) -> &[Fault] {
        &self.0
    }
}

impl Fault {
    fn fits(&self, victim: &Victim<'_>) -> bool {
        let same = |wanted: &Option<String>, is: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| is.is_some_and(|is| is.eq_ignore_ascii_case(wanted)))
        };
        let contained = |part: &String| victim.path.contains(part) || victim.body.contains(part);
        (self.route == "*" || self.route == victim.family)
            && same(&self.method, Some(victim.method))
            && same(&self.token, victim.token)
            && self.contains.as_ref().is_none_or(contained)
    }

    /// Whether the request takes effect before the fault shows.
    pub(super) fn lets_through(&self) -> bool {
        if self.kind == FaultKind::CreateThenDrop {
            return true;
        }
        // A delayed request is carried out in any case: "before" waits first.
        self.kind == FaultKind::Delay || self.apply.unwrap_or(self.kind.usually()) == Apply::After
    }

    /// How long what the request changes takes to show.
    pub(super) fn lag_ms(&self) -> u64 {
        if self.kind == FaultKind::Lag { self.delay_ms } else { 0 }
    }

    pub(super) fn delays_first(&self) -> bool {
        self.apply != Some(Apply::After)
    }

    /// The answer instead of `honest`, or the same where the fault is not in the answer.
    pub(super) fn disfigure(&self, honest: Option<Answer>, base: &str) -> Answer {
        let status = self.status;
        let mut answer = match self.kind {
            FaultKind::Status => {
                let status = status.unwrap_or(500);
                let mut answer = Answer::error(status, default_message(status));
                if self.body.is_some() {
                    // Somebody who writes the body means the whole envelope.
                    answer.headers.clear();
                }
                self.with_body(answer)
            }
            FaultKind::WrongShape => {
                let mut answer = self.with_body(Answer::json(&serde_json::json!({"unexpected": true})));
                answer.status = status.unwrap_or(200);
                answer
            }
            FaultKind::Redirect => {
                let mut answer = self.with_body(Answer::text("Redirecting"));
                answer.status = status.unwrap_or(307);
                let given = self.headers.keys().any(|name| name.eq_ignore_ascii_case("location"));
                if given { answer } else { answer.with("Location", &format!("{base}/elsewhere")) }
            }
            FaultKind::Html => {
                let page = "<!DOCTYPE html><html><body><h1>Just a moment</h1></body></html>";
                let text = self.body.as_ref().and_then(Value::as_str).unwrap_or(page);
                let mut answer = Answer::html(text);
                answer.status = status.unwrap_or(200);
                answer
            }
            FaultKind::Delay
            | FaultKind::Reset
            | FaultKind::CreateThenDrop
            | FaultKind::CutBody
            | FaultKind::Hang
            | FaultKind::Lag => honest.unwrap_or_else(|| self.with_body(Answer::text("OK"))),
        };
        for (name, value) in &self.headers {
            answer.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
            answer = answer.with(name, value);
        }
        answer
    }

    /// A string stands for itself, anything else for its JSON.
    fn with_body(&self, answer: Answer) -> Answer {
        match &self.body {
            None => answer,
            Some(Value::String(text)) => Answer { body: text.clone(), ..answer },
            Some(value) => {
                let made = Answer::json(value);
                Answer { body: made.body, content_type: made.content_type, ..answer }
            }
        }
    }
}

fn default_message(status: u16) -> &'static str {
    match status {
        401 => "Invalid username or password.",
        402 => "Payment required",
        403 => "Forbidden",
        404 => "Not found",
        429 => "Too many requests",
        503 => "Service Unavailable",
        _ => "Internal Server Error",
    }
}
