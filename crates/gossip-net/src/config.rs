//! The figures of the cores, each with its reason and unit.

use std::time::Duration;

use crate::wire::MAX_IROH_CONTENT;

/// The settings of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// The ALPN of raw-key links to iroh. Default `/iroh-gossip/1`. The host offers this ALPN after `/bowline/gossip/1`.
    pub alpn: Vec<u8>,
    /// The longest content of a message in bytes, without overhead. Default 4,057: iroh-gossip refuses longer frames with its
    /// default settings. At most 1 MiB. All members of a topic need the same value.
    pub max_message_size: usize,
    /// The settings of the membership protocol.
    pub membership: MembershipConfig,
    /// The settings of the broadcast protocol.
    pub broadcast: BroadcastConfig,
    /// The maximum number of topics. Default 256.
    pub max_topics: usize,
    /// How many bytes of content may wait for a neighbour. Default 1 MiB. The node's own messages wait when a quarter is used, so
    /// that a burst of own messages leaves room for the messages of other peers. When three quarters are used, the neighbour gets
    /// ids instead of contents, so the queue never holds more than three quarters and one message.
    pub max_queue_bytes: usize,
    /// The time after which the node evicts a neighbour that reads nothing from a queue that is not empty. Default 3 s.
    pub stall_timeout: Duration,
    /// How many dials may be in flight. Default 8. Further dials wait. Two of the dials, and 16 of 64 waiting places, are
    /// reserved for peers that the host has named.
    pub max_dials: usize,
    /// How long a dial may take. Default 5 s.
    pub dial_timeout: Duration,
    /// How many membership messages per second a peer may send, over all links together. Default 100, and four times as many at
    /// once. Further messages are dropped before they are decoded. All members need the same value: the node forwards half as
    /// many messages of others to each neighbour.
    pub max_control_rate: u32,
    /// How many invalid messages in a row a link may send before it is closed. Default 32.
    pub max_invalid: u32,
    /// How long a link between two Bowline peers stays open in silence after another link has replaced it. Default 1 s, and
    /// twice as long if the peer has sent nothing over the other link yet.
    pub drain_time: Duration,
    /// Like [`Self::drain_time`], for a link to iroh. Default 10 s, because iroh does not say which of two links it uses.
    pub iroh_drain_time: Duration,
}

/// The settings of the membership protocol, HyParView.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MembershipConfig {
    /// The maximum number of neighbours. Default 5, as in the paper and in iroh-gossip.
    pub max_active: usize,
    /// How many further peers a node remembers as possible neighbours. Default 30, as in the paper. The node also remembers up to
    /// the same number of peers that did not answer.
    pub max_passive: usize,
    /// How many steps the walk for a joining peer takes. Default 6, as in the paper.
    pub active_walk: u16,
    /// The number of remaining steps at which a walk adds the joining peer to the remembered peers. Default 3, as in the paper.
    pub passive_walk: u16,
    /// How many steps a Shuffle takes. Default 6, as in the paper.
    pub shuffle_walk: u16,
    /// How often a node exchanges remembered peers. Default 60 s, as in iroh-gossip.
    pub shuffle_interval: Duration,
    /// How long a request to become a neighbour waits for its answer. Default 500 ms, as in iroh-gossip.
    pub request_timeout: Duration,
    /// How often a node contacts a peer that is not a neighbour. Default 10 s: the halves of a split network find each other
    /// within 10 s.
    pub contact_interval: Duration,
    /// How long a peer that did not answer is set aside. During this time, the node contacts the peer, but does not ask it to
    /// become a neighbour. Default 10 min.
    pub set_aside_time: Duration,
    /// The time of silence after which a neighbour is probed. Default 2 s.
    pub silence_timeout: Duration,
    /// How long a probed neighbour may take to answer. Default 2 s. The node therefore notices within 4 s that a neighbour has
    /// died silently.
    pub probe_timeout: Duration,
    /// The minimum time between two evictions that strangers cause. Default 1 s.
    pub eviction_gap: Duration,
}

/// The settings of the broadcast protocol, Plumtree.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BroadcastConfig {
    /// How long a node waits for a message that a neighbour has announced before it asks for the message. Default 160 ms.
    /// iroh-gossip asks after 80 ms. In a network of 1,000 peers, the message often arrives by itself after that time.
    pub graft_delay: Duration,
    /// How long a node waits for the answer of a neighbour before it asks another one. Default 100 ms, which is a long round
    /// trip. The time doubles with each attempt.
    pub graft_retry_delay: Duration,
    /// How long ids are collected before they are sent. Default 5 ms, as in iroh-gossip.
    pub dispatch_delay: Duration,
    /// The number of hops that another path must save before it is used. Default 4. The default in the paper is 7.
    pub optimization_threshold: u16,
    /// Like [`Self::optimization_threshold`], but for a path that becomes known after the message has arrived. Default 2, so that
    /// the tree gets shorter with each message.
    pub late_optimization_threshold: u16,
    /// The number of neighbours that get contents before the tree has formed. Default 4. The other neighbours get ids, so that
    /// the first message causes fewer duplicates. Grafts of lazy neighbours may raise the number above this limit.
    pub max_eager: usize,
    /// How long the content of a message is kept for neighbours that ask for it. Default 30 s, as in iroh-gossip.
    pub content_retention: Duration,
    /// How many bytes of content are kept. Default 8 MiB.
    pub max_content_bytes: usize,
    /// How long the id of a message is remembered. Default 90 s, as in iroh-gossip.
    pub id_retention: Duration,
    /// How many ids are remembered. Default 131,072, which take 6 MiB. Ids that expire early are counted.
    pub max_ids: usize,
    /// The number of missing messages that are noted per neighbour that announced them. Default 1,024.
    pub max_missing: usize,
    /// How long a node keeps asking for a missing message. Default 10 s.
    pub graft_timeout: Duration,
    /// Whether a node pushes its own messages to all neighbours. Default false. This saves the Graft of the first hop and costs
    /// redundant messages.
    pub flood: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            alpn: crate::wire::IROH_ALPN.to_vec(),
            max_message_size: MAX_IROH_CONTENT,
            membership: MembershipConfig::default(),
            broadcast: BroadcastConfig::default(),
            max_topics: 256,
            max_queue_bytes: 1 << 20,
            stall_timeout: Duration::from_secs(3),
            max_dials: 8,
            dial_timeout: Duration::from_secs(5),
            max_control_rate: 100,
            max_invalid: 32,
            drain_time: Duration::from_secs(1),
            iroh_drain_time: Duration::from_secs(10),
        }
    }
}

impl Default for MembershipConfig {
    fn default() -> Self {
        Self {
            max_active: 5,
            max_passive: 30,
            active_walk: 6,
            passive_walk: 3,
            shuffle_walk: 6,
            shuffle_interval: Duration::from_secs(60),
            request_timeout: Duration::from_millis(500),
            contact_interval: Duration::from_secs(10),
            set_aside_time: Duration::from_secs(600),
            silence_timeout: Duration::from_secs(2),
            probe_timeout: Duration::from_secs(2),
            eviction_gap: Duration::from_secs(1),
        }
    }
}

impl Default for BroadcastConfig {
    fn default() -> Self {
        Self {
            graft_delay: Duration::from_millis(160),
            graft_retry_delay: Duration::from_millis(100),
            dispatch_delay: Duration::from_millis(5),
            optimization_threshold: 4,
            late_optimization_threshold: 2,
            max_eager: 4,
            content_retention: Duration::from_secs(30),
            max_content_bytes: 8 << 20,
            id_retention: Duration::from_secs(90),
            max_ids: 131_072,
            max_missing: 1024,
            graft_timeout: Duration::from_secs(10),
            flood: false,
        }
    }
}

/// One setter per field.
macro_rules! setters {
    ($($config:ident { $($set:ident $field:ident $type:ty,)* })*) => {$(
        impl $config {
            $(
                #[doc = concat!("Sets [`Self::", stringify!($field), "`].")]
                pub fn $set(mut self, $field: $type) -> Self {
                    self.$field = $field;
                    self
                }
            )*
        }
    )*};
}
setters! {
    Config {
        with_alpn alpn Vec<u8>,
        with_membership membership MembershipConfig,
        with_broadcast broadcast BroadcastConfig,
        with_max_topics max_topics usize,
        with_max_queue_bytes max_queue_bytes usize,
        with_stall_timeout stall_timeout Duration,
        with_max_dials max_dials usize,
        with_dial_timeout dial_timeout Duration,
        with_max_control_rate max_control_rate u32,
        with_max_invalid max_invalid u32,
        with_drain_time drain_time Duration,
        with_iroh_drain_time iroh_drain_time Duration,
    }
    MembershipConfig {
        with_max_active max_active usize,
        with_max_passive max_passive usize,
        with_active_walk active_walk u16,
        with_passive_walk passive_walk u16,
        with_shuffle_walk shuffle_walk u16,
        with_shuffle_interval shuffle_interval Duration,
        with_request_timeout request_timeout Duration,
        with_contact_interval contact_interval Duration,
        with_set_aside_time set_aside_time Duration,
        with_silence_timeout silence_timeout Duration,
        with_probe_timeout probe_timeout Duration,
        with_eviction_gap eviction_gap Duration,
    }
    BroadcastConfig {
        with_graft_delay graft_delay Duration,
        with_graft_retry_delay graft_retry_delay Duration,
        with_dispatch_delay dispatch_delay Duration,
        with_optimization_threshold optimization_threshold u16,
        with_late_optimization_threshold late_optimization_threshold u16,
        with_max_eager max_eager usize,
        with_content_retention content_retention Duration,
        with_max_content_bytes max_content_bytes usize,
        with_id_retention id_retention Duration,
        with_max_ids max_ids usize,
        with_max_missing max_missing usize,
        with_graft_timeout graft_timeout Duration,
        with_flood flood bool,
    }
}

impl Config {
    /// Sets [`Self::max_message_size`], at most 1 MiB.
    pub fn with_max_message_size(mut self, bytes: usize) -> Self {
        self.max_message_size = bytes.min(1 << 20);
        self
    }

    /// The longest frame that is accepted: 4,096 bytes, or more if the longest content needs more.
    pub fn max_frame(&self) -> usize {
        (self.max_message_size + crate::wire::OVERHEAD + 4).max(4096)
    }
}
