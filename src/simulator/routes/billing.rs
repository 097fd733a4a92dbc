//! What was used and what it cost, of a user or an organization. Nothing is ever used here.
//! Knows the answers' shapes (OpenAPI, billing); where that has none they are UNCONFIRMED. Serves the hub and
//! the organization's pages.

use chrono::Datelike;
use chrono::Months;
use chrono::NaiveTime;
use serde_json::Value;
use serde_json::json;

use crate::simulator::answer::Answer;
use crate::simulator::answer::Reply;
use crate::simulator::caller::Caller;
use crate::simulator::clock::date;
use crate::simulator::id;
use crate::simulator::route::Bill;
use crate::simulator::routes::namespace::require;
use crate::simulator::routes::whoami::organization_id;
use crate::simulator::routes::whoami::user_id;
use crate::simulator::state::State;
use crate::simulator::words::Role;

pub(in crate::simulator) fn of_user(state: &State, caller: &Caller, bill: Bill) -> Reply {
    let user = caller.required()?.token.user.clone();
    require(state, caller, &user, &["user.billing.read"], Role::Admin)?;
    Ok(shown(state, bill, &Payer { kind: "user", id: user_id(&user), name: &user }))
}

pub(super) fn of_organization(state: &State, name: &str, bill: Bill) -> Answer {
    shown(state, bill, &Payer { kind: "org", id: organization_id(name), name })
}

struct Payer<'a> {
    kind: &'static str,
    id: String,
    name: &'a str,
}

fn shown(state: &State, bill: Bill, payer: &Payer<'_>) -> Answer {
    let (start, end) = month(state);
    match bill {
        Bill::Usage => Answer::json(&json!({
            "usage": {},
            "period": {
                "_id": id::object(&["period", payer.kind, payer.name, &start]),
                "entityId": payer.id,
                "entityType": payer.kind,
                "entityName": payer.name,
                "periodStart": start,
                "periodEnd": end,
            },
        })),
        Bill::UsageByDay => Answer::json(&json!({"usage": []})),
        Bill::ByResourceGroup => Answer::json(
            &json!({"currency": "usd", "periods": [{"period": start, "resourceGroups": groups(state, payer.name)}]}),
        ),
        Bill::Live => Answer::events("event: usage\ndata: {\"usage\":{}}\n\n"),
    }
}

fn groups(state: &State, organization: &str) -> Value {
    let known = state.world.organizations.get(organization);
    let names = known.into_iter().flat_map(|organization| organization.resource_groups.keys());
    let nothing = || json!({"uptimeSec": 0, "costCents": 0});
    let shown = names.map(|group| {
        json!({
            "id": id::resource_group(organization, group),
            "name": group,
            "storage": {"privateGB": 0, "publicGB": 0},
            "inference": {"requestCount": 0, "costCents": 0},
            "compute": {"spaces": nothing(), "endpoints": nothing(), "jobs": nothing()},
        })
    });
    shown.collect()
}

/// The calendar month that it is, from its first moment to that of the next.
fn month(state: &State) -> (String, String) {
    let today = state.now().date_naive();
    let first = today.with_day(1).unwrap_or(today);
    let next = first.checked_add_months(Months::new(1)).unwrap_or(first);
    let text = |day: chrono::NaiveDate| date(day.and_time(NaiveTime::MIN).and_utc());
    (text(first), text(next))
}
