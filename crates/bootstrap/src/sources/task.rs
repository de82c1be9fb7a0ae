//! A source that is an async function.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::sync::{mpsc, watch};

use crate::{Candidate, Found, Need, PeerSource, SourceError};

/// How many findings wait for the driver. Further ones make the function wait.
const WAITING: usize = 16;

/// A source that is an async function. The function runs while the source is polled, on the driver's task, and stops when the
/// source is dropped.
///
/// ```
/// use bootstrap::{Candidate, Origin, sources::Task};
///
/// let source = Task::new(|mut finds| async move {
///     loop {
///         finds.candidate(Candidate::new(Some("bob"), vec!["192.0.2.1:4077"], Origin::Other)).await;
///         finds.need_or_change().await;
///     }
/// });
/// ```
pub struct Task<Id, A> {
    found: mpsc::Receiver<Found<Id, A>>,
    signals: watch::Sender<Signals>,
    run: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Signals {
    need: Need,
    changes: u64,
}

/// The interface between the function of a [`Task`] and the driver: the function reports its findings here, and learns how many
/// peers the node needs.
#[derive(Debug)]
pub struct Finds<Id, A> {
    found: mpsc::Sender<Found<Id, A>>,
    signals: watch::Receiver<Signals>,
    /// What the function has been told of.
    seen: Signals,
}

impl<Id: Send + 'static, A: Send + 'static> Task<Id, A> {
    /// A source that runs this function.
    pub fn new<F: Future<Output = ()> + Send + 'static>(
        function: impl FnOnce(Finds<Id, A>) -> F,
    ) -> Self {
        let (sender, found) = mpsc::channel(WAITING);
        let (signals, receiver) = watch::channel(Signals::default());
        let finds = Finds {
            found: sender,
            signals: receiver,
            seen: Signals::default(),
        };
        Self {
            found,
            signals,
            run: Some(Box::pin(function(finds))),
        }
    }
}

impl<Id: Send, A: Send> PeerSource<Id, A> for Task<Id, A> {
    fn poll_found(&mut self, cx: &mut Context<'_>) -> Poll<Option<Found<Id, A>>> {
        if let Poll::Ready(Some(found)) = self.found.poll_recv(cx) {
            return Poll::Ready(Some(found));
        }
        if let Some(run) = &mut self.run
            && run.as_mut().poll(cx).is_ready()
        {
            self.run = None;
        }
        // The function's end closes the channel.
        self.found.poll_recv(cx)
    }

    fn handle_need(&mut self, need: Need) {
        self.signals.send_modify(|signals| signals.need = need);
    }

    fn handle_changed(&mut self) {
        self.signals
            .send_modify(|signals| signals.changes = signals.changes.wrapping_add(1));
    }
}

impl<Id, A> fmt::Debug for Task<Id, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task")
            .field("ended", &self.run.is_none())
            .finish_non_exhaustive()
    }
}

impl<Id, A> Finds<Id, A> {
    /// Reports a candidate. Waits until the driver has taken the earlier findings.
    pub async fn candidate(&self, candidate: Candidate<Id, A>) {
        self.send(Found::Candidate(candidate)).await;
    }

    /// Withdraws addresses.
    pub async fn withdrawn(&self, candidate: Candidate<Id, A>) {
        self.send(Found::Withdrawn(candidate)).await;
    }

    /// Reports a problem.
    pub async fn problem(&self, problem: SourceError) {
        self.send(Found::Problem(problem)).await;
    }

    /// The present need of the node for peers.
    pub fn need(&self) -> Need {
        self.signals.borrow().need
    }

    /// Waits until the need differs from the need at the previous call, or the network has changed since that call. Returns
    /// whether the network has changed. Cancel-safe.
    pub async fn need_or_change(&mut self) -> bool {
        let seen = self.seen;
        let news = self.signals.wait_for(|signals| *signals != seen).await;
        let Ok(news) = news.map(|news| *news) else {
            // Without a driver, nothing changes any more.
            return std::future::pending().await;
        };
        self.seen = news;
        news.changes != seen.changes
    }

    pub(crate) async fn send(&self, found: Found<Id, A>) {
        // The receiver is gone only if this function is dropped with it.
        let _ = self.found.send(found).await;
    }
}
