//! A child process that prints one JSON object a line.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
pub use rustix::process::Signal;
use serde_json::Value;

/// How many of the last lines of standard error are kept for a report.
const STDERR_LINES: usize = 40;

/// How often a process is asked whether it has ended: the standard library has no wait with a deadline.
const EXIT_POLL: Duration = Duration::from_millis(2);

/// How long the output of a process that has ended may take to arrive.
const OUTPUT_GRACE: Duration = Duration::from_secs(1);

/// The point in time by which everything one case waits for must have happened.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Instant);

impl Deadline {
    /// The deadline that is `patience` away.
    #[must_use]
    pub fn within(patience: Duration) -> Self {
        Self(Instant::now() + patience)
    }

    /// What is left until then, zero once it has passed.
    #[must_use]
    pub fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// The earlier of this deadline and one that is `patience` away.
    #[must_use]
    pub fn at_most(self, patience: Duration) -> Self {
        Self(self.0.min(Instant::now() + patience))
    }
}

/// One line of standard output.
#[derive(Clone, Debug, PartialEq)]
pub struct Event(pub Value);

impl Event {
    /// The value of the field `event`, empty if there is none.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.text("event")
    }

    /// A field that is a string, empty if it is absent or something else.
    #[must_use]
    pub fn text(&self, field: &str) -> &str {
        self.0
            .get(field)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// A field that is a list of strings, empty if it is absent or something else.
    #[must_use]
    pub fn texts(&self, field: &str) -> Vec<String> {
        let list = self.0.get(field).and_then(Value::as_array);
        let strings = list.into_iter().flatten().filter_map(Value::as_str);
        strings.map(str::to_owned).collect()
    }

    /// A field that is a number.
    ///
    /// # Errors
    /// If the field is absent or not a number.
    pub fn number(&self, field: &str) -> Result<f64> {
        let number = self.0.get(field).and_then(Value::as_f64);
        number.with_context(|| format!("no number `{field}` in {}", self.0))
    }
}

/// A running process. Dropping it kills and reaps it.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<(Instant, String)>,
    stderr: Arc<Mutex<VecDeque<String>>>,
    /// Disconnected once both outputs were read to their end.
    reading: Receiver<Infallible>,
}

/// How a process ended and what it said.
#[derive(Debug)]
pub struct Finished {
    /// The exit code, `None` if a signal ended it.
    pub code: Option<i32>,
    /// The lines of standard output that were not read before.
    pub stdout: Vec<String>,
    /// The last lines of standard error.
    pub stderr: Vec<String>,
}

impl Process {
    /// Starts `command` with all three standard streams piped. `name` stands in the error messages.
    ///
    /// # Errors
    /// If the program cannot be started.
    pub fn spawn(name: &str, command: &mut Command) -> Result<Self> {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot start {name} as {command:?}"))?;
        let (send, lines) = mpsc::channel();
        let stderr = Arc::new(Mutex::new(VecDeque::new()));
        let (guard, reading) = mpsc::channel();
        if let Some(stdout) = child.stdout.take() {
            read_lines(stdout, guard.clone(), move |line| {
                drop(send.send((Instant::now(), line)));
            });
        }
        if let Some(source) = child.stderr.take() {
            let tail = Arc::clone(&stderr);
            read_lines(source, guard, move |line| keep_last(&tail, line));
        }
        let stdin = child.stdin.take();
        Ok(Self {
            name: name.to_owned(),
            child,
            stdin,
            lines,
            stderr,
            reading,
        })
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next line of standard output.
    ///
    /// # Errors
    /// If the deadline passes or the output ends first, or if the line is not JSON.
    pub fn next(&mut self, deadline: Deadline) -> Result<Event> {
        self.next_at(deadline).map(|(_, event)| event)
    }

    /// The next line of standard output, with the time at which the harness read it.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub fn next_at(&mut self, deadline: Deadline) -> Result<(Instant, Event)> {
        match self.lines.recv_timeout(deadline.left()) {
            Ok((at, line)) => {
                let value = serde_json::from_str(&line);
                let event = value.map(Event).with_context(|| {
                    format!("{} printed a line that is not JSON: {line}", self.name)
                })?;
                Ok((at, event))
            }
            Err(RecvTimeoutError::Timeout) => bail!("{} printed nothing in time", self.name),
            Err(RecvTimeoutError::Disconnected) => bail!("{} ended its output", self.name),
        }
    }

    /// Reads lines until one fits. The ones before it are dropped.
    ///
    /// # Errors
    /// If the deadline passes or the output ends first; the message has the lines that did not fit.
    pub fn wait_for(
        &mut self,
        what: &str,
        deadline: Deadline,
        mut fits: impl FnMut(&Event) -> bool,
    ) -> Result<Event> {
        let mut seen = String::new();
        loop {
            match self.next(deadline) {
                Ok(event) if fits(&event) => return Ok(event),
                Ok(event) => {
                    let _ = write!(seen, "\n  {}", event.0);
                }
                Err(error) => {
                    let seen = if seen.is_empty() {
                        "\n  nothing"
                    } else {
                        &seen
                    };
                    return Err(
                        error.context(format!("waited for {what} of {}, saw{seen}", self.name))
                    );
                }
            }
        }
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// If the process is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal)
            .with_context(|| format!("cannot signal {}", self.name))
    }

    /// The process's standard input, unless it was closed or taken.
    pub fn stdin(&mut self) -> Option<&mut ChildStdin> {
        self.stdin.as_mut()
    }

    /// Gives the process's standard input away, unless that was done before or it was closed.
    pub fn take_stdin(&mut self) -> Option<ChildStdin> {
        self.stdin.take()
    }

    /// Closes the process's standard input.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Whether the process has ended.
    ///
    /// # Errors
    /// If the system does not say.
    pub fn has_ended(&mut self) -> Result<bool> {
        let now = Deadline::within(Duration::ZERO);
        Ok(self.exited_by(now)?.is_some())
    }

    /// Waits until the process has ended by itself and gives what it said.
    ///
    /// # Errors
    /// If it still runs at the deadline; it is killed then.
    pub fn finish(mut self, deadline: Deadline) -> Result<Finished> {
        let Some(status) = self.exited_by(deadline)? else {
            self.reap();
            bail!(
                "{} was still running at its deadline\n{}",
                self.name,
                self.stderr_tail()
            );
        };
        self.read_to_end();
        let stderr = self.stderr.lock().unwrap_or_else(PoisonError::into_inner);
        let stderr = stderr.iter().cloned().collect();
        Ok(Finished {
            code: status.code(),
            stdout: self.lines.try_iter().map(|(_, line)| line).collect(),
            stderr,
        })
    }

    /// The last lines of standard error, each indented, for a report.
    #[must_use]
    pub fn stderr_tail(&self) -> String {
        let lines = self.stderr.lock().unwrap_or_else(PoisonError::into_inner);
        let mut tail = format!("  stderr of {}:", self.name);
        if lines.is_empty() {
            tail.push_str(" nothing");
        }
        for line in lines.iter() {
            let _ = write!(tail, "\n    {line}");
        }
        tail
    }

    fn exited_by(&mut self, deadline: Deadline) -> Result<Option<ExitStatus>> {
        loop {
            let status = self
                .child
                .try_wait()
                .with_context(|| anyhow!("cannot wait for {}", self.name))?;
            if status.is_some() || deadline.left().is_zero() {
                return Ok(status);
            }
            thread::sleep(EXIT_POLL);
        }
    }

    fn reap(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.read_to_end();
    }

    /// Waits for the rest of the output of a process that has ended. A grandchild may hold the pipes open for longer.
    fn read_to_end(&self) {
        let _ = self.reading.recv_timeout(OUTPUT_GRACE);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.reap();
    }
}

/// Runs a command to its end.
///
/// # Errors
/// If it cannot be started or still runs at the deadline.
pub fn run(name: &str, command: &mut Command, deadline: Deadline) -> Result<Finished> {
    let mut process = Process::spawn(name, command)?;
    process.close_stdin();
    process.finish(deadline)
}

impl Finished {
    /// The output of a process that must have ended with 0.
    ///
    /// # Errors
    /// If the process ended in another way. The message has its output.
    pub fn succeeded(self) -> Result<Self> {
        match self.code {
            Some(0) => Ok(self),
            code => bail!(
                "it ended with {code:?}\n  stdout: {}\n  stderr: {}",
                self.stdout.join("\n    "),
                self.stderr.join("\n    ")
            ),
        }
    }

    /// The lines of standard output as events.
    ///
    /// # Errors
    /// If a line is not JSON.
    pub fn events(&self) -> Result<Vec<Event>> {
        let parse =
            |line: &String| serde_json::from_str(line).with_context(|| format!("not JSON: {line}"));
        self.stdout
            .iter()
            .map(|line| parse(line).map(Event))
            .collect()
    }
}

/// Reads to the end on a thread of its own, which holds `guard` until then.
fn read_lines(
    source: impl Read + Send + 'static,
    guard: Sender<Infallible>,
    mut each: impl FnMut(String) + Send + 'static,
) {
    thread::spawn(move || {
        let mut source = BufReader::new(source);
        let mut line = Vec::new();
        // Bytes that are not UTF-8 must not end the reading: the process would block on a full pipe.
        while matches!(source.read_until(b'\n', &mut line), Ok(1..)) {
            each(String::from_utf8_lossy(line.trim_ascii_end()).into_owned());
            line.clear();
        }
        drop(guard);
    });
}

fn keep_last(tail: &Mutex<VecDeque<String>>, line: String) {
    let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
    if tail.len() == STDERR_LINES {
        tail.pop_front();
    }
    tail.push_back(line);
}

#[cfg(test)]
#[path = "process_tests.rs"]
mod tests;
