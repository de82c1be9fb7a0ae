//! The core and its sources on tokio. This file sleeps and forwards; the core decides.
//!
//! Backpressure: the driver asks a source for its next finding when the core has taken the previous one. Cancel-safety: each
//! future of this file may be dropped at any time, and nothing is lost.

use std::{
    fmt,
    future::{pending, poll_fn},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    sync::{Notify, watch},
    task::yield_now,
    time::{Instant, Interval, MissedTickBehavior, interval, sleep_until, timeout_at},
};

use crate::{
    Found, Need, PeerSource, Rejoin, RejoinEvent, Resume, SourceError, State, Status, time_asleep,
};

/// How often the driver looks whether the host was asleep.
const TICK: Duration = Duration::from_secs(1);

/// An event for the host, which must act on it or may want to know it.
#[derive(Debug)]
#[non_exhaustive]
pub enum DriverEvent<Id, A> {
    /// An event of the core.
    Rejoin(RejoinEvent<Id, A>),
    /// A source has a problem, which the host should log.
    Problem(SourceError),
    /// The host was asleep for this long. The core and the sources know: [`Handle::changed`] is not necessary. Probe the
    /// connections, which may be dead, and report the peers that do not answer with [`Rejoin::handle_quiet`].
    Resumed(Duration),
}

/// The node was not joined by the deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not joined by the deadline: {status}")]
#[non_exhaustive]
pub struct NotJoined {
    /// The state at the deadline, with its reason.
    pub status: Status,
}

struct Shared<Id, A> {
    core: Mutex<Rejoin<Id, A>>,
    /// Something may be due sooner.
    touched: Notify,
    state: watch::Sender<State>,
    /// How often the network has changed, for the sources.
    changes: watch::Sender<u64>,
}

impl<Id: Clone + Ord, A: Clone + PartialEq> Shared<Id, A> {
    fn lock(&self) -> MutexGuard<'_, Rejoin<Id, A>> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<R>(&self, call: impl FnOnce(&mut Rejoin<Id, A>, std::time::Instant) -> R) -> R {
        let mut core = self.lock();
        let result = call(&mut core, Instant::now().into_std());
        let state = core.state();
        self.state
            .send_if_modified(|known| std::mem::replace(known, state) != state);
        result
    }
}

/// The host's handle. Clones share the core.
pub struct Handle<Id, A>(Arc<Shared<Id, A>>);

/// Runs the core and its sources. One task calls [`Driver::next`] in a loop. Dropping the driver stops the sources.
pub struct Driver<Id, A> {
    shared: Arc<Shared<Id, A>>,
    sources: Vec<Box<dyn PeerSource<Id, A>>>,
    /// The source that is asked first, so that none is always the last.
    first: usize,
    need: Option<Need>,
    changes: watch::Receiver<u64>,
    resume: Resume,
    tick: Interval,
}

impl<Id: Clone + Ord, A: Clone + PartialEq> Driver<Id, A> {
    /// A driver. Put the sources that answer at once, such as the saved peers, before the bootstrap list. Must be called in a
    /// tokio runtime.
    pub fn new(
        core: Rejoin<Id, A>,
        sources: Vec<Box<dyn PeerSource<Id, A>>>,
    ) -> (Self, Handle<Id, A>) {
        let (changes, changed) = watch::channel(0);
        let state = watch::Sender::new(core.state());
        let shared = Arc::new(Shared {
            core: Mutex::new(core),
            touched: Notify::new(),
            state,
            changes,
        });
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let handle = Handle(shared.clone());
        let driver = Self {
            shared,
            sources,
            first: 0,
            need: None,
            changes: changed,
            resume: Resume::default(),
            tick,
        };
        (driver, handle)
    }

    /// Waits for the next event. Cancel-safe.
    pub async fn next(&mut self) -> DriverEvent<Id, A> {
        loop {
            let (event, due, need) = self.shared.with(|core, now| {
                core.handle_timeout(now);
                (core.poll_event(), core.poll_timeout(), core.need())
            });
            self.tell_sources(need);
            if let Some(event) = event {
                return DriverEvent::Rejoin(event);
            }
            let due = async {
                match due {
                    Some(due) => sleep_until(due.into()).await,
                    None => pending().await,
                }
            };
            let shared = self.shared.clone();
            let found = poll_fn(|cx| poll_sources(&mut self.sources, &mut self.first, cx));
            let found = tokio::select! {
                () = shared.touched.notified() => None,
                () = due => None,
                _ = self.tick.tick() => {
                    let now = Instant::now().into_std();
                    if let Some(asleep) = self.resume.handle_tick(now, time_asleep()) {
                        changed(&self.shared);
                        return DriverEvent::Resumed(asleep);
                    }
                    None
                }
                found = found => Some(found),
            };
            match found {
                Some(Found::Problem(problem)) => return DriverEvent::Problem(problem),
                Some(Found::Candidate(candidate)) => {
                    self.shared
                        .with(|core, now| core.handle_candidate(now, candidate));
                    // A source that always has a finding leaves time to the other tasks.
                    yield_now().await;
                }
                Some(Found::Withdrawn(candidate)) => {
                    self.shared
                        .with(|core, now| core.handle_withdrawn(now, &candidate));
                    yield_now().await;
                }
                None => {}
            }
        }
    }

    fn tell_sources(&mut self, need: Need) {
        if self.changes.has_changed().unwrap_or(false) {
            self.changes.mark_unchanged();
            self.sources
                .iter_mut()
                .for_each(|source| source.handle_changed());
        }
        if self.need.replace(need) != Some(need) {
            self.sources
                .iter_mut()
                .for_each(|source| source.handle_need(need));
        }
    }
}

/// The next finding of any source. Sources that have ended are dropped.
fn poll_sources<Id, A>(
    sources: &mut Vec<Box<dyn PeerSource<Id, A>>>,
    first: &mut usize,
    cx: &mut Context<'_>,
) -> Poll<Found<Id, A>> {
    for _ in 0..sources.len() {
        if *first >= sources.len() {
            *first = 0;
        }
        match sources[*first].poll_found(cx) {
            Poll::Ready(Some(found)) => {
                *first += 1;
                return Poll::Ready(found);
            }
            // The next source takes its place.
            Poll::Ready(None) => drop(sources.remove(*first)),
            Poll::Pending => *first += 1,
        }
    }
    Poll::Pending
}

fn changed<Id: Clone + Ord, A: Clone + PartialEq>(shared: &Shared<Id, A>) {
    shared.with(|core, now| core.handle_changed(now));
    shared
        .changes
        .send_modify(|changes| *changes = changes.wrapping_add(1));
}

impl<Id: Clone + Ord, A: Clone + PartialEq> Handle<Id, A> {
    /// Calls the core under its lock with the present time, and wakes the driver. Events belong to the driver: do not take them
    /// here. Do not use the handle inside `call`, because the lock is taken already.
    pub fn with<R>(&self, call: impl FnOnce(&mut Rejoin<Id, A>, std::time::Instant) -> R) -> R {
        let result = self.0.with(call);
        self.0.touched.notify_one();
        result
    }

    /// Reports that the addresses, the carrier or the routes of this host have changed. The core redials and the sources search
    /// again.
    pub fn changed(&self) {
        changed(&self.0);
        self.0.touched.notify_one();
    }

    /// The state with its reason.
    pub fn status(&self) -> Status {
        self.0.lock().status()
    }

    /// Waits until the node is joined. Cancel-safe.
    ///
    /// # Errors
    ///
    /// The node was not joined by the deadline. If the driver is gone, the node may stay in its state until then.
    pub async fn joined(&self, deadline: Instant) -> Result<(), NotJoined> {
        let mut state = self.0.state.subscribe();
        let joined = state.wait_for(|state| *state == State::Joined);
        match timeout_at(deadline, joined).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(NotJoined {
                status: self.status(),
            }),
        }
    }

    /// The state, for those who wait for a change of it.
    pub fn watch(&self) -> watch::Receiver<State> {
        self.0.state.subscribe()
    }
}

impl<Id, A> Clone for Handle<Id, A> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<Id, A> fmt::Debug for Handle<Id, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handle")
    }
}

impl<Id, A> fmt::Debug for Driver<Id, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver")
            .field("sources", &self.sources.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use super::*;

    /// A source that counts its polls, and finds nothing.
    struct Counted {
        polls: Arc<AtomicUsize>,
        ends: bool,
    }

    impl PeerSource<u8, u8> for Counted {
        fn poll_found(&mut self, _: &mut Context<'_>) -> Poll<Option<Found<u8, u8>>> {
            self.polls.fetch_add(1, Relaxed);
            match self.ends {
                true => Poll::Ready(None),
                false => Poll::Pending,
            }
        }
    }

    #[test]
    fn every_source_is_polled_once_whichever_is_first_and_whichever_ends() {
        for (first, ending) in (0..4).flat_map(|first| (0..3).map(move |ending| (first, ending))) {
            let counts: [Arc<AtomicUsize>; 3] = Default::default();
            let source = |(index, polls): (usize, &Arc<AtomicUsize>)| {
                let (polls, ends) = (polls.clone(), index == ending);
                Box::new(Counted { polls, ends }) as Box<dyn PeerSource<u8, u8>>
            };
            let mut sources: Vec<_> = counts.iter().enumerate().map(source).collect();
            let mut next = first;
            let waker = std::task::Waker::noop();
            let polled = poll_sources(&mut sources, &mut next, &mut Context::from_waker(waker));
            assert!(polled.is_pending());
            assert_eq!(
                counts.map(|polls| polls.load(Relaxed)),
                [1; 3],
                "first {first}, ending {ending}"
            );
            assert_eq!(sources.len(), 2);
        }
    }
}
