//! The simulated Hub as a whole: takes a call, remembers it, lets a route answer, puts on the common headers.
//! Knows the order of things for every request; knows nothing of sockets or of what the routes decide.
//! Serves the server, and tests that need no network.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use crate::simulator::answer::Answer;
use crate::simulator::answer::Reply;
use crate::simulator::call::Call;
use crate::simulator::caller::Caller;
use crate::simulator::clock::date;
use crate::simulator::fault::Fault;
use crate::simulator::fault::Victim;
use crate::simulator::id;
use crate::simulator::journal;
use crate::simulator::journal::RequestRecord;
use crate::simulator::quota;
use crate::simulator::quota::Meter;
use crate::simulator::route::Route;
use crate::simulator::routes;
use crate::simulator::state::Doer;
use crate::simulator::state::State;
use crate::simulator::world::World;

#[derive(Clone)]
pub(super) struct Hub {
    state: Arc<Mutex<State>>,
}

/// A call that was remembered and counted and now waits for its answer.
pub(super) struct Received {
    pub(super) seq: u64,
    pub(super) route: Route,
    pub(super) caller: Caller,
    pub(super) fault: Option<Fault>,
    request_id: String,
    meter: Meter,
}

/// Holds a user's creation lock until the creation's answer is on its way.
pub(super) struct Lease {
    hub: Hub,
    user: String,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.hub.state().quotas.unlock(&self.user);
    }
}

impl Hub {
    pub(super) fn new(world: World, base: String, seed: u64) -> Hub {
        Hub { state: Arc::new(Mutex::new(State::new(world, base, seed))) }
    }

    /// A panic elsewhere leaves the state whole enough to be questioned, which is what a witness is for.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Identifies, counts and remembers a call, and picks the fault that strikes it.
    pub(super) fn receive(&self, call: &Call) -> Received {
        let state = &mut *self.state();
        let now = state.now();
        let route = Route::of(&call.method, &call.segments());
        let caller = Caller::identify(&state.world, call.authorization.as_deref(), now);
        let meter = count(state, &caller, call);
        let text = String::from_utf8_lossy(&call.body);
        let fault = state.faults.strike(&Victim {
            family: route.family(),
            method: &call.method,
            path: &call.path,
            body: &text,
            token: caller.holder().map(|holder| holder.name.as_str()),
        });
        state.journal.last_request += 1;
        let seq = state.journal.last_request;
        let request_id = id::request(state.seed, seq, now.timestamp());
        let secrets: Vec<&str> = state.world.tokens.values().map(|token| token.secret.0.as_str()).collect();
        let mut body = if call.body.is_empty() { None } else { call.json() };
        if let Some(body) = &mut body {
            journal::redact_value(body, &secrets);
        }
        let record = RequestRecord {
            seq,
            at: date(now),
            request_id: request_id.clone(),
            method: call.method.clone(),
            path: journal::redact(&call.path, &secrets),
            query: call.query.as_ref().map(|query| journal::redact(query, &secrets)),
            route: route.family(),
            token: caller.holder().map(|holder| holder.name.clone()),
            user: caller.holder().map(|holder| holder.token.user.clone()),
            status: None,
            body,
            user_agent: call.user_agent.as_ref().map(|agent| journal::redact(agent, &secrets)),
            fault: fault.as_ref().map(|fault| fault.kind.name()),
        };
        let at_most = state.world.limits.remembered_requests;
        state.journal.remember(record, at_most);
        Received { seq, route, caller, fault, request_id, meter }
    }

    /// Lets the request take effect and gives the Hub's answer to it.
    pub(super) fn carry_out(&self, call: &Call, received: &Received) -> (Answer, Option<Lease>) {
        let state = &mut *self.state();
        if received.meter.exhausted {
            return (too_many(&received.caller, call, &received.meter), None);
        }
        state.lag_ms = received.fault.as_ref().map_or(0, Fault::lag_ms);
        let reply = answer(state, call, received);
        let created = received.route == Route::Create && reply.is_ok();
        let user = received.caller.holder().map(|holder| holder.token.user.clone());
        let lease = user.filter(|_| created).map(|user| Lease { hub: self.clone(), user });
        (reply.unwrap_or_else(|refusal| refusal), lease)
    }

    /// Puts on what every answer carries, and remembers the status. A fault's own headers stay.
    pub(super) fn dress(&self, mut answer: Answer, received: &Received) -> Answer {
        let meter = received.meter;
        let common = [
            ("X-Request-Id", received.request_id.clone()),
            ("RateLimit", format!("\"api\";r={};t={}", meter.remaining, meter.reset)),
            ("RateLimit-Policy", format!("\"fixed window\";\"api\";q={};w={}", meter.quota, meter.window)),
            (
                "Access-Control-Expose-Headers",
                "X-Error-Code, X-Error-Message, Link, X-Request-Id, X-Repo-Commit, X-Total-Count".to_owned(),
            ),
        ];
        for (name, value) in common {
            if !answer.headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name)) {
                answer = answer.with(name, &value);
            }
        }
        self.state().journal.answered(received.seq, answer.status);
        answer
    }

    /// The whole way at once, for callers that need no faults.
    #[cfg(test)]
    pub(super) fn ask(&self, call: &Call) -> Answer {
        let received = self.receive(call);
        let (answer, _lease) = self.carry_out(call, &received);
        self.dress(answer, &received)
    }
}

fn count(state: &mut State, caller: &Caller, call: &Call) -> Meter {
    let now = state.clock.elapsed_ms();
    let window = state.world.limits.window_seconds;
    match caller.holder() {
        Some(holder) => {
            let quota = quota::request_quota(&state.world, &holder.token.user);
            state.quotas.count(&holder.token.user, quota, window, now)
        }
        None => {
            let quota = state.world.limits.anonymous;
            state.quotas.count(&call.peer.to_string(), quota, window, now)
        }
    }
}

/// Whether the Hub sends Retry-After is UNCONFIRMED, so it is left out; the text for a user is UNCONFIRMED too.
fn too_many(caller: &Caller, call: &Call, meter: &Meter) -> Answer {
    let minutes = meter.window.div_ceil(60);
    let text = match caller.holder() {
        Some(_) => format!(
            "We had to rate limit you, you hit the quota of {} api requests per {minutes} minutes period.",
            meter.quota
        ),
        None => format!(
            "We had to rate limit your IP ({}). To continue using our service, create a HF account.",
            call.peer
        ),
    };
    Answer::error(429, &text)
}

fn answer(state: &mut State, call: &Call, received: &Received) -> Reply {
    let caller = &received.caller;
    let doer = Doer { holder: caller.holder(), request: Some(received.seq) };
    match &received.route {
        Route::Whoami => routes::whoami::answer(state, caller),
        Route::Create => routes::create::answer(state, caller, call, doer),
        Route::Delete => routes::delete::answer(state, caller, call, doer),
        Route::Move => routes::relocate::answer(state, caller, call, doer),
        Route::List(kind) => routes::list::answer(state, caller, call, *kind),
        Route::Repo { kind, name, ask } => routes::repository::answer(
            state,
            caller,
            call,
            doer,
            &routes::repository::Question { kind: *kind, name, ask },
        ),
        Route::Organization { name, page } => {
            routes::organization::answer(state, caller, call, doer, name, page)
        }
        Route::Groups { organization, ask } => {
            routes::resource_groups::answer(state, caller, call, doer, organization, ask)
        }
        Route::Jobs { namespace, ask } => routes::namespace::jobs(state, caller, namespace, ask),
        Route::Endpoints { namespace, endpoint, right } => {
            routes::namespace::endpoints(state, caller, call, namespace, endpoint.as_deref(), right)
        }
        Route::Webhooks => routes::namespace::webhooks(state, caller),
        Route::Billing(bill) => routes::billing::of_user(state, caller, *bill),
        Route::Unknown => Err(Answer::no_such_page()),
    }
}
