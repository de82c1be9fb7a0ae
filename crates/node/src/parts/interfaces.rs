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
/// address that moves to another interface is soon back, and a QUIC connection can continue from another address.
const PROBE: Duration = Duration::from_secs(1);

/// The watch of the network interfaces.
pub(crate) struct Interfaces {
    context: Context,
    /// The process was asleep, so any connection may be dead.
    woke: Notify,
    /// The watches exist as soon as the node does. They then have their descriptors even if the process later has none free.
    watches: Mutex<Option<(interfaces::Watch, dns_config::Watch)>>,
}

/// The connections that need a probe. While this machine has no network, no peer can answer, so the probe waits for a network.
#[derive(Debug, Default)]
struct Suspects {
    /// The addresses that this machine has lost.
    lost: BTreeSet<IpAddr>,
    /// This machine or this process was asleep, so any connection may be dead.
    all: bool,
}

impl Suspects {
    /// The suspects, if their probe must begin now.
    fn take_due(&mut self, has_network: bool) -> Option<Self> {
        let is_due = has_network && (self.all || !self.lost.is_empty());
        is_due.then(|| std::mem::take(self))
    }

    /// Whether a connection with this local address may be dead. Without a known address, only a sleep makes it a suspect.
    fn has(&self, local: Option<&Multiaddr>) -> bool {
        let may_have_used = |ip: IpAddr| match ip.is_unspecified() {
            true => self.lost.iter().any(|lost| lost.is_ipv4() == ip.is_ipv4()),
            false => self.lost.contains(&ip),
        };
        self.all || local.and_then(address::ip).is_some_and(may_have_used)
    }
}

impl Interfaces {
    pub(crate) fn new(context: Context) -> Self {
        Self {
            context,
            woke: Notify::new(),
            watches: Mutex::new(Some((interfaces::Watch::new(), dns_config::Watch::new()))),
        }
    }

    /// Probes the suspects. A probe is one ping.
    fn probe(&self, suspects: &Suspects) {
        for connection in self.context.connections() {
            if suspects.has(connection.local().as_ref()) {
                let context = self.context.clone();
                self.context.spawn(async move {
                    if !connection.answers(PROBE).await {
                        tracing::debug!(peer = %connection.peer(), "the peer did not answer a probe after a change of the network or a sleep");
                        context.close(connection.id(), Closing::Stale);
                    }
                });
            }
        }
    }
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
            let (mut suspects, mut routes) = (Suspects::default(), routes::list());
            loop {
                // The first read covers changes before the watch began.
                let gone = self.context.read_interfaces();
                let before = std::mem::replace(&mut routes, routes::list());
                if gone.is_none() && before != routes {
                    self.context.note_network_change();
                }
                suspects.lost.extend(gone.into_iter().flatten());
                if let Some(due) = suspects.take_due(self.context.has_network()) {
                    self.probe(&due);
                }
                // A wait for the interfaces that is dropped may forget its notice, but the list is read next in any case.
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = watch.changed() => {}
                    () = dns.changed() => self.context.report(Change::Network),
                    () = self.woke.notified() => suspects.all = true,
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
        let lost = Suspects {
            lost: ["192.0.2.1".parse().unwrap()].into(),
            all: false,
        };
        let asleep = Suspects {
            all: true,
            ..Suspects::default()
        };
        for (local, expected) in [
            ("/ip4/192.0.2.1/tcp/1", true),
            ("/ip4/192.0.2.2/tcp/1", false),
            ("/ip4/0.0.0.0/udp/1/quic-v1", true),
            ("/ip6/::/udp/1/quic-v1", false),
        ] {
            let local = local.parse().unwrap();
            assert_eq!(lost.has(Some(&local)), expected, "{local}");
            assert!(asleep.has(Some(&local)), "{local}");
        }
        assert!(!lost.has(None) && asleep.has(None));
    }

    #[test]
    fn a_probe_waits_until_the_machine_has_a_network_and_happens_once() {
        let address: IpAddr = "192.0.2.1".parse().unwrap();
        let mut suspects = Suspects::default();
        assert!(suspects.take_due(true).is_none(), "nothing has happened");
        for (lost, all) in [(Some(address), false), (None, true)] {
            suspects.lost.extend(lost);
            suspects.all |= all;
            assert!(suspects.take_due(false).is_none());
            let due = suspects.take_due(true).unwrap();
            assert_eq!((due.lost.first().copied(), due.all), (lost, all));
            assert!(suspects.take_due(true).is_none());
        }
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
        let lost = Suspects {
            lost: ["127.0.0.1".parse().unwrap()].into(),
            all: false,
        };
        only_the_silent_connection_is_closed(|part| part.probe(&lost)).await;
    }

    #[cfg(feature = "tcp")]
    #[tokio::test]
    async fn after_a_sleep_every_connection_is_probed_and_one_that_answers_stays() {
        let has_network = interfaces::list()
            .unwrap()
            .iter()
            .any(|ip| !ip.is_loopback());
        if has_network {
            let woke = |part: &Interfaces| part.handle(Instant::now(), &Change::Woke);
            only_the_silent_connection_is_closed(woke).await;
        }
    }

    /// Two connections, of which one is silent when `happen` causes the probe.
    #[cfg(feature = "tcp")]
    async fn only_the_silent_connection_is_closed(happen: impl FnOnce(&Interfaces)) {
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
        happen(&here.part::<Interfaces>().unwrap());
        let (peer, reason) = loop {
            let event = tokio::time::timeout(Duration::from_secs(20), events.next());
            if let Event::Disconnected { peer, reason, .. } = event.await.unwrap().unwrap() {
                break (peer, reason);
            }
        };
        assert_eq!((peer, reason), (silent.peer_id(), Closing::Stale));
        let rest = here.connection(answering.peer_id()).unwrap();
        assert!(rest.answers(Duration::from_secs(10)).await);
    }
}
