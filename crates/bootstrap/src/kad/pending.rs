//! A request in flight.

use std::time::Instant;

use super::{
    key::{Distance, Key},
    lookup::Ask,
    message::{PeerInfo, Request, Response},
    view::QueryId,
};

#[derive(Debug)]
pub(super) struct Pending<Id, A> {
    pub(super) peer: PeerInfo<Id, A>,
    pub(super) wants: Wants,
    pub(super) expects: Expects,
    /// When the request left the queue of the host. `None`: it is in the queue, and the peer has no part in the delay.
    pub(super) started: Option<Instant>,
    /// Until when the query waits, after the start.
    pub(super) patience: Option<Instant>,
    /// Whether the query does not wait any more.
    pub(super) is_late: bool,
    pub(super) until: Instant,
    pub(super) connected: bool,
}

impl<Id: Clone + Ord + Into<Vec<u8>>, A> Pending<Id, A> {
    pub(super) fn is_of(&self, peer: &Id) -> bool {
        self.peer.id == *peer
    }

    pub(super) fn has_key(&self, key: &Key) -> bool {
        Key::of(self.peer.id.clone().into()) == *key
    }

    /// The next time at which something happens to the request by itself.
    pub(super) fn due(&self) -> Instant {
        self.patience.unwrap_or(self.until)
    }
}

/// Who waits for the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wants {
    Lookup(QueryId, Distance, Ask),
    Store(QueryId),
    /// The routing table only.
    Table,
    /// Nobody: a value that a GET has found is copied to a peer.
    Repair,
}

impl Wants {
    pub(super) fn is_of(self, query: QueryId) -> bool {
        matches!(self, Self::Lookup(id, ..) | Self::Store(id) if id == query)
    }
}

/// The kind of answer that fits.
#[derive(Debug, Clone, Copy)]
pub(super) enum Expects {
    Empty,
    Closer,
    Value,
    /// The echo of the value with this hash.
    Stored(Key),
    Providers,
}

impl Expects {
    pub(super) fn of<Id, A>(request: &Request<Id, A>) -> Self {
        match request {
            Request::Ping | Request::AddProvider { .. } => Self::Empty,
            Request::FindNode { .. } => Self::Closer,
            Request::GetValue { .. } => Self::Value,
            Request::PutValue { record } => Self::Stored(Key::of(&record.value)),
            Request::GetProviders { .. } => Self::Providers,
        }
    }

    pub(super) fn fits<Id, A>(self, response: &Response<Id, A>) -> bool {
        match (self, response) {
            (Self::Empty, Response::Empty)
            | (Self::Closer, Response::FindNode { .. })
            | (Self::Value, Response::GetValue { .. })
            | (Self::Providers, Response::GetProviders { .. }) => true,
            (Self::Stored(hash), Response::PutValue { record }) => Key::of(&record.value) == hash,
            _ => false,
        }
    }
}
