//! The way of log lines to a standard stream, so that whoever reads them never holds up a request.
//!
//! Why not written where they arise: a pipe whose reader has stopped blocks every write to it, and
//! with it every thread that serves. So lines are put into one buffer, and a thread writes what has
//! gathered there, many lines at once when there are many. The buffer is bounded. Beyond it lines
//! are dropped and counted, and the count is logged when there is room again.

use std::io::{self, Write};
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// Lines wait here: some thousands of them.
const MAX_BUFFERED_BYTES: usize = 1 << 20;

/// How long lines may gather before they are written: under load a hundred of them cost one write.
const GATHER: Duration = Duration::from_millis(1);

/// Lines of this process that were dropped. Not in [`Sink`], because logs are the process's and what
/// tells this number does not know which sink they go to.
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// Returns how many lines of this process were dropped, since its start.
pub(super) fn dropped() -> u64 {
    DROPPED.load(Relaxed)
}

/// Where lines are put. Cheap to clone; each `write` is one line.
#[derive(Debug, Clone, Default)]
pub(super) struct Sink(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// A std mutex, as lines come from threads and tasks alike: held to copy one line, or to take
    /// all of them, never while something is written.
    state: Mutex<State>,
    /// There are lines.
    filled: Condvar,
    /// All lines are written.
    emptied: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lines: Vec<u8>,
    is_writing: bool,
    dropped: u64,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink {
    /// Starts the thread that writes to `output`. It lasts as long as the process: it may be
    /// blocked for good, so nobody waits for its end, only (and not for ever) for its work.
    pub(super) fn start(output: impl Write + Send + 'static) -> io::Result<Self> {
        let sink = Self::default();
        let shared = sink.0.clone();
        thread::Builder::new()
            .name("logs".to_owned())
            .spawn(move || shared.write_for_ever(output))?;
        Ok(sink)
    }

    /// Waits up to `limit` until everything is written.
    pub(super) fn flush(&self, limit: Duration) {
        let has_work = |state: &mut State| state.is_writing || !state.lines.is_empty();
        let waited = self
            .0
            .emptied
            .wait_timeout_while(self.0.lock(), limit, has_work);
        drop(waited);
    }
}

impl Write for Sink {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut state = self.0.lock();
        if state.lines.len() + line.len() > MAX_BUFFERED_BYTES {
            state.dropped += 1;
            DROPPED.fetch_add(1, Relaxed);
        } else {
            // Else the thread looks by itself: to wake it is a system call.
            let is_waiting = state.lines.is_empty() && !state.is_writing;
            state.lines.extend_from_slice(line);
            if is_waiting {
                self.0.filled.notify_one();
            }
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Shared {
    fn write_for_ever(&self, mut output: impl Write) {
        let mut lines = Vec::new();
        loop {
            let mut state = self.lock();
            state.is_writing = false;
            if state.lines.is_empty() {
                self.emptied.notify_all();
            }
            let nothing = |state: &mut State| state.lines.is_empty();
            let filled = self.filled.wait_while(state, nothing);
            let state = filled.unwrap_or_else(PoisonError::into_inner);
            let gathered = self.filled.wait_timeout(state, GATHER);
            let (mut state, _) = gathered.unwrap_or_else(PoisonError::into_inner);
            mem::swap(&mut lines, &mut state.lines);
            state.is_writing = true;
            let dropped = mem::take(&mut state.dropped);
            drop(state);
            // Nobody reads, or the disk is full: there is no other place to say so, and to serve
            // goes before to tell.
            output.write_all(&lines).and_then(|()| output.flush()).ok();
            lines.clear();
            if dropped > 0 {
                tracing::warn!(
                    logs.dropped = dropped,
                    "{dropped} log lines were dropped: they were not read fast enough"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    /// Says what it is given, and blocks until it may go on.
    struct Pipe {
        said: mpsc::Sender<Vec<u8>>,
        may_go_on: mpsc::Receiver<()>,
    }

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.said.send(bytes.to_vec()).unwrap();
            self.may_go_on.recv().map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn piped() -> (Sink, mpsc::Receiver<Vec<u8>>, mpsc::Sender<()>) {
        let (said, heard) = mpsc::channel();
        let (go_on, may_go_on) = mpsc::channel();
        (Sink::start(Pipe { said, may_go_on }).unwrap(), heard, go_on)
    }

    #[test]
    fn a_reader_that_has_stopped_blocks_nobody_and_costs_only_so_much() {
        let (mut sink, heard, go_on) = piped();
        sink.write_all(b"first\n").unwrap();
        assert_eq!(heard.recv().unwrap(), b"first\n");
        // The thread is blocked now.
        let line = [b'x'; 1024];
        for _ in 0..2 * MAX_BUFFERED_BYTES / line.len() {
            sink.write_all(&line).unwrap();
        }
        assert!(dropped() >= (MAX_BUFFERED_BYTES / line.len()) as u64);
        {
            let state = sink.0.lock();
            assert_eq!(state.lines.len(), MAX_BUFFERED_BYTES);
            assert_eq!(state.dropped, (MAX_BUFFERED_BYTES / line.len()) as u64);
        }
        sink.flush(Duration::from_millis(1));

        go_on.send(()).unwrap();
        assert_eq!(heard.recv().unwrap().len(), MAX_BUFFERED_BYTES, "at one go");
        go_on.send(()).unwrap();
        sink.flush(Duration::from_secs(60));
        assert!(sink.0.lock().lines.is_empty());
        assert_eq!(sink.0.lock().dropped, 0, "it was told");
    }

    #[test]
    fn an_output_that_fails_is_no_reason_to_stop() {
        let (mut sink, heard, go_on) = piped();
        drop(go_on);
        for line in [b"one\n", b"two\n"] {
            sink.write_all(line).unwrap();
            assert_eq!(heard.recv().unwrap(), line);
            sink.flush(Duration::from_secs(60));
        }
    }
}
