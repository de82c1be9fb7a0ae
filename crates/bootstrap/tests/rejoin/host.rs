//! A host around the core that records what it is told.

use std::time::{Duration, Instant};

use bootstrap::{
    AttemptId, Candidate, CandidateView, Origin, Rejoin, RejoinConfig, RejoinEvent, State,
};

pub(crate) const MS: Duration = Duration::from_millis(1);
pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const LOCAL: u32 = 0;

pub(crate) struct Host {
    pub(crate) core: Rejoin<u32, u32>,
    pub(crate) now: Instant,
    pub(crate) events: Vec<RejoinEvent<u32, u32>>,
}

pub(crate) struct Dial {
    pub(crate) attempt: AttemptId,
    pub(crate) peer: Option<u32>,
    pub(crate) addresses: Vec<u32>,
    pub(crate) until: Instant,
    pub(crate) at: Instant,
}

impl Host {
    pub(crate) fn new(config: RejoinConfig) -> Self {
        Self::seeded(7, config)
    }

    pub(crate) fn seeded(seed: u64, config: RejoinConfig) -> Self {
        Self {
            core: Rejoin::new(Some(LOCAL), seed, config),
            now: Instant::now(),
            events: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, peer: u32, addresses: &[u32], origin: Origin) -> bool {
        let candidate = Candidate::new(Some(peer), addresses.to_vec(), origin);
        self.core.handle_candidate(self.now, candidate)
    }

    pub(crate) fn connect(&mut self, peer: u32) {
        self.core.handle_connected(self.now, &peer, None);
    }

    pub(crate) fn disconnect(&mut self, peer: u32) {
        self.core.handle_disconnected(self.now, &peer);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(event) = self.core.poll_event() {
            self.events.push(event);
        }
    }

    /// Lets the time pass, one timeout after the other.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        self.drain();
        while let Some(next) = self.core.poll_timeout().filter(|next| *next <= end) {
            assert!(
                next >= self.now || self.core.poll_timeout() > Some(self.now),
                "a timeout in the past"
            );
            self.now = next.max(self.now);
            self.core.handle_timeout(self.now);
            self.drain();
            assert!(
                self.core.poll_timeout().is_none_or(|next| next > self.now),
                "the core spins"
            );
        }
        self.now = end;
    }

    fn take<T>(&mut self, pick: impl Fn(&RejoinEvent<u32, u32>) -> Option<T>) -> Vec<T> {
        self.drain();
        let taken = self.events.iter().filter_map(&pick).collect();
        self.events.retain(|event| pick(event).is_none());
        taken
    }

    /// The dials since the last call.
    pub(crate) fn dials(&mut self) -> Vec<Dial> {
        let attempt = self.core.config().attempt;
        self.take(|event| match event {
            RejoinEvent::Dial {
                attempt: id,
                peer,
                addresses,
                until,
                ..
            } => Some(Dial {
                attempt: *id,
                peer: *peer,
                addresses: addresses.clone(),
                until: *until,
                at: until.checked_sub(attempt).unwrap_or(*until),
            }),
            _ => None,
        })
    }

    /// The peers of the dials since the last call.
    pub(crate) fn dialed(&mut self) -> Vec<Option<u32>> {
        self.dials().into_iter().map(|dial| dial.peer).collect()
    }

    pub(crate) fn abandoned(&mut self) -> Vec<AttemptId> {
        self.take(|event| match event {
            RejoinEvent::Abandon { attempt } => Some(*attempt),
            _ => None,
        })
    }

    pub(crate) fn states(&mut self) -> Vec<State> {
        self.take(|event| match event {
            RejoinEvent::State { to, .. } => Some(*to),
            _ => None,
        })
    }

    pub(crate) fn offered(&mut self) -> Vec<u32> {
        self.take(|event| match event {
            RejoinEvent::Offered { peer, .. } => Some(*peer),
            _ => None,
        })
    }

    pub(crate) fn told_lasted(&mut self) -> Vec<(u32, Option<u32>, Vec<u32>)> {
        self.take(|event| match event {
            RejoinEvent::Lasted {
                peer,
                address,
                addresses,
                ..
            } => Some((*peer, *address, addresses.clone())),
            _ => None,
        })
    }

    /// The time until the next dial of the peer.
    pub(crate) fn wait_of(&self, peer: u32) -> Duration {
        self.view(peer).next.expect("not connected") - self.now
    }

    /// Lets the time pass until the backoff of the peer is at least as long as `pause`, and forgets the dials.
    pub(crate) fn pass_until_rare(&mut self, peer: u32, pause: Duration) {
        while self.wait_of(peer) < pause {
            self.pass(Duration::from_secs(1));
        }
        self.dials();
    }

    pub(crate) fn view(&self, peer: u32) -> CandidateView<u32, u32> {
        let mut all = self.core.candidates(self.now).into_iter();
        all.find(|view| view.peer == Some(peer))
            .expect("a candidate")
    }
}
