//! The kernel's figures about a TCP connection.

use std::{io, net::SocketAddr, time::Duration};

use tokio::net::TcpStream;

/// Names a TCP connection by its two addresses, so that the kernel can be asked about it while it exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Link {
    local: SocketAddr,
    remote: SocketAddr,
    /// The index of the interface that the socket is bound to; 0 if it is bound to none.
    interface: u32,
}

/// Figures from the kernel's `struct tcp_info`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct LinkInfo {
    /// The smoothed round-trip time (RFC 6298). If there is a proxy, the round trip ends at the proxy.
    pub rtt: Duration,
    /// The variation of the round-trip time.
    pub rtt_variation: Duration,
    /// Segments sent again since the connection began.
    pub retransmissions: u32,
    /// Bytes that the other end has acknowledged since the connection began.
    pub acknowledged: u64,
    /// Bytes in the send queue: unsent, or sent and not yet acknowledged.
    pub queued: u32,
}

impl Link {
    /// `None` once the socket is not connected any more.
    pub(crate) fn of(socket: &TcpStream) -> Option<Self> {
        let (local, remote) = (socket.local_addr().ok()?, socket.peer_addr().ok()?);
        let interface = match local {
            SocketAddr::V6(local) if local.scope_id() != 0 => local.scope_id(),
            #[cfg(target_os = "linux")]
            _ => linux::interface(socket),
            #[cfg(not(target_os = "linux"))]
            _ => 0,
        };
        Some(Self {
            local,
            remote,
            interface,
        })
    }

    /// The local address.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// The remote address, which is the proxy's address if there is a proxy.
    pub fn remote(&self) -> SocketAddr {
        self.remote
    }

    /// Asks the kernel with `sock_diag(7)`. This takes a few system calls, does not wait, and needs no privilege.
    ///
    /// # Errors
    ///
    /// `NotFound` after the connection is gone; `Unsupported` on a system other than Linux or without `tcp_diag`.
    pub fn info(&self) -> io::Result<LinkInfo> {
        #[cfg(target_os = "linux")]
        return linux::info(self);
        #[cfg(not(target_os = "linux"))]
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Whether the other host has acknowledged what this one has sent by now. The kernel does not say when that happens, so
/// it is asked again and again.
pub(crate) struct Acknowledged {
    link: Link,
    /// The acknowledged bytes that are waited for, once the kernel was asked.
    goal: Option<u64>,
    pause: Duration,
}

impl Acknowledged {
    pub(crate) fn new(link: Link) -> Self {
        Self {
            link,
            goal: None,
            pause: Duration::ZERO,
        }
    }

    /// Asks the kernel. Errors are those of [`Link::info`].
    pub(crate) fn check(&mut self) -> io::Result<bool> {
        let info = self.link.info()?;
        let goal = *self
            .goal
            .get_or_insert(info.acknowledged + u64::from(info.queued));
        self.pause = (info.rtt / 2).clamp(MIN_PAUSE, MAX_PAUSE);
        Ok(info.acknowledged >= goal)
    }

    /// For as long as an acknowledgement may take: half a round trip at a time.
    pub(crate) async fn pause(&self) {
        tokio::time::sleep(self.pause).await;
    }
}

/// How often the kernel is asked at the most and at the least.
const MIN_PAUSE: Duration = Duration::from_millis(1);
const MAX_PAUSE: Duration = Duration::from_millis(100);

#[cfg(target_os = "linux")]
mod linux {
    use std::{io, net::IpAddr, time::Duration};

    use netlink_packet_core::{NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
    use netlink_packet_sock_diag::{
        SockDiagMessage,
        constants::{AF_INET, AF_INET6, IPPROTO_TCP},
        inet::{ExtensionFlags, InetRequest, SocketId, StateFlags, nlas::Nla},
    };
    use netlink_sys::{Socket, SocketAddr as Kernel, protocols::NETLINK_SOCK_DIAG};
    use socket2::SockRef;
    use tokio::net::TcpStream;

    use super::{Link, LinkInfo};

    pub(super) fn info(link: &Link) -> io::Result<LinkInfo> {
        let socket = Socket::new(NETLINK_SOCK_DIAG)?;
        socket.connect(&Kernel::new(0, 0))?;
        socket.send(&request(link), 0)?;
        // The kernel has put its answer into the socket's queue before `send` returned.
        socket.set_non_blocking(true)?;
        let mut answer = Vec::with_capacity(4096);
        socket.recv(&mut answer, 0)?;
        read(&answer)
    }

    /// The kernel wants to hear it, or does not find the socket.
    pub(super) fn interface(socket: &TcpStream) -> u32 {
        let device = SockRef::from(socket).device().ok().flatten();
        let name = device.and_then(|name| String::from_utf8(name).ok());
        let index = name.and_then(|name| {
            let file = format!("/sys/class/net/{name}/ifindex");
            std::fs::read_to_string(file).ok()?.trim().parse().ok()
        });
        index.unwrap_or_default()
    }

    fn request(link: &Link) -> Vec<u8> {
        let Link {
            local,
            remote,
            interface,
        } = *link;
        let family = match local.ip() {
            IpAddr::V4(_) => AF_INET,
            IpAddr::V6(_) => AF_INET6,
        };
        let request = InetRequest {
            family,
            protocol: IPPROTO_TCP,
            extensions: ExtensionFlags::INFO,
            states: StateFlags::all(),
            socket_id: SocketId {
                source_port: local.port(),
                destination_port: remote.port(),
                source_address: local.ip(),
                destination_address: remote.ip(),
                interface_id: interface,
                // No cookie: the two ends tell the connection apart.
                cookie: [0xff; 8],
            },
        };
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST;
        let mut message = NetlinkMessage::new(header, SockDiagMessage::InetRequest(request).into());
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        bytes
    }

    fn read(answer: &[u8]) -> io::Result<LinkInfo> {
        let message = NetlinkMessage::<SockDiagMessage>::deserialize(answer)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
        match message.payload {
            NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(response)) => {
                let queued = response.header.send_queue;
                let info = response.nlas.iter().find_map(|nla| match nla {
                    Nla::TcpInfo(bytes) => tcp_info(bytes, queued),
                    _ => None,
                });
                match (response.header.state, info) {
                    // Of a closed connection a stub may be left, or the listener is found in its place.
                    (LISTEN, _) | (FIN_WAIT_2 | TIME_WAIT, None) => {
                        Err(io::ErrorKind::NotFound.into())
                    }
                    (_, Some(info)) => Ok(info),
                    (_, None) => Err(io::ErrorKind::Unsupported.into()),
                }
            }
            NetlinkPayload::Error(error) => Err(error.to_io()),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// From include/net/tcp_states.h.
    const FIN_WAIT_2: u8 = 5;
    const TIME_WAIT: u8 = 6;
    const LISTEN: u8 = 10;

    /// The fields' places in `struct tcp_info` (include/uapi/linux/tcp.h), which only grows at its end.
    fn tcp_info(bytes: &[u8], queued: u32) -> Option<LinkInfo> {
        let number = |at: usize| {
            let field = bytes.get(at..at + 4)?;
            Some(u32::from_ne_bytes(field.try_into().ok()?))
        };
        let micros = |at| Some(Duration::from_micros(number(at)?.into()));
        Some(LinkInfo {
            rtt: micros(68)?,
            rtt_variation: micros(72)?,
            retransmissions: number(100)?,
            acknowledged: {
                let field = bytes.get(120..128)?;
                u64::from_ne_bytes(field.try_into().ok()?)
            },
            queued,
        })
    }
}
