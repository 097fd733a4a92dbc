//! Makes new inputs of old ones: bytes flipped, words exchanged, lines moved, one input spliced into another. The
//! same seed makes the same inputs.

/// Words that readers look for, or stumble over.
const WORDS: &[&str] = &[
    "error",
    "errors",
    "message",
    "null",
    "true",
    "false",
    "[]",
    "{}",
    "\"\"",
    "0",
    "-1",
    "1e999",
    "4294967296",
    "9223372036854775807",
    "18446744073709551616",
    "99999999999999999999",
    "\u{202e}",
    "\u{1b}[2J",
    "\u{0}",
    "\\u0000",
    "\\u202e",
    "\u{feff}",
    "é",
    "\\",
    "\"",
    "\n",
    "\r\n",
    "\n\n",
    "\n---\n",
    "%2e%2e",
    "/../",
    "//",
    "@",
    "#",
    "?",
    "..",
    "acme",
    "bob",
    "eve",
    "timeout",
    "unsent",
    "lost",
    "text/html",
    "text/plain",
    "application/json",
    "RepoNotFound",
    "hf_AAAABBBBCCCCDDDDEEEEFFFFGGGG",
    "$1",
    "$2",
    "$3",
    "[redacted]",
    "&a",
    "*a",
    "<<: ",
    "!!binary ",
    "- ",
    ": ",
    "|",
    "{{",
    "${",
    "200",
    "201",
    "204",
    "207",
    "301",
    "307",
    "400",
    "401",
    "402",
    "403",
    "404",
    "405",
    "408",
    "409",
    "418",
    "422",
    "429",
    "500",
    "502",
    "503",
    "504",
    "599",
    "100",
    "65535",
];

/// Longest input that is made.
const LONGEST: usize = 6000;

pub(super) struct Mutator {
    state: u64,
    words: Vec<Vec<u8>>,
}

impl Mutator {
    /// Takes further words from the corpus.
    pub(super) fn new(seed: u64, corpus: &[Vec<u8>]) -> Mutator {
        let mut words: Vec<Vec<u8>> = WORDS.iter().map(|word| word.as_bytes().to_vec()).collect();
        for item in corpus {
            let parts = item.split(|b| !b.is_ascii_alphanumeric() && !b"_.-".contains(b));
            words.extend(parts.filter(|part| (2..40).contains(&part.len())).map(<[u8]>::to_vec));
        }
        words.sort();
        words.dedup();
        Mutator { state: seed, words }
    }

    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound.max(1)).expect("small");
        usize::try_from(self.next() % bound).expect("small")
    }

    fn byte(&mut self) -> u8 {
        self.next().to_be_bytes()[0]
    }

    fn word(&mut self) -> Vec<u8> {
        let at = self.below(self.words.len());
        self.words[at].clone()
    }

    /// A place, and a later one not far behind it.
    fn range(&mut self, length: usize) -> (usize, usize) {
        let from = self.below(length + 1);
        let most = if self.below(4) == 0 { length } else { 16 };
        (from, (from + self.below(most + 1)).min(length))
    }

    /// One input.
    pub(super) fn input(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        let at = self.below(corpus.len());
        let mut input = corpus[at].clone();
        for _ in 0..1 + self.below(5) {
            self.edit(&mut input, corpus);
            input.truncate(LONGEST);
        }
        input
    }

    fn edit(&mut self, input: &mut Vec<u8>, corpus: &[Vec<u8>]) {
        let length = input.len();
        let at = self.below(length + 1);
        match self.below(13) {
            0 if at < length => input[at] ^= 1 << self.below(8),
            1 if at < length => input[at] = self.byte(),
            2 => input.insert(at, self.byte()),
            3 => {
                let (from, to) = self.range(length);
                input.drain(from..to);
            }
            4 => {
                let (from, to) = self.range(length);
                let part = input[from..to].to_vec();
                input.splice(at..at, part);
            }
            5 => {
                let word = self.word();
                input.splice(at..at, word);
            }
            6 | 7 => self.exchange_word(input, at, u8::is_ascii_alphanumeric),
            8 => self.exchange_word(input, at, u8::is_ascii_digit),
            9 => self.splice(input, at, corpus),
            10 | 11 => self.move_line(input, corpus),
            _ => {
                let odd =
                    [b'\n', b'"', b'\\', b':', b' ', b'-', b'/', 0x00, 0x7F, 0x80, 0xFF, b'{', b']', b','];
                let odd = odd[self.below(odd.len())];
                input.insert(at, odd);
            }
        }
    }

    /// Puts another word where a run of such bytes stands.
    fn exchange_word(&mut self, input: &mut Vec<u8>, at: usize, fits: fn(&u8) -> bool) {
        let Some(begin) = input[at..].iter().position(fits).map(|more| at + more) else { return };
        let from = begin - input[..begin].iter().rev().take_while(|b| fits(b)).count();
        let to = begin + input[begin..].iter().take_while(|b| fits(b)).count();
        let word = self.word();
        input.splice(from..to, word);
    }

    /// Goes on as another input does.
    fn splice(&mut self, input: &mut Vec<u8>, at: usize, corpus: &[Vec<u8>]) {
        let other = &corpus[self.below(corpus.len())];
        let from = self.below(other.len() + 1);
        if self.below(2) == 0 {
            input.truncate(at);
            input.extend_from_slice(&other[from..]);
        } else {
            // One behind the other, as answers are.
            input.extend_from_slice(b"\n---\n");
            input.extend_from_slice(other);
        }
    }

    /// Removes a line, doubles it, puts it elsewhere, or takes one of another input.
    fn move_line(&mut self, input: &mut Vec<u8>, corpus: &[Vec<u8>]) {
        let mut lines: Vec<Vec<u8>> = input.split(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
        let (from, to) = (self.below(lines.len()), self.below(lines.len()));
        match self.below(4) {
            0 => drop(lines.remove(from)),
            1 => lines.swap(from, to),
            2 => lines.insert(to, lines[from].clone()),
            _ => {
                let other = &corpus[self.below(corpus.len())];
                let theirs: Vec<&[u8]> = other.split(|b| *b == b'\n').collect();
                lines.insert(to, theirs[self.below(theirs.len())].to_vec());
            }
        }
        *input = lines.join(&b'\n');
    }
}
