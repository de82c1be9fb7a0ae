//! A dial or an upgrade that is dropped, wherever it stands, leaves no descriptor and no task.
//!
//! Each future is polled k times and dropped, for every k until it is done. The descriptors of the
//! process are counted, so this binary has one test at a time.
#![allow(clippy::unwrap_used)]

#[path = "support/mod.rs"]
mod support;

use std::{
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::{Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use hickory_resolver::proto::{
    op::{Message, MessageType},
    rr::{RData, Record, RecordType, rdata::A},
};
use tokio::{
    net::{TcpListener, TcpStream, UdpSocket},
    runtime::{Builder, Handle},
    time::{Instant, timeout},
};
use transport_tcp::{
    DialContext, Dialer, Direct, DirectConfig, Resolver, Security, Target, UpgradeConfig,
};

use support::{Node, PATIENCE, hole::Port};

/// One test at a time, its runtime included: what another opens would be counted.
fn alone(test: impl Future<Output = ()>) {
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(test);
}

/// Polls `inner` so many times, then drops it.
struct Cut<F> {
    inner: Option<Pin<Box<F>>>,
    left: usize,
}

impl<F: Future> Future for Cut<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.left > 0 {
            self.left -= 1;
            let inner = self.inner.as_mut().expect("not polled again");
            if let Poll::Ready(output) = inner.as_mut().poll(cx) {
                self.inner = None;
                return Poll::Ready(Some(output));
            }
        }
        if self.left == 0 {
            self.inner = None;
            return Poll::Ready(None);
        }
        Poll::Pending
    }
}

fn cut<F: Future>(polls: usize, inner: F) -> Cut<F> {
    Cut {
        inner: Some(Box::pin(inner)),
        left: polls,
    }
}

fn open() -> Vec<String> {
    let entries = std::fs::read_dir("/proc/self/fd").unwrap();
    let links = entries.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok());
    let mut links: Vec<String> = links.map(|link| link.display().to_string()).collect();
    links.sort();
    links
}

fn tasks() -> usize {
    Handle::current().metrics().num_alive_tasks()
}

/// Waits until the descriptors and tasks are back to what they were.
async fn settles(descriptors: usize, alive: usize, what: &str) {
    let settled = timeout(PATIENCE, async {
        while open().len() > descriptors || tasks() > alive {
            tokio::task::yield_now().await;
        }
    });
    let settled = settled.await.is_ok();
    assert!(
        settled,
        "{what}: {} tasks, not {alive}; {descriptors} descriptors before, now {:#?}",
        tasks(),
        open(),
    );
}

/// Runs `attempt(k)` for rising k until it is completed; after each, everything must be as before.
async fn for_every_cut(what: &str, mut attempt: impl AsyncFnMut(usize) -> bool) {
    // Whatever is set up once, in the runtime or by a first use, is set up now.
    let (descriptors, alive) = (open().len(), tasks());
    assert!(attempt(usize::MAX).await, "{what} does not even work uncut");
    settles(descriptors, alive, &format!("{what} uncut")).await;
    let mut polls = 0;
    while !attempt(polls).await {
        settles(
            descriptors,
            alive,
            &format!("{what} dropped after {polls} polls"),
        )
        .await;
        polls += 1;
        assert!(polls < 10_000, "{what} never ends");
    }
    assert!(polls > 1, "{what} was over at once: nothing was cut");
    settles(descriptors, alive, &format!("{what} completed")).await;
}

/// A name server for which every name has these addresses.
async fn name_server(ips: &'static [[u8; 4]]) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        loop {
            let (n, from) = socket.recv_from(&mut buffer).await.unwrap();
            let mut message = Message::from_vec(&buffer[..n]).unwrap();
            let query = message.queries[0].clone();
            message.metadata.message_type = MessageType::Response;
            if query.query_type == RecordType::A {
                let record = |ip: &[u8; 4]| {
                    Record::from_rdata(query.name.clone(), 60, RData::A(A((*ip).into())))
                };
                message.answers = ips.iter().map(record).collect();
            }
            socket
                .send_to(&message.to_vec().unwrap(), from)
                .await
                .unwrap();
        }
    });
    address
}

async fn dial(config: DirectConfig, address: &str, polls: usize) -> bool {
    let target: Target = address.parse().unwrap();
    let cx = DialContext::new(Instant::now() + PATIENCE);
    let dialer = Direct::new(config);
    match cut(polls, dialer.dial(&target, &cx)).await {
        Some(stream) => stream.map(drop).is_ok(),
        None => false,
    }
}

#[test]
fn a_dropped_dial_of_an_address_leaves_nothing() {
    alone(async {
        let port = Port::new();
        let address = format!("/ip4/127.0.0.1/tcp/{}", port.number());
        for_every_cut("a dial", async |polls| {
            dial(DirectConfig::default(), &address, polls).await
        })
        .await;
    });
}

#[test]
fn a_dropped_dial_of_a_name_leaves_nothing() {
    alone(async {
        let port = Port::new();
        // The first address never answers, the second one is refused, the third one works.
        let server = name_server(&[[127, 0, 0, 2], [127, 0, 0, 3], [127, 0, 0, 1]]).await;
        let address = format!("/dns4/some.example/tcp/{}", port.number());
        for_every_cut("a dial of a name", async |polls| {
            let resolver = Resolver::with_nameservers(&[server]).unwrap();
            let config = DirectConfig::default().with_resolver(resolver);
            dial(
                config.with_attempt_delay(Duration::from_millis(5)),
                &address,
                polls,
            )
            .await
        })
        .await;
    });
}

/// Upgrades over a socket; `outbound` tells which end is cut after so many polls.
async fn upgrade(dialer: &Node, listener: &Node, outbound: bool, polls: usize) -> bool {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = TcpStream::connect(socket.local_addr().unwrap())
        .await
        .unwrap();
    let (far, _) = socket.accept().await.unwrap();
    let (cut_after, other) = match outbound {
        true => (polls, usize::MAX),
        false => (usize::MAX, polls),
    };
    let (dialed, accepted) = tokio::join!(
        cut(cut_after, dialer.outbound(near, Some(listener.id()))),
        cut(other, listener.inbound(far)),
    );
    let (dialed, accepted) = (dialed.and_then(Result::ok), accepted.and_then(Result::ok));
    match outbound {
        true => dialed.is_some(),
        false => accepted.is_some(),
    }
}

#[test]
fn a_dropped_upgrade_leaves_nothing() {
    alone(async {
        use Security::{Noise, Tls};
        for offers in [vec![Tls], vec![Noise], vec![Tls, Noise]] {
            for outbound in [true, false] {
                let config = || UpgradeConfig::default().with_security(offers.clone());
                let (dialer, listener) = (Node::new(config()), Node::new(config()));
                let what = format!("an upgrade with {offers:?}, outbound {outbound},");
                for_every_cut(&what, async |polls| {
                    upgrade(&dialer, &listener, outbound, polls).await
                })
                .await;
            }
        }
    });
}
