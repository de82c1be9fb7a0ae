//! Follows the network interfaces, the routes and the DNS configuration. Closes connections that do not answer after their local
//! address was lost, or after this machine was asleep.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use conn_state::Closing;
use futures::{FutureExt, future::BoxFuture};
use multiaddr::Multiaddr;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{
    address,
    context::Context,
    dns_config,
    interfaces::{self, routes},
    part::{Change, Part},
};

/// The time that a peer has to answer a probe. The node does not close a connection whose address is gone at once, because an
/// address that moves to another interface is soon back, and a QUIC connection can continue from another address. While this
/// machine has no network at all, no peer can answer, so the probe waits for a network.
const PROBE: Duration = Duration::from_secs(1);

/// The watch of the network interfaces.
pub(crate) struct Interfaces {
    context: Context,
    /// The process was asleep, so any connection may be dead.
    woke: Notify,
    /// The watches exist as soon as the node does. They then have their descriptors even if the process later has none free.
    watches: Mutex<Option<(interfaces::Watch, dns_config::Watch)>>,
}

impl Interfaces {
    pub(crate) fn new(context: Context) -> Self {
        Self {
            context,
            woke: Notify::new(),
            watches: Mutex::new(Some((interfaces::Watch::new(), dns_config::Watch::new()))),
        }
    }

    /// Probes each connection that `is_suspect` selects by its local address. A probe is one ping.
    fn probe(&self, is_suspect: impl Fn(Option<&Multiaddr>) -> bool) {
        for connection in self.context.connections() {
            if is_suspect(connection.local().as_ref()) {
                let context = self.context.clone();
                self.context.spawn(async move {
                    if !connection.answers(PROBE).await {
                        tracing::debug!(peer = %connection.peer(), "a connection is closed because the network has changed");
                        context.close(connection.id(), Closing::AddressLost);
                    }
                });
            }
        }
    }
}

/// Whether a connection with this local address used one of the addresses, as far as its transport knows.
fn may_have_used(local: Option<&Multiaddr>, gone: &[IpAddr]) -> bool {
    local
        .and_then(address::ip)
        .is_some_and(|ip| match ip.is_unspecified() {
            true => gone.iter().any(|gone| gone.is_ipv4() == ip.is_ipv4()),
            false => gone.contains(&ip),
        })
}

impl Part for Interfaces {
    fn name(&self) -> &'static str {
        "interfaces"
    }

    fn handle(&self, _: Instant, change: &Change) {
        if let Change::Woke = change {
            self.woke.notify_one();
        }
    }

    fn run(self: Arc<Self>, stop: CancellationToken) -> BoxFuture<'static, ()> {
        let watches = self
            .watches
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        async move {
            let Some((mut watch, mut dns)) = watches else {
                return;
            };
            let (mut lost, mut routes) = (BTreeSet::new(), routes::list());
            loop {
                // The first read covers changes before the watch began.
                let gone = self.context.read_interfaces();
                let before = std::mem::replace(&mut routes, routes::list());
                if gone.is_none() && before != routes {
                    self.context.note_network_change();
                }
                lost.extend(gone.into_iter().flatten());
                if !lost.is_empty() && self.context.has_network() {
                    let lost: Vec<IpAddr> = std::mem::take(&mut lost).into_iter().collect();
                    self.probe(|local| may_have_used(local, &lost));
                }
                // A wait for the interfaces that is dropped may forget its notice, but the list is read next in any case.
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = watch.changed() => {}
                    () = dns.changed() => self.context.report(Change::Network),
                    () = self.woke.notified() => self.probe(|_| true),
                }
            }
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is a test's verdict")]

    use super::*;

    #[test]
    fn a_connection_is_probed_if_its_address_is_gone_or_its_wildcard_may_have_used_it() {
        let gone = ["192.0.2.1".parse().unwrap()];
        for (local, expected) in [
            ("/ip4/192.0.2.1/tcp/1", true),
            ("/ip4/192.0.2.2/tcp/1", false),
            ("/ip4/0.0.0.0/udp/1/quic-v1", true),
            ("/ip6/::/udp/1/quic-v1", false),
        ] {
            let local = local.parse().unwrap();
            assert_eq!(may_have_used(Some(&local), &gone), expected, "{local}");
        }
        assert!(!may_have_used(None, &gone));
    }

    /// Passes bytes on to `end` until `silenced` fires. Then it holds its two connections and passes nothing on.
    #[cfg(feature = "tcp")]
    async fn forwarder(end: Multiaddr, silenced: CancellationToken) -> Multiaddr {
        use tokio::{
            io::copy_bidirectional,
            net::{TcpListener, TcpStream},
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = address::of_tcp(listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (mut near, _) = listener.accept().await.unwrap();
            let end = address::socket(&end).unwrap();
            let mut far = TcpStream::connect(end).await.unwrap();
            tokio::select! {
                copied = copy_bidirectional(&mut near, &mut far) => drop(copied),
                () = silenced.cancelled() => std::future::pending().await,
            }
        });
        address
    }

    #[cfg(feature = "tcp")]
    #[tokio::test]
    async fn a_silent_connection_is_closed_if_its_address_is_gone_and_one_that_answers_stays() {
        use crate::{Event, Keypair, Node};
        let node = || Node::builder(Keypair::generate_ed25519()).build().unwrap();
        let (here, answering, silent) = (node(), node(), node());
        let listen = async |node: &Node| {
            let address = "/ip4/127.0.0.1/tcp/0".parse().unwrap();
            node.listen(address).await.unwrap().remove(0)
        };
        let silenced = CancellationToken::new();
        let through = forwarder(listen(&silent).await, silenced.clone()).await;
        here.dial([through]).await.unwrap();
        here.dial([listen(&answering).await]).await.unwrap();
        let mut events = here.events();
        silenced.cancel();
        let part = here.part::<Interfaces>().unwrap();
        let lost = ["127.0.0.1".parse().unwrap()];
        part.probe(|local| may_have_used(local, &lost));
        let (peer, reason) = loop {
            let event = tokio::time::timeout(Duration::from_secs(20), events.next());
            if let Event::Disconnected { peer, reason, .. } = event.await.unwrap().unwrap() {
                break (peer, reason);
            }
        };
        assert_eq!((peer, reason), (silent.peer_id(), Closing::AddressLost));
        let rest = here.connection(answering.peer_id()).unwrap();
        assert!(rest.answers(Duration::from_secs(10)).await);
    }
}
