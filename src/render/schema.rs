//! The JSON Schemas of the report, of findings and of canaries: what `audit --format json` and the API promise, made of
//! the same closed lists that they are written with.
//!
//! Strict: no key more, no key less, no word that is not on its list, and no verdict that the answer does not give.

use serde_json::{Value, json};

use crate::access::{DenyReason, Expected, Permission, RepoType, Severity, UnknownReason};
use crate::intent::{CanaryState, DeleteOutcome, Deleter, ShownState};
use crate::report::FindingKind;

/// JSON Schema (2020-12) of the report.
pub fn report_schema() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "scopewatch report",
        "description": "One round: what was expected of each token and what the Hub did. Version 1 of the shape.",
        "type": "object",
        "additionalProperties": false,
        "required": ["schema", "started_at", "finished_at", "summary", "results", "canaries"],
        "properties": {
            "schema": { "const": 1, "description": "The version of this shape." },
            "started_at": time("When the round began."),
            "finished_at": time("When it ended."),
            "summary": counts(&[
                ("checks", "All results."),
                ("ok", "As expected."),
                ("unexpected_grant", "Allowed, though denied is expected."),
                ("unexpected_denial", "Denied, though allowed is expected."),
                ("unknown", "Without a conclusive answer."),
            ]),
            "results": { "type": "array", "items": result() },
            "canaries": counts(&[
                ("created", "Known to have been created in this round."),
                ("deleted", "Deleted, and seen to be gone, in this round."),
                ("unfinished", "Of this and earlier rounds: absence still owed."),
            ]),
        },
    })
}

/// JSON Schema of `GET /api/v1/findings`.
pub fn findings_schema() -> Value {
    json!({
        "description": "What is not as it should be and lasts, the most severe first; then what ended lately.",
        "type": "object",
        "additionalProperties": false,
        "required": ["schema", "findings"],
        "properties": {
            "schema": { "const": 1, "description": "The version of this shape." },
            "findings": { "type": "array", "items": finding() },
        },
    })
}

fn finding() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": [
            "id", "kind", "organization", "token", "permission", "target", "severity", "since", "last_seen",
            "resolved_at", "detail",
        ],
        "properties": {
            "id": {
                "type": "string", "pattern": "^[0-9a-f]{16}$",
                "description": "The same whenever the same thing is wrong; its page is `/findings/ID`.",
            },
            "kind": { "enum": words(FindingKind::ALL, |kind| kind.as_str()) },
            "organization": {
                "type": "string", "description": "Its exact name; empty where it concerns all of them.",
            },
            "token": { "type": ["string", "null"], "description": "The name that the config gives to it." },
            "permission": { "enum": or_null(words(Permission::ALL, |p| p.as_str())) },
            "target": { "type": ["string", "null"], "description": "As in the report." },
            "severity": { "enum": words(Severity::ALL, |severity| severity.as_str()) },
            "since": time("When it was first seen in this episode."),
            "last_seen": time("When it was last confirmed."),
            "resolved_at": { "anyOf": [{ "type": "null" }, time("When it ended.")] },
            "detail": text("What happened, to what, and what to do."),
        },
    })
}

/// JSON Schema of `GET /api/v1/canaries`.
pub fn canaries_schema() -> Value {
    json!({
        "description": "Every canary of the journal that is not done with, the oldest first.",
        "type": "object",
        "additionalProperties": false,
        "required": ["schema", "canaries"],
        "properties": {
            "schema": { "const": 1, "description": "The version of this shape." },
            "canaries": { "type": "array", "items": kept_canary() },
        },
    })
}

fn kept_canary() -> Value {
    let delete = json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["at", "by", "outcome"],
        "properties": {
            "at": time("When it was made durable, just before it was sent."),
            "by": { "enum": words(Deleter::ALL, |by| by.as_str()) },
            "outcome": { "enum": words(DeleteOutcome::ALL, |outcome| outcome.as_str()) },
        },
    });
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": [
            "id", "organization", "repo", "type", "token", "state", "journal_state", "planned_at", "next_at",
            "deletes", "note",
        ],
        "properties": {
            "id": { "type": "integer", "description": "Its number in the journal, for `canaries close`." },
            "organization": text("The organization under its exact name."),
            "repo": { "type": "string", "pattern": "^[A-Za-z0-9._-]+/[A-Za-z0-9._-]+$" },
            "type": { "enum": words(RepoType::ALL, |kind| kind.as_str()) },
            "token": text("The token that was probed."),
            "state": { "enum": words(ShownState::ALL, |state| state.as_str()) },
            "journal_state": { "enum": words(CanaryState::ALL, |state| state.as_str()) },
            "planned_at": time("When its intent was made."),
            "repo_id": { "type": "string", "description": "The Hub's id, once an answer gave one." },
            "next_at": { "anyOf": [{ "type": "null" }, time("When it is looked at next.")] },
            "deletes": { "type": "array", "items": delete },
            "note": { "type": "string", "description": "Why it stands where it stands." },
        },
    })
}

fn or_null(words: Vec<&'static str>) -> Vec<Option<&'static str>> {
    words.into_iter().map(Some).chain([None]).collect()
}

fn result() -> Value {
    let either = [Expected::Allowed, Expected::Denied].map(Expected::as_str);
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": [
            "organization", "token", "permission", "target", "expected", "access", "reason", "verdict", "declared",
            "predicted", "observed_at", "duration_ms", "evidence", "canary",
        ],
        "properties": {
            "organization": text("The organization under its exact name."),
            "token": text("The name that the config gives to the token."),
            "permission": { "enum": words(Permission::ALL, |p| p.as_str()) },
            "target": text("`model`, `dataset@GROUP`, `ORG/NAME`, `dataset:ORG/NAME`, or `-` for the whole."),
            "expected": { "enum": either },
            "access": { "enum": ["allowed", "denied", "undetermined"], "description": "What the Hub did." },
            "reason": { "description": "Why it was denied, or why nothing can be said." },
            "verdict": { "description": "What was found against what is expected." },
            "declared": { "type": "boolean", "description": "Whether this round knows the token's whoami." },
            "predicted": {
                "enum": ["allowed", "denied", null],
                "description": "What the Hub's documented model gives; null where it is silent.",
            },
            "observed_at": time("When the answer was given."),
            "duration_ms": count("How long it took."),
            "evidence": { "type": "array", "items": evidence() },
            "canary": { "anyOf": [{ "type": "null" }, canary()] },
        },
        // The answer decides which reasons there are, and with the expectation which verdict.
        "oneOf": [
            answer("allowed", "allowed", &json!({ "type": "null" }), "ok"),
            answer("denied", "allowed", &json!({ "type": "null" }), "unexpected_grant"),
            answer("denied", "denied", &json!({ "enum": words(DenyReason::ALL, |r| r.as_str()) }), "ok"),
            answer("allowed", "denied", &json!({ "enum": words(DenyReason::ALL, |r| r.as_str()) }), "unexpected_denial"),
            {
                "properties": {
                    "access": { "const": "undetermined" },
                    "reason": { "enum": words(UnknownReason::ALL, |r| r.as_str()) },
                    "verdict": { "const": "unknown" },
                },
            },
        ],
    })
}

fn answer(expected: &str, access: &str, reason: &Value, verdict: &str) -> Value {
    json!({
        "properties": {
            "expected": { "const": expected },
            "access": { "const": access },
            "reason": reason,
            "verdict": { "const": verdict },
        },
    })
}

fn evidence() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["method", "path", "status", "request_id"],
        "properties": {
            "method": { "enum": ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"] },
            "path": { "type": "string", "pattern": "^/[^?#]*$", "description": "Without query." },
            "status": {
                "type": ["integer", "null"], "minimum": 100, "maximum": 999,
                "description": "Null when there was no answer.",
            },
            "request_id": { "type": ["string", "null"], "description": "The Hub's; its support asks for it." },
        },
    })
}

fn canary() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["repo", "type", "state"],
        "properties": {
            "repo": { "type": "string", "pattern": "^[A-Za-z0-9._-]+/[A-Za-z0-9._-]+$" },
            "type": { "enum": words(RepoType::ALL, |kind| kind.as_str()) },
            "state": { "enum": words(ShownState::ALL, |state| state.as_str()) },
        },
    })
}

/// An object of figures.
fn counts(names: &[(&str, &str)]) -> Value {
    let properties: serde_json::Map<String, Value> =
        names.iter().map(|(name, about)| ((*name).to_owned(), count(about))).collect();
    let required: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
    json!({
        "type": "object", "additionalProperties": false, "required": required, "properties": properties,
    })
}

fn count(about: &str) -> Value {
    json!({ "type": "integer", "minimum": 0, "description": about })
}

fn text(about: &str) -> Value {
    json!({ "type": "string", "minLength": 1, "description": about })
}

fn time(about: &str) -> Value {
    let pattern = "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3}Z$";
    json!({ "type": "string", "format": "date-time", "pattern": pattern, "description": about })
}

fn words<T: Copy>(all: &[T], spelled: fn(T) -> &'static str) -> Vec<&'static str> {
    all.iter().map(|word| spelled(*word)).collect()
}
