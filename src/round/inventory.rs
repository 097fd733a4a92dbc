//! The organizations' inventories: read once for each round of whoami, after its checks, and held against the
//! config.
//!
//! Nothing waits for it and nothing fails with it. What was not read whole changes nothing; while the whoami of a
//! configured token is not known, an entry that nobody knows may be that token's, and is not called unmanaged.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};

use crate::access::{Severity, TokenName};
use crate::exchange::{Credential, Exchange};
use crate::hub::classify::is_object_id;
use crate::hub::inventory::{Entry, InventoryWalk, Listed, Unread};
use crate::hub::managed::Lists;
use crate::hub::shown::quoted;
use crate::hub::whoami::Declared;
use crate::moment::Moment;
use crate::pace::Manner;
use crate::report::{FindingKey, FindingKind, InventoryView};

use super::declared::token_finding;
use super::tokens::TokenState;
use super::{Engine, Job};

/// The inventory of one organization, under way or read.
#[derive(Debug, Default)]
pub(super) struct Inventory {
    walk: Option<Box<InventoryWalk>>,
    view: Option<InventoryView>,
}

/// Findings of unmanaged tokens of one organization, at most; the rest is counted.
const FINDINGS: usize = 500;

/// How targets of service accounts' tokens begin, so that a list that was not read ends no finding of its own.
const ACCOUNT: &str = "service-account/";

impl Engine {
    /// Begins to read every organization's inventory, where a token is there to do it.
    pub(super) fn start_inventories(&mut self, now: Moment) {
        // Who asks about some tokens only, or only looks, draws no conclusion about the organization.
        if self.observing || !self.only.is_empty() {
            return;
        }
        let config = self.config.clone();
        for organization in &config.organizations {
            let Some(reader) = &organization.inventory else { continue };
            let name = &organization.name;
            if self.inventories.get(name).is_some_and(|inventory| inventory.walk.is_some()) {
                continue;
            }
            if let Err(why) = self.may_read(reader, now) {
                self.unread(name, why, now);
                continue;
            }
            let walk = InventoryWalk::new(name, Credential::Token(reader.clone()));
            if let Some(request) = walk.next() {
                self.ask(Job::Inventory(name.clone()), request, None);
            }
            self.inventories.entry(name.clone()).or_default().walk = Some(Box::new(walk));
        }
    }

    /// Whether the reader may ask now; the share of its user's window is for the checks first.
    fn may_read(&self, reader: &TokenName, now: Moment) -> Result<(), String> {
        if !self.tokens.get(reader).is_some_and(TokenState::usable) {
            return Err(format!("the token '{reader}' that is to read it is unusable; see its own finding"));
        }
        let user = self.user_of(&Credential::Token(reader.clone()));
        self.pacing.pace.may(&user, Manner::AtOnce, now.mono).map_err(|_| {
            format!("the share of the rate limit of '{reader}' (hub.quota_share) is used up; it is read again later")
        })
    }

    fn unread(&mut self, organization: &str, why: String, now: Moment) {
        let tokens = Err(why.clone());
        let view = InventoryView { at: now.wall, tokens, accounts: Err(why), pending: None };
        self.inventories.insert(organization.to_owned(), Inventory { walk: None, view: Some(view) });
        self.changed = true;
    }

    pub(super) fn hear_inventory(&mut self, organization: &str, exchange: &Exchange, now: Moment) {
        let Some(inventory) = self.inventories.get_mut(organization) else { return };
        let Some(mut walk) = inventory.walk.take() else { return };
        // An answer to a walk that a reload put an end to is no answer to this one.
        if walk.next().as_ref() != Some(&exchange.request) {
            inventory.walk = Some(walk);
            return;
        }
        walk.hear(exchange);
        let configured = self.config.organization(organization).and_then(|o| o.inventory.clone());
        let Some(reader) = configured.filter(|_| !self.stopping) else { return };
        let Some(request) = walk.next() else {
            return self.hold_against(organization, &reader, &walk.finish(), now);
        };
        match self.may_read(&reader, now) {
            Err(why) => self.unread(organization, why, now),
            Ok(()) => {
                self.inventories.entry(organization.to_owned()).or_default().walk = Some(walk);
                self.ask(Job::Inventory(organization.to_owned()), request, None);
            }
        }
    }

    /// What was read against what is configured.
    fn hold_against(&mut self, organization: &str, reader: &TokenName, listed: &Listed, now: Moment) {
        let why = |unread: &Unread| sentence(organization, reader, *unread);
        let lists = Lists::new(listed);
        let pending = self.unknown_token().map(|token| {
            format!(
                "the whoami of '{token}' is not known, and an entry that nobody knows may be that token's"
            )
        });
        let strange = self.strangers(&lists, listed, now);
        self.unmanaged_findings(organization, listed, strange, pending.is_some(), now);
        self.missing_findings(organization, &lists, now);
        let view = InventoryView {
            at: now.wall,
            tokens: listed.tokens.as_ref().map(Vec::len).map_err(why),
            accounts: listed.accounts.as_ref().map(|accounts| accounts.tokens.len()).map_err(why),
            pending,
        };
        self.inventories.insert(organization.to_owned(), Inventory { walk: None, view: Some(view) });
        self.changed = true;
    }

    /// What the token declared last, whenever that was; of one whose secret cannot be read, what it was before.
    fn last_declared(state: &TokenState) -> Option<&Declared> {
        let unreadable = matches!(state.key, Some(Err(_)));
        let past = state.past.as_ref().filter(|_| unreadable).map(|past| &*past.declared);
        state.declared.as_ref().map(|known| &*known.declared).or(past)
    }

    /// A configured token of which nobody can say what it is called on the Hub. A dead one stands in no inventory.
    fn unknown_token(&self) -> Option<&TokenName> {
        let known = |token: &TokenName| {
            self.tokens.get(token).is_some_and(|state| state.dead || Self::last_declared(state).is_some())
        };
        self.config.tokens.iter().map(|token| &token.name).find(|token| !known(token))
    }

    /// By their targets, the active entries that belong to no configured token of any organization.
    fn strangers(&self, lists: &Lists<'_>, listed: &Listed, now: Moment) -> BTreeMap<String, Entry> {
        let tokens = self.config.tokens.iter().filter_map(|token| self.tokens.get(&token.name));
        let known: Vec<&Declared> = tokens.filter_map(Self::last_declared).collect();
        let accounts = lists.accounts.as_ref().map(|(_, tokens)| tokens);
        let found = lists.tokens.iter().chain(accounts).flat_map(|index| index.unmanaged(&known, now.wall));
        // Whether the list of tokens holds those of service accounts, too, is not documented.
        let ids: BTreeSet<&str> = match &listed.tokens {
            Ok(entries) => entries.iter().filter_map(|entry| entry.id.as_deref()).collect(),
            Err(_) => BTreeSet::new(),
        };
        found
            .filter(|entry| !entry.account || entry.id.as_deref().is_none_or(|id| !ids.contains(id)))
            .map(|entry| (target(entry), entry.clone()))
            .collect()
    }

    fn unmanaged_findings(
        &mut self,
        organization: &str,
        listed: &Listed,
        mut strange: BTreeMap<String, Entry>,
        pending: bool,
        now: Moment,
    ) {
        let (tokens, accounts) = (listed.tokens.is_ok(), listed.accounts.is_ok());
        let read = |target: &str| if target.starts_with(ACCOUNT) { accounts } else { tokens };
        let open = self.open_unmanaged(organization);
        if pending {
            strange.retain(|target, _| open.contains(target));
        }
        let ended: Vec<String> =
            open.iter().filter(|target| read(target) && !strange.contains_key(*target)).cloned().collect();
        let ends = ended.len();
        for target in ended {
            let key = unmanaged(organization, Some(target));
            self.set_finding(key, false, Severity::Warning, String::new, now.wall);
        }
        // Those that are told already stay told before others begin.
        let room = FINDINGS.saturating_sub(open.len() - ends);
        let (told, new): (Vec<_>, Vec<_>) =
            strange.into_iter().partition(|(target, _)| open.contains(target));
        let begun = new.len().min(room);
        let rest = new.len() - begun;
        for (target, entry) in told.into_iter().chain(new.into_iter().take(begun)) {
            let key = unmanaged(organization, Some(target));
            self.set_finding(key, true, Severity::Warning, || detail(organization, &entry), now.wall);
        }
        if tokens || rest > 0 {
            let sentence = || {
                format!(
                    "the Hub lists {rest} more tokens of '{organization}' that are not in the config; see its settings"
                )
            };
            self.set_finding(unmanaged(organization, None), rest > 0, Severity::Warning, sentence, now.wall);
        }
        if begun > 0 {
            self.tell(true, format!("unmanaged_token: {begun} more in the inventory of '{organization}' are not in the config; the findings name them"));
        }
        if ends > 0 {
            self.tell(false, format!("unmanaged_token is over: {ends} in the inventory of '{organization}'"));
        }
    }

    /// The targets of the lasting findings of unmanaged tokens.
    fn open_unmanaged(&self, organization: &str) -> BTreeSet<String> {
        let of =
            |key: &&FindingKey| key.kind == FindingKind::UnmanagedToken && key.organization == organization;
        let lasting = self.findings.iter().filter(|(_, finding)| finding.resolved_at.is_none());
        lasting.map(|(key, _)| key).filter(of).filter_map(|key| key.target.clone()).collect()
    }

    fn missing_findings(&mut self, organization: &str, lists: &Lists<'_>, now: Moment) {
        let config = self.config.clone();
        for token in config.tokens.iter().filter(|token| token.organization == organization) {
            let Some(state) = self.tokens.get(&token.name) else { continue };
            let alive = matches!(state.key, Some(Ok(_))) && state.accepted && !state.dead;
            let missing = match self.declared(&token.name, now) {
                _ if !alive => Some(false),
                Some(declared) => lists.miss(declared, organization),
                None => None,
            };
            let Some(missing) = missing else { continue };
            let key = token_finding(FindingKind::MissingToken, token);
            let told = || {
                format!(
                    "the Hub accepts '{}', but lists no such token among those of '{organization}'; make sure that it is the token that was meant ({})",
                    token.name, token.secret
                )
            };
            self.set_finding(key, missing, Severity::Warning, told, now.wall);
        }
    }

    pub(super) fn inventory_view(&self, organization: &str) -> Option<InventoryView> {
        self.config.organization(organization)?.inventory.as_ref()?;
        self.inventories.get(organization)?.view.clone()
    }
}

fn unmanaged(organization: &str, target: Option<String>) -> FindingKey {
    FindingKey {
        kind: FindingKind::UnmanagedToken,
        organization: organization.to_owned(),
        token: None,
        permission: None,
        target,
    }
}

/// The Hub's id, or a digest of what stands for it: a target may become a label, and is never the Hub's free text.
fn target(entry: &Entry) -> String {
    let id = entry.id.as_deref().filter(|id| is_object_id(id)).map(str::to_owned);
    let id = id.unwrap_or_else(|| {
        let parts = [&entry.id, &entry.label, &entry.owner, &entry.created_at];
        let text: Vec<&str> = parts.iter().map(|part| part.as_deref().unwrap_or_default()).collect();
        Sha256::digest(text.join("\n").as_bytes()).iter().take(12).map(|byte| format!("{byte:02x}")).collect()
    });
    if entry.account { format!("{ACCOUNT}{id}") } else { id }
}

fn detail(organization: &str, entry: &Entry) -> String {
    let word = |value: &Option<String>| value.as_deref().map_or("not shown".to_owned(), quoted);
    let kind = if entry.account { "service account" } else { "user" };
    format!(
        "the Hub lists a token of '{organization}' that is not in the config: {} of {kind} {} (role {}, last four {}, status {}, last used {}); add it to `tokens`, or revoke it in the organization's settings",
        word(&entry.label),
        word(&entry.owner),
        word(&entry.role),
        word(&entry.last4),
        word(&entry.status),
        word(&entry.last_used_at),
    )
}

/// Why a list is not known, and what to do.
fn sentence(organization: &str, reader: &TokenName, unread: Unread) -> String {
    match unread {
        Unread::NotAsked => "it was not asked for, because the list before it failed".to_owned(),
        Unread::Status(403) => format!(
            "'{reader}' may not read it (403); give it the right to, or name another token as `inventory` of '{organization}'"
        ),
        Unread::Status(402) => format!("the plan of '{organization}' has no such list (402)"),
        Unread::Status(404) => format!("the Hub has no such list of '{organization}' (404)"),
        Unread::Status(401) => format!("the Hub does not accept '{reader}' (401); renew it"),
        Unread::Status(429) => "the Hub limited the rate (429); it is read again later".to_owned(),
        Unread::Status(status) => format!("the Hub answered {status}; it is read again later"),
        Unread::Failed(failure) => {
            format!("there was no complete answer ({failure}); it is read again later")
        }
        Unread::Odd => "the answer has a form that this version does not know".to_owned(),
        Unread::Long => "it is longer than this version reads".to_owned(),
    }
}
