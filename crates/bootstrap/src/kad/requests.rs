//! Requests in flight: sending, answers and timeouts.

use std::time::Instant;

use super::{
    Kad,
    key::{Distance, Key},
    keys_where,
    lookup::Ask,
    message::{MAX_ADDRESSES, PeerInfo, Request, Response},
    query::{Kind, Stage},
    table::Changed,
    view::{Failure, KadEvent, QueryId, RequestId},
};

/// How many requests are in flight at most. Beyond, the oldest is given up.
const MAX_IN_FLIGHT: usize = 1024;

/// How many requests may be in flight only to learn whether a peer answers.
const MAX_PROBES: usize = 16;

#[derive(Debug)]
pub(super) struct Pending<Id, A> {
    peer: PeerInfo<Id, A>,
    pub(super) wants: Wants,
    expects: Expects,
    sent: Instant,
    /// Until when a lookup waits. `None`: the lookup does not wait any more.
    patience: Option<Instant>,
    until: Instant,
    connected: bool,
}

impl<Id: Clone + Ord + Into<Vec<u8>>, A> Pending<Id, A> {
    pub(super) fn is_of(&self, peer: &Id) -> bool {
        self.peer.id == *peer
    }

    pub(super) fn has_key(&self, key: &Key) -> bool {
        Key::of(self.peer.id.clone().into()) == *key
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

/// The kind of answer that fits.
#[derive(Debug, Clone, Copy)]
enum Expects {
    Empty,
    Closer,
    Value,
    /// The echo of the value with this hash.
    Stored(Key),
    Providers,
}

impl Expects {
    fn of<Id, A>(request: &Request<Id, A>) -> Self {
        match request {
            Request::Ping | Request::AddProvider { .. } => Self::Empty,
            Request::FindNode { .. } => Self::Closer,
            Request::GetValue { .. } => Self::Value,
            Request::PutValue { record } => Self::Stored(Key::of(&record.value)),
            Request::GetProviders { .. } => Self::Providers,
        }
    }

    fn fits<Id, A>(self, response: &Response<Id, A>) -> bool {
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

impl<Id: Clone + Ord + Into<Vec<u8>>, A: Clone + PartialEq> Kad<Id, A> {
    /// A peer has answered a request. `remote` is the peer's address on the connection, which decides its subnet. For an
    /// ADD_PROVIDER, report [`Response::Empty`] when the request has been sent.
    pub fn handle_response(
        &mut self,
        now: Instant,
        request: RequestId,
        remote: Option<&A>,
        response: Response<Id, A>,
    ) {
        let Some(pending) = self.requests.remove(&request) else {
            return;
        };
        if !pending.expects.fits(&response) {
            self.fail(now, &pending, Failure::Refused);
            return self.settle(now);
        }
        let silent = matches!(response, Response::Empty);
        if !silent {
            let took = now.saturating_duration_since(pending.sent);
            self.rtt.measured(pending.connected, took);
            self.heard(now, &pending.peer, remote);
        }
        match pending.wants {
            Wants::Lookup(query, distance, ask) => {
                self.look(query, distance, ask, &pending.peer, response)
            }
            Wants::Store(query) => self.stored(query, true),
            Wants::Table | Wants::Repair => {}
        }
        self.settle(now);
    }

    /// A request has failed, or its answer did not arrive in time.
    pub fn handle_failed(&mut self, now: Instant, request: RequestId, failure: Failure) {
        if let Some(pending) = self.requests.remove(&request) {
            self.fail(now, &pending, failure);
            self.settle(now);
        }
    }

    /// Sends a request, unless the connection of the peer is being probed.
    pub(super) fn send(
        &mut self,
        now: Instant,
        wants: Wants,
        mut peer: PeerInfo<Id, A>,
        message: Request<Id, A>,
    ) -> bool {
        if self.peers.is_suspect(&peer.id) || peer.id == self.local.id {
            return false;
        }
        if self.requests.len() >= MAX_IN_FLIGHT
            && let Some((request, oldest)) = self.requests.pop_first()
        {
            self.events.push_back(KadEvent::Cancel { request });
            self.fail(now, &oldest, Failure::Unreachable);
        }
        for address in self.peers.addresses(&peer.id) {
            if peer.addresses.len() < MAX_ADDRESSES && !peer.addresses.contains(address) {
                peer.addresses.push(address.clone());
            }
        }
        let connected = self.peers.is_connected(&peer.id);
        let patience = now + self.rtt.patience(connected, self.config.request_timeout);
        let until = now + self.config.request_timeout;
        let request = RequestId(self.next_id());
        let expects = Expects::of(&message);
        self.events.push_back(KadEvent::Send {
            request,
            peer: peer.id.clone(),
            addresses: peer.addresses.clone(),
            message,
            until,
        });
        let patience = Some(patience);
        self.requests.insert(
            request,
            Pending {
                peer,
                wants,
                expects,
                sent: now,
                patience,
                until,
                connected,
            },
        );
        true
    }

    /// Asks a peer only to learn whether it answers.
    pub(super) fn probe(&mut self, now: Instant, peer: PeerInfo<Id, A>) -> bool {
        let probes = self
            .requests
            .values()
            .filter(|pending| pending.wants == Wants::Table);
        let key = self.local.id.clone().into();
        probes.count() < MAX_PROBES && self.send(now, Wants::Table, peer, Request::FindNode { key })
    }

    pub(super) fn is_asked(&self, peer: &Id) -> bool {
        self.requests.values().any(|pending| pending.is_of(peer))
    }

    /// Requests that take too long: lookups stop waiting for them first, and later they are given up.
    pub(super) fn expire_requests(&mut self, now: Instant) {
        let is_slow = |pending: &Pending<Id, A>| pending.patience.is_some_and(|at| at <= now);
        for request in keys_where(&self.requests, is_slow) {
            self.lose_patience(request);
        }
        for request in keys_where(&self.requests, |pending| pending.until <= now) {
            if let Some(pending) = self.requests.remove(&request) {
                self.events.push_back(KadEvent::Cancel { request });
                self.fail(now, &pending, Failure::Unreachable);
            }
        }
    }

    /// The connection of a peer is being probed: its requests count as failed until it answers.
    pub(super) fn lose_patience_with(&mut self, peer: &Id) {
        for request in keys_where(&self.requests, |pending| pending.is_of(peer)) {
            self.lose_patience(request);
        }
    }

    fn lose_patience(&mut self, request: RequestId) {
        let Some(pending) = self.requests.get_mut(&request) else {
            return;
        };
        pending.patience = None;
        match pending.wants {
            Wants::Lookup(query, distance, ask) => {
                if let Some(Stage::Looking(lookup)) =
                    self.queries.get_mut(&query).map(|query| &mut query.stage)
                {
                    lookup.slow(distance, ask);
                    self.touched.insert(query);
                }
            }
            Wants::Store(query) => {
                pending.wants = Wants::Repair;
                self.stored(query, false);
            }
            Wants::Table | Wants::Repair => {}
        }
    }

    /// When the next request is late.
    pub(super) fn requests_due(&self) -> Option<Instant> {
        let due = self
            .requests
            .values()
            .map(|pending| pending.patience.unwrap_or(pending.until));
        due.min()
    }

    fn fail(&mut self, now: Instant, pending: &Pending<Id, A>, failure: Failure) {
        let refused_value =
            matches!(pending.wants, Wants::Store(_) | Wants::Repair) && failure == Failure::Refused;
        if !refused_value {
            let changed = self.table.failed(&Key::of(pending.peer.id.clone().into()));
            self.note(now, changed);
        }
        match pending.wants {
            Wants::Lookup(id, distance, ask) => {
                let Some(query) = self.queries.get_mut(&id) else {
                    return;
                };
                if let Stage::Looking(lookup) = &mut query.stage {
                    lookup.failed(distance, ask);
                }
                // The peer that is looked for was reached, although it does not serve.
                if let Kind::Find { reached, .. } = &mut query.kind
                    && distance == Distance::ZERO
                    && failure == Failure::Unsupported
                {
                    *reached = true;
                }
                self.touched.insert(id);
            }
            Wants::Store(query) => self.stored(query, false),
            Wants::Table | Wants::Repair => {}
        }
    }

    /// An answer for a lookup.
    fn look(
        &mut self,
        id: QueryId,
        distance: Distance,
        ask: Ask,
        peer: &PeerInfo<Id, A>,
        response: Response<Id, A>,
    ) {
        let (record, providers, closer) = match response {
            Response::FindNode { closer } => (None, Vec::new(), closer),
            Response::GetValue { record, closer } => (record, Vec::new(), closer),
            Response::GetProviders { providers, closer } => (None, providers, closer),
            Response::Empty | Response::PutValue { .. } => return,
        };
        let (place, preset) = (self.place, self.config.preset);
        let providers = usable(providers, |address| preset.accepts_provider(place(address)));
        let Some(query) = self.queries.get_mut(&id) else {
            return;
        };
        if matches!(query.kind, Kind::Find { .. }) {
            // The peer may be behind a relay.
            query.note_named(&usable(closer.clone(), |address| {
                preset.accepts_provider(place(address))
            }));
        }
        if let Kind::Find {
            reached, addresses, ..
        } = &mut query.kind
            && distance == Distance::ZERO
        {
            *reached = true;
            if addresses.is_empty() {
                addresses.clone_from(&peer.addresses);
            }
        }
        let closer = usable(closer, |address| preset.accepts(place(address)));
        if let Stage::Looking(lookup) = &mut query.stage {
            lookup.answered(distance, ask, closer);
        }
        query.note_providers(providers);
        if let (Kind::Get(values), Some(record)) = (&mut query.kind, record)
            && record.key == query.key
            && record.fits()
            && self.names.is_valid(&record.key, &record.value)
        {
            values.add(Some(peer.clone()), record, &self.names);
        }
        self.touched.insert(id);
    }

    fn stored(&mut self, query: QueryId, confirmed: bool) {
        let stage = self.queries.get_mut(&query).map(|query| &mut query.stage);
        if let Some(Stage::Storing {
            waiting, stored, ..
        }) = stage
        {
            *waiting = waiting.saturating_sub(1);
            *stored += usize::from(confirmed);
            self.touched.insert(query);
        }
    }

    /// A peer has answered: it enters the routing table, if it has an address that counts.
    fn heard(&mut self, now: Instant, peer: &PeerInfo<Id, A>, remote: Option<&A>) {
        let (place, preset) = (self.place, self.config.preset);
        let told = self.peers.addresses(&peer.id).iter().chain(&peer.addresses);
        let mut addresses: Vec<A> = Vec::new();
        for address in told.filter(|address| preset.accepts(place(address))) {
            if addresses.len() < MAX_ADDRESSES && !addresses.contains(address) {
                addresses.push(address.clone());
            }
        }
        let Some(first) = addresses.first() else {
            return;
        };
        let subnet = preset.subnet(Some(place(remote.unwrap_or(first))));
        let key = Key::of(peer.id.clone().into());
        let changed =
            self.table
                .answered(now, key, PeerInfo::new(peer.id.clone(), addresses), subnet);
        self.note(now, changed);
    }

    /// The routing table has changed.
    pub(super) fn note(&mut self, now: Instant, changed: Changed<Id>) {
        if let Some(peer) = changed.left {
            self.offers.left(&Key::of(peer.clone().into()));
            self.events.push_back(KadEvent::Left { peer });
        }
        if let Some(peer) = changed.entered {
            self.events.push_back(KadEvent::Entered { peer });
            self.offers.wake();
            self.touch_waiting();
            if self.is_low() {
                self.upkeep.look_again(now);
            }
        }
    }
}

/// The peers with the addresses that count, at most 8 of them. Peers without any are left out.
pub(super) fn usable<Id, A>(
    peers: Vec<PeerInfo<Id, A>>,
    accepts: impl Fn(&A) -> bool,
) -> Vec<PeerInfo<Id, A>> {
    let mut peers = peers;
    for peer in &mut peers {
        peer.addresses.retain(&accepts);
        peer.addresses.truncate(MAX_ADDRESSES);
    }
    peers.retain(|peer| !peer.addresses.is_empty());
    peers
}
