//! One type for the connections of all transports.

use std::{io, net::SocketAddr};

use conn_state::{Closing, Detail};
use libp2p_identity::PeerId;
use multiaddr::Multiaddr;

use crate::address;

/// A multiplexed connection of one of the transports.
#[derive(Clone)]
pub(crate) enum Muxed {
    #[cfg(feature = "tcp")]
    Tcp(transport_tcp::Connection),
    #[cfg(feature = "quic")]
    Quic(transport_quic::Connection),
}

/// A stream of one of the transports.
#[derive(Debug)]
pub(super) enum MuxedStream {
    #[cfg(feature = "tcp")]
    Tcp(transport_tcp::Stream),
    #[cfg(feature = "quic")]
    Quic(transport_quic::Stream),
}

/// Runs `$body` on the connection in `$muxed`.
macro_rules! on_muxed {
    ($muxed:expr, $connection:ident => $body:expr) => {
        match $muxed {
            #[cfg(feature = "tcp")]
            Muxed::Tcp(ref $connection) => $body,
            #[cfg(feature = "quic")]
            Muxed::Quic(ref $connection) => $body,
        }
    };
}

impl Muxed {
    pub(crate) fn peer(&self) -> PeerId {
        on_muxed!(*self, connection => connection.peer())
    }

    pub(super) fn via(&self) -> &'static str {
        on_muxed!(*self, connection => connection.via())
    }

    pub(super) fn is_closed(&self) -> bool {
        on_muxed!(*self, connection => connection.is_closed())
    }

    /// The transport and the other end's socket address.
    pub(super) fn remote(&self) -> Option<(&'static str, SocketAddr)> {
        match *self {
            #[cfg(feature = "tcp")]
            Self::Tcp(ref connection) => Some(("tcp", connection.link()?.remote())),
            #[cfg(feature = "quic")]
            Self::Quic(ref connection) => Some(("quic", connection.handshake_addr())),
        }
    }

    /// This end's address, if the transport knows it. A circuit has none. For a connection that this node dialed over QUIC, the IP
    /// address is unspecified.
    pub(super) fn local(&self) -> Option<Multiaddr> {
        match *self {
            #[cfg(feature = "tcp")]
            Self::Tcp(ref connection) => Some(address::of_tcp(connection.link()?.local())),
            #[cfg(feature = "quic")]
            Self::Quic(ref connection) => Some(address::of_quic(connection.local_addr())),
        }
    }

    #[cfg(feature = "tcp")]
    pub(super) fn link(&self) -> Option<transport_tcp::Link> {
        match *self {
            Self::Tcp(ref connection) => connection.link(),
            #[cfg(feature = "quic")]
            Self::Quic(_) => None,
        }
    }

    pub(super) fn can_migrate(&self) -> bool {
        match *self {
            #[cfg(feature = "tcp")]
            Self::Tcp(_) => false,
            #[cfg(feature = "quic")]
            Self::Quic(_) => true,
        }
    }

    pub(super) fn received(&self) -> u64 {
        match *self {
            #[cfg(feature = "tcp")]
            Self::Tcp(ref connection) => connection.received_bytes(),
            #[cfg(feature = "quic")]
            Self::Quic(ref connection) => connection.received_datagrams(),
        }
    }

    pub(super) async fn open(&self) -> io::Result<MuxedStream> {
        let stream: io::Result<MuxedStream> = match *self {
            #[cfg(feature = "tcp")]
            Self::Tcp(ref connection) => {
                let opened = connection.open().await;
                opened.map(MuxedStream::Tcp).map_err(io::Error::other)
            }
            #[cfg(feature = "quic")]
            Self::Quic(ref connection) => {
                let opened = connection.open().await;
                opened.map(MuxedStream::Quic).map_err(io::Error::other)
            }
        };
        stream
    }

    pub(super) async fn accept(&self) -> Option<MuxedStream> {
        let stream: Option<MuxedStream> = match *self {
            #[cfg(feature = "tcp")]
            Self::Tcp(ref connection) => connection.accept().await.map(MuxedStream::Tcp),
            #[cfg(feature = "quic")]
            Self::Quic(ref connection) => connection.accept().await.map(MuxedStream::Quic),
        };
        stream
    }

    /// Starts a graceful close. The transport delivers the finished streams within its `close_timeout`.
    pub(crate) fn close(&self, reason: Closing) {
        match *self {
            #[cfg(feature = "tcp")]
            Self::Tcp(ref connection) => {
                let _ = reason;
                connection.close();
            }
            #[cfg(feature = "quic")]
            Self::Quic(ref connection) => connection.close(code(reason), &reason.to_string()),
        }
    }

    /// Closes at once.
    pub(crate) fn abort(&self, reason: Closing) {
        match *self {
            #[cfg(feature = "tcp")]
            Self::Tcp(ref connection) => {
                let _ = reason;
                connection.abort();
            }
            #[cfg(feature = "quic")]
            Self::Quic(ref connection) => connection.abort(code(reason), &reason.to_string()),
        }
    }

    /// Waits until the connection is closed. Returns the reason, and what the transport adds to it.
    pub(super) async fn closed(&self) -> (Closing, Option<Detail>) {
        match *self {
            #[cfg(feature = "tcp")]
            Self::Tcp(ref connection) => {
                let reason = connection.closed().await;
                match reason {
                    transport_tcp::CloseReason::Remote => (Closing::Remote { code: None }, None),
                    transport_tcp::CloseReason::Failed(error) => (
                        Closing::Lost,
                        Some(Detail::new(crate::error::error_chain(&*error))),
                    ),
                    transport_tcp::CloseReason::Violation(error) => (
                        Closing::Violation,
                        Some(Detail::new(crate::error::error_chain(&*error))),
                    ),
                    _ => (Closing::Local, None),
                }
            }
            #[cfg(feature = "quic")]
            Self::Quic(ref connection) => {
                let reason = connection.closed().await;
                let closing = quic_closing(&reason);
                let says_it_all = matches!(closing, Closing::Local | Closing::Silent);
                let detail = || Detail::new(crate::error::error_chain(&reason));
                (closing, (!says_it_all).then(detail))
            }
        }
    }
}

#[cfg(feature = "quic")]
fn quic_closing(reason: &transport_quic::CloseReason) -> Closing {
    use transport_quic::CloseReason;
    match reason {
        CloseReason::Peer { code, .. } => Closing::Remote {
            code: u32::try_from(*code).ok(),
        },
        CloseReason::Local => Closing::Local,
        CloseReason::TimedOut => Closing::Silent,
        _ => Closing::Lost,
    }
}

/// The application error code that reports the reason to the peer. The codes are those of go-libp2p.
#[cfg(feature = "quic")]
fn code(reason: Closing) -> transport_quic::CloseCode {
    use transport_quic::CloseCode;
    match reason {
        Closing::Superseded | Closing::Unresponsive => CloseCode::SUPPLANTED,
        Closing::Refused => CloseCode::RESOURCE_LIMIT,
        Closing::Violation => CloseCode::PROTOCOL_VIOLATION,
        Closing::Local | Closing::Shutdown => CloseCode::SHUTDOWN,
        _ => CloseCode::COLLECTED,
    }
}
