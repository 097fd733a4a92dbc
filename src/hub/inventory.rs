//! The Hub's own list of an organization's tokens and service accounts: how it is read, and what stands in it.
//!
//! Shapes: service accounts are in the OpenAPI document; the list of tokens is newer than that and known from
//! hub-docs only, so that its pages, the form of `owner` and the words of `status` are UNCONFIRMED. All of it is
//! read leniently; but a list that was not read to its end, or not understood, says nothing.

use serde_json::Value;

use crate::exchange::{Answer, Credential, Exchange, Failure, Request};
use crate::moment::Timestamp;

use super::answers::{described, json};
use super::classify::is_object_id;
use super::routes;

/// One token of the inventory.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Entry {
    pub id: Option<String>,
    /// What its owner called it.
    pub label: Option<String>,
    /// The name of the user or service account; `None` where only an id is shown, or nothing.
    pub owner: Option<String>,
    pub role: Option<String>,
    pub last4: Option<String>,
    pub status: Option<String>,
    pub created_at: Option<String>,
    pub last_used_at: Option<String>,
    pub expires_at: Option<String>,
    /// Of a service account.
    pub account: bool,
}

impl Entry {
    /// Whether the Hub may still accept it. An unheard status counts as active.
    pub fn is_active(&self, now: Timestamp) -> bool {
        let over = |status: &str| matches!(status, "revoked" | "denied" | "expired");
        let past = |at: &str| Timestamp::parse(at).is_some_and(|at| at <= now);
        !self.status.as_deref().is_some_and(|status| over(&status.to_ascii_lowercase()))
            && !self.expires_at.as_deref().is_some_and(past)
    }
}

/// What was read: each list whole, or why not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub tokens: Result<Vec<Entry>, Unread>,
    pub accounts: Result<Accounts, Unread>,
}

/// Service accounts and their tokens.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Accounts {
    pub users: Vec<String>,
    pub tokens: Vec<Entry>,
}

/// Why a list is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unread {
    /// The reader was not asked at all; the caller knows why.
    NotAsked,
    /// The Hub said so.
    Status(u16),
    Failed(Failure),
    /// The answer was not understood.
    Odd,
    /// There is more than is read.
    Long,
}

/// Pages of one list, at most.
pub const PAGES: u32 = 100;
/// Service accounts whose tokens are read, at most.
pub const ACCOUNTS: u32 = 50;

#[derive(Debug, Clone, PartialEq)]
enum Stage {
    Tokens(Request, u32),
    Accounts(Request, u32),
    Account(usize),
    Done,
}

/// The walk: `next` says what to ask, `hear` takes what came back.
#[derive(Debug, Clone)]
pub struct InventoryWalk {
    organization: String,
    reader: Credential,
    stage: Stage,
    tokens: Vec<Entry>,
    /// Id and user of each service account.
    accounts: Vec<(String, String)>,
    read: Accounts,
    listed: Listed,
}

impl InventoryWalk {
    pub fn new(organization: &str, reader: Credential) -> InventoryWalk {
        let first = routes::organization_tokens(organization, reader.clone());
        InventoryWalk {
            organization: organization.to_owned(),
            reader,
            stage: Stage::Tokens(first, 1),
            tokens: Vec::new(),
            accounts: Vec::new(),
            read: Accounts::default(),
            listed: Listed { tokens: Err(Unread::NotAsked), accounts: Err(Unread::NotAsked) },
        }
    }

    /// The next request, or `None` when the walk is over.
    pub fn next(&self) -> Option<Request> {
        match &self.stage {
            Stage::Tokens(request, _) | Stage::Accounts(request, _) => Some(request.clone()),
            Stage::Account(at) => {
                let (id, _) = self.accounts.get(*at)?;
                Some(routes::service_account(&self.organization, id, self.reader.clone()))
            }
            Stage::Done => None,
        }
    }

    /// What was read so far; all there is when `next` is `None`.
    pub fn finish(self) -> Listed {
        self.listed
    }

    /// Takes the answer to the request of `next`.
    pub fn hear(&mut self, exchange: &Exchange) {
        let stage = std::mem::replace(&mut self.stage, Stage::Done);
        match stage {
            Stage::Tokens(request, page) => {
                match page_of(exchange, "tokens", token_entry) {
                    Ok(entries) => self.tokens.extend(entries),
                    Err(why) => return self.end_tokens(Err(why)),
                }
                match following(exchange, &request, page) {
                    Ok(None) => {
                        let tokens = std::mem::take(&mut self.tokens);
                        self.end_tokens(Ok(tokens));
                    }
                    Ok(Some(next)) => self.stage = Stage::Tokens(next, page + 1),
                    Err(why) => self.end_tokens(Err(why)),
                }
            }
            Stage::Accounts(request, page) => {
                match page_of(exchange, "serviceAccounts", account_of) {
                    Ok(accounts) => self.accounts.extend(accounts),
                    Err(why) => return self.listed.accounts = Err(why),
                }
                match following(exchange, &request, page) {
                    Ok(None) if self.accounts.len() > ACCOUNTS as usize => {
                        self.listed.accounts = Err(Unread::Long)
                    }
                    Ok(None) => self.next_account(0),
                    Ok(Some(next)) => self.stage = Stage::Accounts(next, page + 1),
                    Err(why) => self.listed.accounts = Err(why),
                }
            }
            Stage::Account(at) => match self.tokens_of_account(at, exchange) {
                Ok(entries) => {
                    self.read.tokens.extend(entries);
                    self.next_account(at + 1);
                }
                Err(why) => self.listed.accounts = Err(why),
            },
            Stage::Done => {}
        }
    }

    /// The list of tokens is read, or not; the service accounts are a list of their own.
    fn end_tokens(&mut self, tokens: Result<Vec<Entry>, Unread>) {
        // Whoever is not accepted, refused for asking too much, or not there, is not asked on.
        let on = match &tokens {
            Ok(_) | Err(Unread::Odd | Unread::Long) => true,
            Err(Unread::Status(status)) => matches!(status, 402..=404),
            Err(Unread::NotAsked | Unread::Failed(_)) => false,
        };
        self.listed.tokens = tokens;
        if on {
            let first = routes::service_accounts(&self.organization, self.reader.clone());
            self.stage = Stage::Accounts(first, 1);
        }
    }

    fn next_account(&mut self, at: usize) {
        if at < self.accounts.len() {
            self.stage = Stage::Account(at);
            return;
        }
        self.read.users = self.accounts.iter().map(|(_, user)| user.clone()).collect();
        self.listed.accounts = Ok(std::mem::take(&mut self.read));
    }

    fn tokens_of_account(&self, at: usize, exchange: &Exchange) -> Result<Vec<Entry>, Unread> {
        let body = described(good(exchange)?).ok_or(Unread::Odd)?;
        let user = self.accounts.get(at).map(|(_, user)| user.as_str());
        if body.get("user").and_then(Value::as_str) != user {
            return Err(Unread::Odd);
        }
        // An account without tokens may leave them out.
        let tokens = match body.get("accessTokens") {
            None => &[][..],
            Some(tokens) => tokens.as_array().ok_or(Unread::Odd)?,
        };
        let entries = tokens.iter().map(|token| {
            let mut entry = token_entry(token)?;
            entry.owner = user.map(str::to_owned);
            entry.account = true;
            Some(entry)
        });
        entries.collect::<Option<Vec<_>>>().ok_or(Unread::Odd)
    }
}

fn good(exchange: &Exchange) -> Result<&Answer, Unread> {
    match &exchange.outcome {
        Err(failure) => Err(Unread::Failed(*failure)),
        Ok(answer) if (200..300).contains(&answer.status) => Ok(answer),
        Ok(answer) => Err(Unread::Status(answer.status)),
    }
}

/// One page of a list: an array, or an object that holds one under `name`. One item that is not understood spoils
/// it all, because it may be any.
fn page_of<T>(exchange: &Exchange, name: &str, read: impl Fn(&Value) -> Option<T>) -> Result<Vec<T>, Unread> {
    let answer = good(exchange)?;
    let held = || described(answer)?.get(name);
    let body = json(answer).filter(|body| body.is_array()).or_else(held).ok_or(Unread::Odd)?;
    let items = body.as_array().ok_or(Unread::Odd)?;
    items.iter().map(read).collect::<Option<Vec<_>>>().ok_or(Unread::Odd)
}

/// The page after this one, if there is one; of the same list, or it is none of ours to ask.
fn following(exchange: &Exchange, request: &Request, page: u32) -> Result<Option<Request>, Unread> {
    let Some(link) = good(exchange)?.link.as_deref().filter(|link| link.contains("rel=\"next\"")) else {
        return Ok(None);
    };
    let next = routes::page_after(link, request).ok_or(Unread::Odd)?;
    if page >= PAGES || next == *request { Err(Unread::Long) } else { Ok(Some(next)) }
}

fn text(of: &Value, field: &str) -> Option<String> {
    of.get(field).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
}

fn token_entry(item: &Value) -> Option<Entry> {
    let entry = Entry {
        id: text(item, "_id").or_else(|| text(item, "id")),
        label: text(item, "displayName"),
        owner: item.get("owner").and_then(owner_of),
        role: text(item, "role"),
        last4: text(item, "last4"),
        status: text(item, "status"),
        created_at: text(item, "createdAt"),
        last_used_at: text(item, "lastUsedAt"),
        expires_at: text(item, "expiration").or_else(|| text(item, "expiresAt")),
        account: false,
    };
    // Something without id and name is no token.
    (item.is_object() && (entry.id.is_some() || entry.label.is_some())).then_some(entry)
}

/// A name, or an object with one. An id alone names nobody whom whoami would name.
fn owner_of(owner: &Value) -> Option<String> {
    let name = owner.as_str().map(str::to_owned).filter(|name| !name.is_empty());
    name.or_else(|| text(owner, "user")).or_else(|| text(owner, "name")).filter(|name| !is_object_id(name))
}

fn account_of(item: &Value) -> Option<(String, String)> {
    let id = text(item, "_id").filter(|id| is_object_id(id))?;
    Some((id, text(item, "user").or_else(|| text(item, "name"))?))
}

#[cfg(test)]
#[path = "inventory_tests.rs"]
mod tests;
