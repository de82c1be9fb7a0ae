//! When to ping a connection, and when its silence means that it is dead.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::Direction;

/// The interval of pings, and the limits on silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct LivenessConfig {
    /// The time between the end of one ping and the start of the next. Default 15 s, which is less than the 30 s after which
    /// common NATs forget a UDP flow.
    pub interval: Duration,
    /// How long a ping may take, from [`LivenessEvent::Ping`] on. Default 10 s, which suffices for a path over two satellites
    /// behind a full upload queue.
    pub timeout: Duration,
    /// The number of unanswered pings in a row after which the connection is dead, if nothing was received since the first of
    /// them began. At least 1. Default 2, because a pause of this process can delay one ping.
    pub failures: u32,
    /// The time without an answer to a ping, and without any received byte, after which the connection is quiet. Default 2 s: by
    /// then, two packets in a row were lost, or the path is gone. A quiet connection is not dead, but a new dial of the peer may
    /// work sooner.
    pub quiet: Duration,
    /// How long the listener delays its first ping. The dialer pings at once. Default 1 s, so that the two ends do not ping in
    /// step and each ping tests the path at a different moment.
    pub listener_delay: Duration,
}

impl Default for LivenessConfig {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(15),
            timeout: Duration::from_secs(10),
            failures: 2,
            quiet: Duration::from_secs(2),
            listener_delay: Duration::from_secs(1),
        }
    }
}

impl LivenessConfig {
    /// Sets [`Self::interval`].
    pub fn with_interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// Sets [`Self::timeout`].
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets [`Self::failures`].
    pub fn with_failures(mut self, failures: u32) -> Self {
        self.failures = failures;
        self
    }

    /// Sets [`Self::quiet`].
    pub fn with_quiet(mut self, quiet: Duration) -> Self {
        self.quiet = quiet;
        self
    }

    /// Sets [`Self::listener_delay`].
    pub fn with_listener_delay(mut self, delay: Duration) -> Self {
        self.listener_delay = delay;
        self
    }
}

/// Why a ping failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PingFailure {
    /// No answer arrived in time, or no stream for the ping could be opened in time.
    TimedOut,
    /// The peer answered, but not with a pong: it does not speak the protocol, reset the stream, or sent other bytes.
    Refused,
}

/// An action or a notice for the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LivenessEvent {
    /// Start a ping, and report its outcome. Give up an earlier ping that has not ended.
    Ping,
    /// The connection is quiet: the peer owes an answer, and nothing is received.
    Quiet,
    /// Something was received on a quiet connection.
    Heard,
    /// The connection is dead: close it, with [`Closing::Silent`](crate::Closing::Silent). This is the last event.
    Dead,
}

/// Watches one connection. Pings ask for an answer, and only silence in the receive direction makes a connection dead.
///
/// The host passes the number of bytes that the connection has received, with each timeout and each failed ping. Any byte counts
/// as a sign of life: a download, an acknowledgement, or the keep-alive of the transport. If data arrives, the connection
/// therefore does not die because a ping finds no free stream or waits behind a full upload. A peer that only receives, over a
/// transport that acknowledges nothing, cannot be distinguished from a dead peer.
///
/// After each call, call [`Self::poll_event`] until it returns `None`. Call [`Self::handle_timeout`] at the time that
/// [`Self::poll_timeout`] returns.
///
/// ```
/// use std::{sync::Arc, time::{Duration, Instant}};
/// use conn_state::{Direction, Liveness, LivenessConfig, LivenessEvent, PingFailure};
///
/// let config = Arc::new(LivenessConfig::default());
/// let mut now = Instant::now();
/// let mut liveness = Liveness::new(now, Direction::Outbound, Arc::clone(&config));
/// liveness.handle_timeout(now, 0);
/// assert_eq!(liveness.poll_event(), Some(LivenessEvent::Ping));
///
/// // No stream was free in time, but 5,000 bytes came in.
/// now += config.timeout;
/// liveness.handle_ping_failed(now, 5_000, PingFailure::TimedOut);
/// assert_eq!(liveness.poll_event(), None);
///
/// // Nothing came in during two pings.
/// for _ in 0..2 {
///     now += config.interval;
///     liveness.handle_timeout(now, 5_000);
///     assert_eq!(liveness.poll_event(), Some(LivenessEvent::Ping));
///     now += config.timeout;
///     liveness.handle_ping_failed(now, 5_000, PingFailure::TimedOut);
/// }
/// assert_eq!(liveness.poll_event(), Some(LivenessEvent::Dead));
/// assert_eq!(now - liveness.silent_since(), Duration::from_secs(50));
/// ```
#[derive(Debug)]
pub struct Liveness {
    config: Arc<LivenessConfig>,
    /// When the next ping begins, or when the one under way is given up; `None` if never.
    due: Option<Instant>,
    /// The latest moment at which something is known to have been received.
    silent_since: Instant,
    /// Bytes received by then.
    received: u64,
    /// Microseconds; `u32::MAX` until measured.
    rtt: u32,
    /// Pings without an answer, with nothing received since the first of them began.
    failures: u32,
    stage: Stage,
    /// Something was received since the latest ping began.
    was_heard: bool,
    quiet: bool,
    /// Whether [`LivenessEvent::Quiet`] or [`LivenessEvent::Heard`] is still to be told.
    turned: bool,
    event: Option<LivenessEvent>,
}

// There is one for as long as each connection lasts.
const _: () = assert!(size_of::<Liveness>() <= 64);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Waiting,
    Pinging,
    Dead,
}

/// With shorter times, one ping would follow the other without a pause.
const SHORTEST: Duration = Duration::from_millis(1);

impl Liveness {
    /// Watches a connection whose handshake has just ended. `config` is shared by all connections of a host.
    pub fn new(now: Instant, direction: Direction, config: Arc<LivenessConfig>) -> Self {
        let delay = match direction {
            Direction::Outbound => Duration::ZERO,
            Direction::Inbound => config.listener_delay.min(config.interval),
        };
        Self {
            due: now.checked_add(delay),
            config,
            silent_since: now,
            received: 0,
            rtt: u32::MAX,
            failures: 0,
            stage: Stage::Waiting,
            was_heard: false,
            quiet: false,
            turned: false,
            event: None,
        }
    }

    /// The ping was answered after `rtt`. A late answer to a ping that was given up also counts as a sign of life.
    pub fn handle_pong(&mut self, now: Instant, rtt: Duration) {
        self.rtt = u32::try_from(rtt.as_micros()).unwrap_or(u32::MAX - 1);
        self.note_life(now);
        self.end_ping(now);
    }

    /// The ping failed. `received` is the number of bytes that the connection has received so far.
    pub fn handle_ping_failed(&mut self, now: Instant, received: u64, failure: PingFailure) {
        self.note_received(now, received);
        if failure == PingFailure::Refused {
            self.note_life(now);
        }
        if self.stage == Stage::Pinging {
            self.end_in_silence(now);
        }
    }

    /// Begins a ping that is due, or gives up a ping that takes too long. `received` is the number of bytes that the connection
    /// has received so far.
    pub fn handle_timeout(&mut self, now: Instant, received: u64) {
        self.note_received(now, received);
        if self.due.is_none_or(|due| due > now) {
            return;
        }
        match self.stage {
            Stage::Waiting => {
                (self.stage, self.was_heard) = (Stage::Pinging, false);
                self.event = Some(LivenessEvent::Ping);
                self.due = now.checked_add(self.config.timeout.max(SHORTEST));
            }
            Stage::Pinging => self.end_in_silence(now),
            Stage::Dead => {}
        }
    }

    /// Checks whether the connection is quiet. The host calls this about once per second. `received` is the number of bytes that
    /// the connection has received so far. `asked` is the start of the oldest unanswered ping of any part of the host. `expected`
    /// is given if the transport keeps the connection alive by itself: the longest time without a packet on a path that works.
    pub fn handle_look(
        &mut self,
        now: Instant,
        received: u64,
        asked: Option<Instant>,
        expected: Option<Duration>,
    ) {
        self.note_received(now, received);
        if self.quiet || self.stage == Stage::Dead {
            return;
        }
        let asked = asked.map(|asked| asked.max(self.silent_since));
        let expected = expected.and_then(|expected| self.silent_since.checked_add(expected));
        let owed = asked.into_iter().chain(expected).min();
        let is_late = |owed| now.saturating_duration_since(owed) >= self.config.quiet;
        if owed.is_some_and(is_late) {
            (self.quiet, self.turned) = (true, true);
        }
    }

    /// Whether the connection is quiet.
    pub fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// When to call [`Self::handle_timeout`]. `None`: the connection is dead.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }

    /// The next action or notice for the host.
    pub fn poll_event(&mut self) -> Option<LivenessEvent> {
        match std::mem::take(&mut self.turned) {
            true if self.quiet => Some(LivenessEvent::Quiet),
            true => Some(LivenessEvent::Heard),
            false => self.event.take(),
        }
    }

    /// Whether the connection is dead.
    pub fn is_dead(&self) -> bool {
        self.stage == Stage::Dead
    }

    /// When the host last reported received bytes. At first, the end of the handshake.
    pub fn silent_since(&self) -> Instant {
        self.silent_since
    }

    /// The round trip of the latest answered ping.
    pub fn rtt(&self) -> Option<Duration> {
        (self.rtt != u32::MAX).then(|| Duration::from_micros(self.rtt.into()))
    }

    fn note_received(&mut self, now: Instant, received: u64) {
        if received > self.received {
            self.received = received;
            self.note_life(now);
        }
    }

    fn note_life(&mut self, now: Instant) {
        self.silent_since = now;
        self.failures = 0;
        self.was_heard = true;
        if std::mem::take(&mut self.quiet) {
            self.turned = true;
        }
    }

    /// The ping under way brought no pong. That counts against the connection if nothing else was received either.
    fn end_in_silence(&mut self, now: Instant) {
        self.failures += u32::from(!self.was_heard);
        if self.failures < self.config.failures.max(1) {
            return self.end_ping(now);
        }
        self.stage = Stage::Dead;
        self.event = Some(LivenessEvent::Dead);
        self.due = None;
    }

    fn end_ping(&mut self, now: Instant) {
        if self.stage == Stage::Pinging {
            self.stage = Stage::Waiting;
            self.due = now.checked_add(self.config.interval.max(SHORTEST));
        }
    }
}

#[cfg(test)]
mod tests;
