//! Peers on the same LAN, by libp2p's mDNS.

mod discovery;
pub(crate) mod packet;
mod plausible;

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4},
    sync::Arc,
    time::Duration,
};

use discovery::{Lan, MAX_INTERFACES};
use if_addrs::{IfAddr, get_if_addrs};
use libp2p_identity::PeerId;
use multiaddr::Multiaddr;
use packet::MAX_PACKET;
use plausible::{Interface, prefix};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::{
    net::UdpSocket,
    sync::watch,
    time::{Instant, sleep, sleep_until},
};

use super::{Finds, Task};
use crate::SourceError;

/// The group and the port of mDNS.
const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
const PORT: u16 = 5353;

/// How often the source looks for new interfaces, and tries again after a failure. A change of the network that the host
/// reports is seen at once.
const RESCAN_INTERVAL: Duration = Duration::from_secs(10);

/// A source of the peers on the LANs of this host. The source also answers the questions of other peers: it announces `local`
/// with those of its `addresses` that belong to the LAN: private and link-local addresses of an IPv4 interface, and unique local
/// ones of IPv6 (`fc00::/7`). It announces no others, such as public ones and `0.0.0.0`. The addresses are without the id. If
/// the sender of `addresses` is dropped, the last addresses stay.
///
/// The source accepts only addresses of the sender and of the sender's network. It remembers at most 256 peers, and at most 16
/// from one sender. Of these places, 128 are reserved for the first peer of each sender. The source reads at most 200 packets per
/// second and names at most 16 new peers per second. It asks at most once per second, and answers at most once per second on each
/// of at most 16 interfaces. It sends and receives packets over IPv4 only.
pub fn lan(
    local: PeerId,
    addresses: watch::Receiver<Vec<Multiaddr>>,
    seed: u64,
) -> Task<PeerId, Multiaddr> {
    Task::new(move |finds| run(Lan::new(local, seed), addresses, finds))
}

async fn run(
    mut lan: Lan,
    mut addresses: watch::Receiver<Vec<Multiaddr>>,
    mut finds: Finds<PeerId, Multiaddr>,
) {
    let mut reported = false;
    loop {
        let Err((what, error)) = search(&mut lan, &mut addresses, &mut finds).await else {
            reported = false;
            continue;
        };
        // The same failure again is no news.
        if !std::mem::replace(&mut reported, true) {
            finds
                .problem(SourceError::Lan {
                    what,
                    source: Arc::new(error),
                })
                .await;
        }
        tokio::select! {
            () = sleep(RESCAN_INTERVAL) => {}
            _ = finds.need_or_change() => sleep(Duration::from_secs(1)).await,
        }
    }
}

type Failure = (&'static str, io::Error);

/// Searches until the interfaces are others, or the network has changed. Then a new socket must join the groups again.
async fn search(
    lan: &mut Lan,
    addresses: &mut watch::Receiver<Vec<Multiaddr>>,
    finds: &mut Finds<PeerId, Multiaddr>,
) -> Result<(), Failure> {
    let interfaces =
        interfaces().map_err(|error| ("the interfaces of this host cannot be listed", error))?;
    let socket = open(&interfaces).map_err(|error| ("port 5353 cannot be opened", error))?;
    lan.handle_interfaces(now(), &interfaces);
    let mut buffer = vec![0; MAX_PACKET + 1];
    let mut look = Instant::now() + RESCAN_INTERVAL;
    let mut has_addresses = true;
    loop {
        lan.handle_addresses(now(), addresses.borrow_and_update().clone());
        lan.handle_need(now(), finds.need());
        lan.handle_timeout(now());
        while let Some((interface, bytes)) = lan.poll_transmit() {
            // An interface that is down fails alone, and the next look misses it.
            let _ = send(&socket, &interface, &bytes).await;
        }
        while let Some(found) = lan.poll_found() {
            finds.send(found).await;
        }
        let due = lan.poll_timeout().map_or(look, |due| look.min(due.into()));
        tokio::select! {
            () = sleep_until(due) => {}
            received = socket.recv_from(&mut buffer) => {
                let (length, from) = received.map_err(|error| ("packets cannot be received", error))?;
                if let IpAddr::V4(from) = from.ip() {
                    lan.handle_packet(now(), from, &buffer[..length]);
                }
            }
            changed = addresses.changed(), if has_addresses => has_addresses = changed.is_ok(),
            changed = finds.need_or_change() => if changed {
                return Ok(());
            },
        }
        if Instant::now() >= look {
            look = Instant::now() + RESCAN_INTERVAL;
            if self::interfaces().is_ok_and(|now| now != interfaces) {
                return Ok(());
            }
        }
    }
}

async fn send(socket: &UdpSocket, interface: &Interface, bytes: &[u8]) -> io::Result<()> {
    SockRef::from(socket).set_multicast_if_v4(&interface.ip)?;
    socket
        .send_to(bytes, SocketAddr::from((GROUP, PORT)))
        .await
        .map(drop)
}

/// The IPv4 addresses of this host that are no loopback addresses.
fn interfaces() -> io::Result<Vec<Interface>> {
    let all = get_if_addrs()?;
    let mut interfaces: Vec<_> = all
        .into_iter()
        .filter(|interface| !interface.is_loopback())
        .filter_map(|interface| match interface.addr {
            IfAddr::V4(v4) => Some(Interface {
                ip: v4.ip,
                prefix: prefix(v4.netmask.into())?,
            }),
            IfAddr::V6(_) => None,
        })
        .collect();
    interfaces.sort_unstable();
    interfaces.truncate(MAX_INTERFACES);
    Ok(interfaces)
}

/// A socket that shares the port with the other mDNS programs of this host, and is in the group of each interface.
fn open(interfaces: &[Interface]) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    #[cfg(unix)]
    socket.set_reuse_port(true)?;
    socket.set_multicast_loop_v4(true)?;
    // RFC 6762 section 11: receivers may check that no router has forwarded the packet.
    socket.set_multicast_ttl_v4(255)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, PORT).into())?;
    for interface in interfaces {
        // An interface without multicast fails alone.
        let _ = socket.join_multicast_v4(&GROUP, &interface.ip);
    }
    UdpSocket::from_std(socket.into())
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}
