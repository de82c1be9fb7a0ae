//! The figures of the core, each with its reason and unit.

use std::time::Duration;

/// When and how often [`crate::Rejoin`] dials, and what counts as joined.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RejoinConfig {
    /// The ceiling of a peer's first delay. It doubles with each dial of the peer. Default 0.25 s, which is longer than most
    /// round trips.
    pub base: Duration,
    /// The longest delay for a peer that was lost a short time ago. Default 1.5 s: a peer that restarts is dialed within 1.5 s
    /// after it is up again.
    pub lost_cap: Duration,
    /// How long after its loss a peer is dialed at the pace of [`Self::lost_cap`]. Default 2 min: most restarts and network
    /// failures are over by then.
    pub lost_window: Duration,
    /// How many lost peers are dialed at the pace of [`Self::lost_cap`] at the same time, in addition to the peers to keep.
    /// Default 16: about 21 dials per second if all of them are gone. A further lost peer displaces the one that was lost first.
    pub max_lost: usize,
    /// The longest delay while no peer is connected. Default 10 s: a network that comes back is found within 10 s, and a
    /// bootstrap peer with 10,000 waiting nodes gets 2,000 dials per second.
    pub isolated_cap: Duration,
    /// The longest delay in all other cases. Default 300 s: a peer that is away for a long time costs little.
    pub cap: Duration,
    /// How long a connection must last to reset the backoff of its peer. Default 10 s. Peers that accept a connection only to
    /// close it do so sooner.
    pub lasted: Duration,
    /// How long a connection must last to count for [`Self::wanted`]. Default 3 s: longer than the exchange of a bootstrap
    /// peer that closes afterwards, and short enough that two nodes that know only each other are joined within 10 s. A
    /// connection that has lasted for half of it ends [`crate::State::Isolated`], so that a peer that connects for a moment does not
    /// change the state.
    pub settled: Duration,
    /// The number of settled peers from which on the node is [`crate::State::Joined`]. This figure only decides what the node
    /// reports. [`Self::target`] decides how many peers it dials. Default 1: two nodes that know only each other are a network.
    pub wanted: usize,
    /// The number of connected peers up to which the core dials candidates. [`Self::wanted`] decides what the node reports.
    /// Default 8: the loss of a few peers does not isolate the node. The core dials lost peers and peers to keep even if the
    /// target is reached. With a target below [`Self::wanted`], the node may never be joined. Zero: the core dials only
    /// lost peers and peers to keep.
    pub target: usize,
    /// How long a dial may take. Default 3 s: a dial that has lost its first packet needs about 1 s more, and a longer dial would
    /// only repeat its packets at growing intervals.
    pub attempt: Duration,
    /// How many dials may be in flight. Default 64: [`Self::max_lost`] × [`Self::max_per_peer`], so that lost peers which do
    /// not answer never delay each other.
    pub max_in_flight: usize,
    /// How many dials of one peer may be in flight. Default 4, because four mean delays of a lost peer are as long as a dial. A
    /// further dial of the peer abandons the oldest dial.
    pub max_per_peer: usize,
    /// The mean time between the starts of ordinary dials. Default 50 ms, which is 20 dials per second. That is the pace of 100
    /// candidates whose dials fail at once while no peer is connected. If there are more candidates, the one that has waited
    /// longest is first. A source that names many candidates therefore does not make the node send more. Three kinds of dials do
    /// not count: dials of lost peers, which [`Self::max_lost`] and [`Self::lost_cap`] bound; dials of the peers to keep, each at
    /// the pace of its backoff; and the dials that the user wants ([`crate::Rejoin::handle_user_dial`]).
    pub dial_interval: Duration,
    /// How many ordinary dials may start without a pause, if none has started for some time. Default 64, which is
    /// [`Self::max_in_flight`]: the pace does not slow down a start or a change of the network.
    pub dial_burst: u32,
    /// How many candidates are kept. Default 1,024: more than a node dials in an hour.
    pub max_candidates: usize,
    /// How many addresses of a candidate are kept and dialed at once. Default 8: a few transports with two address families each. Where
    /// there is no room, a new address displaces one of a less trusted origin, or one that is out of date.
    pub max_addresses: usize,
    /// How long a candidate of the bootstrap list waits at first if peers of another origin are known. Default 0.5 s. Saved
    /// peers and peers on the LAN are often connected by then, and spare the bootstrap peers the load.
    pub list_delay: Duration,
    /// The shortest time between two redials for a change of the network. Default 1 s, so that an interface that flaps does not
    /// cause a storm of dials.
    pub change_gap: Duration,
}

impl Default for RejoinConfig {
    fn default() -> Self {
        Self {
            base: Duration::from_millis(250),
            lost_cap: Duration::from_millis(1500),
            lost_window: Duration::from_secs(120),
            max_lost: 16,
            isolated_cap: Duration::from_secs(10),
            cap: Duration::from_secs(300),
            lasted: Duration::from_secs(10),
            settled: Duration::from_secs(3),
            wanted: 1,
            target: 8,
            attempt: Duration::from_secs(3),
            max_in_flight: 64,
            max_per_peer: 4,
            dial_interval: Duration::from_millis(50),
            dial_burst: 64,
            max_candidates: 1024,
            max_addresses: 8,
            list_delay: Duration::from_millis(500),
            change_gap: Duration::from_secs(1),
        }
    }
}

impl RejoinConfig {
    /// Sets [`Self::base`].
    pub fn with_base(mut self, base: Duration) -> Self {
        self.base = base;
        self
    }

    /// Sets [`Self::isolated_cap`] and [`Self::cap`].
    pub fn with_caps(mut self, isolated: Duration, otherwise: Duration) -> Self {
        (self.isolated_cap, self.cap) = (isolated, otherwise);
        self
    }

    /// Sets [`Self::lost_cap`], [`Self::lost_window`] and [`Self::max_lost`].
    pub fn with_lost(mut self, cap: Duration, window: Duration, max: usize) -> Self {
        (self.lost_cap, self.lost_window, self.max_lost) = (cap, window, max);
        self
    }

    /// Sets [`Self::settled`] and [`Self::lasted`].
    pub fn with_stays(mut self, settled: Duration, lasted: Duration) -> Self {
        (self.settled, self.lasted) = (settled, lasted);
        self
    }

    /// Sets [`Self::wanted`]. Set [`Self::target`] as well, if more peers are wanted than the target.
    pub fn with_wanted(mut self, peers: usize) -> Self {
        self.wanted = peers;
        self
    }

    /// Sets [`Self::target`].
    pub fn with_target(mut self, peers: usize) -> Self {
        self.target = peers;
        self
    }

    /// Sets [`Self::attempt`], [`Self::max_in_flight`] and [`Self::max_per_peer`].
    pub fn with_dials(mut self, attempt: Duration, in_flight: usize, per_peer: usize) -> Self {
        (self.attempt, self.max_in_flight, self.max_per_peer) = (attempt, in_flight, per_peer);
        self
    }

    /// Sets [`Self::dial_interval`] and [`Self::dial_burst`].
    pub fn with_pace(mut self, interval: Duration, burst: u32) -> Self {
        (self.dial_interval, self.dial_burst) = (interval, burst);
        self
    }

    /// Sets [`Self::max_candidates`] and [`Self::max_addresses`].
    pub fn with_candidates(mut self, candidates: usize, addresses: usize) -> Self {
        (self.max_candidates, self.max_addresses) = (candidates, addresses);
        self
    }

    /// Sets [`Self::list_delay`].
    pub fn with_list_delay(mut self, delay: Duration) -> Self {
        self.list_delay = delay;
        self
    }

    /// Sets [`Self::change_gap`].
    pub fn with_change_gap(mut self, gap: Duration) -> Self {
        self.change_gap = gap;
        self
    }
}
