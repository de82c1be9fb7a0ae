//! A thread that writes the lines for standard output or standard error. The node continues without delay if a reader stops
//! reading or closes its end, or if the disk of a file is full.
//!
//! At most [`MAX_WAITING`] bytes of lines wait, in addition to at most the same number of bytes in the current write. Further
//! lines are lost and counted. When a write succeeds again, a line states the number of lost lines.

use std::{
    io::{self, ErrorKind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

/// The maximum length of the lines that wait, in bytes. A single line may be longer.
const MAX_WAITING: usize = 256 * 1024;

/// The pause before the next attempt to write to a full stream that another process has made non-blocking.
const FULL_PAUSE: Duration = Duration::from_millis(10);

/// The destination of the lines, and the text about lost lines.
pub(crate) trait Sink: Send + Sync + 'static {
    /// Writes some of the bytes.
    fn write(&self, bytes: &[u8]) -> io::Result<usize>;

    /// The line that states the number of lost lines.
    fn lost(&self, lines: u64) -> String;

    /// A write has failed. The lines that were not written are lost.
    fn failed(&self, error: &io::Error);
}

/// Writes lines in the background. The thread ends with the process.
#[derive(Debug)]
pub(crate) struct Writer<S> {
    shared: Arc<Shared<S>>,
    /// False if the system has no thread left. The callers then write their lines themselves.
    has_thread: bool,
}

#[derive(Debug)]
struct Shared<S> {
    sink: S,
    queue: Mutex<Queue>,
    /// Notified when lines arrive.
    filled: Condvar,
    /// Notified when the thread has written all lines.
    emptied: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Lines,
    lost: u64,
    is_writing: bool,
    /// The reader has closed its end: nothing can be written any more.
    is_closed: bool,
}

impl<S: Sink> Writer<S> {
    /// Starts the thread.
    pub(crate) fn start(sink: S) -> Self {
        let shared = Arc::new(Shared {
            sink,
            queue: Mutex::default(),
            filled: Condvar::new(),
            emptied: Condvar::new(),
        });
        let writing = Arc::clone(&shared);
        let thread = thread::Builder::new().name("writer".to_owned());
        let has_thread = thread.spawn(move || writing.run()).is_ok();
        Self { shared, has_thread }
    }

    /// Adds one line, or loses it if too many lines wait. Does not block.
    pub(crate) fn push(&self, line: &str) {
        if !self.has_thread {
            let _ = self.shared.write(format!("{line}\n").as_bytes());
            return;
        }
        let mut queue = self.shared.queue();
        if queue.is_closed {
            return;
        }
        let waiting = &queue.waiting.text;
        if !waiting.is_empty() && waiting.len() + line.len() >= MAX_WAITING {
            queue.lost += 1;
            return;
        }
        queue.tell_lost(&self.shared.sink);
        queue.waiting.add(line);
        drop(queue);
        self.shared.filled.notify_one();
    }

    /// Waits until all lines are written, for at most `patience`.
    pub(crate) fn finish(&self, patience: Duration) {
        let queue = self.shared.queue();
        let is_busy = |queue: &mut Queue| {
            queue.is_writing || !(queue.waiting.text.is_empty() || queue.is_closed)
        };
        let emptied = &self.shared.emptied;
        let waited = emptied.wait_timeout_while(queue, patience, is_busy);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }
}

#[derive(Debug, Default)]
struct Lines {
    text: String,
    /// The offsets of the lines that state a number of lost lines, with that number.
    told: Vec<(usize, u64)>,
}

impl Lines {
    fn add(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    /// The number of lines that are lost if the text is lost from `place` on.
    fn lost_from(&self, place: usize) -> u64 {
        let rest = &self.text.as_bytes()[place..];
        let lines = rest.iter().filter(|byte| **byte == b'\n').count() as u64;
        let told = self.told.iter().filter(|(at, _)| *at >= place);
        // A line about lost lines stands for the lines that it counts.
        told.fold(lines, |lost, (_, count)| lost - 1 + count)
    }
}

impl Queue {
    fn tell_lost(&mut self, sink: &impl Sink) {
        if self.lost > 0 {
            let lost = std::mem::take(&mut self.lost);
            let waiting = &mut self.waiting;
            waiting.told.push((waiting.text.len(), lost));
            waiting.add(&sink.lost(lost));
        }
    }
}

impl<S: Sink> Shared<S> {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let mut is_line_open = false;
        loop {
            let waiting = self
                .filled
                .wait_while(self.queue(), |queue| queue.waiting.text.is_empty());
            let mut queue = waiting.unwrap_or_else(PoisonError::into_inner);
            let lines = std::mem::take(&mut queue.waiting);
            queue.is_writing = true;
            drop(queue);
            let failed = self.write_lines(&lines, &mut is_line_open).err();
            let mut queue = self.queue();
            queue.is_writing = false;
            match &failed {
                None if queue.waiting.text.is_empty() => queue.tell_lost(&self.sink),
                None => {}
                Some((lost, error)) => {
                    queue.lost += lost;
                    if error.kind() == ErrorKind::BrokenPipe {
                        queue.is_closed = true;
                        queue.waiting = Lines::default();
                    }
                }
            }
            drop(queue);
            self.emptied.notify_all();
            if let Some((_, error)) = failed {
                self.sink.failed(&error);
            }
        }
    }

    /// Writes whole lines. If the previous write failed in the middle of a line, ends that line first. The error contains the
    /// number of lost lines.
    fn write_lines(&self, lines: &Lines, is_line_open: &mut bool) -> Result<(), (u64, io::Error)> {
        if *is_line_open {
            let ended = self.write(b"\n");
            ended.map_err(|(_, error)| (lines.lost_from(0), error))?;
        }
        let outcome = self.write(lines.text.as_bytes());
        let written = outcome.as_ref().err();
        let written = written.map_or(lines.text.len(), |(written, _)| *written);
        *is_line_open = written > 0 && lines.text.as_bytes()[written - 1] != b'\n';
        outcome.map_err(|(written, error)| (lines.lost_from(written), error))
    }

    /// Writes all bytes. The error contains the number of bytes that were written before it.
    fn write(&self, bytes: &[u8]) -> Result<(), (usize, io::Error)> {
        let mut written = 0;
        while written < bytes.len() {
            match self.sink.write(&bytes[written..]) {
                Ok(0) => return Err((written, ErrorKind::WriteZero.into())),
                Ok(more) => written += more,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(FULL_PAUSE),
                Err(error) => return Err((written, error)),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
