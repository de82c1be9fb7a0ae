//! B's end: the end that accepted the relayed connection.

use std::time::{Duration, Instant};

use super::{
    Candidate, DialResult, Event, Kind, Message, Role, Skipped, Step, UpgradeConfig, UpgradeError,
    exchange::{Exchange, after},
};

/// B's end of the upgrade of one relayed connection. B accepted the relayed connection, and begins the exchange.
///
/// `A` is an address as the host dials it. One machine serves one relayed connection. Create the machine when the
/// connection is open and identify has reported the peer's addresses. The machine ends with [`Event::Succeeded`] or
/// [`Event::Failed`].
#[derive(Debug)]
pub struct Initiator<A> {
    exchange: Exchange<A>,
    state: State<A>,
    rtt: Option<Duration>,
}

#[derive(Debug)]
enum State<A> {
    /// A plain dial of the peer's public addresses is under way.
    Plain { until: Instant },
    /// The host opens a stream.
    Opening { until: Instant },
    /// Our CONNECT is sent, the peer's is awaited.
    Connect { sent: Instant, until: Instant },
    /// Our SYNC is on its way.
    Sync {
        due: Instant,
        found: (Vec<A>, Skipped),
    },
    /// Both dial.
    Punching { until: Instant },
}

impl<A> Initiator<A> {
    /// A machine for an inbound relayed connection.
    ///
    /// `own` contains this host's observed addresses, as binary multiaddrs, the most likely one first. Leave out
    /// relayed addresses. `public` contains the peer's addresses that a plain dial may reach; it is empty if the peer
    /// advertises none. Of each list, the first [`UpgradeConfig::max_addresses`] addresses count.
    pub fn new(now: Instant, config: UpgradeConfig, own: Vec<Vec<u8>>, mut public: Vec<A>) -> Self {
        public.truncate(config.max_addresses);
        let until = after(now, config.dial_timeout);
        let mut initiator = Self {
            exchange: Exchange::new(config, own),
            state: State::Plain { until },
            rtt: None,
        };
        if public.is_empty() {
            initiator.begin_attempt(now);
        } else {
            let found = (public, Skipped::default());
            initiator.exchange.dial(now, Role::Plain, found);
        }
        initiator
    }

    /// The stream that [`Event::OpenStream`] requested is open, and both ends have agreed on [`super::PROTOCOL`].
    /// Report this only when the peer has agreed, because the measurement of the round trip starts here and must not
    /// include the negotiation.
    pub fn handle_stream_opened(&mut self, now: Instant) {
        self.handle_timeout(now);
        if self.exchange.is_over() || !matches!(self.state, State::Opening { .. }) {
            return;
        }
        let Some(connect) = self.exchange.connect.clone() else {
            return self.exchange.fail(UpgradeError::NoOwnAddress);
        };
        self.exchange.new_stream();
        self.exchange.push(Event::Send(connect));
        let until = after(now, self.exchange.config.message_timeout);
        self.state = State::Connect { sent: now, until };
    }

    /// The stream did not open (the peer does not speak the protocol, or refuses), was reset, or has ended. After the
    /// exchange this is not an error, because a peer that has received the SYNC closes the stream.
    pub fn handle_stream_closed(&mut self, now: Instant) {
        self.handle_timeout(now);
        let step = match self.state {
            State::Opening { .. } => Step::Stream,
            State::Connect { .. } => Step::Connect,
            _ => return,
        };
        self.exchange.fail(UpgradeError::StreamClosed { step });
    }

    /// Bytes arrived on the stream of the current attempt. `read` reads each address in these bytes for the host.
    pub fn handle_received(
        &mut self,
        now: Instant,
        mut bytes: &[u8],
        mut read: impl FnMut(&[u8]) -> Candidate<A>,
    ) {
        self.handle_timeout(now);
        if matches!(self.state, State::Plain { .. } | State::Opening { .. }) {
            return;
        }
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
        let is_dialing = matches!(self.state, State::Plain { .. } | State::Punching { .. });
        if is_dialing && attempt == self.exchange.attempts {
            self.begin_attempt(now);
        }
    }

    /// There is a direct connection to this peer. Report every such connection, including the inbound QUIC connection
    /// that the peer dials through the punched hole.
    pub fn handle_connected(&mut self, now: Instant) {
        self.handle_timeout(now);
        self.exchange.succeed();
    }

    /// When to call [`Self::handle_timeout`]. `None`: the upgrade has ended.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let until = match self.state {
            State::Plain { until }
            | State::Opening { until }
            | State::Connect { until, .. }
            | State::Punching { until } => until,
            State::Sync { due, .. } => due,
        };
        (!self.exchange.is_over()).then_some(until)
    }

    /// Does what is due. Early or repeated calls do no harm, but a late call delays the dial.
    pub fn handle_timeout(&mut self, now: Instant) {
        while self.poll_timeout().is_some_and(|until| until <= now) {
            self.time_out(now);
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

    /// The latest measured round trip. It may be longer than [`UpgradeConfig::max_rtt`].
    pub fn rtt(&self) -> Option<Duration> {
        self.rtt
    }

    fn handle_message(
        &mut self,
        now: Instant,
        message: Message,
        read: &mut dyn FnMut(&[u8]) -> Candidate<A>,
    ) {
        let kind = message.kind;
        let (sent, step) = match self.state {
            State::Connect { sent, .. } => (Some(sent), Step::Connect),
            _ => (None, Step::Dial),
        };
        let (Some(sent), Kind::Connect) = (sent, kind) else {
            return self.exchange.fail(UpgradeError::Unexpected { kind, step });
        };
        let Some(found) = self.exchange.select(&message.addresses, read) else {
            return;
        };
        let sync = match Message::sync().encode() {
            Ok(sync) => sync,
            Err(error) => return self.exchange.fail(error.into()),
        };
        self.exchange.push(Event::Send(sync));
        let rtt = now.saturating_duration_since(sent);
        self.rtt = Some(rtt);
        let due = after(now, rtt.min(self.exchange.config.max_rtt) / 2);
        self.state = State::Sync { due, found };
        self.handle_timeout(now);
    }

    fn time_out(&mut self, now: Instant) {
        let step = match &mut self.state {
            State::Plain { .. } | State::Punching { .. } => return self.begin_attempt(now),
            State::Sync { due, found } => {
                let found = (std::mem::take(&mut found.0), found.1);
                let due = *due;
                return self.punch(now, due, found);
            }
            State::Opening { .. } => Step::Stream,
            State::Connect { .. } => Step::Connect,
        };
        let after = self.exchange.config.message_timeout;
        self.exchange.fail(UpgradeError::Timeout { step, after });
    }

    fn punch(&mut self, now: Instant, due: Instant, found: (Vec<A>, Skipped)) {
        self.exchange.dial(due, Role::Server, found);
        let until = after(now, self.exchange.config.dial_timeout);
        self.state = State::Punching { until };
    }

    /// Begins the next attempt, on a stream of its own as the spec's step 6 says, if there is one left.
    fn begin_attempt(&mut self, now: Instant) {
        let config = &self.exchange.config;
        if self.exchange.attempts >= config.max_attempts {
            return self.exchange.fail(UpgradeError::DialsFailed);
        }
        if self.exchange.connect.is_none() {
            return self.exchange.fail(UpgradeError::NoOwnAddress);
        }
        let until = after(now, config.message_timeout);
        self.exchange.attempts += 1;
        self.exchange.push(Event::OpenStream);
        self.state = State::Opening { until };
    }
}
