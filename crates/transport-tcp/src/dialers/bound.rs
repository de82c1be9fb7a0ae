//! Dialing from an address or an interface of one's choice.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use socket2::SockRef;
use tokio::net::TcpSocket;

use super::direct::Direct;
use crate::{ByteStream, DialContext, DialError, Dialer, DirectConfig, Target};

/// One of this machine's ways to the network.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Uplink {
    /// Connections come from this address; the routing table still chooses the interface.
    Address(IpAddr),
    /// Connections leave by this interface and no other. Linux only.
    Interface(Arc<str>),
}

impl Uplink {
    /// Whether an address of this family can be dialed from it.
    pub(crate) fn reaches(&self, address: SocketAddr) -> bool {
        match self {
            Self::Address(ip) => ip.is_ipv4() == address.is_ipv4(),
            Self::Interface(_) => true,
        }
    }

    pub(crate) fn bind(&self, socket: &TcpSocket) -> io::Result<()> {
        match self {
            Self::Address(ip) => socket.bind(SocketAddr::new(*ip, 0)),
            Self::Interface(name) => bind_to_interface(socket, name),
        }
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn bind_to_interface(socket: &TcpSocket, name: &str) -> io::Result<()> {
    SockRef::from(socket).bind_device(Some(name.as_bytes()))
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn bind_to_interface(_socket: &TcpSocket, _name: &str) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

impl fmt::Display for Uplink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(ip) => ip.fmt(f),
            Self::Interface(name) => name.fmt(f),
        }
    }
}

/// Dials as [`Direct`] does, but only from the uplinks given: all addresses of the target from the first one, and from
/// the next one as well after [`DirectConfig::attempt_delay`] of silence or once those failed. It never falls back to
/// an uplink that is not among them.
///
/// To prefer the quickest uplink instead of the first, [`Balance`](crate::Balance) several of these with one uplink each.
/// Names are resolved by the configured resolver, whose questions take the system's way. Costs one system call a
/// connection.
#[derive(Debug, Clone)]
pub struct Bound {
    direct: Direct,
    uplinks: Vec<Uplink>,
    label: Arc<str>,
}

impl Bound {
    /// Dials from `uplinks`, in this order of preference.
    pub fn new(uplinks: impl IntoIterator<Item = Uplink>, config: DirectConfig) -> Self {
        let uplinks: Vec<_> = uplinks.into_iter().collect();
        let names: Vec<_> = uplinks.iter().map(Uplink::to_string).collect();
        Self {
            direct: Direct::new(config),
            label: format!("direct from {}", names.join(" or ")).into(),
            uplinks,
        }
    }
}

#[async_trait::async_trait]
impl Dialer for Bound {
    async fn dial(&self, target: &Target, cx: &DialContext) -> Result<ByteStream, DialError> {
        cx.take(&self.label);
        self.direct.dial_from(Some(&self.uplinks), target, cx).await
    }
}
