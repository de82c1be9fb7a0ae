//! Requests in flight: sending, answers and timeouts.

use std::time::{Duration, Instant};

use super::{
    Kad,
    answers::distinct,
    key::{Distance, Key},
    keys_where,
    message::{PeerInfo, Request, Response},
    pending::{Expects, Pending, Wants},
    query::{Kind, Stage},
    view::{Failure, KadEvent, QueryId, RequestId},
};

/// How many requests are in flight at most. Beyond, the oldest is given up.
const MAX_IN_FLIGHT: usize = 1024;

/// How many requests may wait for an answer only to learn whether a peer answers. Late ones do not count, so that silent peers
/// hold up no others.
const MAX_PROBES: usize = 16;

/// The shortest wait for a peer that stores something: it may check a signature and write to a disk first.
const STORING: Duration = Duration::from_secs(3);

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
            if let Some(started) = pending.started {
                let took = now.saturating_duration_since(started);
                self.rtt.measured(pending.connected, took);
            }
            self.heard(now, &pending.peer, remote);
        }
        match pending.wants {
            Wants::Lookup(query, distance, ask) => {
                self.look(query, (distance, ask), &pending.peer, remote, response)
            }
            Wants::Store(query) => self.stored(query, pending.is_late, true),
            Wants::Table | Wants::Repair => {}
        }
        self.settle(now);
    }

    /// A request has left the queue of the host, which now dials the peer or opens a stream. The time in the queue does
    /// not count against the peer. Returns the new deadline. `None`: the core no longer waits for this request.
    pub fn handle_started(&mut self, now: Instant, request: RequestId) -> Option<Instant> {
        let pending = self.requests.get_mut(&request)?;
        if pending.started.is_none() {
            let most = self.config.request_timeout;
            let patience = self.rtt.patience(pending.connected, most);
            let patience = match pending.wants {
                Wants::Store(_) => patience.max(STORING),
                _ => patience,
            };
            (pending.started, pending.until) = (Some(now), now + most);
            pending.patience = (!pending.is_late).then_some(now + patience.min(most));
        }
        Some(pending.until)
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
        let entry = self.table.get(&Key::of(peer.id.clone().into()));
        let entry = entry.filter(|entry| !entry.is_failing());
        let proven = entry.map_or(&[][..], |entry| &entry.info.addresses);
        let told = self.peers.addresses(&peer.id);
        peer.addresses = distinct(told.iter().chain(proven).chain(&peer.addresses));
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
        let connected = self.peers.is_connected(&peer.id);
        self.requests.insert(
            request,
            Pending {
                peer,
                wants,
                expects,
                started: None,
                patience: None,
                is_late: false,
                until,
                connected,
            },
        );
        true
    }

    /// Gives up the oldest requests if there are too many. This is no fault of their peers.
    pub(super) fn trim_requests(&mut self) {
        while self.requests.len() > MAX_IN_FLIGHT
            && let Some((request, oldest)) = self.requests.pop_first()
        {
            self.events.push_back(KadEvent::Cancel { request });
            self.spare(&oldest, false);
        }
    }

    pub(super) fn is_in_flight(&self, wants: Wants) -> bool {
        self.requests.values().any(|pending| pending.wants == wants)
    }

    /// Ends an earlier request for the same answer.
    pub(super) fn withdraw(&mut self, wants: Wants) {
        let earlier = keys_where(&self.requests, |pending| pending.wants == wants);
        self.cancel(earlier);
    }

    /// Ends the requests of a query that has ended, if they are still in the queue of the host, or if a lookup has lost patience
    /// with a peer that is not in the routing table. Their dials would hold up other requests.
    pub(super) fn cancel_unwanted(&mut self, query: QueryId) {
        let unwanted = keys_where(&self.requests, |pending| {
            let is_entry = || {
                let key = Key::of(pending.peer.id.clone().into());
                self.table.get(&key).is_some()
            };
            let is_late = pending.is_late && matches!(pending.wants, Wants::Lookup(..));
            let is_of_query = pending.wants.is_of(query);
            is_of_query && (pending.started.is_none() || is_late && !is_entry())
        });
        self.cancel(unwanted);
    }

    fn cancel(&mut self, requests: Vec<RequestId>) {
        for request in requests {
            self.requests.remove(&request);
            self.events.push_back(KadEvent::Cancel { request });
        }
    }

    /// Asks a peer only to learn whether it answers.
    pub(super) fn probe(&mut self, now: Instant, peer: PeerInfo<Id, A>) -> bool {
        let key = self.local.id.clone().into();
        self.may_probe() && self.send(now, Wants::Table, peer, Request::FindNode { key })
    }

    pub(super) fn may_probe(&self) -> bool {
        let requests = self.requests.values();
        let probes = requests.filter(|pending| pending.wants == Wants::Table && !pending.is_late);
        probes.count() < MAX_PROBES
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
            let Some(pending) = self.requests.remove(&request) else {
                continue;
            };
            self.events.push_back(KadEvent::Cancel { request });
            match pending.started {
                Some(_) => self.fail(now, &pending, Failure::Unreachable),
                None => self.spare(&pending, true),
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
        let pending = self.requests.get_mut(&request);
        let Some(pending) = pending.filter(|pending| !pending.is_late) else {
            return;
        };
        (pending.patience, pending.is_late) = (None, true);
        match pending.wants {
            Wants::Lookup(query, distance, ask) => {
                if let Some(Stage::Looking(lookup)) =
                    self.queries.get_mut(&query).map(|query| &mut query.stage)
                {
                    lookup.slow(distance, ask);
                    self.touched.insert(query);
                }
            }
            Wants::Store(query) => self.stored(query, false, false),
            Wants::Table | Wants::Repair => {}
        }
    }

    /// When the next request is late.
    pub(super) fn requests_due(&self) -> Option<Instant> {
        self.requests.values().map(Pending::due).min()
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
            Wants::Store(query) => self.stored(query, pending.is_late, false),
            Wants::Table | Wants::Repair => {}
        }
    }

    /// A request was given up for a reason that says nothing about its peer. `again`: the lookup tries it again.
    fn spare(&mut self, pending: &Pending<Id, A>, again: bool) {
        match pending.wants {
            Wants::Lookup(id, distance, ask) => {
                let query = self.queries.get_mut(&id);
                if let Some(Stage::Looking(lookup)) = query.map(|query| &mut query.stage) {
                    match again {
                        true => lookup.unsent(distance, ask),
                        false => lookup.skip(distance, ask),
                    }
                    self.touched.insert(id);
                }
            }
            Wants::Store(query) => self.stored(query, pending.is_late, false),
            Wants::Table | Wants::Repair => {}
        }
    }

    /// A peer has confirmed that it stores something, or it has failed to. The query does not wait for a late answer any more,
    /// but counts it.
    fn stored(&mut self, query: QueryId, is_late: bool, confirmed: bool) {
        let stage = self.queries.get_mut(&query).map(|query| &mut query.stage);
        if let Some(Stage::Storing {
            waiting, stored, ..
        }) = stage
        {
            *waiting = waiting.saturating_sub(usize::from(!is_late));
            *stored += usize::from(confirmed);
            self.touched.insert(query);
        }
    }
}
