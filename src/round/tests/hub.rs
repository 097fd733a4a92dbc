//! A Hub by name: repositories with ids and makers, tokens with rights. It answers as the real one does and knows
//! whose each repository is, which the engine must find out.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::access::{RepoName, RepoType, TokenName};
use crate::exchange::{Answer, Credential, Request, Verb};
use crate::moment::Timestamp;

use super::life::S;

/// Who holds a token, and what the Hub lets them do.
#[derive(Debug, Clone)]
pub struct Holder {
    pub user: &'static str,
    pub role: &'static str,
    pub creates: bool,
    /// Sees every private repository of the organization; its own it always sees.
    pub sees: bool,
    pub deletes: bool,
    pub dead: bool,
    /// What bars it from the organization's data, as whoami shows it.
    pub barred: Option<&'static str>,
}

/// One repository.
#[derive(Debug, Clone)]
pub struct Repo {
    pub id: String,
    pub private: bool,
    pub created: Timestamp,
    pub user: String,
    /// Made by a POST of ours, not by somebody else.
    pub ours: bool,
    /// The name under which it was made; somebody may have renamed it since.
    pub origin: Key,
    pub commits: usize,
    /// It was deleted, and somebody brought it back.
    pub restored: bool,
}

/// All repositories, by kind and name.
pub type Repos = BTreeMap<Key, Repo>;

pub type Key = (RepoType, String);

/// The Hub's truth.
#[derive(Debug, Default)]
pub struct Hub {
    pub repos: Repos,
    pub holders: BTreeMap<TokenName, Holder>,
    /// Ignores `private: true`.
    pub makes_public: bool,
    /// Names that were once somebody's; only these can a stranger know.
    pub known_names: Vec<Key>,
    /// Old names, and where they lead.
    pub moved: BTreeMap<Key, Key>,
    /// By how long what is read is behind what is so.
    pub behind: Duration,
    /// What there was until when, oldest first.
    past: Vec<(Timestamp, Repos)>,
    /// What is gone, for who might bring it back.
    pub gone: Vec<(Key, Repo)>,
    /// A deletion by an old name or by a name that is somebody else's now: what was deleted, of whom.
    pub wronged: Vec<(Key, String)>,
    /// Whatever is asked to be created is deleted by somebody a moment before.
    pub vanishing: bool,
    /// Shows its members to anybody.
    pub open_members: bool,
    /// And to its own also their roles.
    pub roles: bool,
    /// Says yes, or no, to whatever is asked.
    pub says: Option<bool>,
    /// Its listings have a next page for ever, and nothing private on any.
    pub endless: bool,
    /// What whoami says of a token, instead of the little it says else.
    pub whoami: BTreeMap<TokenName, Value>,
    /// What the pages of organizations say, by path and query.
    pub pages: BTreeMap<String, Answer>,
    /// Tells its time with every answer, by so many milliseconds off.
    pub tells_time: Option<i64>,
    /// Counts requests and creations as the Hub does.
    pub counting: Option<Counting>,
    last_id: u64,
}

/// The Hub's limits: requests by user and window of five minutes, creations by user and day.
#[derive(Debug)]
pub struct Counting {
    pub quota: u32,
    /// What others use of each window of a user, from its beginning on.
    pub others: BTreeMap<String, u32>,
    pub creations_a_day: usize,
    /// Requests of a user, and the window they were of.
    pub used: BTreeMap<String, (i64, u32)>,
    pub creations: BTreeMap<String, Vec<Timestamp>>,
    /// Requests of users that the window had no room for.
    pub refused: BTreeMap<String, u32>,
    /// When the daily cap refused a creation.
    pub capped: Vec<Timestamp>,
    /// A route that is capped for a user, whatever the window says, and when it refused.
    pub capped_route: Option<(&'static str, &'static str)>,
    pub route_refused: Vec<Timestamp>,
}

impl Default for Counting {
    fn default() -> Counting {
        Counting {
            quota: 1000,
            others: BTreeMap::new(),
            creations_a_day: usize::MAX,
            used: BTreeMap::new(),
            creations: BTreeMap::new(),
            refused: BTreeMap::new(),
            capped: vec![],
            capped_route: None,
            route_refused: vec![],
        }
    }
}

impl Counting {
    const WINDOW: i64 = 300_000;

    /// What the headers say after this request, and the refusal, if it is one.
    fn count(&mut self, user: &str, route: &str, now: Timestamp) -> (String, Option<Answer>) {
        let creates = route == "/api/repos/create";
        let window = now.millis() / Counting::WINDOW;
        let used = self.used.entry(user.to_owned()).or_default();
        *used = if used.0 == window { (window, used.1 + 1) } else { (window, 1) };
        let all = used.1 + self.others.get(user).copied().unwrap_or(0);
        let reset = ((window + 1) * Counting::WINDOW - now.millis() + 999) / 1000;
        let limit = format!("\"api\";r={};t={reset}", self.quota.saturating_sub(all));
        if all > self.quota {
            *self.refused.entry(user.to_owned()).or_default() += 1;
            return (limit, Some(refused(429, "You have exceeded the rate limit")));
        }
        if self.capped_route.is_some_and(|capped| capped == (user, route)) {
            self.route_refused.push(now);
            return (limit, Some(refused(429, "You are doing this too often")));
        }
        let calls = self.creations.entry(user.to_owned()).or_default();
        calls.retain(|at| now.since(*at) < S(24 * 3600));
        if creates && calls.len() >= self.creations_a_day {
            self.capped.push(now);
            let text = "You have exceeded the rate limit for repository creation (3 per day).";
            return (limit, Some(refused(429, text)));
        }
        if creates {
            calls.push(now);
        }
        (limit, None)
    }
}

pub fn said(status: u16, body: &Value) -> Answer {
    let body = body.to_string();
    Answer { status, content_type: "application/json".into(), body, ..Answer::default() }
}

pub fn refused(status: u16, text: &str) -> Answer {
    said(status, &json!({ "error": text }))
}

pub fn missing() -> Answer {
    Answer { error_code: Some("RepoNotFound".into()), ..refused(404, "Repository not found") }
}

fn kind_of(plural: &str) -> RepoType {
    match plural {
        "datasets" => RepoType::Dataset,
        "spaces" => RepoType::Space,
        _ => RepoType::Model,
    }
}

/// The repository that a create or delete names.
pub fn named(request: &Request) -> Key {
    let body = request.body.as_ref().expect("a body");
    let text = |field: &str| body[field].as_str().expect("text").to_owned();
    let kind = text("type").parse().expect("a kind");
    (kind, format!("{}/{}", text("organization"), text("name")))
}

/// The repository whose own description is asked for.
pub fn described(request: &Request) -> Option<Key> {
    let path = request.path.strip_prefix("/api/")?;
    let parts: Vec<&str> = path.split('/').collect();
    match parts.as_slice() {
        [plural, namespace, name] if request.route == "/api/{type}/{namespace}/{repo}" => {
            Some((kind_of(plural), format!("{namespace}/{name}")))
        }
        _ => None,
    }
}

impl Hub {
    pub fn holder(&self, credential: &Credential) -> Option<&Holder> {
        match credential {
            Credential::Anonymous => None,
            Credential::Token(token) => self.holders.get(token),
        }
    }

    fn sees(&self, credential: &Credential, repo: &Repo) -> bool {
        !repo.private || self.holder(credential).is_some_and(|h| h.sees || h.user == repo.user)
    }

    /// Somebody makes a repository.
    pub fn make(&mut self, key: Key, user: &str, ours: bool, now: Timestamp) -> String {
        self.last_id += 1;
        let id = format!("{:024x}", self.last_id);
        let private = !(ours && self.makes_public);
        let (origin, restored) = (key.clone(), false);
        let user = user.to_owned();
        let repo = Repo { id: id.clone(), private, created: now, user, ours, origin, commits: 1, restored };
        self.known_names.push(key.clone());
        self.remember(now);
        self.moved.remove(&key);
        self.repos.insert(key, repo);
        id
    }

    /// Keeps what is so until now, for those who read late.
    pub fn remember(&mut self, now: Timestamp) {
        self.past.retain(|(until, _)| now.since(*until) < S(900));
        self.past.push((now, self.repos.clone()));
    }

    /// Everybody reads what is so from now on.
    pub fn catch_up(&mut self) {
        self.past.clear();
    }

    /// What is read at this moment.
    fn read_at(&self, now: Timestamp) -> &Repos {
        let seen = now - self.behind;
        self.past.iter().find(|(until, _)| *until > seen).map_or(&self.repos, |(_, repos)| repos)
    }

    /// Somebody takes a repository away.
    pub fn remove(&mut self, key: &Key, now: Timestamp) {
        self.remember(now);
        if let Some(repo) = self.repos.remove(key) {
            self.gone.push((key.clone(), repo));
        }
    }

    /// Somebody gives a repository another name.
    pub fn rename(&mut self, key: &Key, now: Timestamp) {
        self.remember(now);
        if let Some(repo) = self.repos.remove(key) {
            let other = (key.0, format!("{}-renamed", key.1));
            self.moved.insert(key.clone(), other.clone());
            self.repos.insert(other, repo);
        }
    }

    /// The answer to this request, at this moment; a POST or DELETE takes effect.
    pub fn answer(&mut self, request: &Request, now: Timestamp) -> Answer {
        let date = self.tells_time.map(|off| Timestamp(now.millis() + off));
        let user = self.holder(&request.credential).map_or("anonymous", |holder| holder.user);
        let Some(counting) = &mut self.counting else {
            return Answer { date, ..self.answer_of(request, now) };
        };
        let (limit, refusal) = counting.count(user, request.route, now);
        let policy = format!("\"fixed window\";\"api\";q={};w=300", counting.quota);
        let answer = refusal.unwrap_or_else(|| self.answer_of(request, now));
        Answer { date, rate_limit: Some(limit), rate_limit_policy: Some(policy), ..answer }
    }

    fn answer_of(&mut self, request: &Request, now: Timestamp) -> Answer {
        let anonymous = request.credential == Credential::Anonymous;
        if self.holder(&request.credential).is_none_or(|holder| holder.dead) && !anonymous {
            return refused(401, "Invalid username or password.");
        }
        let barred = self.holder(&request.credential).and_then(|holder| holder.barred);
        if barred.is_some() && request.route != "/api/whoami-v2" && !request.route.ends_with("/overview") {
            return refused(403, "Your access to this organization is barred by its rules");
        }
        if let Some(yes) = self.says {
            return if yes { said(200, &json!({ "name": "x", "id": "x" })) } else { refused(403, "no") };
        }
        match request.verb {
            Verb::Post if request.body.is_none() => self.place(request),
            Verb::Post => self.create(request, now),
            Verb::Delete => self.delete(request, now),
            Verb::Get => self.read(request, now),
        }
    }

    fn create(&mut self, request: &Request, now: Timestamp) -> Answer {
        let key = named(request);
        let holder = self.holder(&request.credential).expect("a holder").clone();
        if !holder.creates {
            let text = "You don't have the rights to create a model under the namespace \"acme\"";
            return refused(403, text);
        }
        if self.vanishing {
            self.remove(&key, now);
        }
        if self.repos.contains_key(&key) {
            return refused(409, "You already created this model repo");
        }
        let name = key.1.clone();
        let id = self.make(key, holder.user, true, now);
        said(200, &json!({ "url": "x", "name": name, "id": id }))
    }

    /// Jobs and endpoints: who may create may use them.
    fn place(&self, request: &Request) -> Answer {
        match self.holder(&request.credential) {
            Some(holder) if holder.creates => {
                said(200, &json!({ "namespace": { "name": "acme" }, "user": { "name": holder.user } }))
            }
            _ => refused(403, "You don't have the required permissions to complete this action"),
        }
    }

    /// The pages of the organization: who deletes is an admin.
    fn page(&self, page: &str, request: &Request) -> Answer {
        let admin = self.holder(&request.credential).is_some_and(|holder| holder.deletes);
        match page {
            "members" if self.open_members && self.roles && admin => {
                said(200, &json!([{ "user": "alice", "role": "admin" }]))
            }
            "members" if self.open_members => said(200, &json!([{ "user": "alice" }])),
            _ if !admin => refused(403, "You don't have the required permissions"),
            "members" => said(200, &json!([{ "user": "alice" }])),
            "network-security" => said(200, &json!({ "enforceIpRestriction": false })),
            "usage" => said(200, &json!({ "usage": {} })),
            _ => said(200, &json!([])),
        }
    }

    fn delete(&mut self, request: &Request, now: Timestamp) -> Answer {
        let asked = named(request);
        let holder = self.holder(&request.credential).expect("a holder").clone();
        // Whether a deletion by an old name follows the redirect nobody knows; the worse is assumed.
        let key = self.moved.get(&asked).unwrap_or(&asked).clone();
        if !self.repos.get(&key).is_some_and(|repo| self.sees(&request.credential, repo)) {
            return missing();
        }
        if !holder.deletes {
            return refused(403, "You don't have the required permissions");
        }
        self.delete_at(&asked, &key, now)
    }

    fn delete_at(&mut self, asked: &Key, key: &Key, now: Timestamp) -> Answer {
        let Some(repo) = self.repos.get(key) else { return missing() };
        if !repo.ours || repo.origin != *asked {
            self.wronged.push((key.clone(), repo.user.clone()));
        }
        self.remove(key, now);
        said(200, &Value::Null)
    }

    /// Whether it would say yes to this deletion now.
    pub fn would_delete(&self, request: &Request) -> bool {
        let asked = named(request);
        let repo = self.repos.get(self.moved.get(&asked).unwrap_or(&asked));
        let may = |holder: &Holder| holder.deletes && !holder.dead && holder.barred.is_none();
        self.holder(&request.credential).is_some_and(may)
            && repo.is_some_and(|repo| self.sees(&request.credential, repo))
    }

    /// A deletion that it has said yes to, whatever the token may do by now.
    pub fn delete_accepted(&mut self, request: &Request, now: Timestamp) -> Answer {
        let asked = named(request);
        let key = self.moved.get(&asked).unwrap_or(&asked).clone();
        self.delete_at(&asked, &key, now)
    }

    fn read(&self, request: &Request, now: Timestamp) -> Answer {
        let repos = self.read_at(now);
        if let Some(page) = self.pages.get(&request.path) {
            return page.clone();
        }
        let path = request.path.strip_prefix("/api/").expect("an API path");
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let parts: Vec<&str> = path.split('/').collect();
        match parts.as_slice() {
            ["whoami-v2"] => self.whoami(request),
            ["organizations", name, "overview"] => {
                if name.eq_ignore_ascii_case("acme") {
                    said(200, &json!({ "name": "acme" }))
                } else {
                    refused(404, "This organization does not exist")
                }
            }
            ["organizations", _, "resource-groups"] => said(200, &json!([])),
            ["organizations", .., page] => self.page(page, request),
            ["settings", ..] => refused(403, "You don't have the required permissions"),
            [plural] => self.list(kind_of(plural), query, repos, request),
            [plural, namespace, name, rest @ ..] => {
                let key = (kind_of(plural), format!("{namespace}/{name}"));
                self.about(&key, rest, repos, request)
            }
            _ => refused(404, "not here"),
        }
    }

    fn whoami(&self, request: &Request) -> Answer {
        let Some(holder) = self.holder(&request.credential) else { return refused(401, "who?") };
        if let Credential::Token(token) = &request.credential
            && let Some(body) = self.whoami.get(token)
        {
            return said(200, body);
        }
        let barred: Vec<&str> = holder.barred.into_iter().collect();
        let org = json!({ "name": "acme", "roleInOrg": holder.role, "securityRestrictions": barred });
        said(200, &json!({ "name": holder.user, "auth": {}, "orgs": [org] }))
    }

    fn list(&self, kind: RepoType, query: &str, repos: &Repos, request: &Request) -> Answer {
        let search = query.split_once("search=").map(|(_, name)| name).unwrap_or_default();
        if self.endless && search.is_empty() {
            let plural = match kind {
                RepoType::Model => "models",
                RepoType::Dataset => "datasets",
                RepoType::Space => "spaces",
            };
            let link = Some(format!("<https://hub.test/api/{plural}?author=acme&cursor=x>; rel=\"next\""));
            return Answer { link, ..said(200, &json!([])) };
        }
        let items: Vec<Value> = repos
            .iter()
            .filter(|((of, name), repo)| {
                *of == kind && name.contains(search) && self.sees(&request.credential, repo)
            })
            .map(|((_, name), repo)| {
                json!({
                "id": name, "private": repo.private, "createdAt": repo.created.to_string() })
            })
            .collect();
        said(200, &Value::Array(items))
    }

    fn about(&self, key: &Key, rest: &[&str], repos: &Repos, request: &Request) -> Answer {
        if self.moved.contains_key(key) {
            return Answer { status: 307, ..Answer::default() };
        }
        let Some(repo) = repos.get(key).filter(|repo| self.sees(&request.credential, repo)) else {
            return if request.credential == Credential::Anonymous {
                refused(401, "Invalid username or password.")
            } else {
                missing()
            };
        };
        match rest {
            [] => said(
                200,
                &json!({
                    "_id": repo.id, "id": key.1, "author": "acme", "private": repo.private,
                    "createdAt": repo.created.to_string(), "siblings": [{ "rfilename": ".gitattributes" }],
                }),
            ),
            ["commits", _] => {
                let commit = json!({ "id": "c0ffee", "authors": [{ "user": repo.user }] });
                said(200, &Value::Array(vec![commit; repo.commits]))
            }
            ["auth-check"] => said(200, &json!("OK")),
            ["auth-check", "write"] => {
                if self.holder(&request.credential).is_some_and(|holder| holder.deletes) {
                    said(200, &json!("OK"))
                } else {
                    refused(403, "You have read access but not the required permissions for this operation")
                }
            }
            _ => said(200, &Value::Null),
        }
    }

    /// Repositories of ours that are still there.
    pub fn left(&self) -> Vec<&Key> {
        self.repos.iter().filter(|(_, repo)| repo.ours).map(|(key, _)| key).collect()
    }

    /// A repository that was always there.
    pub fn furnish(&mut self, name: &str, now: Timestamp) {
        let name: RepoName = name.parse().expect("a name");
        self.make((RepoType::Model, name.to_string()), "carol", false, now);
    }
}
