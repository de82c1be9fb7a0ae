//! Peers whose address changes: a NAT between dialer and listener sends from other addresses.
#![allow(clippy::unwrap_used)]

mod common;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use common::{Node, ask, localhost, within};
use tokio::{io::AsyncWriteExt, net::UdpSocket, task::JoinSet};
use transport_quic::Config;

/// Passes datagrams between a dialer and a listener. It has many outside addresses.
struct Nat {
    inside: UdpSocket,
    listener: SocketAddr,
}

/// The traffic of one outside address, in bytes.
#[derive(Debug, Default, Clone, Copy)]
struct Traffic {
    sent: usize,
    received: usize,
}

impl Nat {
    async fn new(listener: SocketAddr) -> (Self, SocketAddr) {
        let inside = UdpSocket::bind(localhost()).await.unwrap();
        let address = inside.local_addr().unwrap();
        (Self { inside, listener }, address)
    }

    /// Passes everything in both directions through one outside address, until `stop` is true.
    async fn pass(&self, outside: &UdpSocket, stop: &AtomicBool) {
        let (mut out, mut back) = ([0; 65_535], [0; 65_535]);
        let mut dialer = None;
        while !stop.load(Relaxed) {
            tokio::select! {
                datagram = self.inside.recv_from(&mut out) => {
                    let (length, from) = datagram.unwrap();
                    dialer = Some(from);
                    outside.send_to(&out[..length], self.listener).await.unwrap();
                }
                datagram = outside.recv_from(&mut back) => {
                    let (length, _) = datagram.unwrap();
                    if let Some(dialer) = dialer {
                        self.inside.send_to(&back[..length], dialer).await.unwrap();
                    }
                }
                () = tokio::time::sleep(Duration::from_millis(5)) => {}
            }
        }
    }

    /// Sends the dialer's next datagrams, each from an address of its own that answers nothing.
    async fn spoof(&self, count: usize) -> Vec<Traffic> {
        let mut counting = JoinSet::new();
        for _ in 0..count {
            let mut datagram = [0; 65_535];
            let (length, _) = within(self.inside.recv_from(&mut datagram)).await.unwrap();
            let victim = UdpSocket::bind(localhost()).await.unwrap();
            let sent = victim.send_to(&datagram[..length], self.listener).await;
            let mut traffic = Traffic {
                sent: sent.unwrap(),
                received: 0,
            };
            counting.spawn(async move {
                let quiet = Duration::from_secs(1);
                while let Ok(received) =
                    tokio::time::timeout(quiet, victim.recv(&mut datagram)).await
                {
                    traffic.received += received.unwrap();
                }
                traffic
            });
        }
        counting.join_all().await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addresses_that_never_answer_get_three_times_what_they_sent_and_few_challenges() {
    const VICTIMS: usize = 60;
    let (dialer, listener) = (Node::new(Config::default()), Node::new(Config::default()));
    let _echo = listener.echo();
    let (nat, inside) = Nat::new(listener.address).await;
    let honest = UdpSocket::bind(localhost()).await.unwrap();
    let stop = AtomicBool::new(false);
    let (dialed, ()) = tokio::join!(
        async {
            let dialed = within(dialer.endpoint.dial(inside, None)).await.unwrap();
            within(ask(&dialed, b"hello")).await.unwrap();
            stop.store(true, Relaxed);
            dialed
        },
        nat.pass(&honest, &stop)
    );
    let begun = Instant::now();
    let asking = dialed.clone();
    let asking = tokio::spawn(async move {
        loop {
            let _ = asking.probe(Duration::from_millis(20)).await;
        }
    });
    let victims = nat.spoof(VICTIMS).await;
    asking.abort();
    let more: Vec<_> = victims
        .iter()
        .filter(|victim| victim.received > 3 * victim.sent)
        .collect();
    // 16 at once, and one per 500 ms.
    let few = 17 + begun.elapsed().as_millis() / 500;
    assert!(!more.is_empty(), "nothing was tried: {victims:?}");
    assert!(more.len() as u128 <= few, "{} of {VICTIMS}", more.len());
    assert!(
        more.iter().all(|victim| victim.received <= 1200),
        "{more:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_whose_nat_changes_its_address_keeps_its_connection_and_its_speed() {
    /// Bytes that the listener sends at a time: far more than three times what it receives.
    const MUCH: usize = 4 << 20;
    let (dialer, listener) = (Node::new(Config::default()), Node::new(Config::default()));
    let accepted = listener.accept_one();
    let (nat, inside) = Nat::new(listener.address).await;
    let stop = Arc::new(AtomicBool::new(false));
    let passing = tokio::spawn({
        let stop = Arc::clone(&stop);
        async move {
            loop {
                stop.store(false, Relaxed);
                let outside = UdpSocket::bind(localhost()).await.unwrap();
                nat.pass(&outside, &stop).await;
            }
        }
    });
    let dialed = within(dialer.endpoint.dial(inside, None)).await.unwrap();
    let accepted = within(accepted).await.unwrap();
    tokio::spawn(async move {
        while let Some(mut stream) = accepted.accept().await {
            stream.write_all(&vec![7; MUCH]).await.unwrap();
            stream.shutdown().await.unwrap();
        }
    });
    for _ in 0..5 {
        // The probe is a packet of about 30 bytes from the new address.
        within(dialed.probe(Duration::from_secs(10))).await.unwrap();
        let answer = within(ask(&dialed, b"much")).await.unwrap();
        assert_eq!(answer.len(), MUCH);
        stop.store(true, Relaxed);
        common::until(|| !stop.load(Relaxed)).await;
    }
    passing.abort();
}
