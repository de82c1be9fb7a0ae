//! The default: large buffers, one address family a socket, and a port that can be taken over.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use quinn::AsyncUdpSocket;
use socket2::{Domain, Protocol, SockRef, Type};

use super::socket::Socket;
use crate::UdpBinder;

/// Bytes asked of the system for each direction: 10 ms at 5 Gbit/s, the time in which a busy
/// runtime should get round to the socket. Linux grants at most `net.core.rmem_max`.
const BUFFER: usize = 7 << 20;

/// A UDP socket with large buffers.
///
/// An IPv6 socket takes IPv6 alone (`IPV6_V6ONLY`), so that both families can be bound to one
/// port and neither is dialed by mapped addresses. A port in use stays in use: reuse is not
/// switched on, but for the moment in which a rebind moves this binder's own socket.
#[derive(Debug)]
pub struct Tuned {
    receive_buffer: usize,
    send_buffer: usize,
    /// The sockets made so far, for taking over their ports.
    made: Mutex<Vec<Weak<Socket>>>,
}

impl Default for Tuned {
    fn default() -> Self {
        Self {
            receive_buffer: BUFFER,
            send_buffer: BUFFER,
            made: Mutex::default(),
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
        prepare: impl FnOnce(&socket2::Socket) -> io::Result<()>,
    ) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let socket = self.unbound(address)?;
        prepare(&socket)?;
        socket.bind(&address.into())?;
        Ok(self.keep(Socket::new(socket.into())?))
    }

    /// As [`UdpBinder::rebind`], with `prepare` called before the socket is bound.
    pub(crate) fn rebind_prepared(
        &self,
        address: SocketAddr,
        prepare: impl FnOnce(&socket2::Socket) -> io::Result<()>,
    ) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let socket = self.unbound(address)?;
        prepare(&socket)?;
        take_over(&self.made_at(address), &socket, address)?;
        Ok(self.keep(Socket::new(socket.into())?))
    }

    fn keep(&self, socket: Socket) -> Arc<dyn AsyncUdpSocket> {
        let socket = Arc::new(socket);
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.retain(|socket| socket.strong_count() > 0);
        made.push(Arc::downgrade(&socket));
        socket
    }

    /// The sockets on this address. After rebinds in quick succession there are several, until
    /// the connections have let go of the old ones.
    fn made_at(&self, address: SocketAddr) -> Vec<Arc<Socket>> {
        let made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.iter()
            .filter_map(Weak::upgrade)
            .filter(|socket| socket.local_addr().is_ok_and(|at| at == address))
            .collect()
    }

    fn unbound(&self, address: SocketAddr) -> io::Result<socket2::Socket> {
        let domain = Domain::for_address(address);
        let socket = socket2::Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
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

/// Binds `socket` where `formers` are bound. Of several sockets on one port the kernel gives
/// datagrams to the newest. Reuse is on for this moment only, so nobody else can slip in later.
fn take_over(
    formers: &[Arc<Socket>],
    socket: &socket2::Socket,
    address: SocketAddr,
) -> io::Result<()> {
    let all = || {
        let formers = formers.iter().map(|former| SockRef::from(&former.io));
        formers.chain([SockRef::from(socket)])
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
    fn bind(&self, address: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        self.bind_prepared(address, |_| Ok(()))
    }

    fn rebind(&self, address: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        self.rebind_prepared(address, |_| Ok(()))
    }
}
