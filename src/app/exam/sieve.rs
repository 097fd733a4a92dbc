//! Knows every configured secret and one that was made up, and finds them, or eight of their characters in a row, in
//! any text.

use std::collections::{BTreeSet, HashMap};

use data_encoding::HEXLOWER;

use crate::access::TokenName;
use crate::config::Config;
use crate::logging::{self, Format, Scrub};
use crate::probe::Keyring;
use crate::secret::{Secret, SecretFault};

use super::super::Fault;

/// So many characters in a row are a leak.
const RUN: usize = 8;

/// What the made-up one is called.
const PLANTED: &str = "a made-up token";

/// One secret, and what it is called.
struct Known {
    whose: String,
    secret: Secret,
    /// Not all of its runs count, so that it is looked for as a whole besides.
    spoken: bool,
}

/// Finds secrets.
pub struct Sieve {
    known: Vec<Known>,
    /// Every run of each, with its place among the known, but for those that stand in the config as well: a file that
    /// is called like a toy's secret gives nothing away.
    runs: HashMap<[u8; RUN], usize>,
    /// One of its own: what it blots out on purpose is not to be told as a defect of the process's.
    scrub: Scrub,
}

impl Sieve {
    pub(super) fn new(
        config: &Config,
        keys: &[(TokenName, Result<Secret, SecretFault>)],
        scrub: &Scrub,
    ) -> Result<Sieve, Fault> {
        let mut random = [0; 17];
        getrandom::fill(&mut random)
            .map_err(|_| Fault::Internal("the system gives no randomness".to_owned()))?;
        let planted = Secret::from_bytes(format!("hf_{}", HEXLOWER.encode(&random)).as_bytes())
            .map_err(|fault| Fault::Internal(fault.to_string()))?;
        let open = open_words(config);
        let usable =
            keys.iter().filter_map(|(name, key)| Some((format!("'{name}'"), key.as_ref().ok()?.clone())));
        let mut known = Vec::new();
        let mut hunted = HashMap::new();
        for (whose, secret) in usable.chain([(PLANTED.to_owned(), planted)]) {
            let (open, rest): (Vec<_>, Vec<_>) =
                runs(secret.expose().as_bytes()).partition(|run| open.contains(run));
            hunted.extend(rest.into_iter().map(|run| (run, known.len())));
            known.push(Known { whose, secret, spoken: !open.is_empty() });
        }
        let live: Vec<&str> = known.iter().map(|known| known.secret.expose()).collect();
        scrub.load(&live);
        let trial = Scrub::new();
        trial.load(&live);
        Ok(Sieve { known, runs: hunted, scrub: trial })
    }

    /// Adds the made-up one to those that are blotted out.
    pub(super) fn plant(&self, ring: &mut Keyring) {
        if let Some(planted) = self.known.last() {
            ring.insert(TokenName::new(PLANTED), Ok(planted.secret.clone()));
        }
    }

    /// What this ring leaves of texts that repeat the secrets.
    pub(super) fn echo(&self, ring: &Keyring) -> String {
        let said = self.known.iter().map(|known| {
            let secret = known.secret.expose();
            let escaped: String = secret.bytes().map(|byte| format!("%{byte:02X}")).collect();
            ring.cleaned(&format!("Bearer {secret} \"{secret}\" x{secret}x {escaped}"))
        });
        said.collect::<Vec<_>>().join(" ")
    }

    /// The lines that the log would be of events that hold the secrets, and the arguments' and sentences' redaction.
    pub fn lines(&self) -> String {
        let mut lines = String::new();
        for known in &self.known {
            let text =
                format!("the Hub said {:?} of Bearer {}", known.secret.expose(), known.secret.expose());
            for format in [Format::Text, Format::Json] {
                lines.push_str(&logging::sample(format, &self.scrub, &text));
            }
            lines.push_str(&self.scrub.clean(&text));
            lines.push_str(&format!("{:?}\n", known.secret));
        }
        lines
    }

    /// Runs of this text are no leak from now on: it was written without any secret, so that they are chance.
    pub fn forgive(&mut self, text: &str) {
        for run in runs(text.as_bytes()) {
            if let Some(at) = self.runs.remove(&run)
                && let Some(known) = self.known.get_mut(at)
            {
                known.spoken = true;
            }
        }
    }

    /// Of whom the whole secret stands in the text.
    pub fn whole(&self, text: &str) -> Option<&str> {
        let found =
            |known: &&Known| known.secret.expose().len() >= RUN && text.contains(known.secret.expose());
        self.known.iter().find(found).map(|known| known.whose.as_str())
    }

    /// Of whom something stands in the text.
    pub fn caught(&self, text: &str) -> Option<&str> {
        let part =
            runs(text.as_bytes()).find_map(|run| self.runs.get(&run)).and_then(|at| self.known.get(*at));
        let whole = |known: &&Known| known.spoken && text.contains(known.secret.expose());
        part.or_else(|| self.known.iter().find(whole)).map(|known| known.whose.as_str())
    }

    /// How many it knows, the made-up one included.
    pub fn count(&self) -> usize {
        self.known.len()
    }
}

fn runs(bytes: &[u8]) -> impl Iterator<Item = [u8; RUN]> + '_ {
    bytes.windows(RUN).filter_map(|run| run.try_into().ok())
}

/// The runs of what the config says in the open: names, places, addresses.
fn open_words(config: &Config) -> BTreeSet<[u8; RUN]> {
    let tokens = config.tokens.iter().flat_map(|token| [token.name.to_string(), token.secret.to_string()]);
    let organizations = config.organizations.iter().map(|organization| organization.name.clone());
    let words: Vec<String> = tokens.chain(organizations).chain([config.hub.endpoint.clone()]).collect();
    words.iter().flat_map(|word| runs(word.as_bytes()).collect::<Vec<_>>()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{NoDisk, Source, parse};

    const SECRET: &str = "hf_SUPERsecretOFciBOTxyz0123456789";

    fn sieve(text: &str, secret: &str) -> (Sieve, Keyring) {
        let config = parse(Source { name: "x", text }, &NoDisk).expect("valid").config;
        let keys = [(TokenName::new("ci"), Secret::from_bytes(secret.as_bytes()))];
        let sieve = Sieve::new(&config, &keys, &Scrub::new()).expect("a sieve");
        let mut ring = Keyring::new();
        let [(name, key)] = keys;
        ring.insert(name, key);
        sieve.plant(&mut ring);
        (sieve, ring)
    }

    const CONFIG: &str = "{organizations: [{name: acme}], \
                          tokens: [{name: ci, organization: acme, secret: {file: /run/secrets/hf_demo_ci}}]}";

    #[test]
    fn a_secret_or_eight_characters_of_it_are_caught() {
        let (sieve, ring) = sieve(CONFIG, SECRET);
        for text in [SECRET.to_owned(), format!("x{}y", &SECRET[9..17]), format!("é{}", &SECRET[20..])] {
            assert_eq!(sieve.caught(&text), Some("'ci'"), "{text}");
        }
        for text in ["", "hf_", &SECRET[..7], "[redacted]", "an ordinary sentence about hf_tokens"] {
            assert_eq!(sieve.caught(text), None, "{text}");
        }
        assert_eq!(sieve.caught(&sieve.lines()), None);
        assert_eq!(sieve.caught(&sieve.echo(&ring)), None);
        assert_eq!((sieve.count(), sieve.lines().contains("[redacted]")), (2, true));
    }

    #[test]
    fn whoever_does_not_blot_out_what_the_hub_repeats_is_caught() {
        let (sieve, ring) = sieve(CONFIG, "a-secret-without-the-usual-shape");
        assert_eq!(sieve.caught(&sieve.echo(&ring)), None);
        assert_eq!(sieve.caught(&sieve.echo(&Keyring::new())), Some("'ci'"));
    }

    #[test]
    fn words_of_the_program_are_no_leak_but_a_whole_secret_is() {
        let (mut sieve, _) = sieve(CONFIG, "hf_demo_limited");
        assert_eq!(sieve.caught("reason=rate_limited"), Some("'ci'"));
        sieve.forgive("reason=rate_limited");
        assert_eq!(sieve.caught("reason=rate_limited"), None);
        assert_eq!(sieve.caught("x hf_demo_l x"), Some("'ci'"));
        sieve.forgive("hf_demo_l hf_demo_limite emo_limited");
        assert_eq!(sieve.caught("hf_demo_limited"), Some("'ci'"));
        assert_eq!((sieve.whole("hf_demo_limited"), sieve.whole("hf_demo_limit")), (Some("'ci'"), None));
    }

    #[test]
    fn a_path_that_is_called_like_a_toys_secret_gives_nothing_away() {
        let (sieve, _) = sieve(CONFIG, "hf_demo_ci");
        assert_eq!(sieve.caught("the file /run/secrets/hf_demo_c"), None);
        assert_eq!(sieve.caught("hf_demo_ci"), Some("'ci'"));
    }
}
