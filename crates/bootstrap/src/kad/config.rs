//! The settings of the DHT.

use std::time::Duration;

use super::place::Preset;

/// The longest setting, so that no time is beyond the end of the clock.
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// Whether the node serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Mode {
    /// The node serves if peers can reach it. Until the host reports this, the node serves if a peer from another subnet has
    /// dialed it.
    #[default]
    Auto,
    /// The node asks other peers, and does not serve.
    Client,
    /// The node asks other peers, and serves.
    Server,
}

/// The settings of a [`super::Kad`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct KadConfig {
    /// Whether the node serves. Default: [`Mode::Auto`].
    pub mode: Mode,
    /// The addresses that the node accepts. Default: [`Preset::Amino`].
    pub preset: Preset,
    /// k: the size of a bucket, of an answer and of a lookup's result. Default: 20, which all peers of the public network use.
    pub k: usize,
    /// α: how many peers a lookup asks at the same time. Default: 3, as in the paper; more peers cost more messages.
    pub alpha: usize,
    /// β: when the nearest β peers have answered, a lookup asks all other peers among the nearest k at the same time. Default: 3.
    pub beta: usize,
    /// The smallest number of peers at which a value is stored. Default: k. At most 4 · k.
    pub replication: usize,
    /// How many peers must return a valid value before a GET ends. Default: 1. A network whose values change needs more.
    pub quorum: usize,
    /// The longest time of a query, including the time that the query waits for a first peer. Default: 60 s.
    pub query_timeout: Duration,
    /// The longest time of one request, including its dial, and the longest time that a request waits in the host's queue before
    /// its dial. Default: 10 s, the limit of go-libp2p and rust-libp2p.
    pub request_timeout: Duration,
    /// The number of entries below which the core asks the connected peers and the host for more. Default: 4.
    pub min_peers: usize,
    /// The time between two lookups of the node itself, and the pause after the first failure of a publication. Default: 10 min,
    /// as in go-libp2p.
    pub refresh: Duration,
    /// The time without a lookup in a bucket after which the node looks up a key in the bucket. Default: 1 h, as in the paper.
    pub bucket_refresh: Duration,
    /// How long values and providers are kept. Default: 48 h, as in the public network.
    pub expiry: Duration,
    /// How often the node's own values and providers are published again, and the longest pause after a failure. Default: 22 h,
    /// as in the public network.
    pub republish: Duration,
    /// How many values of other peers are kept. Default: 1,024, at most 10 MiB.
    pub max_values: usize,
    /// How many provider records of other peers are kept. Default: 16,384. The multiaddrs of all records have at most 32 MiB,
    /// because each record has at most 8 of [`super::MAX_ADDRESS_BYTES`].
    pub max_providers: usize,
    /// How many keys the node publishes itself. Default: 1,024.
    pub max_published: usize,
    /// How many queries of the host run at the same time. Default: 64.
    pub max_queries: usize,
}

impl Default for KadConfig {
    fn default() -> Self {
        Self {
            mode: Mode::Auto,
            preset: Preset::Amino,
            k: 20,
            alpha: 3,
            beta: 3,
            replication: 20,
            quorum: 1,
            query_timeout: Duration::from_secs(60),
            request_timeout: Duration::from_secs(10),
            min_peers: 4,
            refresh: Duration::from_secs(600),
            bucket_refresh: Duration::from_secs(3600),
            expiry: Duration::from_secs(48 * 3600),
            republish: Duration::from_secs(22 * 3600),
            max_values: 1024,
            max_providers: 16_384,
            max_published: 1024,
            max_queries: 64,
        }
    }
}

macro_rules! setters {
    ($($with:ident $field:ident $type:ty),* $(,)?) => {
        impl KadConfig {
            $(
                #[doc = concat!("Sets [`KadConfig::", stringify!($field), "`].")]
                pub fn $with(mut self, $field: $type) -> Self {
                    self.$field = $field;
                    self
                }
            )*
        }
    };
}

setters! {
    with_mode mode Mode,
    with_preset preset Preset,
    with_k k usize,
    with_alpha alpha usize,
    with_beta beta usize,
    with_replication replication usize,
    with_quorum quorum usize,
    with_query_timeout query_timeout Duration,
    with_request_timeout request_timeout Duration,
    with_min_peers min_peers usize,
    with_refresh refresh Duration,
    with_bucket_refresh bucket_refresh Duration,
    with_expiry expiry Duration,
    with_republish republish Duration,
    with_max_values max_values usize,
    with_max_providers max_providers usize,
    with_max_published max_published usize,
    with_max_queries max_queries usize,
}

impl KadConfig {
    /// The same settings within the limits that the core relies on.
    pub(crate) fn bounded(mut self) -> Self {
        self.k = self.k.clamp(1, 64);
        self.alpha = self.alpha.clamp(1, self.k);
        self.beta = self.beta.clamp(1, self.k);
        self.replication = self.replication.clamp(1, 4 * self.k);
        self.quorum = self.quorum.clamp(1, 4 * self.k);
        for (time, least) in [
            (&mut self.query_timeout, 1),
            (&mut self.request_timeout, 1),
            (&mut self.refresh, 10),
            (&mut self.bucket_refresh, 10),
            (&mut self.expiry, 60),
            (&mut self.republish, 60),
        ] {
            *time = (*time).clamp(Duration::from_secs(least), YEAR);
        }
        self
    }
}
