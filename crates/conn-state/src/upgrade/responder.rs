//! A's end: the one that connected through the relay.

use std::time::Instant;

use super::{
    Candidate, DialResult, Event, Kind, Message, Role, Skipped, Step, UpgradeConfig, UpgradeError,
    exchange::{Exchange, after},
};

/// A's end of the upgrade of one relayed connection: the end that dialed through the relay, and which answers.
///
/// `A` is an address as the host dials it. One machine serves one relayed connection, over all the streams that the
/// peer opens for its attempts, until [`Event::Succeeded`] or [`Event::Failed`].
#[derive(Debug)]
pub struct Responder<A> {
    exchange: Exchange<A>,
    state: State<A>,
}

#[derive(Debug)]
enum State<A> {
    /// The stream is open, the peer's CONNECT is awaited.
    Connect { until: Instant },
    /// Our CONNECT is sent, the peer's SYNC is awaited.
    Sync {
        until: Instant,
        found: (Vec<A>, Skipped),
    },
    /// Both dial. The peer may begin anew before our dial has ended, for its own may end sooner.
    Punching { until: Instant, patience: Instant },
    /// Our dial failed; the peer's may succeed, or be followed by its next attempt.
    Retry { patience: Instant },
}

impl<A> Responder<A> {
    /// The peer has opened its first stream for [`super::PROTOCOL`] on a relayed connection that we dialed. (On one
    /// that came in we are B, so refuse such a stream there, as the peers do.)
    ///
    /// `own` are this host's observed addresses, as binary multiaddrs, the likeliest first; leave out relayed ones. The
    /// first [`UpgradeConfig::max_addresses`] count.
    pub fn new(now: Instant, config: UpgradeConfig, own: Vec<Vec<u8>>) -> Self {
        let until = after(now, config.message_timeout);
        Self {
            exchange: Exchange::new(config, own),
            state: State::Connect { until },
        }
    }

    /// The peer has opened one more stream, as it does for each attempt. On `Ok` the earlier stream is of no more use:
    /// close it, and give this machine nothing from it.
    ///
    /// # Errors
    ///
    /// [`UpgradeError::Busy`], [`UpgradeError::TooManyAttempts`] and [`UpgradeError::Over`]. Reset the new stream;
    /// nothing has changed.
    pub fn handle_stream_opened(&mut self, now: Instant) -> Result<(), UpgradeError> {
        self.handle_timeout(now);
        if self.exchange.is_over() {
            return Err(UpgradeError::Over);
        }
        match self.state {
            State::Connect { .. } => {
                return Err(UpgradeError::Busy {
                    step: Step::Connect,
                });
            }
            State::Sync { .. } => return Err(UpgradeError::Busy { step: Step::Sync }),
            State::Punching { .. } | State::Retry { .. } => self.check_attempts()?,
        }
        self.exchange.new_stream();
        let until = after(now, self.exchange.config.message_timeout);
        self.state = State::Connect { until };
        Ok(())
    }

    /// The stream was reset or will bring no more bytes. After the SYNC that is no matter.
    pub fn handle_stream_closed(&mut self, now: Instant) {
        self.handle_timeout(now);
        let step = match self.state {
            State::Connect { .. } => Step::Connect,
            State::Sync { .. } => Step::Sync,
            State::Punching { .. } | State::Retry { .. } => return,
        };
        self.exchange.fail(UpgradeError::StreamClosed { step });
    }

    /// Bytes came on the latest stream. `read` says what each address in them is to the host.
    pub fn handle_received(
        &mut self,
        now: Instant,
        mut bytes: &[u8],
        mut read: impl FnMut(&[u8]) -> Candidate<A>,
    ) {
        self.handle_timeout(now);
        while let Some(message) = self.exchange.next_message(&mut bytes) {
            self.handle_message(now, message, &mut read);
        }
    }

    /// How the dial of attempt `attempt` ended. A failure of one that is no longer current changes nothing; success is
    /// success at any time.
    pub fn handle_dial_result(&mut self, now: Instant, attempt: u8, result: DialResult) {
        if result == DialResult::Connected {
            return self.handle_connected(now);
        }
        self.handle_timeout(now);
        if attempt == self.exchange.attempts {
            self.dial_failed();
        }
    }

    /// A direct connection to this peer is there, however it came about: B's plain dial comes in like any other.
    pub fn handle_connected(&mut self, now: Instant) {
        self.handle_timeout(now);
        self.exchange.succeed();
    }

    /// The instant at which [`Self::handle_timeout`] has something to do. `None` once the upgrade has ended.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let until = match self.state {
            State::Connect { until } | State::Sync { until, .. } => until,
            State::Punching { until, .. } => until,
            State::Retry { patience } => patience,
        };
        (!self.exchange.is_over()).then_some(until)
    }

    /// Does what is due. Calling it early, late or often does no harm.
    pub fn handle_timeout(&mut self, now: Instant) {
        while self.poll_timeout().is_some_and(|until| until <= now) {
            let step = match self.state {
                State::Punching { .. } => {
                    self.dial_failed();
                    continue;
                }
                State::Retry { .. } => return self.exchange.fail(UpgradeError::DialsFailed),
                State::Connect { .. } => Step::Connect,
                State::Sync { .. } => Step::Sync,
            };
            let after = self.exchange.config.message_timeout;
            self.exchange.fail(UpgradeError::Timeout { step, after });
        }
    }

    /// What there is to do next; drain it to `None` after every other call.
    pub fn poll_event(&mut self) -> Option<Event<A>> {
        self.exchange.poll_event()
    }

    /// Whether [`Event::Succeeded`] or [`Event::Failed`] has been queued.
    pub fn is_over(&self) -> bool {
        self.exchange.is_over()
    }

    fn handle_message(
        &mut self,
        now: Instant,
        message: Message,
        read: &mut dyn FnMut(&[u8]) -> Candidate<A>,
    ) {
        match (&mut self.state, message.kind) {
            (State::Sync { found, .. }, Kind::Sync) => {
                let found = (std::mem::take(&mut found.0), found.1);
                self.punch(now, found);
            }
            (State::Sync { .. }, kind) => self.unexpected(kind, Step::Sync),
            (_, Kind::Connect) => self.handle_connect(now, &message.addresses, read),
            (State::Connect { .. }, kind) => self.unexpected(kind, Step::Connect),
            (_, kind) => self.unexpected(kind, Step::Dial),
        }
    }

    fn handle_connect(
        &mut self,
        now: Instant,
        named: &[Vec<u8>],
        read: &mut dyn FnMut(&[u8]) -> Candidate<A>,
    ) {
        if let Err(error) = self.check_attempts() {
            return self.exchange.fail(error);
        }
        let Some(connect) = self.exchange.connect.clone() else {
            return self.exchange.fail(UpgradeError::NoOwnAddress);
        };
        let Some(found) = self.exchange.select(named, read) else {
            return;
        };
        self.exchange.attempts += 1;
        self.exchange.push(Event::Send(connect));
        let until = after(now, self.exchange.config.message_timeout);
        self.state = State::Sync { until, found };
    }

    fn punch(&mut self, now: Instant, found: (Vec<A>, Skipped)) {
        self.exchange.dial(now, Role::Client, found);
        let until = after(now, self.exchange.config.dial_timeout);
        // The peer's dial begins about now and may last as long as ours may; its next message needs its own time.
        let patience = after(until, self.exchange.config.message_timeout);
        self.state = State::Punching { until, patience };
    }

    fn dial_failed(&mut self) {
        if let State::Punching { patience, .. } = self.state {
            match self.check_attempts() {
                Ok(()) => self.state = State::Retry { patience },
                Err(_) => self.exchange.fail(UpgradeError::DialsFailed),
            }
        }
    }

    fn check_attempts(&self) -> Result<(), UpgradeError> {
        let limit = self.exchange.config.max_attempts;
        match self.exchange.attempts < limit {
            true => Ok(()),
            false => Err(UpgradeError::TooManyAttempts { limit }),
        }
    }

    fn unexpected(&mut self, kind: Kind, step: Step) {
        self.exchange.fail(UpgradeError::Unexpected { kind, step });
    }
}
