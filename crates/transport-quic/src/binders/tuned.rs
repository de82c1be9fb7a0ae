//! The default binder: large buffers, one address family per socket, and a port that a new socket
//! can take over.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    sync::Arc,
};

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::UdpBinder;

/// Bytes asked of the system for each direction: 10 ms at 5 Gbit/s, the time within which a busy
/// runtime should serve the socket. Linux grants at most `net.core.rmem_max`.
const BUFFER: usize = 7 << 20;

/// Makes UDP sockets with large buffers.
///
/// An IPv6 socket accepts only IPv6 (`IPV6_V6ONLY`), so that sockets of both families can have the
/// same port, and no address is IPv4-mapped. No other program can bind the port of such a socket,
/// because address reuse is on only while a rebind takes the port over.
#[derive(Debug)]
pub struct Tuned {
    receive_buffer: usize,
    send_buffer: usize,
}

impl Default for Tuned {
    fn default() -> Self {
        Self {
            receive_buffer: BUFFER,
            send_buffer: BUFFER,
        }
    }
}

impl Tuned {
    /// Asks for other buffer sizes, in bytes. The system may grant less.
    #[must_use]
    pub fn with_buffers(mut self, receive: usize, send: usize) -> Self {
        self.receive_buffer = receive;
        self.send_buffer = send;
        self
    }

    /// As [`UdpBinder::bind`], with `prepare` called before the socket is bound.
    pub(crate) fn bind_prepared(
        &self,
        address: SocketAddr,
        prepare: impl FnOnce(&Socket) -> io::Result<()>,
    ) -> io::Result<UdpSocket> {
        let socket = self.unbound(address)?;
        prepare(&socket)?;
        socket.bind(&address.into())?;
        Ok(socket.into())
    }

    /// As [`UdpBinder::rebind`], with `prepare` called before the socket is bound.
    pub(crate) fn rebind_prepared(
        &self,
        address: SocketAddr,
        former: &[Arc<tokio::net::UdpSocket>],
        prepare: impl FnOnce(&Socket) -> io::Result<()>,
    ) -> io::Result<UdpSocket> {
        let socket = self.unbound(address)?;
        prepare(&socket)?;
        take_over(former, &socket, address)?;
        Ok(socket.into())
    }

    fn unbound(&self, address: SocketAddr) -> io::Result<Socket> {
        let domain = Domain::for_address(address);
        let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        // Best effort: an endpoint with small buffers is slower, not broken.
        for (what, result) in [
            ("receive", socket.set_recv_buffer_size(self.receive_buffer)),
            ("send", socket.set_send_buffer_size(self.send_buffer)),
        ] {
            if let Err(error) = result {
                tracing::debug!(what, %error, "socket buffer stays at its default");
            }
        }
        Ok(socket)
    }
}

/// Binds `socket` where `former` ones are bound. Of several sockets on one port the kernel gives
/// datagrams to the newest. Reuse is on for this moment only, so nobody else can slip in later.
fn take_over(
    former: &[Arc<tokio::net::UdpSocket>],
    socket: &Socket,
    address: SocketAddr,
) -> io::Result<()> {
    let all = || {
        let former = former.iter().map(|former| SockRef::from(&**former));
        former.chain([SockRef::from(socket)])
    };
    let bound = all()
        .try_for_each(|each| set_reuse(&each, true))
        .and_then(|()| socket.bind(&address.into()));
    let restored = all().try_for_each(|each| set_reuse(&each, false));
    bound.and(restored)
}

#[cfg(any(target_os = "linux", target_os = "android", windows))]
fn set_reuse(socket: &SockRef<'_>, on: bool) -> io::Result<()> {
    socket.set_reuse_address(on)
}

#[cfg(not(any(target_os = "linux", target_os = "android", windows)))]
fn set_reuse(socket: &SockRef<'_>, on: bool) -> io::Result<()> {
    socket.set_reuse_port(on)
}

impl UdpBinder for Tuned {
    fn bind(&self, address: SocketAddr) -> io::Result<UdpSocket> {
        self.bind_prepared(address, |_| Ok(()))
    }

    fn rebind(
        &self,
        address: SocketAddr,
        former: &[Arc<tokio::net::UdpSocket>],
    ) -> io::Result<UdpSocket> {
        self.rebind_prepared(address, former, |_| Ok(()))
    }
}
