//! Announces addresses at which peers see this node. This file reads the observations in identify messages, and conn-state
//! chooses the addresses.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use conn_state::{Observation, ObservedAddresses};
use futures::{FutureExt, future::BoxFuture};
use libp2p_identity::PeerId;
use multiaddr::Multiaddr;
use tokio::{sync::Notify, time::sleep_until};
use tokio_util::sync::CancellationToken;

use crate::{
    address::{self, Kind, audience::Reach},
    connection::Connection,
    context::Context,
    local::Announcer,
    part::{Change, Part},
};

type Observed = ObservedAddresses<PeerId, Multiaddr>;

/// The observations of this node by its peers.
pub(crate) struct Observers {
    context: Context,
    observed: Mutex<Observed>,
    changed: Notify,
}

impl Observers {
    pub(crate) fn new(context: Context) -> Self {
        Self {
            context,
            observed: Mutex::default(),
            changed: Notify::new(),
        }
    }

    fn observed(&self) -> MutexGuard<'_, Observed> {
        self.observed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A peer reports that it sees this node at `seen`. Only a connection that uses the socket of a listener counts.
    fn handle_seen(&self, now: Instant, connection: &Connection, seen: &Multiaddr) {
        let Some((listener, _)) = self.context.listener_of(connection) else {
            return;
        };
        let observer = connection.peer();
        match public(connection.address(), seen) {
            Some((from, address)) => {
                let observation = Observation {
                    listener,
                    observer,
                    connection: connection.id(),
                    from,
                    address,
                };
                self.observed().handle_observed(now, observation);
            }
            None => self.observed().handle_withdrawn(now, listener, &observer),
        }
    }
}

/// The IP address of a peer at `from`, and the address at which it sees this node, in the only spelling that the node announces.
/// `None`: the observation does not count. An observation counts only between two public addresses of the same IP version. The
/// interfaces already show the private addresses of this node, and peers in private networks are easy to forge.
fn public(from: &Multiaddr, seen: &Multiaddr) -> Option<(IpAddr, Multiaddr)> {
    let seen_at = address::socket(seen)?;
    let (from, ip) = (
        address::ip(from)?.to_canonical(),
        seen_at.ip().to_canonical(),
    );
    let is_public = [from, ip].map(Reach::of_ip) == [Reach::Internet; 2];
    let is_plain = address::peer(seen).is_none() && seen_at.port() != 0;
    if !is_public || !is_plain || from.is_ipv4() != ip.is_ipv4() {
        return None;
    }
    let address = match address::kind(seen) {
        Kind::Tcp => address::of_tcp(seen_at),
        Kind::Quic => address::of_quic(seen_at),
        _ => return None,
    };
    Some((from, address))
}

impl Part for Observers {
    fn name(&self) -> &'static str {
        "observed addresses"
    }

    fn handle(&self, now: Instant, change: &Change) {
        match change {
            Change::Identified { connection, info } => {
                let Some(seen) = &info.observed else { return };
                self.handle_seen(now, connection, seen);
            }
            Change::Disconnected { connection, .. } => {
                self.observed().handle_disconnected(now, connection.id());
            }
            _ => return,
        }
        self.changed.notify_one();
    }

    fn run(self: Arc<Self>, stop: CancellationToken) -> BoxFuture<'static, ()> {
        async move {
            loop {
                let (addresses, due) = {
                    let mut observed = self.observed();
                    observed.handle_timeout(tokio::time::Instant::now().into_std());
                    (observed.addresses(), observed.poll_timeout())
                };
                self.context.publish(Announcer::Observers, addresses);
                let due = async {
                    match due {
                        Some(due) => sleep_until(due.into()).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    () = due => {}
                    () = self.changed.notified() => {}
                    () = stop.cancelled() => return,
                }
            }
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(from: &str, seen: &str) -> Option<(String, String)> {
        let from = format!("{from}/tcp/5").parse().unwrap();
        let counted = public(&from, &seen.parse().unwrap());
        counted.map(|(from, seen)| (from.to_string(), seen.to_string()))
    }

    #[test]
    fn an_observation_that_the_peer_cannot_make_or_that_is_not_public_does_not_count() {
        let id = "12D3KooWJRSrypvnpHgc6ZAgyCni4KcSmbV7uGRaMw5LgMKT18fq";
        let named = format!("/ip4/198.51.100.7/tcp/4077/p2p/{id}");
        for (from, seen) in [
            // Loopback, private addresses, and addresses that no packet has as its destination.
            ("/ip4/127.0.0.1", "/ip4/127.0.0.1/tcp/4077"),
            ("/ip4/203.0.113.1", "/ip4/127.0.0.1/tcp/4077"),
            ("/ip4/203.0.113.1", "/ip4/0.0.0.0/tcp/4077"),
            ("/ip4/203.0.113.1", "/ip4/10.0.0.1/tcp/4077"),
            ("/ip4/203.0.113.1", "/ip6/::ffff:10.0.0.1/tcp/4077"),
            ("/ip4/10.0.0.2", "/ip4/10.0.0.1/tcp/4077"),
            ("/ip6/fd00::2", "/ip6/fd00::1/tcp/4077"),
            ("/ip4/10.0.0.1", "/ip4/198.51.100.7/tcp/4077"),
            ("/ip6/fe80::2", "/ip6/fe80::1/tcp/4077"),
            // Another IP version, a name, no port, another peer's id, or no address of a listener.
            ("/ip4/203.0.113.1", "/ip6/2001:db8::1/tcp/4077"),
            ("/ip4/203.0.113.1", "/dns4/a.example/tcp/4077"),
            ("/dns4/a.example", "/ip4/198.51.100.7/tcp/4077"),
            ("/ip4/203.0.113.1", "/ip4/198.51.100.7/tcp/0"),
            ("/ip4/203.0.113.1", "/ip4/198.51.100.7/udp/4077"),
            ("/ip4/203.0.113.1", &named),
        ] {
            assert_eq!(of(from, seen), None, "{from} {seen}");
        }
    }

    #[test]
    fn a_mapped_ipv6_address_is_announced_as_its_ipv4_address() {
        let seen = "/ip6/::ffff:198.51.100.7/tcp/4077";
        let expected = ("203.0.113.1".into(), "/ip4/198.51.100.7/tcp/4077".into());
        for from in ["/ip4/203.0.113.1", "/ip6/::ffff:203.0.113.1"] {
            assert_eq!(of(from, seen), Some(expected.clone()));
            let plain = "/ip4/198.51.100.7/tcp/4077";
            assert_eq!(of(from, plain), Some(expected.clone()));
        }
        let quic = "/ip6/2001:db8:1::1/udp/4077/quic-v1";
        let expected = ("2001:db8::1".into(), quic.into());
        assert_eq!(of("/ip6/2001:db8::1", quic), Some(expected));
    }
}
