//! The OpenAPI document of the HTTP side: every route, what it needs and what it answers with.
//!
//! Made of the same schemas that the reports are held against. Served at `/api/v1/openapi.json`; `scopewatch schema api`
//! prints it.

use serde_json::{Map, Value, json};

use crate::render::{canaries_schema, findings_schema, report_schema};

/// One route.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    /// As OpenAPI writes it: parameters in braces.
    pub path: &'static str,
    /// `get` or `post`.
    pub method: &'static str,
    /// What it is for, in one sentence.
    pub about: &'static str,
    /// Who may ask.
    pub needs: Needs,
    /// Status, media type and meaning of each answer.
    pub answers: &'static [(u16, &'static str, &'static str)],
}

/// Who may ask for a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Anybody, with no password and no certificate.
    Nothing,
    /// What `server.web_config` asks for, if anything.
    Authentication,
    /// The same; and beyond loopback nothing is shown without authentication, unless `server.open_page`.
    Page,
    /// The same; and only with `server.lifecycle`.
    Lifecycle,
}

impl Needs {
    /// As a sentence.
    pub const fn about(self) -> &'static str {
        match self {
            Needs::Nothing => "Anybody may ask.",
            Needs::Authentication => "Needs what `server.web_config` asks for, if anything.",
            Needs::Page => {
                "Needs what `server.web_config` asks for; beyond loopback it is closed without authentication, unless \
                 `server.open_page` is set."
            }
            Needs::Lifecycle => "Needs `server.lifecycle`, and what `server.web_config` asks for.",
        }
    }
}

const TEXT: &str = "text/plain";
const JSON: &str = "application/json";
const HTML: &str = "text/html";

/// What every route may answer that is not for everybody.
pub const REFUSALS: &[(&str, &str)] = &[
    ("401", "No password, or a wrong one."),
    ("403", "A client certificate is needed, or this is closed here; the sentence says which."),
    ("429", "Too many requests from this address wait for a look at their passwords."),
    ("503", "Too many requests wait for a look at their passwords."),
];

/// All of them. No route takes an address or a secret.
#[rustfmt::skip]
pub const ROUTES: &[Route] = &[
    Route { path: "/metrics", method: "get", needs: Needs::Authentication, about: "All metrics, as Prometheus text.",
        answers: &[(200, TEXT, "Version 0.0.4 of the exposition format."), (500, TEXT, "They could not be written; the log says why.")] },
    Route { path: "/-/healthy", method: "get", needs: Needs::Nothing, about: "Whether the process answers.",
        answers: &[(200, TEXT, "It does.")] },
    Route { path: "/livez", method: "get", needs: Needs::Nothing, about: "The same as `/-/healthy`.",
        answers: &[(200, TEXT, "It does.")] },
    Route { path: "/-/ready", method: "get", needs: Needs::Nothing,
        about: "Whether config, store and journal are there. An outage of the Hub has no part in it.",
        answers: &[(200, TEXT, "They are."), (503, TEXT, "The word for what is missing: config, store, journal, stopping.")] },
    Route { path: "/readyz", method: "get", needs: Needs::Nothing, about: "The same as `/-/ready`.",
        answers: &[(200, TEXT, "They are."), (503, TEXT, "The word for what is missing.")] },
    Route { path: "/-/reload", method: "post", needs: Needs::Lifecycle, about: "Loads the config again, as SIGHUP does.",
        answers: &[(200, TEXT, "It was loaded."), (403, TEXT, "`server.lifecycle` is off, a client certificate is needed, or a page of another site asked."), (500, TEXT, "What is wrong with the config; the old one goes on."), (503, TEXT, "Too much is asked at once, it takes longer than expected, or the daemon is stopping; the log says what came of it.")] },
    Route { path: "/-/probe", method: "post", needs: Needs::Lifecycle, about: "Probes one configured token again, as soon as its limits allow.",
        answers: &[(202, TEXT, "It is accepted; the next report has what came of it."), (400, TEXT, "No token was named."), (403, TEXT, "`server.lifecycle` is off, a client certificate is needed, or a page of another site asked."), (404, TEXT, "The config has no such token."), (503, TEXT, "Too much is asked at once, it takes longer than expected, or the daemon is stopping; the log says what came of it.")] },
    Route { path: "/", method: "get", needs: Needs::Page, about: "The page. Its filters are the parameters `token`, `owner`, `organization`, `verdict` and `page`.",
        answers: &[(200, HTML, "The page."), (500, TEXT, "It could not be written; the log says why.")] },
    Route { path: "/findings/{id}", method: "get", needs: Needs::Page, about: "The page of one finding or check.",
        answers: &[(200, HTML, "The page."), (404, TEXT, "Nothing has this id any more."), (500, TEXT, "It could not be written; the log says why.")] },
    Route { path: "/style.css", method: "get", needs: Needs::Page, about: "How the page looks.",
        answers: &[(200, "text/css", "The style sheet.")] },
    Route { path: "/api/v1/report", method: "get", needs: Needs::Page, about: "The latest result of every check.",
        answers: &[(200, JSON, "report"), (503, JSON, "No round has been completed yet.")] },
    Route { path: "/api/v1/findings", method: "get", needs: Needs::Page, about: "What lasts, and what ended lately.",
        answers: &[(200, JSON, "findings")] },
    Route { path: "/api/v1/canaries", method: "get", needs: Needs::Page, about: "The canaries that are not done with.",
        answers: &[(200, JSON, "canaries")] },
    Route { path: "/api/v1/openapi.json", method: "get", needs: Needs::Page, about: "This document.",
        answers: &[(200, JSON, "An OpenAPI document.")] },
];

/// The whole document, version 3.1 of OpenAPI.
pub fn openapi() -> Value {
    let mut paths = Map::new();
    for route in ROUTES {
        let entry = paths.entry(route.path).or_insert_with(|| json!({}));
        entry[route.method] = operation(route);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "scopewatch",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "What an organization's Hugging Face access tokens can really do. All answers come from memory: \
                            no request here makes one to the Hub, but for POST /-/probe.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "paths": paths,
        "components": {
            "schemas": {
                "report": part(report_schema()), "findings": findings_schema(), "canaries": canaries_schema(),
            },
            "securitySchemes": {
                "password": {
                    "type": "http", "scheme": "basic", "description": "`basic_auth_users` of the web config file.",
                },
                "certificate": { "type": "mutualTLS", "description": "`client_auth_type` of the web config file." },
            },
        },
    })
}

/// A schema as part of a document, which says for all of them what dialect they are in.
fn part(mut schema: Value) -> Value {
    if let Some(map) = schema.as_object_mut() {
        map.remove("$schema");
    }
    schema
}

fn operation(route: &Route) -> Value {
    let mut responses = Map::new();
    for (status, media, about) in route.answers {
        let schema = match *about {
            "report" | "findings" | "canaries" => json!({ "$ref": format!("#/components/schemas/{about}") }),
            _ if *media == JSON => json!({ "type": "object" }),
            _ => json!({ "type": "string" }),
        };
        let description = if schema.get("$ref").is_some() { route.about } else { about };
        let content = json!({ *media: { "schema": schema } });
        responses.insert(status.to_string(), json!({ "description": description, "content": content }));
    }
    let mut operation = json!({
        "operationId": name(route),
        "summary": route.about,
        "description": route.needs.about(),
        "responses": responses,
    });
    if let Some(parameters) = parameters(route) {
        operation["parameters"] = parameters;
    }
    if route.needs != Needs::Nothing {
        for (status, about) in REFUSALS {
            let known = operation["responses"].get(*status).is_some();
            if !known {
                let content = json!({ TEXT: { "schema": { "type": "string" } } });
                operation["responses"][*status] = json!({ "description": about, "content": content });
            }
        }
        operation["security"] = json!([{}, { "password": [] }, { "certificate": [] }]);
    }
    operation
}

/// `get_api_v1_report`.
fn name(route: &Route) -> String {
    let words = route.path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    [route.method].into_iter().chain(words).collect::<Vec<_>>().join("_")
}

fn parameters(route: &Route) -> Option<Value> {
    let text = |name: &str, place: &str, required: bool, about: &str| {
        json!({
            "name": name, "in": place, "required": required, "description": about, "schema": { "type": "string" },
        })
    };
    match route.path {
        "/-/probe" => {
            Some(json!([text("token", "query", true, "Its name in the config, never its secret.")]))
        }
        "/findings/{id}" => Some(json!([text(
            "id",
            "path",
            true,
            "The `id` of a finding, or of a check as the page links it."
        )])),
        "/" => Some(json!([
            text("token", "query", false, "Part of a token's name."),
            text("owner", "query", false, "An owner, as the config has it."),
            text("organization", "query", false, "An organization."),
            text("verdict", "query", false, "`grant`, `denial`, `unknown`, `accepted` or `ok`."),
            text("page", "query", false, "From 1."),
        ])),
        _ => None,
    }
}
