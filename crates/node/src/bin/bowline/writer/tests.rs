use std::{
    sync::{
        atomic::{AtomicU64, Ordering::SeqCst},
        mpsc::{Receiver, Sender, channel},
    },
    time::Instant,
};

use super::*;

/// A sink whose test decides the outcome of each write.
struct Scripted {
    outcomes: Mutex<Receiver<io::Result<usize>>>,
    written: Mutex<String>,
    failures: AtomicU64,
}

impl Sink for Arc<Scripted> {
    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let outcome = self.outcomes.lock().unwrap().recv();
        // After the script, everything is written.
        let length = outcome.unwrap_or(Ok(bytes.len()))?.min(bytes.len());
        let text = std::str::from_utf8(&bytes[..length]).unwrap();
        self.written.lock().unwrap().push_str(text);
        Ok(length)
    }

    fn lost(&self, lines: u64) -> String {
        format!("lost {lines}")
    }

    fn failed(&self, _: &io::Error) {
        self.failures.fetch_add(1, SeqCst);
    }
}

fn scripted() -> (
    Writer<Arc<Scripted>>,
    Arc<Scripted>,
    Sender<io::Result<usize>>,
) {
    let (script, outcomes) = channel();
    let sink = Arc::new(Scripted {
        outcomes: Mutex::new(outcomes),
        written: Mutex::default(),
        failures: AtomicU64::default(),
    });
    (Writer::start(Arc::clone(&sink)), sink, script)
}

/// Far longer than any of the writes here.
const PATIENCE: Duration = Duration::from_secs(20);

impl Scripted {
    fn written(&self) -> String {
        self.written.lock().unwrap().clone()
    }
}

/// Waits until the thread has taken all lines and waits for the outcome of their write.
fn wait_for_write(writer: &Writer<Arc<Scripted>>) {
    let deadline = Instant::now() + PATIENCE;
    while !(writer.shared.queue().is_writing && writer.shared.queue().waiting.text.is_empty()) {
        assert!(Instant::now() < deadline, "the thread takes the lines");
        thread::yield_now();
    }
}

#[test]
fn a_full_stream_blocks_nobody_and_the_lost_lines_are_told_where_they_are_missing() {
    let (writer, sink, script) = scripted();
    let line = "x".repeat(1023);
    writer.push("first");
    wait_for_write(&writer);
    // The thread waits in its first write, and the queue has room for 256 lines of 1,024 bytes.
    for _ in 0..300 {
        writer.push(&line);
    }
    assert_eq!(writer.shared.queue().waiting.text.len(), MAX_WAITING);
    assert_eq!(writer.shared.queue().lost, 44);
    drop(script);
    writer.finish(PATIENCE);
    writer.push("last");
    writer.finish(PATIENCE);
    let written = sink.written();
    let lines: Vec<&str> = written.lines().collect();
    assert_eq!(lines.len(), 1 + 256 + 2, "{}", lines.len());
    assert_eq!(
        (lines[0], lines[257], lines[258]),
        ("first", "lost 44", "last")
    );
}

#[test]
fn a_write_that_fails_within_a_line_costs_whole_lines_and_the_next_line_begins_anew() {
    let (writer, sink, script) = scripted();
    script.send(Ok("one\ntw".len())).unwrap();
    script.send(Err(ErrorKind::StorageFull.into())).unwrap();
    // One push contains all three lines, so one write contains them, too.
    writer.push("one\ntwo\nthree");
    let deadline = Instant::now() + PATIENCE;
    while sink.failures.load(SeqCst) == 0 {
        assert!(Instant::now() < deadline, "the failure is reported");
        thread::yield_now();
    }
    script.send(Err(ErrorKind::StorageFull.into())).unwrap();
    writer.push("four");
    while sink.failures.load(SeqCst) == 1 {
        assert!(Instant::now() < deadline, "the failure is reported");
        thread::yield_now();
    }
    drop(script);
    writer.push("five");
    writer.finish(PATIENCE);
    assert_eq!(sink.written(), "one\ntw\nlost 3\nfive\n");
}

#[test]
fn lines_for_a_reader_that_has_closed_its_end_are_dropped_and_the_end_waits_for_none() {
    let (writer, sink, script) = scripted();
    script.send(Err(ErrorKind::BrokenPipe.into())).unwrap();
    writer.push("one");
    writer.finish(PATIENCE);
    let begun = Instant::now();
    for _ in 0..1_000 {
        writer.push("two");
    }
    writer.finish(PATIENCE);
    assert!(begun.elapsed() < PATIENCE);
    assert_eq!(sink.written(), "");
    assert!(writer.shared.queue().waiting.text.is_empty());
}

#[test]
fn a_short_interruption_costs_no_line_and_the_end_waits_no_longer_than_it_may() {
    let (writer, sink, script) = scripted();
    for kind in [ErrorKind::Interrupted, ErrorKind::WouldBlock] {
        script.send(Err(kind.into())).unwrap();
    }
    script.send(Ok(1)).unwrap();
    writer.push("one");
    // The script has no outcome for the rest of the line.
    let begun = Instant::now();
    writer.finish(Duration::from_millis(50));
    assert!(begun.elapsed() >= Duration::from_millis(50));
    drop(script);
    writer.finish(PATIENCE);
    assert_eq!(sink.written(), "one\n");
}
