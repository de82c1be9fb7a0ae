//! What goes on over one connection while it lives.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use futures::future::{Fuse, FusedFuture, FutureExt};
use tokio::time::{Instant, Sleep};

use crate::{
    Connection, Direction, Event, OpenError, negotiate,
    protocols::{
        identify::{self, IdentifyError},
        ping::{self, PingError},
    },
    shared::Shared,
    stream::RawStream,
};

type Boxed<T> = Fuse<Pin<Box<dyn Future<Output = T> + Send>>>;

/// Serves the peer's streams, pings it and asks who it is, until the connection is closed.
///
/// Backpressure: streams beyond the limit are reset, never queued. Cancel-safe: dropping it leaves the connection to
/// the registry.
pub(crate) async fn run(node: Arc<Shared>, connection: Connection) {
    let mut pinger = Pinger::new(&node, &connection);
    let mut identifying = identify_once(&node, &connection);
    loop {
        tokio::select! {
            // What is seldom ready comes first, so that a peer's many streams cannot hold it up.
            biased;
            verdict = pinger.next(&node, &connection) => {
                if let Verdict::Dead = verdict {
                    connection.abort("pings were not answered");
                }
            }
            () = &mut identifying, if !identifying.is_terminated() => {
                // The future that did the work need not be kept for the connection's whole life.
                identifying = Fuse::terminated();
            }
            stream = connection.accept_raw() => match stream {
                Some(stream) => spawn_stream(&node, &connection, stream),
                None => break,
            },
        }
    }
}

fn identify_once(node: &Arc<Shared>, connection: &Connection) -> Boxed<()> {
    let (node, connection) = (Arc::clone(node), connection.clone());
    let asked: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(async move {
        let outcome = connection.identify().await;
        note_identified(&node, connection, outcome);
    });
    asked.fuse()
}

fn note_identified(
    node: &Shared,
    connection: Connection,
    outcome: Result<Arc<identify::Info>, IdentifyError>,
) {
    match outcome {
        Ok(info) => {
            node.emit(Event::Identified { connection, info });
        }
        Err(error @ IdentifyError::WrongPeer { .. }) => {
            tracing::warn!(%error, "closing a connection");
            connection.abort("identify names another peer");
        }
        Err(error) => tracing::debug!(peer = %connection.peer(), %error, "identify failed"),
    }
}

fn spawn_stream(node: &Arc<Shared>, connection: &Connection, raw: RawStream) {
    let Some(place) = connection.admit_stream(node.config.max_inbound_streams) else {
        tracing::debug!(peer = %connection.peer(), "too many streams: one is reset");
        return;
    };
    let (node, connection) = (Arc::clone(node), connection.clone());
    node.tasks.clone().spawn(async move {
        let timeout = node.config.negotiation_timeout;
        let offered = match connection.is_limited() {
            true => node.offered_limited(),
            false => node.offered(),
        };
        let negotiated = negotiate::inbound(raw, offered, timeout).await;
        let Some((protocol, stream)) = negotiated else {
            return;
        };
        match &*protocol {
            ping::PROTOCOL => {
                if let Some(_place) = connection.admit_ping(ping::MAX_INBOUND) {
                    ping::serve(stream).await;
                }
            }
            identify::PROTOCOL => {
                let ours = node.identify_for(&connection);
                identify::serve(stream, ours, timeout).await;
            }
            identify::PUSH_PROTOCOL => {
                let outcome = identify::receive_push(&connection, stream, timeout).await;
                note_identified(&node, connection, outcome);
            }
            #[cfg(feature = "relay")]
            relay_slots::wire::HOP_PROTOCOL => {
                // In boxes, so that other streams' tasks need no room for them.
                Box::pin(crate::relay::serve_hop(&node, &connection, stream)).await;
            }
            #[cfg(feature = "relay")]
            relay_slots::wire::STOP_PROTOCOL => {
                Box::pin(crate::relay::serve_stop(&node, &connection, stream, place)).await;
            }
            _ => node.hand_over(&protocol, connection, stream, place),
        }
    });
}

enum Verdict {
    Alive,
    Dead,
}

/// How long the end that was dialed leaves the first word to the other: its own ping would only be in the way of the
/// dialer's, and two ends that began together would go on pinging in step.
const ANSWERING_DELAY: Duration = Duration::from_secs(1);

/// Pings at intervals, one at a time; the dialer's first ping goes out at once.
struct Pinger {
    due: Pin<Box<Sleep>>,
    interval: Duration,
    running: Boxed<Result<Duration, PingError>>,
    failures: u32,
    tolerated: u32,
}

impl Pinger {
    fn new(node: &Shared, connection: &Connection) -> Self {
        let interval = node.config.ping_interval;
        Self {
            due: Box::pin(tokio::time::sleep(match connection.direction() {
                Direction::Inbound => ANSWERING_DELAY.min(interval),
                Direction::Outbound => interval,
            })),
            interval,
            running: match connection.direction() {
                Direction::Inbound => Fuse::terminated(),
                Direction::Outbound => start_ping(connection),
            },
            failures: 0,
            tolerated: node.config.ping_failures,
        }
    }

    /// Cancel-safe: all state is in `self`.
    async fn next(&mut self, node: &Shared, connection: &Connection) -> Verdict {
        if self.running.is_terminated() {
            self.due.as_mut().await;
            self.running = start_ping(connection);
        }
        let outcome = (&mut self.running).await;
        self.running = Fuse::terminated();
        self.due.as_mut().reset(Instant::now() + self.interval);
        match outcome {
            Ok(rtt) => {
                self.failures = 0;
                let connection = connection.clone();
                node.emit(Event::Pong { connection, rtt });
                Verdict::Alive
            }
            Err(error) => {
                tracing::debug!(peer = %connection.peer(), %error, "ping failed");
                self.note_failure(&error)
            }
        }
    }

    /// Only silence is held against a peer: one that answers anything at all, or does not speak ping, is there.
    fn note_failure(&mut self, error: &PingError) -> Verdict {
        match error {
            PingError::TimedOut { .. } | PingError::Open(OpenError::TimedOut { .. }) => {
                self.failures += 1;
            }
            _ => self.failures = 0,
        }
        if self.failures >= self.tolerated {
            Verdict::Dead
        } else {
            Verdict::Alive
        }
    }
}

fn start_ping(connection: &Connection) -> Boxed<Result<Duration, PingError>> {
    let connection = connection.clone();
    let ping: Pin<Box<dyn Future<Output = _> + Send>> =
        Box::pin(async move { connection.ping().await });
    ping.fuse()
}
