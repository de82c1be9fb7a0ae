//! A's end: the end that dialed the relayed connection.

use std::time::Instant;

use super::{
    Candidate, DialResult, Event, Kind, Message, Role, Skipped, Step, UpgradeConfig, UpgradeError,
    exchange::{Exchange, after},
};

/// A's end of the upgrade of one relayed connection. A dialed the relayed connection, and answers.
///
/// `A` is an address as the host dials it. One machine serves one relayed connection, with all streams that the peer
/// opens for its attempts, until [`Event::Succeeded`] or [`Event::Failed`].
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
    /// A machine for a relayed connection that this host has dialed, on which the peer has opened its first stream for
    /// [`super::PROTOCOL`]. On an inbound relayed connection this host is B, so refuse such a stream there, as other
    /// implementations do.
    ///
    /// `own` contains this host's observed addresses, as binary multiaddrs, the most likely one first. Leave out
    /// relayed addresses. The first [`UpgradeConfig::max_addresses`] addresses count.
    pub fn new(now: Instant, config: UpgradeConfig, own: Vec<Vec<u8>>) -> Self {
        let until = after(now, config.message_timeout);
        Self {
            exchange: Exchange::new(config, own),
            state: State::Connect { until },
        }
    }

    /// The peer has opened a further stream, as it does for each attempt. On `Ok`, close the earlier stream, and pass
    /// this machine no more bytes from it.
    ///
    /// # Errors
    ///
    /// [`UpgradeError::Busy`], [`UpgradeError::TooManyAttempts`] and [`UpgradeError::Over`]. Reset the new stream. The
    /// error changes nothing.
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

    /// The stream was reset or has ended. After the SYNC this is not an error.
    pub fn handle_stream_closed(&mut self, now: Instant) {
        self.handle_timeout(now);
        let step = match self.state {
            State::Connect { .. } => Step::Connect,
            State::Sync { .. } => Step::Sync,
            State::Punching { .. } | State::Retry { .. } => return,
        };
        self.exchange.fail(UpgradeError::StreamClosed { step });
    }

    /// Bytes arrived on the latest stream. `read` reads each address in these bytes for the host.
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

    /// The dial of attempt `attempt` has ended. The failure of an earlier attempt changes nothing, but the success of
    /// any attempt ends the upgrade.
    pub fn handle_dial_result(&mut self, now: Instant, attempt: u8, result: DialResult) {
        if result == DialResult::Connected {
            return self.handle_connected(now);
        }
        self.handle_timeout(now);
        if attempt == self.exchange.attempts {
            self.dial_failed();
        }
    }

    /// There is a direct connection to this peer. Report every such connection, including the inbound connection of B's
    /// plain dial.
    pub fn handle_connected(&mut self, now: Instant) {
        self.handle_timeout(now);
        self.exchange.succeed();
    }

    /// When to call [`Self::handle_timeout`]. `None`: the upgrade has ended.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let until = match self.state {
            State::Connect { until } | State::Sync { until, .. } => until,
            State::Punching { until, .. } => until,
            State::Retry { patience } => patience,
        };
        (!self.exchange.is_over()).then_some(until)
    }

    /// Does what is due. Early, late or repeated calls do no harm.
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

    /// The next action for the host. Call this until it returns `None` after every other call.
    pub fn poll_event(&mut self) -> Option<Event<A>> {
        self.exchange.poll_event()
    }

    /// Whether the upgrade has ended with [`Event::Succeeded`] or [`Event::Failed`].
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
