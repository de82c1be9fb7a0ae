//! Candidates, and what a source reports.

use std::fmt;

/// A peer that may be dialed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate<Id, A> {
    /// The peer that must answer. `None`: any peer at the addresses may answer.
    pub peer: Option<Id>,
    /// Where the peer may be reached, the best address first. The core keeps [`crate::RejoinConfig::max_addresses`] of them.
    pub addresses: Vec<A>,
    /// The kind of source that named the peer.
    pub origin: Origin,
}

impl<Id, A> Candidate<Id, A> {
    /// A candidate.
    pub fn new(peer: Option<Id>, addresses: Vec<A>, origin: Origin) -> Self {
        Self {
            peer,
            addresses,
            origin,
        }
    }
}

/// The kind of source that named a candidate, in the order of trust. A less trusted origin never displaces an address or a
/// candidate of a more trusted origin. A source of the host's own uses [`Origin::Other`], unless another origin fits better.
///
/// These origins also change when a candidate is dialed. All others differ in their trust only:
///
/// | origin | dials |
/// | --- | --- |
/// | `Kept` | even if enough peers are connected |
/// | `List`, `File`, `DnsAddr` | at first later than other peers ([`crate::RejoinConfig::list_delay`]), and slowly after a loss |
/// | `Claimed` | slowly after a loss |
///
/// Slowly means without the quick pace of [`crate::RejoinConfig::lost_cap`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Origin {
    /// The user, who wants a connection to this peer at all times.
    Kept,
    /// The bootstrap list of the configuration.
    List,
    /// A file with a bootstrap list.
    File,
    /// A bootstrap list in the DNS.
    DnsAddr,
    /// An earlier run of this node, whose connection to the peer lasted.
    Saved,
    /// The peer itself, over a connection.
    Peer,
    /// The local network.
    Lan,
    /// The routing table of a DHT.
    Routing,
    /// The peer itself, for an address at which no connection has shown the peer. The address may belong to somebody else. A
    /// candidate that has only such addresses is forgotten a day after the peer was last connected.
    Claimed,
    /// A third party.
    Other,
}

impl Origin {
    /// Whether many nodes have the same candidates from this origin and may lose them at the same time.
    pub fn is_shared(self) -> bool {
        matches!(self, Self::List | Self::File | Self::DnsAddr)
    }

    /// Whether an address of this origin may be dialed at the quick pace after a loss, and saved. A peer could otherwise aim
    /// both at the hosts of others.
    pub(crate) fn is_shown(self) -> bool {
        self != Self::Claimed
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kept => "keep",
            Self::List => "list",
            Self::File => "file",
            Self::DnsAddr => "dnsaddr",
            Self::Saved => "saved",
            Self::Peer => "peer",
            Self::Lan => "lan",
            Self::Routing => "routing",
            Self::Claimed => "claimed",
            Self::Other => "other",
        })
    }
}

/// A finding of a source.
#[derive(Debug)]
#[non_exhaustive]
pub enum Found<Id, A> {
    /// A candidate, or more addresses of one.
    Candidate(Candidate<Id, A>),
    /// The source no longer names these addresses of a peer. If no origin names any address, the candidate is forgotten.
    Withdrawn(Candidate<Id, A>),
    /// The source has a problem that the user should know, such as a line without a valid address.
    Problem(crate::SourceError),
}

/// How many further peers the node is looking for. A source may search more often while many peers are needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Need {
    /// How many peers are missing to reach [`crate::RejoinConfig::target`].
    pub peers: usize,
    /// Whether no peer is connected.
    pub isolated: bool,
}

impl Need {
    /// A need, for the tests of a source.
    pub fn new(peers: usize, isolated: bool) -> Self {
        Self { peers, isolated }
    }
}
