//! The requests of other peers, and the host's reports about these peers.

use std::time::Instant;

use super::{
    Kad,
    answers::usable,
    config::Mode,
    key::Key,
    message::{MAX_ADDRESSES, MAX_PROVIDER_KEY, PeerInfo, Request, Response},
    place::Place,
    store::Refusal,
    table::Entry,
};

/// The reply to a request. A host treats a variant that it does not know like [`Reply::Refuse`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reply<Id, A> {
    /// Send this answer.
    Answer(Response<Id, A>),
    /// Send nothing, because such a request has no answer. The stream stays open for the next request.
    Silence,
    /// Reset the stream.
    Refuse(Refusal),
}

impl<Id: Clone + Ord + Into<Vec<u8>>, A: Clone + PartialEq> Kad<Id, A> {
    /// A peer asks. `remote` is its address on the connection.
    pub fn handle_request(
        &mut self,
        now: Instant,
        from: &Id,
        remote: Option<&A>,
        request: Request<Id, A>,
    ) -> Reply<Id, A> {
        if !self.serving.serves() {
            return Reply::Refuse(Refusal::Client);
        }
        let response = match request {
            Request::Ping => Ok(Response::Empty),
            Request::FindNode { key } => Ok(Response::FindNode {
                closer: self.closer_with_target(from, &key),
            }),
            Request::GetValue { key } => {
                let record = self.own_value(now, &key);
                Ok(Response::GetValue {
                    record,
                    closer: self.closer(from, &key),
                })
            }
            Request::PutValue { record } => {
                let site = self.config.preset.site(remote.map(self.place));
                let stored = self
                    .values
                    .put(now, from, site, record.clone(), &self.names);
                stored.map(|()| Response::PutValue { record })
            }
            Request::GetProviders { key } if key.is_empty() || key.len() > MAX_PROVIDER_KEY => {
                Err(Refusal::Length)
            }
            Request::GetProviders { key } => {
                let providers = self.known_providers(now, &key);
                Ok(Response::GetProviders {
                    providers,
                    closer: self.closer(from, &key),
                })
            }
            Request::AddProvider { key, providers } => {
                return match self.add_provider(now, from, remote, &key, providers) {
                    Ok(()) => Reply::Silence,
                    Err(refusal) => Reply::Refuse(refusal),
                };
            }
        };
        match response {
            Ok(response) => Reply::Answer(response),
            Err(refusal) => Reply::Refuse(refusal),
        }
    }

    /// A connection to a peer is open, for a request or for any other purpose. `remote` is the peer's address, and `inbound` says
    /// whether the peer has dialed.
    pub fn handle_connected(&mut self, now: Instant, peer: &Id, remote: Option<&A>, inbound: bool) {
        self.peers.connect(peer, Key::of(peer.clone().into()));
        let preset = self.config.preset;
        // In the public network, a dial from a LAN does not show that others can reach this node.
        let remote = remote.map(self.place).filter(|at| preset.accepts(*at));
        if let Some(Place::Ip(remote)) = remote.filter(|_| inbound) {
            let own =
                self.local
                    .addresses
                    .iter()
                    .filter_map(|address| match (self.place)(address) {
                        Place::Ip(own) => Some(own),
                        _ => None,
                    });
            self.serving.handle_dialed(remote, own);
        }
        self.touch_waiting();
        self.settle(now);
    }

    /// A peer has sent its addresses and its protocols. `serves` is true if it serves the DHT. If the routing table has room for
    /// such a peer, the node checks whether the peer answers.
    pub fn handle_identified(&mut self, now: Instant, peer: &Id, addresses: Vec<A>, serves: bool) {
        let (place, preset) = (self.place, self.config.preset);
        let mut addresses = addresses;
        addresses.retain(|address| preset.accepts_provider(place(address)));
        addresses.truncate(MAX_ADDRESSES);
        self.peers.identify(peer, addresses.clone(), serves);
        let key = Key::of(peer.clone().into());
        addresses.retain(|address| preset.accepts(place(address)));
        if !serves {
            let changed = self.table.forget(&key);
            self.note(now, changed);
        } else if !addresses.is_empty()
            && self.table.wants(&key)
            && !self.is_asked(peer)
            && self.may_probe()
            && self.peers.begin_to_ask(now, peer)
        {
            self.probe(now, PeerInfo::new(peer.clone(), addresses));
        }
        self.settle(now);
    }

    /// The last connection to a peer is gone. The host reports each of its requests as failed, too.
    pub fn handle_disconnected(&mut self, now: Instant, peer: &Id) {
        self.peers.disconnect(peer);
        self.offers.wake();
        self.settle(now);
    }

    /// The connection to a peer is being probed (`probing` is true), or has passed the probe. During the probe, the requests to
    /// the peer count as failed, and no further requests are sent to it.
    pub fn handle_probing(&mut self, now: Instant, peer: &Id, probing: bool) {
        self.peers.suspect(peer, probing);
        match probing {
            true => self.lose_patience_with(peer),
            false => self.touch_waiting(),
        }
        self.settle(now);
    }

    /// The addresses at which this node can be reached.
    pub fn handle_addresses(&mut self, now: Instant, addresses: Vec<A>) {
        let (place, preset) = (self.place, self.config.preset);
        let ips = addresses.iter().filter_map(|address| match place(address) {
            Place::Ip(own) => Some(own),
            _ => None,
        });
        self.serving.handle_addresses(ips);
        let local = PeerInfo::new(self.local.id.clone(), addresses);
        let accepts = |address: &A| preset.accepts_provider(place(address));
        let local = usable(vec![local], accepts).pop();
        let local = local.unwrap_or_else(|| PeerInfo::new(self.local.id.clone(), Vec::new()));
        if local != self.local {
            self.local = local;
            self.published.readdress(now, self.config.refresh);
        }
        self.settle(now);
    }

    /// Whether peers can reach this node. `None`: the host does not know.
    pub fn handle_reachable(&mut self, now: Instant, reachable: Option<bool>) {
        self.serving.handle_reachable(reachable);
        self.settle(now);
    }

    /// Sets the mode.
    pub fn handle_mode(&mut self, now: Instant, mode: Mode) {
        self.serving.set_mode(mode);
        self.settle(now);
    }

    /// The network of this node has changed, or the host was asleep. Report new addresses first. The node looks up its
    /// neighbourhood again. If an address of the node is gone, the node forgets what it knows about its reachability.
    pub fn handle_changed(&mut self, now: Instant) {
        self.serving.handle_changed();
        self.upkeep.look_again(now);
        self.settle(now);
    }

    /// Empties the routing table. The node then fills it again with the help of the connected servers and the host.
    pub fn handle_reset(&mut self, now: Instant) {
        for peer in self.table.clear() {
            self.offers.left(&Key::of(peer.clone().into()));
            self.events.push_back(super::KadEvent::Left { peer });
        }
        self.upkeep.join_now(now);
        self.settle(now);
    }

    /// The nearest peers that this node knows, without the requester.
    fn closer(&self, from: &Id, key: &[u8]) -> Vec<PeerInfo<Id, A>> {
        let accepts = |entry: &Entry<Id, A>| !entry.is_failing() && entry.info.id != *from;
        let near = self.table.closest(&Key::of(key), self.config.k, accepts);
        near.into_iter().map(|entry| entry.info.clone()).collect()
    }

    /// The peer that is asked for comes first, even if it does not serve.
    fn closer_with_target(&self, from: &Id, key: &[u8]) -> Vec<PeerInfo<Id, A>> {
        let mut closer = self.closer(from, key);
        let target = Key::of(key);
        let known = match target == self.local_key {
            true => Some(self.local.clone()),
            false => self.peers.info(&target),
        };
        let first = closer.first().map(|first| first.id.clone());
        if let Some(known) =
            known.filter(|known| known.id != *from && Some(&known.id) != first.as_ref())
            && !known.addresses.is_empty()
        {
            closer.insert(0, known);
            closer.truncate(self.config.k);
        }
        closer
    }

    fn known_providers(&mut self, now: Instant, key: &[u8]) -> Vec<PeerInfo<Id, A>> {
        let mut known = self
            .providers
            .get(now, key, self.config.k, self.jitter.next_u64());
        if self.published.provides(key) && !self.local.addresses.is_empty() {
            known.insert(0, self.local.clone());
            known.truncate(self.config.k);
        }
        known
    }

    /// Only the sender itself may be added.
    fn add_provider(
        &mut self,
        now: Instant,
        from: &Id,
        remote: Option<&A>,
        key: &[u8],
        providers: Vec<PeerInfo<Id, A>>,
    ) -> Result<(), Refusal> {
        let (place, preset) = (self.place, self.config.preset);
        let sender = providers
            .into_iter()
            .filter(|provider| provider.id == *from)
            .collect();
        let from = remote.map(place);
        let sender = usable(sender, |address| {
            preset.accepts_provider(place(address).named_by(from))
        });
        let sender = sender.into_iter().next().ok_or(Refusal::NotSender)?;
        let site = preset.site(remote.or(sender.addresses.first()).map(place));
        self.providers.add(now, key, sender, site)
    }
}
