//! A candidate of a lookup: the state of its requests, and what it has named.

use crate::kad::{key::Distance, message::PeerInfo, namers::Namers};

/// A peer whose named peers fail that many times, and more often than they answer, is believed no more.
const MAX_LIES: u16 = 4;

/// How often a candidate is asked again because another peer has named it with further addresses, or because the last request
/// was not sent.
const MAX_RETRIES: u8 = 2;

/// What to ask a peer for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ask {
    /// The target of the lookup.
    Target,
    /// The peers nearest to the asked peer itself.
    Itself,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    New,
    Waiting,
    /// It has not answered in time. The lookup does not wait, but takes a late answer.
    Slow,
    Answered,
    Failed,
}

#[derive(Debug)]
pub(super) struct Candidate<Id, A> {
    pub(super) info: PeerInfo<Id, A>,
    namers: Namers,
    pub(super) state: State,
    /// The state of the request for its neighbours.
    pub(super) scouted: State,
    /// How many answers led to this peer.
    pub(super) hops: u32,
    /// Who named the addresses that the request uses. `None`: this node.
    pub(super) named_by: Option<Distance>,
    /// Who has named addresses since the request was sent.
    renamed_by: Option<Option<Distance>>,
    retries: u8,
    /// How many of the peers that it named have answered and failed.
    named: (u16, u16),
}

impl<Id, A: PartialEq> Candidate<Id, A> {
    pub(super) fn new(info: PeerInfo<Id, A>, named_by: Option<Distance>, hops: u32) -> Self {
        Self {
            namers: Namers::of(named_by, info.addresses.len()),
            info,
            state: State::New,
            scouted: State::New,
            hops,
            named_by,
            renamed_by: None,
            retries: 0,
            named: (0, 0),
        }
    }

    /// Another peer names this one. If a request has failed or is late, the further addresses are worth another one.
    pub(super) fn learn(&mut self, addresses: Vec<A>, namer: Option<Distance>) {
        let is_further = self
            .namers
            .learn(&mut self.info.addresses, addresses, namer);
        if is_further && self.state != State::New {
            self.renamed_by = Some(namer);
            self.retry();
        }
    }

    /// A request is sent to all known addresses.
    pub(super) fn ask(&mut self, ask: Ask) {
        *self.state_of(ask) = State::Waiting;
        if ask == Ask::Target {
            self.renamed_by = None;
        }
    }

    /// The lookup does not wait for the request any more. This changes nothing for a candidate that waits for its next request.
    pub(super) fn give_up(&mut self, ask: Ask, state: State) {
        let present = self.state_of(ask);
        if matches!(present, State::Waiting | State::Slow) {
            *present = state;
        }
        if ask == Ask::Target {
            self.retry();
        }
    }

    /// The request was not sent.
    pub(super) fn unsent(&mut self, ask: Ask) {
        if ask == Ask::Target && self.renamed_by.is_none() {
            self.renamed_by = Some(self.named_by);
        }
        self.give_up(ask, State::Failed);
    }

    fn retry(&mut self) {
        let is_over = matches!(self.state, State::Slow | State::Failed);
        if is_over
            && self.retries < MAX_RETRIES
            && let Some(namer) = self.renamed_by.take()
        {
            self.retries += 1;
            (self.state, self.named_by) = (State::New, namer);
        }
    }
}

impl<Id, A> Candidate<Id, A> {
    pub(super) fn state_of(&mut self, ask: Ask) -> &mut State {
        match ask {
            Ask::Target => &mut self.state,
            Ask::Itself => &mut self.scouted,
        }
    }

    /// A peer that this one named has answered or failed.
    pub(super) fn credit(&mut self, answered: bool) {
        let count = if answered {
            &mut self.named.0
        } else {
            &mut self.named.1
        };
        *count = count.saturating_add(1);
    }

    pub(super) fn lies(&self) -> bool {
        let (answered, failed) = self.named;
        failed >= MAX_LIES && failed > answered
    }
}
