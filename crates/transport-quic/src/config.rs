//! The settings of an endpoint, with the reason for each default.

use std::time::Duration;

/// The kind of identity and authentication that both ends of a connection use.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Flavour {
    /// libp2p: a self-signed X.509 certificate that carries the identity in the extension
    /// 1.3.6.1.4.1.53594.1.1, ALPN `libp2p`, any key type (libp2p TLS specification).
    #[default]
    Libp2p,
    /// Raw public keys on both sides (RFC 7250): the certificate is the 44-byte Ed25519 SPKI. Use
    /// this for iroh's protocols, and for plain quinn with the same TLS settings.
    RawPublicKey {
        /// The protocols offered as a dialer and accepted as a listener, in order of preference.
        /// At least one.
        alpn: Vec<Vec<u8>>,
    },
}

/// Settings of an [`Endpoint`](crate::Endpoint).
///
/// ```
/// use std::time::Duration;
/// use transport_quic::Config;
///
/// let config = Config::default().with_idle_timeout(Duration::from_secs(30));
/// assert!(config.keep_alive < config.idle_timeout);
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// How long a handshake may take, for a dial and for an accepted connection. The resolution of
    /// a host name counts, too. Default 10 s: ten times the first probe timeout of a path whose
    /// round trip is not known yet (RFC 9002 section 6.2.2).
    pub handshake_timeout: Duration,
    /// The silence after which a connection counts as lost. Default 10 s, so that three keep-alives
    /// in a row may be lost. The smaller value of the two ends applies. The resolution is one
    /// millisecond. Zero means never.
    pub idle_timeout: Duration,
    /// The interval at which an idle connection sends packets. Default 3 s: a peer that crashed and
    /// restarted answers the next packet with a reset, so its crash is noticed within this time
    /// even without a probe. Zero means never.
    pub keep_alive: Duration,
    /// The number of bytes that a peer may send on one stream before they are read. Default 10 MiB,
    /// which allows 100 MiB/s at a round trip of 100 ms.
    pub stream_window: u32,
    /// The number of bytes that a peer may send on all streams of a connection before they are
    /// read. A connection begins with 4 MiB. Its window then grows to the amount of data that a
    /// path of 1 Gbit/s carries during its round trip, and at most to this value. Default 16 MiB,
    /// so that one stream cannot use up the whole window. This value bounds the stream data that a
    /// peer can make an endpoint hold for one connection.
    pub connection_window: u32,
    /// The number of bytes that a connection holds for all its streams after they were written and
    /// before they are acknowledged. It grows like `connection_window`. Default 10 MiB, as for
    /// `stream_window`.
    pub send_window: u64,
    /// The number of streams that a peer may have open at the same time. Default 256. The credit of
    /// a connection starts at 16 and doubles while it is used, because quinn sets memory aside for
    /// each stream that the peer could open.
    pub max_inbound_streams: u32,
    /// The largest UDP payload that path MTU discovery tries, in bytes. Default 1452, which is
    /// Ethernet's 1500 minus the IPv6 and UDP headers.
    pub mtu_upper_bound: u16,
    /// The UDP payload in bytes before discovery has found a larger one. Default 1200, which QUIC
    /// v1 requires of every path (RFC 9000 section 14).
    pub initial_mtu: u16,
    /// Handshakes per second from addresses that nothing has validated. Above this rate, the
    /// endpoint asks a newcomer for a Retry round trip first. Default 64: quinn keeps a failed
    /// connection, which takes 80 KiB, for three probe timeouts, about 3 s. Forged packets that
    /// fail at once therefore cost at most 16 MiB and 64 failed handshakes per second. With
    /// go-libp2p's rate of 1000, they would cost 250 MB.
    pub retry_above: u32,
    /// Inbound handshakes in progress from addresses that a token has validated. Default 64, as in
    /// go-libp2p. Further handshakes are refused.
    pub max_incoming: usize,
    /// Inbound handshakes in progress from addresses that nothing has validated yet. Default 32,
    /// half of `max_incoming`. Above this limit, the endpoint asks a newcomer for a Retry round
    /// trip, and the newcomer then counts under `max_incoming`. Spoofed packets therefore cost
    /// other dialers one round trip at most.
    pub max_unvalidated: usize,
    /// The share of `max_unvalidated` that one IPv4 address, or one IPv6 /64, can use. Default 8,
    /// so that a household behind one address can start several nodes at once without a Retry.
    pub max_unvalidated_per_address: usize,
    /// How long a graceful close waits for the peer to acknowledge finished streams. Default 1 s,
    /// which is several round trips of any path on Earth, and short enough for a shutdown.
    pub close_timeout: Duration,
    /// The kind of identity and authentication. Default [`Flavour::Libp2p`].
    pub flavour: Flavour,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            handshake_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(10),
            keep_alive: Duration::from_secs(3),
            stream_window: 10 << 20,
            connection_window: 16 << 20,
            send_window: 10 << 20,
            max_inbound_streams: 256,
            mtu_upper_bound: 1452,
            initial_mtu: 1200,
            retry_above: 64,
            max_incoming: 64,
            max_unvalidated: 32,
            max_unvalidated_per_address: 8,
            close_timeout: Duration::from_secs(1),
            flavour: Flavour::Libp2p,
        }
    }
}

macro_rules! setters {
    ($($with:ident, $field:ident: $kind:ty;)*) => {
        impl Config {
            $(
                #[doc = concat!("Sets [`", stringify!($field), "`](Self::", stringify!($field), ").")]
                #[must_use]
                pub fn $with(mut self, value: $kind) -> Self {
                    self.$field = value;
                    self
                }
            )*
        }
    };
}

setters! {
    with_handshake_timeout, handshake_timeout: Duration;
    with_idle_timeout, idle_timeout: Duration;
    with_keep_alive, keep_alive: Duration;
    with_stream_window, stream_window: u32;
    with_connection_window, connection_window: u32;
    with_send_window, send_window: u64;
    with_max_inbound_streams, max_inbound_streams: u32;
    with_mtu_upper_bound, mtu_upper_bound: u16;
    with_initial_mtu, initial_mtu: u16;
    with_retry_above, retry_above: u32;
    with_max_incoming, max_incoming: usize;
    with_max_unvalidated, max_unvalidated: usize;
    with_max_unvalidated_per_address, max_unvalidated_per_address: usize;
    with_close_timeout, close_timeout: Duration;
    with_flavour, flavour: Flavour;
}
