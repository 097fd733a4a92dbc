//! The head file, `<store>.head`: where the record stood when it was last written to, kept outside the journal,
//! so that a journal that was emptied or replaced by an old copy is noticed.
//!
//! One line, `<sequence> <hash>`, replaced by renaming after each commit. It may lag behind the journal (a
//! process may end in between) but never leads it. One that is unreadable or torn counts as absent: it is a
//! witness, not a source. Whoever puts back both, journal and head file, is found out only by a head that was
//! kept elsewhere.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The latest entry of the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Its sequence number; 0 while there is none.
    pub seq: i64,
    /// Its hash, 64 hexadecimal digits; zeros while there is none.
    pub hash: String,
}

impl Head {
    /// Before the first entry.
    pub fn none() -> Head {
        Head { seq: 0, hash: "0".repeat(64) }
    }
}

/// A hash as it is written everywhere.
pub(super) fn is_hash(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// Where this writer knows the record to end.
#[derive(Debug)]
pub(super) struct Stand {
    /// The entries of which one is the last in the file: the last that is known to be written and, while the
    /// outcome of a commit is unknown, the one that it wrote.
    possible: Vec<Head>,
    certain: Head,
    /// Beside a file.
    file: Option<HeadFile>,
    file_works: bool,
}

impl Stand {
    /// Of a writer, after the opening whose commit is known to be done.
    pub(super) fn new(head: Head, store: Option<&Path>) -> Stand {
        let mut stand = Stand {
            possible: Vec::new(),
            certain: Head::none(),
            file: store.map(HeadFile::beside),
            file_works: true,
        };
        stand.moved_to(head);
        stand
    }

    /// Whether the file may end like this, because we wrote it so.
    pub(super) fn expects(&mut self, found: &Head) -> bool {
        let expected = self.possible.contains(found);
        if expected {
            self.possible.retain(|possible| possible == found);
        }
        expected
    }

    /// A commit is about to be tried.
    pub(super) fn may_move_to(&mut self, head: &Head) {
        if !self.possible.contains(head) {
            self.possible.push(head.clone());
        }
    }

    /// It is done: the head file follows. That it cannot be written makes the witness weaker, not the journal.
    pub(super) fn moved_to(&mut self, head: Head) {
        self.file_works = self.file.as_mut().is_none_or(|file| file.replace(&head).is_ok());
        self.possible = vec![head.clone()];
        self.certain = head;
    }

    pub(super) fn head(&self) -> Head {
        self.certain.clone()
    }

    pub(super) fn file_works(&self) -> bool {
        self.file_works
    }
}

/// The file's place. It is written by one process, and in the order of the commits.
#[derive(Debug)]
pub(super) struct HeadFile {
    path: PathBuf,
    written: i64,
}

/// No head file of ours is longer.
const LIMIT: u64 = 128;

impl HeadFile {
    /// Beside this store.
    pub(super) fn beside(store: &Path) -> HeadFile {
        let mut path = store.as_os_str().to_owned();
        path.push(".head");
        HeadFile { path: path.into(), written: 0 }
    }

    /// What it says; `None` when it is absent, unreadable or torn.
    pub(super) fn read(&self) -> Option<Head> {
        let mut text = String::new();
        File::open(&self.path).ok()?.take(LIMIT).read_to_string(&mut text).ok()?;
        let (seq, hash) = text.strip_suffix('\n')?.split_once(' ')?;
        let seq = seq.parse().ok().filter(|seq| *seq > 0)?;
        is_hash(hash).then(|| Head { seq, hash: hash.to_owned() })
    }

    /// Replaces it whole. An older head never takes the place of a newer one of this process.
    pub(super) fn replace(&mut self, head: &Head) -> io::Result<()> {
        if head.seq <= self.written {
            return Ok(());
        }
        let mut draft = self.path.as_os_str().to_owned();
        draft.push(".new");
        let draft = PathBuf::from(draft);
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        file.write_all(format!("{} {}\n", head.seq, head.hash).as_bytes())?;
        failpoint!("head.drafted");
        // Without fsync, which would double the price of every commit: after a power cut an older one, or a torn
        // one, stands here, and both are only a weaker witness.
        fs::rename(&draft, &self.path)?;
        failpoint!("head.replaced");
        self.written = head.seq;
        Ok(())
    }
}
