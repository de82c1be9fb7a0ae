//! The answers of peers: what a lookup learns from them, and how their senders enter the routing table.

use std::time::Instant;

use super::{
    Kad,
    key::{Distance, Key},
    lookup::Ask,
    message::{MAX_ADDRESSES, PeerInfo, Response},
    query::{Kind, Stage},
    table::Changed,
    view::{KadEvent, QueryId},
};

impl<Id: Clone + Ord + Into<Vec<u8>>, A: Clone + PartialEq> Kad<Id, A> {
    /// An answer for a lookup. `remote` is the address of the peer on its connection.
    pub(super) fn look(
        &mut self,
        id: QueryId,
        (distance, ask): (Distance, Ask),
        peer: &PeerInfo<Id, A>,
        remote: Option<&A>,
        response: Response<Id, A>,
    ) {
        let (record, providers, closer) = match response {
            Response::FindNode { closer } => (None, Vec::new(), closer),
            Response::GetValue { record, closer } => (record, Vec::new(), closer),
            Response::GetProviders { providers, closer } => (None, providers, closer),
            Response::Empty | Response::PutValue { .. } => return,
        };
        let shown = match distance == Distance::ZERO {
            true => self.shown(peer, remote),
            false => Vec::new(),
        };
        let (place, preset) = (self.place, self.config.preset);
        let from = remote.map(place);
        let accepts = |address: &A| preset.accepts(place(address).named_by(from));
        let accepts_any = |address: &A| preset.accepts_provider(place(address).named_by(from));
        let Some(query) = self.queries.get_mut(&id) else {
            return;
        };
        if matches!(query.kind, Kind::Find { .. }) {
            // The peer may be behind a relay.
            query.note_named(distance, &usable(closer.clone(), accepts_any));
        }
        if let Kind::Find {
            reached, addresses, ..
        } = &mut query.kind
            && distance == Distance::ZERO
        {
            *reached = true;
            if !shown.is_empty() {
                *addresses = shown;
            }
        }
        if let Stage::Looking(lookup) = &mut query.stage {
            lookup.answered(distance, ask, usable(closer, accepts));
        }
        query.note_providers(distance, usable(providers, accepts_any));
        if let (Kind::Get(values), Some(record)) = (&mut query.kind, record)
            && record.key == query.key
            && record.fits()
            && self.names.is_valid(&record.key, &record.value)
        {
            values.add(Some(peer.clone()), record, &self.names);
        }
        self.touched.insert(id);
    }

    /// A peer has answered: it enters the routing table, if it has an address that counts.
    pub(super) fn heard(&mut self, now: Instant, peer: &PeerInfo<Id, A>, remote: Option<&A>) {
        let addresses = self.shown(peer, remote);
        let Some(first) = addresses.first() else {
            return;
        };
        let subnet = self
            .config
            .preset
            .subnet(Some((self.place)(remote.unwrap_or(first))));
        let key = Key::of(peer.id.clone().into());
        let changed =
            self.table
                .answered(now, key, PeerInfo::new(peer.id.clone(), addresses), subnet);
        self.note(now, changed);
        if self.table.get(&key).is_some() {
            self.peers.answered(&peer.id);
            self.upkeep.answered();
            self.touch_waiting();
        }
    }

    /// The addresses of a peer that has answered: the one at which it was reached and those that the peer itself has told, or
    /// else those that others have named.
    fn shown(&self, peer: &PeerInfo<Id, A>, remote: Option<&A>) -> Vec<A> {
        let (place, preset) = (self.place, self.config.preset);
        let accepts = |address: &&A| preset.accepts(place(address));
        let told = self.peers.addresses(&peer.id).iter().filter(accepts);
        let hearsay = peer.addresses.iter().filter(accepts);
        let reached = hearsay.clone().find(|address| Some(*address) == remote);
        let others = hearsay.filter(|_| told.clone().next().is_none());
        distinct(reached.into_iter().chain(told.clone()).chain(others))
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

/// The first 8 different addresses.
pub(super) fn distinct<'a, A: Clone + PartialEq + 'a>(
    addresses: impl Iterator<Item = &'a A>,
) -> Vec<A> {
    let mut distinct: Vec<A> = Vec::new();
    for address in addresses {
        if distinct.len() < MAX_ADDRESSES && !distinct.contains(address) {
            distinct.push(address.clone());
        }
    }
    distinct
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
