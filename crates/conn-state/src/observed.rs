//! The addresses at which peers observe this host, and the choice of those that the host may announce.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::{Duration, Instant},
};

use crate::{ConnectionId, Prefix};

/// The observation of one peer: the address at which the peer sees this host.
#[derive(Debug, Clone)]
pub struct Observation<Id, A> {
    /// The host's number of the listener whose socket the connection uses.
    pub listener: u64,
    /// The peer that reports the address.
    pub observer: Id,
    /// The connection over which the peer reports the address.
    pub connection: ConnectionId,
    /// The peer's own IP address.
    pub from: IpAddr,
    /// The address at which the peer sees this host.
    pub address: A,
}

/// Collects the observations of peers, and chooses the addresses on which enough networks agree.
///
/// `Id` names a peer and `A` is an address; both are the host's. An address must have one spelling, because two spellings count as
/// two addresses. The observation of one peer proves nothing, and one machine can pretend to be many peers. An address is therefore
/// announced when peers in [`Self::QUORUM`] different networks report it for the same listener. The host decides which observations
/// it passes on. Bowline passes on only public addresses that public peers report.
///
/// A network is an IPv4 /24 or an IPv6 /32. Internet routers forward no IPv4 network that is smaller than a /24. A provider gets an
/// IPv6 /32 or more from its registry, and each of its customers gets a /48 on request. One customer can have several /48
/// networks, but four /32 networks usually belong to four providers. An attacker with addresses in four networks can nevertheless
/// make the host announce a false address. Only a dial from outside proves an address.
///
/// An observation counts while its connection is open, and for [`Self::TTL`] afterwards.
///
/// | bound | value | beyond the bound |
/// | --- | --- | --- |
/// | observations per peer and listener | 1, from its latest connection | the older observation is forgotten |
/// | observations per network and listener | 4 | the new observation replaces one whose connection has ended, or is ignored |
/// | observations in all | 1,024 | the new observation replaces one whose connection has ended, or is ignored |
/// | announced addresses per listener | 3 | the addresses that the fewest networks report are left out |
///
/// ```
/// use std::time::Instant;
/// use conn_state::{ConnectionId, Observation, ObservedAddresses};
///
/// let now = Instant::now();
/// let mut observed = ObservedAddresses::default();
/// for n in 1..=4 {
///     assert!(observed.addresses().is_empty());
///     observed.handle_observed(now, Observation {
///         listener: 0,
///         observer: format!("peer {n}"),
///         connection: ConnectionId::from_u64(n),
///         from: format!("192.0.{n}.1").parse().unwrap(),
///         address: "198.51.100.7:4077",
///     });
/// }
/// assert_eq!(observed.addresses(), ["198.51.100.7:4077"]);
/// ```
#[derive(Debug)]
pub struct ObservedAddresses<Id, A> {
    reports: BTreeMap<(u64, Id), Report<A>>,
}

/// The latest observation of one peer about one listener.
#[derive(Debug)]
struct Report<A> {
    address: A,
    network: Prefix,
    connection: ConnectionId,
    /// When the connection ended. `None`: it is open.
    ended: Option<Instant>,
}

const PER_NETWORK: usize = 4;
const MAX_REPORTS: usize = 1_024;
const PER_LISTENER: usize = 3;

impl<Id, A> Default for ObservedAddresses<Id, A> {
    fn default() -> Self {
        let reports = BTreeMap::new();
        Self { reports }
    }
}

impl<Id: Ord + Clone, A: Ord + Clone> ObservedAddresses<Id, A> {
    /// The number of networks that must report an address. go-libp2p also requires four observers, but counts an IPv4 address
    /// or an IPv6 /56 as one.
    pub const QUORUM: usize = 4;
    /// How long an observation counts after its connection has ended.
    pub const TTL: Duration = Duration::from_secs(600);

    /// A peer has reported where it sees this host. Its earlier observation about the same listener no longer counts.
    pub fn handle_observed(&mut self, now: Instant, observation: Observation<Id, A>) {
        self.handle_timeout(now);
        let Observation {
            listener,
            observer,
            connection,
            from,
            address,
        } = observation;
        self.handle_withdrawn(now, listener, &observer);
        let network = Prefix::provider(from);
        let of_network =
            |key: &(u64, Id), report: &Report<A>| key.0 == listener && report.network == network;
        if self.make_room(PER_NETWORK, of_network) && self.make_room(MAX_REPORTS, |_, _| true) {
            let report = Report {
                address,
                network,
                connection,
                ended: None,
            };
            self.reports.insert((listener, observer), report);
        }
    }

    /// The observation of this peer about the listener no longer counts, because the peer has reported something that does not
    /// count.
    pub fn handle_withdrawn(&mut self, now: Instant, listener: u64, observer: &Id) {
        self.handle_timeout(now);
        self.reports.remove(&(listener, observer.clone()));
    }

    /// A connection has ended.
    pub fn handle_disconnected(&mut self, now: Instant, connection: ConnectionId) {
        for report in self.reports.values_mut() {
            if report.connection == connection {
                report.ended.get_or_insert(now);
            }
        }
    }

    /// Forgets the observations that have expired.
    pub fn handle_timeout(&mut self, now: Instant) {
        let counts = |report: &Report<A>| report.ended.is_none_or(|ended| now < ended + Self::TTL);
        self.reports.retain(|_, report| counts(report));
    }

    /// When to call [`Self::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        let ended = self.reports.values().filter_map(|report| report.ended);
        ended.min().map(|ended| ended + Self::TTL)
    }

    /// The addresses to announce: those of each listener in the order of the listeners' numbers, most networks first.
    pub fn addresses(&self) -> Vec<A> {
        let mut networks: BTreeMap<(u64, &A), BTreeSet<Prefix>> = BTreeMap::new();
        for ((listener, _), report) in &self.reports {
            let of_address = networks.entry((*listener, &report.address)).or_default();
            of_address.insert(report.network);
        }
        let mut agreed: Vec<(u64, usize, &A)> = networks
            .into_iter()
            .map(|((listener, address), networks)| (listener, networks.len(), address))
            .filter(|(_, networks, _)| *networks >= Self::QUORUM)
            .collect();
        agreed.sort_by_key(|(listener, networks, _)| (*listener, usize::MAX - networks));
        let mut chosen = Vec::new();
        for of_listener in agreed.chunk_by(|a, b| a.0 == b.0) {
            let best = of_listener.iter().take(PER_LISTENER);
            chosen.extend(best.map(|(_, _, address)| (*address).clone()));
        }
        chosen
    }

    /// Whether there is room for one more among the reports that `counts` selects, of which at most `most` may exist. Forgets the
    /// report whose connection ended first if that makes room.
    fn make_room(&mut self, most: usize, counts: impl Fn(&(u64, Id), &Report<A>) -> bool) -> bool {
        let counted = self
            .reports
            .iter()
            .filter(|(key, report)| counts(key, report));
        if counted.clone().count() < most {
            return true;
        }
        let ended = counted.filter_map(|(key, report)| Some((report.ended?, key.clone())));
        match ended.min() {
            Some((_, key)) => self.reports.remove(&key).is_some(),
            None => false,
        }
    }
}
