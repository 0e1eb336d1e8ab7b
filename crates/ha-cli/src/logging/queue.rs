//! A queue between whoever logs and standard error.
//!
//! A pipe that nobody empties blocks its writer. A node must not lose its lease because whoever collects its log has
//! stalled, so a thread of its own writes, and what does not fit into the queue is dropped and counted.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// Lines that wait at most.
const LINES_MAX: usize = 4096;

/// How long [`Queue::flush`] waits at most.
const FLUSH_TIME_MAX: Duration = Duration::from_millis(500);

enum Item {
    Line(Vec<u8>),
    Flush(SyncSender<()>),
}

/// The queue. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Queue {
    items: SyncSender<Item>,
    dropped: Arc<AtomicU64>,
}

impl Queue {
    /// Starts the thread that writes to `open()`.
    pub(super) fn start<W: Write>(open: impl FnOnce() -> W + Send + 'static) -> io::Result<Self> {
        let (items, waiting) = sync_channel(LINES_MAX);
        let dropped = Arc::<AtomicU64>::default();
        let count = dropped.clone();
        thread::Builder::new().name("log".to_owned()).spawn(move || write(&waiting, &count, open()))?;
        Ok(Self { items, dropped })
    }

    /// Queues some lines, or drops them when the queue is full. Never waits.
    pub(super) fn push(&self, lines: Vec<u8>) {
        if let Err(TrySendError::Full(_)) = self.items.try_send(Item::Line(lines)) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits a short while until what is queued is written.
    pub(super) fn flush(&self) {
        let (done, written) = sync_channel(1);
        if self.items.try_send(Item::Flush(done)).is_ok() {
            // Whoever does not read the log does not miss its end either.
            let _ = written.recv_timeout(FLUSH_TIME_MAX);
        }
    }
}

fn write(waiting: &Receiver<Item>, dropped: &AtomicU64, mut out: impl Write) {
    // Errors are passed over: a node whose log cannot be written runs all the same.
    for item in waiting {
        match item {
            Item::Line(line) => _ = out.write_all(&line),
            Item::Flush(done) => _ = done.try_send(()),
        }
        let dropped = dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            _ = writeln!(out, "({dropped} lines of the log were dropped: nobody read it)");
        }
    }
}

impl<'a> MakeWriter<'a> for Queue {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        Line { queue: self, bytes: Vec::new() }
    }
}

/// One line as it is put together; queued when it is complete.
pub(super) struct Line<'a> {
    queue: &'a Queue,
    bytes: Vec<u8>,
}

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        if !self.bytes.is_empty() {
            self.queue.push(std::mem::take(&mut self.bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use super::*;

    /// Takes each write only once it is let through.
    struct Stalled {
        gate: Receiver<()>,
        out: Sender<String>,
    }

    impl Write for Stalled {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // The gate's other end gone means that all may pass.
            let _ = self.gate.recv();
            self.out.send(String::from_utf8(bytes.to_vec()).unwrap()).unwrap();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_stalled_reader_delays_nobody_and_learns_what_it_missed() {
        let (open, gate) = channel();
        let (out, written) = channel();
        let queue = Queue::start(move || Stalled { gate, out }).unwrap();
        queue.push(b"first".to_vec());
        // One line is in the writer's hands or still queued; the rest fills the queue and more.
        for _ in 0..LINES_MAX + 10 {
            queue.push(b"x".to_vec());
        }
        drop(open);
        let text: String = written.iter().take_while(|text| !text.contains("dropped: nobody")).collect();
        assert!(text.starts_with("first"), "{}", &text[..20]);
        let dropped: usize = text.rsplit_once('(').unwrap().1.split(' ').next().unwrap().parse().unwrap();
        assert!((9..=11).contains(&dropped), "{dropped}");
    }

    #[test]
    fn a_flush_waits_for_what_is_queued() {
        let (open, gate) = channel();
        let (out, written) = channel();
        let queue = Queue::start(move || Stalled { gate, out }).unwrap();
        drop(open);
        queue.push(b"one".to_vec());
        queue.push(b"two".to_vec());
        queue.flush();
        assert_eq!(written.try_iter().collect::<Vec<_>>(), ["one", "two"]);
    }
}
