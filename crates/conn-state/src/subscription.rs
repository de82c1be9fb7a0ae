//! Subscriptions to events.

use std::{
    collections::VecDeque,
    fmt,
    future::poll_fn,
    hash::Hash,
    task::{Context, Poll, Waker},
};

use crate::{
    Event, Tracker,
    locked::Shared,
    snapshot::{self, Snapshot},
    sync::{Arc, bound},
};

/// Events that are taken over while the lock is held.
const BATCH: usize = bound(64, 2) as usize;

/// Records that are looked through for them. With a filter most are another peer's.
const MAX_SCANNED: u64 = bound(512, 3);

/// One item of a [`Subscription`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Update<Id> {
    /// A peer's state changed.
    Event(Event<Id>),
    /// The subscriber fell behind and missed events. The next updates continue where `snapshot` ends.
    Lagged {
        /// The number of missed events, of all peers. The snapshot replaces them.
        missed: u64,
        /// The current states of the peers. A subscription to one peer gets only that one.
        snapshot: Snapshot<Id>,
    },
}

/// Every event since the subscription was made, in the order in which they happened.
///
/// A subscription never ends. Drop it when you no longer need it. Any executor can read it, and [`Self::try_next`] needs none.
pub struct Subscription<Id> {
    shared: Arc<Shared<Id>>,
    /// Its name among those that wait.
    key: u64,
    filter: Option<Id>,
    /// The place in the history up to which events were taken over.
    read: u64,
    /// Each event with the place of the next one.
    taken: VecDeque<(u64, Event<Id>)>,
    /// The place of the next update.
    position: u64,
    /// There was news since it last looked in vain.
    lately: bool,
}

impl<Id: fmt::Debug> fmt::Debug for Subscription<Id> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("filter", &self.filter)
            .field("read", &self.read)
            .finish_non_exhaustive()
    }
}

impl<Id> Drop for Subscription<Id> {
    fn drop(&mut self) {
        let mut core = self.shared.ask();
        let place = core.waiting.iter().position(|(key, _)| *key == self.key);
        let waker = place.map(|place| core.waiting.swap_remove(place));
        drop(core);
        // With the waker its task may be dropped, which may have other subscriptions.
        drop(waker);
    }
}

/// What one look at the history gave.
enum Look {
    /// There may be more.
    More,
    /// Everything was read.
    UpToDate,
    /// The history does not reach back that far.
    Behind,
}

impl<Id: Eq + Hash + Clone> Subscription<Id> {
    pub(crate) fn new(shared: Arc<Shared<Id>>, filter: Option<Id>) -> (Snapshot<Id>, Self) {
        let key = {
            let mut core = shared.ask();
            core.subscribers += 1;
            core.subscribers
        };
        let mut subscription = Self {
            shared,
            key,
            filter,
            read: 0,
            taken: VecDeque::new(),
            position: 0,
            lately: false,
        };
        (subscription.snapshot(), subscription)
    }

    fn snapshot(&mut self) -> Snapshot<Id> {
        let (snapshot, read) = match &self.filter {
            None => snapshot::of_all(&self.shared),
            Some(peer) => {
                let core = self.shared.ask();
                let tracker = &core.tracker;
                (snapshot::of_one(tracker, peer), tracker.history.end())
            }
        };
        (self.read, self.position) = (read, read);
        snapshot
    }

    /// The number of events, of all peers, that come before the next update. Compare this number with an earlier result of
    /// [`SharedTracker::position`](crate::SharedTracker::position) to find out whether the next update happened before or after
    /// that moment.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Waits for the next event, or for [`Update::Lagged`]. Cancel-safe.
    pub async fn next(&mut self) -> Update<Id> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// The next update, if there is one already.
    pub fn try_next(&mut self) -> Option<Update<Id>> {
        match self.poll_next(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(update) => Some(update),
            Poll::Pending => None,
        }
    }

    /// Like [`Self::next`], for a hand-written future.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Update<Id>> {
        loop {
            if let Some((next, event)) = self.taken.pop_front() {
                self.position = next;
                return Poll::Ready(Update::Event(event));
            }
            match self.look_or_wait(cx.waker()) {
                Look::UpToDate if self.taken.is_empty() => return Poll::Pending,
                Look::UpToDate | Look::More => {}
                Look::Behind => {
                    let given = self.read;
                    let snapshot = self.snapshot();
                    let missed = self.read - given;
                    return Poll::Ready(Update::Lagged { missed, snapshot });
                }
            }
        }
    }

    /// If there is nothing new, `waker` is woken when there is: under the same lock, so that nothing comes in between. Where
    /// there was news lately it is woken at once, to look again after everybody else has had a turn: news comes in bursts,
    /// and the wake-up is what costs the reporting thread most.
    fn look_or_wait(&mut self, waker: &Waker) -> Look {
        let mut core = self.shared.ask();
        let filter = self.filter.as_ref();
        let look = look(&core.tracker, filter, &mut self.read, &mut self.taken);
        let mut replaced = None;
        if !matches!(look, Look::UpToDate) || !self.taken.is_empty() {
            self.lately = true;
        } else if std::mem::take(&mut self.lately) {
            drop(core);
            waker.wake_by_ref();
            return look;
        } else {
            match core.waiting.iter_mut().find(|(key, _)| *key == self.key) {
                Some((_, waiting)) if waiting.will_wake(waker) => {}
                Some((_, waiting)) => replaced = Some(std::mem::replace(waiting, waker.clone())),
                None => core.waiting.push((self.key, waker.clone())),
            }
        }
        drop(core);
        // With the waker its task may be dropped, which may have other subscriptions.
        drop(replaced);
        look
    }
}

/// Takes over what comes next.
fn look<Id: Eq + Hash + Clone>(
    tracker: &Tracker<Id>,
    filter: Option<&Id>,
    read: &mut u64,
    taken: &mut VecDeque<(u64, Event<Id>)>,
) -> Look {
    let (begin, end) = (tracker.history.begin(), tracker.history.end());
    if *read < begin {
        return Look::Behind;
    }
    // A peer that is not remembered has no event in the history.
    let wanted = filter.map(|peer| tracker.peers.find(peer));
    let last = end.min(*read + MAX_SCANNED);
    while *read < last && taken.len() < BATCH {
        let record = tracker.history.get(*read);
        *read += 1;
        let Some(record) = record else { continue };
        if wanted.is_none_or(|slot| slot == Some(record.slot)) {
            taken.extend(tracker.event(record).map(|event| (*read, event)));
        }
    }
    match *read == end {
        true => Look::UpToDate,
        false => Look::More,
    }
}
