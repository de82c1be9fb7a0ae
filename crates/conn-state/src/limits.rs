//! Admission of connections by counts and rates, and the choice of the connections that the host closes for new ones.

mod addresses;
mod counts;
mod handshakes;
mod origin;
mod places;
mod protection;
mod ranked;

use std::{
    collections::{BTreeMap, VecDeque},
    net::IpAddr,
    time::Instant,
};

use self::{
    addresses::Addresses,
    counts::decrease,
    handshakes::Handshakes,
    origin::{Admitted, Group, Origin},
    places::Places,
};
use crate::{Closing, LimitsConfig, Refused, Usage};

/// Decides whether a new connection (the newcomer) is admitted, and which connection the host closes for it.
///
/// `Id` names a connection and `Peer` names a peer; both types are the host's choice.
///
/// - If the pool of handshakes is full, the newcomer displaces the oldest silent handshake of the subnet that has the most
///   handshakes. A flood from one subnet therefore does not lock out other subnets. The fuller the pool is, the less time a
///   handshake has.
/// - If all places for connections are taken, a newcomer whose handshake has succeeded displaces a connection. The displaced
///   connection has been idle for [`LimitsConfig::trim_idle`], and its peer is not protected. Newcomers that never finish a
///   handshake displace no connection whose handshake has succeeded.
///
/// [`Self::poll_action`] returns the displaced connections. The limits no longer count them. While the host has yet to close
/// [`LimitsConfig::max_handshaking`] of them, newcomers are refused.
///
/// There is no timeout to call: a handshake that takes longer than [`LimitsConfig::handshake`] is displaced when the next
/// newcomer arrives. The host needs a timeout of its own for a handshake.
///
/// ```
/// use std::time::{Duration, Instant};
/// use conn_state::{Closing, Limits, LimitsConfig, Usage};
///
/// let (now, second) = (Instant::now(), Duration::from_secs(1));
/// let config = LimitsConfig::default().with_max_inbound(1).with_trim_idle(Some(10 * second));
/// let mut limits = Limits::new(config);
/// let usage = Usage::new(now);
/// limits.handle_inbound(now, 1, "192.0.2.1".parse()?)?;
/// limits.handle_authenticated(now, 1, "bob", &usage)?;
///
/// // Bob's connection has been idle for 10 s, so a newcomer displaces it once the newcomer's handshake succeeds.
/// let (now, carols) = (now + 10 * second, Usage::new(now + 10 * second));
/// limits.handle_inbound(now, 2, "198.51.100.1".parse()?)?;
/// assert_eq!(limits.poll_action(), None);
/// let admitted = limits.handle_authenticated(now, 2, "carol", &carols);
/// // The host carries out the actions before it looks at the result.
/// while let Some((id, closing)) = limits.poll_action() {
///     assert_eq!((id, closing), (1, Closing::Trimmed));
///     // The host closes the connection, and reports its end.
///     limits.handle_closed(id);
/// }
/// admitted?;
/// carols.handle_opened(); // The host keeps `carols` and reports the streams, so that the connection is not displaced.
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Limits<Id, Peer> {
    config: LimitsConfig,
    pub(crate) connections: BTreeMap<Id, Admitted<Peer>>,
    handshakes: Handshakes<Id, Group<Peer>>,
    places: Places<Id, Group<Peer>>,
    pub(crate) addresses: Addresses,
    /// The inbound connections of each group. No entry is zero.
    pub(crate) groups: BTreeMap<Group<Peer>, usize>,
    pub(crate) peers: BTreeMap<Peer, usize>,
    /// How often each peer is protected. No entry is zero.
    protected: BTreeMap<Peer, usize>,
    /// Displaced connections that are not closed yet.
    leaving: usize,
    actions: VecDeque<(Id, Closing)>,
}

impl<Id: Ord + Copy, Peer: Ord + Clone> Limits<Id, Peer> {
    /// The limits of a host without connections.
    pub fn new(config: LimitsConfig) -> Self {
        Self {
            config,
            connections: BTreeMap::new(),
            handshakes: Handshakes::default(),
            places: Places::default(),
            addresses: Addresses::default(),
            groups: BTreeMap::new(),
            peers: BTreeMap::new(),
            protected: BTreeMap::new(),
            leaving: 0,
            actions: VecDeque::new(),
        }
    }

    /// A connection comes in from `address`. Its peer is not known yet.
    ///
    /// Report the connection once the transport has validated the address, because anyone can forge a source address.
    ///
    /// # Errors
    ///
    /// The first limit that is reached, unless another connection can be displaced. A refused connection counts towards no
    /// limit and uses no rate token. A call that refuses the connection may still displace handshakes that took too long. Their
    /// actions wait until [`Self::poll_action`] is called again, so an early return such as `?` only delays their end.
    /// After any error, the host reports nothing more about the connection. [`Refused::IdInUse`] changes nothing: the id belongs to
    /// another connection, and [`Self::handle_closed`] would release that one.
    pub fn handle_inbound(&mut self, now: Instant, id: Id, address: IpAddr) -> Result<(), Refused> {
        let origin = Origin::at(address, &self.config);
        self.begin(now, id, origin)
    }

    /// A circuit comes in through `relay`. The peer at its other end is not known yet.
    ///
    /// # Errors
    ///
    /// As [`Self::handle_inbound`].
    pub fn handle_circuit(&mut self, now: Instant, id: Id, relay: Peer) -> Result<(), Refused> {
        self.begin(now, id, Origin::through(relay))
    }

    /// This host dials connection `id`. The limit per peer applies once the peer is known. A dial that fails ends with
    /// [`Self::handle_closed`].
    ///
    /// # Errors
    ///
    /// [`Refused::IdInUse`]. The host then reports nothing more about this dial.
    pub fn handle_dialing(&mut self, id: Id) -> Result<(), Refused> {
        self.check_new(id)?;
        self.connections.insert(id, Admitted::new(None, None));
        Ok(())
    }

    /// The other end has sent a message that advanced the handshake of `id`. A newcomer displaces this handshake only after the
    /// silent handshakes of its subnet. A host whose transport does not report progress need not call this method.
    pub fn handle_advanced(&mut self, id: Id) {
        self.handshakes.advance(id);
    }

    /// The handshake of `id` has shown that `peer` is at the other end. The connection was reported by [`Self::handle_inbound`],
    /// [`Self::handle_circuit`] or [`Self::handle_dialing`].
    ///
    /// A peer may have twice [`LimitsConfig::max_per_peer`] connections and one more, because a new connection may replace a
    /// connection that is dead or that the peer does not want to keep. The tracker
    /// [decides](crate::TrackerConfig::max_per_peer) which of these connections stay.
    ///
    /// # Errors
    ///
    /// [`Refused::TooManyToPeer`], [`Refused::TooManyInbound`] and [`Refused::Displaced`]. [`Refused::UnknownId`] if `id` was
    /// not reported or has ended, and [`Refused::IdInUse`] if another peer is at its other end; both change nothing. After each
    /// error of this method, the host closes the connection and reports [`Self::handle_closed`].
    pub fn handle_authenticated(
        &mut self,
        now: Instant,
        id: Id,
        peer: Peer,
        usage: &Usage,
    ) -> Result<(), Refused> {
        let group = match self.connections.get(&id) {
            None => return Err(Refused::UnknownId),
            Some(admitted) if admitted.is_leaving => return Err(Refused::Displaced),
            Some(admitted) => match &admitted.peer {
                Some(known) if *known == peer => return Ok(()),
                Some(_) => return Err(Refused::IdInUse),
                None => admitted.origin.as_ref().map(|origin| origin.group.clone()),
            },
        };
        self.check_peer(&peer)?;
        if let Some(group) = group {
            self.make_place(now)?;
            self.handshakes.remove(id);
            self.places.insert(now, id, group, usage.clone());
        }
        if let Some(admitted) = self.connections.get_mut(&id) {
            admitted.peer = Some(peer.clone());
        }
        *self.peers.entry(peer).or_default() += 1;
        Ok(())
    }

    /// An inbound connection has finished its handshake, and the handshake has proved `address`. Use this method for a connection
    /// that was never in the pool of handshakes.
    ///
    /// # Errors
    ///
    /// As [`Self::handle_inbound`], and [`Refused::TooManyToPeer`]. After any error, the host reports nothing more.
    pub fn handle_inbound_authenticated(
        &mut self,
        now: Instant,
        id: Id,
        address: IpAddr,
        peer: Peer,
        usage: &Usage,
    ) -> Result<(), Refused> {
        let origin = Origin::at(address, &self.config);
        self.check_new(id)?;
        self.check_group(&origin)?;
        let full_at = self.check_address(now, &origin)?;
        self.check_peer(&peer)?;
        self.make_place(now)?;
        self.places
            .insert(now, id, origin.group.clone(), usage.clone());
        *self.peers.entry(peer.clone()).or_default() += 1;
        self.admit(now, id, origin, full_at, Some(peer));
        Ok(())
    }

    /// The connection is gone, in its handshake or later, or its dial has failed. An unknown `id` changes nothing.
    pub fn handle_closed(&mut self, id: Id) {
        match self.connections.get(&id) {
            Some(admitted) if admitted.is_leaving => self.leaving -= 1,
            Some(_) => self.release(id),
            None => return,
        }
        self.connections.remove(&id);
    }

    /// The next connection that the host must close, and the reason. Call this until it returns `None` after each
    /// `handle_*`. The host reports [`Self::handle_closed`] for each of these connections.
    pub fn poll_action(&mut self) -> Option<(Id, Closing)> {
        self.actions.pop_front()
    }

    /// The number of inbound connections that count, including handshaking ones.
    pub fn inbound(&self) -> usize {
        self.places.len() + self.handshakes.len()
    }

    /// The number of inbound connections in their handshake.
    pub fn handshaking(&self) -> usize {
        self.handshakes.len()
    }

    /// The number of remembered addresses.
    pub fn tracked_addresses(&self) -> usize {
        self.addresses.len()
    }

    /// The number of connections that the searches for an idle connection have checked.
    #[cfg(test)]
    pub(crate) fn looked_at(&self) -> usize {
        self.places.looked_at
    }

    /// Admits a connection to the pool of handshakes.
    fn begin(&mut self, now: Instant, id: Id, origin: Origin<Peer>) -> Result<(), Refused> {
        self.check_new(id)?;
        let limit = self.config.max_handshaking;
        // The last one is for a newcomer that is admitted. A host that calls `poll_action` after each admission therefore never
        // refuses all newcomers, even if it does not call it after a refusal.
        while self.leaving + 1 < limit
            && let Some(late) = self.handshakes.overdue(now, &self.config)
        {
            self.displace(late, Closing::TooLongTransient);
        }
        if limit == 0 {
            return Err(Refused::TooManyHandshakes { limit });
        }
        if self.leaving >= limit {
            return Err(Refused::TooManyUnclosed { limit });
        }
        // A connection that would find no place after its handshake is refused before it.
        if self.places.len() >= self.config.max_inbound && self.longest_idle(now).is_none() {
            let limit = self.config.max_inbound;
            return Err(Refused::TooManyInbound { limit });
        }
        let group = &origin.group;
        let in_group = self.handshakes.len_of(group);
        let mut victim = None;
        let room = self.check_group(&origin);
        let room = room.and_then(|()| origin.check_handshakes(in_group, &self.config));
        if let Err(refused) = room {
            victim = Some(self.handshakes.head_of(group).ok_or(refused)?);
        } else if self.handshakes.len() >= limit {
            victim = self.handshakes.head_for(group);
        }
        let full_at = self.check_address(now, &origin)?;
        if let Some(victim) = victim {
            self.displace(victim, Closing::Displaced);
        }
        self.handshakes.insert(now, id, origin.group.clone());
        self.admit(now, id, origin, full_at, None);
        Ok(())
    }

    fn admit(
        &mut self,
        now: Instant,
        id: Id,
        origin: Origin<Peer>,
        full_at: Instant,
        peer: Option<Peer>,
    ) {
        if let Some(household) = origin.household {
            self.addresses.admit(now, household, full_at);
        }
        *self.groups.entry(origin.group.clone()).or_default() += 1;
        self.connections
            .insert(id, Admitted::new(Some(origin), peer));
    }

    fn check_new(&self, id: Id) -> Result<(), Refused> {
        match self.connections.contains_key(&id) {
            true => Err(Refused::IdInUse),
            false => Ok(()),
        }
    }

    fn check_group(&self, origin: &Origin<Peer>) -> Result<(), Refused> {
        let open = self.groups.get(&origin.group).copied().unwrap_or(0);
        origin.check_open(open, &self.config)
    }

    fn check_address(&mut self, now: Instant, origin: &Origin<Peer>) -> Result<Instant, Refused> {
        match origin.household {
            Some(household) => self.addresses.check(now, household, &self.config),
            None => Ok(now),
        }
    }

    fn check_peer(&self, peer: &Peer) -> Result<(), Refused> {
        let limit = match self.config.max_per_peer {
            0 => 0,
            kept => kept.saturating_mul(2).saturating_add(1),
        };
        let open = self.peers.get(peer).copied().unwrap_or(0);
        match open >= limit {
            true => Err(Refused::TooManyToPeer { limit }),
            false => Ok(()),
        }
    }

    /// Makes room for one more connection after its handshake, if necessary.
    fn make_place(&mut self, now: Instant) -> Result<(), Refused> {
        let limit = self.config.max_inbound;
        if self.places.len() < limit {
            return Ok(());
        }
        let is_crowded = self.leaving >= self.config.max_handshaking;
        let idle = self.longest_idle(now).filter(|_| !is_crowded);
        let idle = idle.ok_or(Refused::TooManyInbound { limit })?;
        self.displace(idle, Closing::Trimmed);
        Ok(())
    }

    fn longest_idle(&mut self, now: Instant) -> Option<Id> {
        let (connections, protected) = (&self.connections, &self.protected);
        let is_protected = |id: &Id| {
            let peer = connections.get(id).and_then(|one| one.peer.as_ref());
            peer.is_some_and(|peer| protected.contains_key(peer))
        };
        let after = self.config.trim_idle?;
        self.places.longest_idle(now, after, is_protected)
    }

    /// Displaces a connection: the host must close it, and no limit counts it any more.
    fn displace(&mut self, id: Id, closing: Closing) {
        self.release(id);
        if let Some(admitted) = self.connections.get_mut(&id) {
            admitted.is_leaving = true;
            self.leaving += 1;
        }
        self.actions.push_back((id, closing));
    }

    /// Stops counting the connection towards the limits.
    fn release(&mut self, id: Id) {
        self.handshakes.remove(id);
        self.places.remove(id);
        let Some(admitted) = self.connections.get(&id) else {
            return;
        };
        if let Some(origin) = &admitted.origin {
            if let Some(household) = origin.household {
                self.addresses.close(household);
            }
            decrease(&mut self.groups, origin.group.clone());
        }
        if let Some(peer) = &admitted.peer {
            decrease(&mut self.peers, peer.clone());
        }
    }
}
