//! The IP addresses of this machine's network interfaces, and notices of their changes.
//!
//! On Linux the kernel reports changes of addresses, of interfaces and their carriers, and of routes over a netlink socket. After
//! each message the node reads the whole list, so a lost message does no harm. On other systems, and if the system refuses the
//! socket, the node reads the list twice per second.

pub(crate) mod routes;

use std::{io, net::IpAddr, time::Duration};

use tokio::time::sleep;

/// The maximum number of addresses. The node ignores loopback addresses first, and then the highest addresses.
const MAX_ADDRESSES: usize = 64;
/// The pause between a notice and the next read of the list, so that one read covers all notices of a change.
const SETTLE: Duration = Duration::from_millis(100);
/// The pause between two reads if the system sends no notices.
const POLL: Duration = Duration::from_millis(500);

/// The addresses of all interfaces that are up, loopback last.
pub(crate) fn list() -> io::Result<Vec<IpAddr>> {
    let all = if_addrs::get_if_addrs()?;
    Ok(usable(up(&all)))
}

fn up(all: &[if_addrs::Interface]) -> Vec<IpAddr> {
    let up = all.iter().filter(|interface| interface.is_oper_up());
    up.map(if_addrs::Interface::ip).collect()
}

fn usable(mut ips: Vec<IpAddr>) -> Vec<IpAddr> {
    ips.retain(|ip| !needs_zone(*ip));
    ips.sort_by_key(|ip| (ip.is_loopback(), *ip));
    ips.dedup();
    ips.truncate(MAX_ADDRESSES);
    ips
}

/// Whether the address is ambiguous without the name of an interface.
fn needs_zone(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

/// Waits for changes of the interfaces.
pub(crate) struct Watch(Option<notices::Notices>);

impl Watch {
    /// Starts to listen for notices. Call this inside a tokio runtime, and before [`list`], so that no change is missed.
    pub(crate) fn new() -> Self {
        match notices::Notices::new() {
            Ok(notices) => Self(Some(notices)),
            Err(error) => {
                tracing::debug!(%error, "the system sends no notices about network interfaces");
                Self(None)
            }
        }
    }

    /// Waits until the interfaces may have changed. Cancel-safe: a dropped wait may forget its notice, so the caller must read
    /// the list after it stops waiting.
    pub(crate) async fn changed(&mut self) {
        let Some(notices) = &self.0 else {
            return sleep(POLL).await;
        };
        let arrived = notices.arrived().await;
        sleep(SETTLE).await;
        if let Err(error) = arrived.and_then(|()| notices.discard()) {
            tracing::debug!(%error, "the notices about network interfaces ended");
            self.0 = None;
        }
    }
}

#[cfg(target_os = "linux")]
mod notices {
    use std::io;

    use netlink_sys::{
        AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket, protocols::NETLINK_ROUTE,
    };

    /// The multicast groups of rtnetlink(7): interfaces and their carriers, IPv4 and IPv6 addresses, IPv4 and IPv6 routes.
    const GROUPS: u32 = 0x1 | 0x10 | 0x100 | 0x40 | 0x400;
    /// The size of the buffer for a message. The kernel cuts a longer message.
    const MESSAGE: usize = 512;
    /// The maximum number of messages that one call discards. A further message causes the next notice.
    const DISCARDED: usize = 4_096;
    /// ENOBUFS of Linux: messages were lost because the node read too slowly.
    const NO_BUFFERS: i32 = 105;

    pub(super) struct Notices(TokioSocket);

    impl Notices {
        pub(super) fn new() -> io::Result<Self> {
            let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
            socket.socket_mut().bind(&SocketAddr::new(0, GROUPS))?;
            Ok(Self(socket))
        }

        /// Waits for a message.
        pub(super) async fn arrived(&self) -> io::Result<()> {
            is_notice(self.0.recv(&mut Vec::with_capacity(MESSAGE)).await)
        }

        /// Discards the messages that have arrived.
        pub(super) fn discard(&self) -> io::Result<()> {
            let mut message = Vec::with_capacity(MESSAGE);
            for _ in 0..DISCARDED {
                message.clear();
                let read = self.0.socket_ref().recv(&mut message, 0);
                match read.map(drop) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                    read => is_notice(read)?,
                }
            }
            Ok(())
        }
    }

    /// A lost message is a notice, too, because the caller reads the whole list.
    fn is_notice(read: io::Result<()>) -> io::Result<()> {
        match read {
            Err(error) if error.raw_os_error() == Some(NO_BUFFERS) => Ok(()),
            read => read,
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod notices {
    use std::io;

    pub(super) struct Notices;

    impl Notices {
        pub(super) fn new() -> io::Result<Self> {
            Err(io::ErrorKind::Unsupported.into())
        }

        pub(super) async fn arrived(&self) -> io::Result<()> {
            Ok(())
        }

        pub(super) fn discard(&self) -> io::Result<()> {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_comes_last_and_an_address_that_needs_a_zone_is_left_out() {
        let parse = |text: &str| text.parse::<IpAddr>().unwrap();
        let ips = [
            "127.0.0.1",
            "fe80::1",
            "192.0.2.2",
            "192.0.2.1",
            "192.0.2.1",
        ];
        let sorted = ["192.0.2.1", "192.0.2.2", "127.0.0.1"];
        assert_eq!(usable(ips.map(parse).to_vec()), sorted.map(parse));
    }

    #[test]
    fn of_65_addresses_the_loopback_address_is_left_out() {
        let many = (0..64).map(|n| IpAddr::from([192, 0, 2, n]));
        let many: Vec<IpAddr> = many.chain([IpAddr::from([127, 0, 0, 1])]).collect();
        assert_eq!(usable(many.clone()), many[..64]);
        assert_eq!(usable(many[1..].to_vec()), many[1..]);
    }

    #[test]
    fn the_list_has_the_loopback_address() {
        assert!(list().unwrap().contains(&IpAddr::from([127, 0, 0, 1])));
    }

    #[test]
    fn the_address_of_an_interface_that_is_down_is_left_out() {
        use if_addrs::{IfAddr, IfOperStatus, Ifv4Addr};
        let interface = |last: u8, oper_status| if_addrs::Interface {
            name: format!("eth{last}"),
            addr: IfAddr::V4(Ifv4Addr {
                ip: [192, 0, 2, last].into(),
                netmask: [255, 255, 255, 0].into(),
                prefixlen: 24,
                broadcast: None,
            }),
            index: None,
            oper_status,
            is_p2p: false,
            #[cfg(windows)]
            adapter_name: String::new(),
        };
        let all = [(1, IfOperStatus::Down), (2, IfOperStatus::Up)];
        let all = all.map(|(last, status)| interface(last, status));
        assert_eq!(up(&all), [IpAddr::from([192, 0, 2, 2])]);
    }
}
