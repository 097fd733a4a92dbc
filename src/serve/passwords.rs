//! Passwords of those who ask: who is let in, and how much of this machine guessing may cost.
//!
//! A look at a bcrypt hash takes a tenth of a second and more, so one is looked at at a time, few may wait, and few
//! of one address. A right password is remembered as a MAC under a key of this process, one for each user, so that
//! whoever was let in before never waits; a wrong one is never remembered. For a name that nobody has, some user's
//! hash is looked at all the same, so that time does not tell who exists.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::{HeaderMap, header};
use data_encoding::BASE64;
use hmac::{Hmac, KeyInit as _, Mac};
use sha2::Sha256;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Looks at hashes at the same time. One, because the rest of the machine is for probing.
const AT_WORK: usize = 1;
/// Requests that wait for a look or have one, and of these the most from one address.
const WAITING: usize = 16;
const WAITING_OF_ONE: usize = 4;
/// How long a request waits for a look before it is told to come again.
const PATIENCE: Duration = Duration::from_secs(10);

/// Users and what is remembered of them.
pub(super) struct Passwords {
    users: BTreeMap<String, String>,
    key: [u8; 32],
    remembered: Mutex<BTreeMap<String, [u8; 32]>>,
    waiting: Arc<Mutex<HashMap<IpAddr, usize>>>,
    at_work: Arc<Semaphore>,
}

/// What a request's password comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    Right,
    /// None, one of another kind, or a wrong one; which of them is nobody's business.
    Wrong,
    /// Too many wait who come from the same address.
    TooMany,
    /// Too many wait.
    Busy,
}

impl Passwords {
    /// `users`: names with bcrypt hashes. `key`: random, and known to this process alone.
    pub(super) fn new(users: BTreeMap<String, String>, key: [u8; 32]) -> Passwords {
        Passwords {
            users,
            key,
            remembered: Mutex::default(),
            waiting: Arc::default(),
            at_work: Arc::new(Semaphore::new(AT_WORK)),
        }
    }

    /// What the request's password comes to. Dropped while it waits, it leaves its place.
    pub(super) async fn judge(&self, headers: &HeaderMap, from: IpAddr) -> Word {
        let Some((name, password)) = given(headers) else { return Word::Wrong };
        let known = self.users.get(&name);
        let Some(hash) = known.or_else(|| self.decoy(&name)) else { return Word::Wrong };
        let mac = self.mac(&name, hash, &password);
        if known.is_some() && self.remembers(&name, &mac) {
            return Word::Right;
        }
        let place = match Place::take(&self.waiting, from) {
            Ok(place) => place,
            Err(word) => return word,
        };
        let Ok(Ok(turn)) = timeout(PATIENCE, Arc::clone(&self.at_work).acquire_owned()).await else {
            return Word::Busy;
        };
        // Whoever asked the same at the same time may have been answered meanwhile.
        if known.is_some() && self.remembers(&name, &mac) {
            return Word::Right;
        }
        let hash = hash.clone();
        let looked = tokio::task::spawn_blocking(move || {
            // Held to the end, even when nobody waits for it any more.
            let _held = (turn, place);
            bcrypt::verify(&password, &hash).unwrap_or(false)
        });
        if looked.await.unwrap_or(false) && known.is_some() {
            self.remembered().insert(name, mac.finalize().into_bytes().into());
            return Word::Right;
        }
        Word::Wrong
    }

    /// For a name that nobody has: the hash of the same user every time, and of whom only the key tells.
    fn decoy(&self, name: &str) -> Option<&String> {
        let mac: [u8; 32] = self.mac(name, "", b"").finalize().into_bytes().into();
        let some = u32::from_le_bytes([mac[0], mac[1], mac[2], mac[3]]);
        let at = usize::try_from(some).unwrap_or(0).checked_rem(self.users.len())?;
        self.users.values().nth(at)
    }

    /// The hash belongs to it, so that a password that was changed is not remembered.
    fn mac(&self, name: &str, hash: &str, password: &[u8]) -> Hmac<Sha256> {
        #[expect(clippy::expect_used, reason = "HMAC takes a key of any length")]
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("a key of any length will do");
        for part in [name.as_bytes(), hash.as_bytes(), password] {
            mac.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
            mac.update(part);
        }
        mac
    }

    /// Whether it is the one that was right before; compared in constant time.
    fn remembers(&self, name: &str, mac: &Hmac<Sha256>) -> bool {
        let kept = self.remembered().get(name).copied();
        kept.is_some_and(|kept| mac.clone().verify_slice(&kept).is_ok())
    }

    fn remembered(&self) -> MutexGuard<'_, BTreeMap<String, [u8; 32]>> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Name and password of `Authorization: Basic …`.
fn given(headers: &HeaderMap) -> Option<(String, Vec<u8>)> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let (value, None) = (all.next()?.as_bytes(), all.next()) else { return None };
    let (scheme, code) = value.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let pair = BASE64.decode(code.trim_ascii()).ok()?;
    let colon = pair.iter().position(|byte| *byte == b':')?;
    let (name, password) = pair.split_at(colon);
    Some((String::from_utf8(name.to_vec()).ok()?, password.get(1..)?.to_vec()))
}

/// Of whom a connection is one of many: an address, or the /64 that one customer has of IPv6.
fn neighbourhood(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX))),
        v4 => v4,
    }
}

/// A place among those who wait; given back when it is dropped.
struct Place {
    of: Arc<Mutex<HashMap<IpAddr, usize>>>,
    from: IpAddr,
}

impl Place {
    fn take(of: &Arc<Mutex<HashMap<IpAddr, usize>>>, from: IpAddr) -> Result<Place, Word> {
        let from = neighbourhood(from);
        let mut waiting = of.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.get(&from).is_some_and(|count| *count >= WAITING_OF_ONE) {
            return Err(Word::TooMany);
        }
        if waiting.values().sum::<usize>() >= WAITING {
            return Err(Word::Busy);
        }
        *waiting.entry(from).or_default() += 1;
        Ok(Place { of: Arc::clone(of), from })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut waiting = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = waiting.get_mut(&self.from) {
            *count -= 1;
            if *count == 0 {
                waiting.remove(&self.from);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn asked(name: &str, password: &str) -> HeaderMap {
        let code = BASE64.encode(format!("{name}:{password}").as_bytes());
        let value = HeaderValue::from_str(&format!("Basic {code}")).expect("ASCII");
        HeaderMap::from_iter([(header::AUTHORIZATION, value)])
    }

    fn passwords() -> Arc<Passwords> {
        let hash = |password| bcrypt::hash(password, 4).expect("a hash");
        let users = [("alice", hash("right")), ("bob", hash("bobs"))];
        Arc::new(Passwords::new(users.map(|(name, hash)| (name.to_owned(), hash)).into(), [3; 32]))
    }

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    /// Somebody who asks for a look that never comes to its end.
    #[expect(clippy::disallowed_methods, reason = "ends with the runtime of the test")]
    async fn wait_for_a_look(at: &Arc<Passwords>, from: IpAddr) -> tokio::task::JoinHandle<Word> {
        let at = Arc::clone(at);
        let waiting = tokio::spawn(async move { at.judge(&asked("alice", "wrong"), from).await });
        tokio::task::yield_now().await;
        waiting
    }

    #[tokio::test]
    async fn a_right_password_is_remembered_for_one_name_alone() {
        let passwords = passwords();
        for (name, password, word) in [
            ("alice", "wrong", Word::Wrong),
            ("alice", "right", Word::Right),
            ("bob", "right", Word::Wrong),
            ("carol", "right", Word::Wrong),
            ("alice", "wrong", Word::Wrong),
            ("alice", "right", Word::Right),
        ] {
            assert_eq!(passwords.judge(&asked(name, password), ip(1)).await, word, "{name} {password}");
        }
        assert_eq!(passwords.remembered().len(), 1);
        assert!(passwords.waiting.lock().expect("no panic").is_empty(), "every place was given back");
    }

    #[tokio::test]
    async fn whose_hash_stands_in_for_a_name_that_nobody_has_never_lets_in() {
        let passwords = passwords();
        let mut stood_in = std::collections::BTreeSet::new();
        for n in 0..40 {
            let name = format!("nobody-{n}");
            stood_in.insert(passwords.decoy(&name).expect("somebody's").clone());
            assert_eq!(passwords.decoy(&name), passwords.decoy(&name), "the same every time");
            for password in ["right", "bobs"] {
                assert_eq!(passwords.judge(&asked(&name, password), ip(1)).await, Word::Wrong);
            }
        }
        assert_eq!(stood_in.len(), 2, "each of them for some");
        assert!(passwords.remembered().is_empty());
    }

    #[tokio::test]
    async fn few_wait_and_few_of_one_address_and_who_was_let_in_before_never_does() {
        let passwords = passwords();
        assert_eq!(passwords.judge(&asked("alice", "right"), ip(9)).await, Word::Right);
        let busy = Arc::clone(&passwords.at_work).acquire_owned().await.expect("a turn");
        let mut waiting = Vec::new();
        for _ in 0..WAITING_OF_ONE {
            waiting.push(wait_for_a_look(&passwords, ip(1)).await);
        }
        assert_eq!(passwords.judge(&asked("alice", "wrong"), ip(1)).await, Word::TooMany);
        for last in 2..=4 {
            for _ in 0..WAITING_OF_ONE {
                waiting.push(wait_for_a_look(&passwords, ip(last)).await);
            }
        }
        assert_eq!(passwords.judge(&asked("alice", "wrong"), ip(5)).await, Word::Busy);
        assert_eq!(passwords.judge(&asked("nobody", "x"), ip(5)).await, Word::Busy);
        assert_eq!(passwords.judge(&asked("alice", "right"), ip(1)).await, Word::Right);
        assert_eq!(
            passwords.judge(&HeaderMap::new(), ip(1)).await,
            Word::Wrong,
            "nothing is to be looked at"
        );
        // Who goes away leaves his place.
        for gone in waiting {
            gone.abort();
            assert!(gone.await.is_err());
        }
        drop(busy);
        assert_eq!(passwords.judge(&asked("bob", "bobs"), ip(1)).await, Word::Right);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_ever() {
        let passwords = passwords();
        let _busy = Arc::clone(&passwords.at_work).acquire_owned().await.expect("a turn");
        assert_eq!(passwords.judge(&asked("alice", "right"), ip(1)).await, Word::Busy);
        assert!(passwords.waiting.lock().expect("no panic").is_empty());
    }

    #[test]
    fn addresses_of_one_customer_are_one() {
        let of = |text: &str| neighbourhood(text.parse().expect("an address"));
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_ne!(of("10.0.0.1"), of("10.0.0.2"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
    }
}
