//! The code that both roles share.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::{Candidate, Decoder, Dial, Event, Message, Role, Skipped, UpgradeConfig, UpgradeError};

/// Beyond this a duration means "never", and an `Instant` need not be able to say it.
const NEVER: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// `now + wait` for any `wait` a configuration may hold.
pub(super) fn after(now: Instant, wait: Duration) -> Instant {
    now + wait.min(NEVER)
}

#[derive(Debug)]
pub(super) struct Exchange<A> {
    pub(super) config: UpgradeConfig,
    /// Our CONNECT's bytes, the same in every attempt. `None`: there is no address to name.
    pub(super) connect: Option<Vec<u8>>,
    decoder: Decoder,
    events: VecDeque<Event<A>>,
    /// Attempts begun.
    pub(super) attempts: u8,
    is_over: bool,
}

impl<A> Exchange<A> {
    pub(super) fn new(config: UpgradeConfig, own: Vec<Vec<u8>>) -> Self {
        let connect = connect(own, config.max_addresses);
        Self {
            config,
            connect,
            decoder: Decoder::default(),
            events: VecDeque::new(),
            attempts: 0,
            is_over: false,
        }
    }

    pub(super) fn poll_event(&mut self) -> Option<Event<A>> {
        self.events.pop_front()
    }

    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Nothing of an earlier stream belongs to the next one.
    pub(super) fn new_stream(&mut self) {
        self.decoder = Decoder::default();
    }

    /// The next message in `bytes`; bytes that are none end the upgrade.
    pub(super) fn next_message(&mut self, bytes: &mut &[u8]) -> Option<Message> {
        if self.is_over {
            return None;
        }
        match self.decoder.decode(bytes) {
            Ok(message) => message,
            Err(error) => {
                self.fail(error.into());
                None
            }
        }
    }

    /// The end is the last event, so what comes after it is dropped.
    pub(super) fn push(&mut self, event: Event<A>) {
        if !self.is_over {
            self.events.push_back(event);
        }
    }

    pub(super) fn dial(
        &mut self,
        at: Instant,
        role: Role,
        (addresses, skipped): (Vec<A>, Skipped),
    ) {
        self.push(Event::Dial(Dial {
            attempt: self.attempts,
            role,
            at,
            addresses,
            skipped,
        }));
    }

    /// What is still queued is of no use once the upgrade has ended.
    fn end(&mut self, event: Event<A>) {
        if !self.is_over {
            self.is_over = true;
            self.events.clear();
            self.events.push_back(event);
        }
    }

    pub(super) fn fail(&mut self, cause: UpgradeError) {
        let attempts = self.attempts;
        self.end(Event::Failed { attempts, cause });
    }

    pub(super) fn succeed(&mut self) {
        let attempts = self.attempts;
        self.end(Event::Succeeded { attempts });
    }

    /// What of a CONNECT can be dialed; a CONNECT without any of it ends the upgrade.
    pub(super) fn select(
        &mut self,
        named: &[Vec<u8>],
        read: &mut dyn FnMut(&[u8]) -> Candidate<A>,
    ) -> Option<(Vec<A>, Skipped)> {
        let found = super::candidates::select(named, self.config.max_addresses, read);
        if found.0.is_empty() {
            self.fail(UpgradeError::NoAddress { skipped: found.1 });
            return None;
        }
        Some(found)
    }
}

/// A CONNECT of as many of the addresses, from the first on, as the limits allow.
fn connect(mut own: Vec<Vec<u8>>, limit: usize) -> Option<Vec<u8>> {
    own.truncate(limit);
    let mut message = Message::connect(own);
    loop {
        if message.addresses.is_empty() {
            return None;
        }
        match message.encode() {
            Ok(bytes) => return Some(bytes),
            Err(_) => message.addresses.pop(),
        };
    }
}
