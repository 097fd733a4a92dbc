//! The exposition as it leaves: text in pieces, each written when it is wanted, or packed with gzip.
//!
//! Of a snapshot only the packed text is kept, a twentieth of the plain one. The counters change between two snapshots,
//! so they are packed by themselves: a stream of deflate may be put together of parts that know nothing of each other.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::{Bytes, BytesMut};
use flate2::{Compress, Compression, Crc, FlushCompress, Status};

use super::state::Cursor;
use crate::report::Snapshot;

/// Bytes of a piece; the last series may make it a little longer.
const PIECE: usize = 64 * 1024;
/// Room in a piece's buffer, so that this last series seldom makes it grow.
const ROOM: usize = PIECE + 4096;

/// The whole exposition, of one moment.
#[derive(Debug, Clone)]
pub struct Page {
    /// What changes without a new snapshot.
    pub(super) fresh: Bytes,
    pub(super) snapshot: Arc<Snapshot>,
}

impl Page {
    /// Its text in one.
    pub fn whole(self) -> String {
        let bytes: Vec<u8> = self.text().flatten().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Its text.
    pub fn text(self) -> Pieces {
        let Page { fresh, snapshot } = self;
        Pieces { fresh: Some(fresh), state: State::of(snapshot) }
    }
}

/// The text of a page, piece by piece.
#[derive(Debug)]
pub struct Pieces {
    fresh: Option<Bytes>,
    state: State,
}

impl Iterator for Pieces {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        self.fresh.take().or_else(|| self.state.next())
    }
}

/// The text of a snapshot, piece by piece, in a buffer that is used again as soon as a piece is gone.
#[derive(Debug)]
struct State {
    snapshot: Arc<Snapshot>,
    cursor: Cursor,
    ended: bool,
    buffer: BytesMut,
}

impl State {
    fn of(snapshot: Arc<Snapshot>) -> State {
        State { snapshot, cursor: Cursor::default(), ended: false, buffer: BytesMut::new() }
    }
}

impl Iterator for State {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if self.ended {
            return None;
        }
        self.buffer.reserve(ROOM);
        self.ended = !self.cursor.write(&self.snapshot, &mut self.buffer, PIECE);
        Some(self.buffer.split().freeze()).filter(|piece| !piece.is_empty())
    }
}

/// A page packed with gzip, in parts.
#[derive(Debug, Clone)]
pub struct Packed {
    pub parts: [Bytes; 3],
}

/// Bytes of deflate, and what they are of.
#[derive(Debug, Clone)]
struct Deflated {
    bytes: Bytes,
    crc: Arc<Crc>,
}

/// The packed text of the last snapshot that was asked for. While the weak pointer lives, no other can have its address.
#[derive(Debug, Default)]
pub(super) struct Packer(Mutex<Option<(Weak<Snapshot>, Deflated)>>);

/// The head of a gzip file: deflate, no name, no time, packed fast, by nobody in particular.
const HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 255];

impl Packer {
    /// Packs a page; of its snapshot only once.
    pub(super) fn pack(&self, page: &Page) -> Packed {
        let fresh = deflate(HEAD.to_vec(), std::iter::once(page.fresh.clone()), FlushCompress::Sync);
        let state = self.state(&page.snapshot);
        let mut whole = Crc::new();
        whole.combine(&fresh.crc);
        whole.combine(&state.crc);
        let tail = [whole.sum().to_le_bytes(), whole.amount().to_le_bytes()].concat();
        Packed { parts: [fresh.bytes, state.bytes, Bytes::from(tail)] }
    }

    fn state(&self, snapshot: &Arc<Snapshot>) -> Deflated {
        // Held while packing: who comes meanwhile wants the same.
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let this = Arc::downgrade(snapshot);
        if let Some((of, packed)) = kept.as_ref()
            && of.ptr_eq(&this)
        {
            return packed.clone();
        }
        // Its room is given back first.
        *kept = None;
        let packed = deflate(Vec::new(), State::of(snapshot.clone()), FlushCompress::Finish);
        *kept = Some((this, packed.clone()));
        packed
    }
}

/// Appends the pieces as deflate to `out`. With `Sync` the next part of the stream may follow, with `Finish` none does.
fn deflate(mut out: Vec<u8>, pieces: impl Iterator<Item = Bytes>, end: FlushCompress) -> Deflated {
    let mut crc = Crc::new();
    let mut stream = Compress::new(Compression::fast(), false);
    for piece in pieces {
        crc.update(&piece);
        feed(&mut stream, &piece, &mut out, FlushCompress::None);
    }
    feed(&mut stream, &[], &mut out, end);
    out.shrink_to_fit();
    Deflated { bytes: Bytes::from(out), crc: Arc::new(crc) }
}

/// Bytes by which the packed text grows.
const STEP: usize = 32 * 1024;

fn feed(stream: &mut Compress, mut input: &[u8], out: &mut Vec<u8>, flush: FlushCompress) {
    loop {
        if out.capacity() - out.len() < STEP {
            out.reserve(STEP);
        }
        let taken = stream.total_in();
        let status = stream.compress_vec(input, out, flush);
        let taken = usize::try_from(stream.total_in() - taken).unwrap_or(input.len());
        input = input.get(taken..).unwrap_or_default();
        // With room to spare nothing is held back; without, there may be more to come.
        let room = out.len() < out.capacity();
        match status {
            Ok(Status::StreamEnd) => return,
            Ok(_) if input.is_empty() && room => return,
            Ok(_) => {}
            // Only a stream that was never begun can do that.
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;

    use super::*;

    fn unpacked(packed: &Packed) -> Vec<u8> {
        let bytes = packed.parts.concat();
        let mut text = Vec::new();
        // Of one member, and nothing behind it: what reads several would not notice.
        let mut decoder = GzDecoder::new(&*bytes);
        decoder.read_to_end(&mut text).expect("it is gzip, and its sums are right");
        assert!(decoder.into_inner().is_empty());
        text
    }

    fn snapshot(checks: usize) -> Arc<Snapshot> {
        Arc::new(super::super::tests::many(checks))
    }

    #[test]
    fn what_is_packed_is_what_is_told() {
        let packer = Packer::default();
        for checks in [0, 1, 300, 5000] {
            let page = Page { fresh: Bytes::from(vec![b'#'; checks * 50 + 1]), snapshot: snapshot(checks) };
            let text: Vec<u8> = page.clone().text().flatten().collect();
            assert!(text.len() > checks * 600, "{}", text.len());
            assert_eq!(unpacked(&packer.pack(&page)), text);
        }
    }

    #[test]
    fn a_snapshot_is_packed_once_and_the_counters_each_time() {
        let packer = Packer::default();
        let first = snapshot(10);
        let page =
            |fresh: &'static str, of: &Arc<Snapshot>| Page { fresh: fresh.into(), snapshot: of.clone() };
        let one = packer.pack(&page("a", &first));
        let two = packer.pack(&page("bb", &first));
        assert_eq!(one.parts[1].as_ptr(), two.parts[1].as_ptr());
        assert!(unpacked(&two).starts_with(b"bb#"));
        let other = packer.pack(&page("a", &snapshot(11)));
        assert_ne!(other.parts[1], one.parts[1]);
    }

    #[test]
    fn no_piece_is_long_and_the_buffer_is_used_again() {
        let page = Page { fresh: Bytes::new(), snapshot: snapshot(5000) };
        let mut places = std::collections::BTreeSet::new();
        let mut pieces = 0;
        for piece in page.text().skip(1) {
            assert!(piece.len() <= ROOM, "{}", piece.len());
            places.insert(piece.as_ptr());
            pieces += 1;
        }
        assert!(pieces > 40, "{pieces}");
        assert!(places.len() <= 2, "{} buffers", places.len());
    }
}
