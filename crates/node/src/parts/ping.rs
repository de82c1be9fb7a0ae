//! Ping: answers pings, and pings every connection when conn-state's `Liveness` asks for it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use conn_state::{Closing, ConnectionId, Liveness, LivenessConfig, LivenessEvent, PingFailure};
use futures::{FutureExt, future::BoxFuture};
use tokio::{
    sync::Notify,
    time::{MissedTickBehavior, interval, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::{
    connection::Connection,
    context::Context,
    error::OpenError,
    part::{Change, Part, Service},
    protocols::ping::{MAX_INBOUND, PROTOCOL, PingError, serve},
};

/// The time between two searches for quiet connections. A search reads one counter per connection.
const LOOK: Duration = Duration::from_secs(1);

/// Pings all connections from one task. A connection needs an entry here, but no task.
pub(crate) struct Ping {
    context: Context,
    config: Arc<LivenessConfig>,
    watched: Mutex<Watched>,
    changed: Notify,
    /// The longest time without a packet on a connection that keeps itself alive, if its path works.
    keep_alive: Option<Duration>,
}

#[derive(Default)]
struct Watched {
    connections: BTreeMap<ConnectionId, (Connection, Liveness)>,
    due: BTreeSet<(Instant, ConnectionId)>,
}

impl Watched {
    /// Runs `change` on a connection's `Liveness`. Returns the events that the part must carry out.
    fn update(
        &mut self,
        id: ConnectionId,
        change: impl FnOnce(&mut Liveness, &Connection),
    ) -> Vec<(Connection, LivenessEvent)> {
        let Some((connection, liveness)) = self.connections.get_mut(&id) else {
            return Vec::new();
        };
        let before = liveness.poll_timeout();
        change(liveness, connection);
        let events = std::iter::from_fn(|| liveness.poll_event());
        let events = events.map(|event| (connection.clone(), event)).collect();
        let after = liveness.poll_timeout();
        if before != after {
            before.map(|at| self.due.remove(&(at, id)));
            self.due.extend(after.map(|at| (at, id)));
        }
        events
    }

    /// Checks each connection for silence. Returns the events, and the quiet connections that can migrate.
    fn look(
        &mut self,
        now: Instant,
        keep_alive: Option<Duration>,
    ) -> (Vec<(Connection, LivenessEvent)>, Vec<Connection>) {
        let (mut events, mut quiet) = (Vec::new(), Vec::new());
        for (connection, liveness) in self.connections.values_mut() {
            let can_migrate = connection.can_migrate();
            let expected = keep_alive.filter(|_| can_migrate);
            liveness.handle_look(now, connection.received(), connection.asked(), expected);
            events.extend(
                liveness
                    .poll_event()
                    .map(|event| (connection.clone(), event)),
            );
            if can_migrate && liveness.is_quiet() {
                quiet.push(connection.clone());
            }
        }
        (events, quiet)
    }

    fn insert(&mut self, connection: Connection, liveness: Liveness) {
        let id = connection.id();
        self.due.extend(liveness.poll_timeout().map(|at| (at, id)));
        self.connections.insert(id, (connection, liveness));
    }

    fn remove(&mut self, id: ConnectionId) {
        if let Some((_, liveness)) = self.connections.remove(&id)
            && let Some(at) = liveness.poll_timeout()
        {
            self.due.remove(&(at, id));
        }
    }
}

impl Ping {
    /// `keep_alive` is the interval at which a connection that can migrate keeps itself alive.
    pub(crate) fn new(
        context: Context,
        config: LivenessConfig,
        keep_alive: Option<Duration>,
    ) -> Self {
        Self {
            context,
            keep_alive,
            config: Arc::new(config),
            watched: Mutex::default(),
            changed: Notify::new(),
        }
    }

    fn watched(&self) -> MutexGuard<'_, Watched> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Handles every connection that is due. Returns the time at which the next connection is due.
    fn handle_due(self: &Arc<Self>, now: Instant) -> Option<Instant> {
        loop {
            let mut watched = self.watched();
            let (at, id) = *watched.due.first()?;
            if at > now {
                return Some(at);
            }
            let wanted = watched.update(id, |liveness, connection| {
                liveness.handle_timeout(now, connection.received());
            });
            if wanted.is_empty() && watched.due.first() == Some(&(at, id)) {
                // The core asks for the same moment again. Wait, because a retry at once could loop forever.
                return Some(now + Duration::from_millis(1));
            }
            drop(watched);
            self.carry_out_all(wanted);
        }
    }

    /// Looks for quiet connections. A packet of a new ping or probe tests the path at once, while the transport's own repetitions
    /// of a lost packet come at growing intervals.
    fn look(self: &Arc<Self>, now: Instant) {
        let (events, quiet) = self.watched().look(now, self.keep_alive);
        self.carry_out_all(events);
        for connection in quiet {
            self.context.spawn(async move {
                connection.answers(LOOK).await;
            });
        }
    }

    fn carry_out_all(self: &Arc<Self>, events: Vec<(Connection, LivenessEvent)>) {
        for (connection, event) in events {
            self.carry_out(connection, event);
        }
    }

    fn carry_out(self: &Arc<Self>, connection: Connection, event: LivenessEvent) {
        match event {
            LivenessEvent::Ping => {
                let part = Arc::clone(self);
                self.context
                    .spawn(async move { part.ping(connection).await });
            }
            LivenessEvent::Quiet if !connection.can_migrate() => {
                self.context.report(Change::Quiet { connection });
            }
            LivenessEvent::Heard if !connection.can_migrate() => {
                self.context.report(Change::Heard { connection });
            }
            LivenessEvent::Dead => {
                tracing::debug!(peer = %connection.peer(), "a connection is closed because the peer is silent");
                self.context.close(connection.id(), Closing::Silent);
            }
            _ => {}
        }
    }

    async fn ping(self: Arc<Self>, connection: Connection) {
        let outcome = connection.ping().await;
        let (now, id) = (Instant::now(), connection.id());
        let wanted = match &outcome {
            Ok(rtt) => self
                .watched()
                .update(id, |liveness, _| liveness.handle_pong(now, *rtt)),
            Err(error) => {
                tracing::debug!(peer = %connection.peer(), %error, "a ping failed");
                let failure = failure(error);
                self.watched().update(id, |liveness, connection| {
                    liveness.handle_ping_failed(now, connection.received(), failure);
                })
            }
        };
        if let Ok(rtt) = outcome {
            let connection = connection.clone();
            self.context.report(Change::Pong { connection, rtt });
        }
        self.carry_out_all(wanted);
        self.changed.notify_one();
    }
}

/// Only silence counts as a failure. A peer that answers in any way, or does not support ping, is alive.
fn failure(error: &PingError) -> PingFailure {
    match error {
        PingError::TimedOut { .. } | PingError::Open(OpenError::TimedOut { .. }) => {
            PingFailure::TimedOut
        }
        _ => PingFailure::Refused,
    }
}

impl Part for Ping {
    fn name(&self) -> &'static str {
        "ping"
    }

    fn services(self: Arc<Self>) -> Vec<Service> {
        vec![Service {
            protocols: vec![PROTOCOL.into()],
            limited: true,
            per_connection: Some(MAX_INBOUND),
            keeps_open: false,
            enabled: true,
            serve: Arc::new(|inbound| serve(inbound.stream).boxed()),
        }]
    }

    fn handle(&self, now: Instant, change: &Change) {
        match change {
            Change::Connected { connection } => {
                let config = Arc::clone(&self.config);
                let liveness = Liveness::new(now, connection.direction(), config);
                self.watched().insert(connection.clone(), liveness);
            }
            Change::Disconnected { connection, .. } => self.watched().remove(connection.id()),
            _ => return,
        }
        self.changed.notify_one();
    }

    fn run(self: Arc<Self>, stop: CancellationToken) -> BoxFuture<'static, ()> {
        async move {
            let mut looks = interval(LOOK);
            looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                let next = self.handle_due(Instant::now());
                let due = async {
                    match next {
                        Some(at) => sleep_until(at.into()).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    () = due => {}
                    () = self.changed.notified() => {}
                    _ = looks.tick() => self.look(Instant::now()),
                    () = stop.cancelled() => return,
                }
            }
        }
        .boxed()
    }
}

#[cfg(all(test, feature = "tcp"))]
mod tests {
    use super::*;
    use crate::{Keypair, Node, event::Event};

    #[tokio::test]
    async fn nothing_is_kept_of_a_connection_that_has_ended() {
        let node = || Node::builder(Keypair::generate_ed25519()).build().unwrap();
        let (here, there) = (node(), node());
        let address = there.listen("/ip4/127.0.0.1/tcp/0".parse().unwrap()).await;
        let mut events = here.events();
        let connection = here.dial(address.unwrap()).await.unwrap();
        let part = here.part::<Ping>().unwrap();
        assert!(!part.watched().connections.is_empty());
        connection.close();
        while !matches!(events.next().await.unwrap(), Event::Disconnected { .. }) {}
        assert!(part.watched().connections.is_empty() && part.watched().due.is_empty());
    }
}
