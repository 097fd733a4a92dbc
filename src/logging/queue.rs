//! The way of the daemon's lines to stderr: a bounded queue, and one thread that writes. Who does not read stderr
//! stops that thread alone; what no longer fits is dropped, counted, and owned up to once there is room.
//!
//! Knows bytes, not what they say: the redactor had them before. Serves `serve`; other commands write straight to
//! stderr, as whoever started them expects.

use std::io;
use std::io::Write;
use std::mem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// Bytes that may wait; as many again may be on their way.
pub(super) const ROOM: usize = 1 << 20;

/// Takes whole lines from whoever speaks, and never makes him wait. Clones share it.
#[derive(Clone)]
pub(super) struct Queue(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    changed: Condvar,
    room: usize,
}

#[derive(Default)]
struct State {
    waiting: Vec<u8>,
    writing: bool,
    dropped: u64,
}

impl Queue {
    /// Starts the thread that writes to `to`; `own_up` says how many lines were dropped, through this very queue.
    pub(super) fn start(
        room: usize,
        to: impl Write + Send + 'static,
        own_up: impl Fn(u64) + Send + 'static,
    ) -> io::Result<Queue> {
        let queue = Queue(Arc::new(Inner { state: Mutex::default(), changed: Condvar::new(), room }));
        let its = queue.clone();
        thread::Builder::new().name("log".to_owned()).spawn(move || its.write_out(to, own_up))?;
        Ok(queue)
    }

    fn write_out(&self, mut to: impl Write, own_up: impl Fn(u64)) {
        loop {
            let (lines, dropped) = {
                let nothing = |state: &mut State| state.waiting.is_empty() && state.dropped == 0;
                let mut state =
                    self.0.changed.wait_while(self.state(), nothing).unwrap_or_else(PoisonError::into_inner);
                state.writing = true;
                (mem::take(&mut state.waiting), mem::take(&mut state.dropped))
            };
            // Where stderr is gone there is nobody left to tell.
            let _ = to.write_all(&lines);
            if dropped > 0 {
                own_up(dropped);
            }
            self.state().writing = false;
            self.0.changed.notify_all();
        }
    }

    /// Waits until everything is written, but no longer than this: whoever does not read may keep nobody alive.
    pub(super) fn finish(&self, patience: Duration) {
        let unfinished = |state: &mut State| !state.waiting.is_empty() || state.writing || state.dropped > 0;
        drop(self.0.changed.wait_timeout_while(self.state(), patience, unfinished));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for Queue {
    /// One call is one line.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut state = self.state();
        if state.waiting.len() + line.len() <= self.0.room {
            state.waiting.extend_from_slice(line);
        } else {
            state.dropped += 1;
        }
        drop(state);
        self.0.changed.notify_all();
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Queue {
    type Writer = Queue;

    fn make_writer(&self) -> Queue {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Says when it is to write, and writes when it is let.
    struct Stuck(mpsc::Sender<()>, mpsc::Receiver<()>, mpsc::Sender<String>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(()).map_err(io::Error::other)?;
            self.1.recv().map_err(io::Error::other)?;
            self.2.send(String::from_utf8_lossy(bytes).into_owned()).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn who_does_not_read_stops_nobody_and_learns_later_how_much_was_dropped() {
        let (began, begun) = mpsc::channel();
        let (go, let_go) = mpsc::channel();
        let (heard, written) = mpsc::channel();
        let (count, told) = mpsc::channel();
        let own_up = move |dropped| count.send(dropped).expect("the test listens");
        let mut queue = Queue::start(6, Stuck(began, let_go, heard), own_up).expect("a thread");
        queue.write_all(b"one\n").expect("taken");
        // The thread holds the first line, and only six bytes may wait behind it.
        begun.recv().expect("the thread has begun");
        for line in [&b"two\n"[..], b"three\n", b"four\n", b"5\n"] {
            queue.write_all(line).expect("taken or dropped, but never waited for");
        }
        queue.finish(Duration::from_millis(10));
        assert!(
            written.try_recv().is_err(),
            "nobody has read anything yet, and the end does not wait for it"
        );
        for _ in 0..2 {
            go.send(()).expect("it writes");
        }
        assert_eq!(written.recv().as_deref(), Ok("one\n"));
        assert_eq!(written.recv().as_deref(), Ok("two\n5\n"));
        assert_eq!(told.recv(), Ok(2));
        queue.finish(Duration::from_secs(60));
    }
}
