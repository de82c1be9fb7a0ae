//! Reports of failed inbound connections, merged per subnet, so that unknown peers cannot flood the events or the log.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use conn_state::{Prefix, Summaries, SummariesConfig};
use multiaddr::Multiaddr;
use tokio::{sync::Notify, time::sleep_until};
use tokio_util::sync::CancellationToken;

use crate::{
    address,
    connections::Connections,
    error::{AttemptCause, error_chain},
    part::Change,
};

/// The failures that wait for their report. The first failure of a subnet is reported at once. The next failures of the subnet are
/// reported once per second with their number. At most 16 subnets have their own reports at the same time. After 64 reports at
/// once, there is one report per second for all subnets.
pub(crate) struct Failures {
    connections: Arc<Connections>,
    /// An address without an IP address has the key `None`.
    summaries: Mutex<Summaries<Option<Prefix>, Failure>>,
    changed: Notify,
}

struct Failure {
    address: Multiaddr,
    cause: AttemptCause,
}

impl Failures {
    pub(crate) fn new(connections: Arc<Connections>) -> Arc<Self> {
        Arc::new(Self {
            connections,
            summaries: Mutex::new(Summaries::new(SummariesConfig::default())),
            changed: Notify::new(),
        })
    }

    fn summaries(&self) -> MutexGuard<'_, Summaries<Option<Prefix>, Failure>> {
        self.summaries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// An inbound connection from `address` was refused, or its handshake failed.
    pub(crate) fn report(&self, address: Multiaddr, cause: AttemptCause) {
        let subnet = address::ip(&address).map(Prefix::subnet);
        let failure = Failure { address, cause };
        self.summaries()
            .handle_report(Instant::now(), subnet, failure);
        self.deliver();
        self.changed.notify_one();
    }

    fn deliver(&self) {
        loop {
            let Some(summary) = self.summaries().poll_event() else {
                return;
            };
            let (Failure { address, cause }, count) = (summary.latest, summary.count);
            let reason = error_chain(&cause);
            tracing::debug!(%address, reason, count, "an inbound connection failed");
            self.connections.report(Change::InboundFailed {
                address,
                cause: Arc::new(cause),
                count,
                subnet: summary.key.flatten(),
            });
        }
    }

    /// Reports each summary when it is due, until the node stops. Then reports the remaining failures at once.
    pub(crate) async fn run(self: Arc<Self>, stopping: CancellationToken) {
        loop {
            let next = self.summaries().poll_timeout();
            let due = async {
                match next {
                    Some(at) => sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = due => self.summaries().handle_timeout(Instant::now()),
                () = self.changed.notified() => continue,
                () = stopping.cancelled() => {
                    self.summaries().handle_end(Instant::now());
                    return self.deliver();
                }
            }
            self.deliver();
        }
    }
}
