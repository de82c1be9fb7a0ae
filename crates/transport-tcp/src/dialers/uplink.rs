//! A local address or interface to dial from.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use socket2::SockRef;
use tokio::net::TcpSocket;

/// A local address or interface to dial from.
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
