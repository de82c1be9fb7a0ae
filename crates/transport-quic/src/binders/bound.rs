//! A socket that uses one network interface only.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    sync::Arc,
};

use super::tuned::Tuned;
use crate::UdpBinder;

/// Makes sockets like [`Tuned`] that are bound to one network interface: they send and receive no
/// packet through any other interface (`SO_BINDTODEVICE`). This works on Linux and Android, and is
/// an error on other systems.
#[derive(Debug)]
pub struct BoundTo {
    interface: String,
    tuned: Tuned,
}

impl BoundTo {
    /// Uses the interface of this name, such as `eth0`.
    #[must_use]
    pub fn interface(name: impl Into<String>) -> Self {
        Self {
            interface: name.into(),
            tuned: Tuned::default(),
        }
    }
}

impl BoundTo {
    fn prepare(&self, socket: &socket2::Socket) -> io::Result<()> {
        bind_device(socket, &self.interface).map_err(|error| {
            let message = format!("cannot bind to interface {}: {error}", self.interface);
            io::Error::new(error.kind(), message)
        })
    }
}

impl UdpBinder for BoundTo {
    fn bind(&self, address: SocketAddr) -> io::Result<UdpSocket> {
        self.tuned
            .bind_prepared(address, |socket| self.prepare(socket))
    }

    fn rebind(
        &self,
        address: SocketAddr,
        former: &[Arc<tokio::net::UdpSocket>],
    ) -> io::Result<UdpSocket> {
        self.tuned
            .rebind_prepared(address, former, |socket| self.prepare(socket))
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn bind_device(socket: &socket2::Socket, interface: &str) -> io::Result<()> {
    socket.bind_device(Some(interface.as_bytes()))
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn bind_device(_: &socket2::Socket, _: &str) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
