//! The events of a node and the changes of its peers' states, in the order in which they happened.
//!
//! Each event and each change of a state has a place, which is the number of earlier changes of states. The node queues events
//! under the lock that also protects changes of connections, so the places give the right order.

use std::sync::Arc;

use conn_state::{Subscription, Update};
use libp2p_identity::PeerId;

use crate::{
    connections::Connections,
    event::{Event, Events, EventsError, Placed},
};

/// An item of a [`Timeline`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Moment {
    /// An event of the node.
    Event(Event),
    /// A change of a peer's state.
    State(conn_state::Event<PeerId>),
    /// The reader fell behind and missed events or changes of states.
    Missed(u64),
}

/// Every event of a node and every change of a peer's state, in the order in which they happened.
///
/// For each connection, the change of the peer's state comes first, then [`Event::Connected`], [`Event::Identified`], the change
/// of the peer's state at the end, and [`Event::Disconnected`].
#[derive(Debug)]
pub struct Timeline {
    events: Events,
    states: Subscription<PeerId>,
    connections: Arc<Connections>,
    merge: Merge<Event, conn_state::Event<PeerId>>,
    /// The node sends no further event.
    is_closed: bool,
}

impl Timeline {
    pub(crate) fn new(events: Events, connections: Arc<Connections>) -> Self {
        let (_, states) = connections.tracker().subscribe();
        Self {
            events,
            states,
            connections,
            merge: Merge::default(),
            is_closed: false,
        }
    }

    /// Waits for the next item. Returns `None` after the last item of a node that is shut down ([`crate::Node::shutdown`]) or
    /// whose last handle is dropped. Cancel-safe.
    pub async fn next(&mut self) -> Option<Moment> {
        loop {
            // The event comes first, so that the next check finds every change of a state that happened before the event.
            if self.merge.event.is_none()
                && let Some(next) = self.events.try_next_placed()
                && let Some(missed) = self.take_event(next)
            {
                return Some(missed);
            }
            if self.merge.state.is_none()
                && let Some(next) = self.states.try_next()
                && let Some(missed) = self.take_state(next)
            {
                return Some(missed);
            }
            match self.merge.next() {
                Next::Event(event) => return Some(Moment::Event(event)),
                Next::State(state) => return Some(Moment::State(state)),
                Next::Settle => {
                    let position = self.connections.tracker().position();
                    self.connections.settle();
                    self.merge.settled = position;
                }
                Next::Wait if self.is_closed => return None,
                Next::Wait => {
                    let missed = tokio::select! {
                        next = self.events.next_placed() => self.take_event(next),
                        next = self.states.next() => self.take_state(next),
                    };
                    if missed.is_some() {
                        return missed;
                    }
                }
            }
        }
    }

    /// Stores an event for the merge, or returns what the caller must return at once.
    fn take_event(&mut self, next: Result<Placed, EventsError>) -> Option<Moment> {
        match next {
            Ok(placed) => self.merge.event = Some(placed),
            Err(EventsError::Lagged { missed }) => return Some(Moment::Missed(missed)),
            Err(EventsError::Closed) => {
                self.is_closed = true;
                self.merge.settled = u64::MAX;
            }
        }
        None
    }

    fn take_state(&mut self, next: Update<PeerId>) -> Option<Moment> {
        match next {
            Update::Event(event) => {
                self.merge.state = Some((self.states.position(), event));
                None
            }
            Update::Lagged { missed, .. } => Some(Moment::Missed(missed)),
        }
    }
}

/// The next event and the next change of a state that were received and not returned yet.
#[derive(Debug)]
struct Merge<E, S> {
    /// An event, with the number of changes of states before it.
    event: Option<(u64, E)>,
    /// A change of a state, with the number of changes of states up to and including it.
    state: Option<(u64, S)>,
    /// Every event that happened before the change of a state with this number has been received.
    settled: u64,
}

impl<E, S> Default for Merge<E, S> {
    fn default() -> Self {
        Self {
            event: None,
            state: None,
            settled: 0,
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Next<E, S> {
    Event(E),
    State(S),
    /// An event that happened before the change of the state may still be on its way.
    Settle,
    Wait,
}

impl<E, S> Merge<E, S> {
    /// The next step. The caller must first look for an event, and then for a change of a state.
    fn next(&mut self) -> Next<E, S> {
        let state = self.state.as_ref().map(|(position, _)| *position);
        let event = self.event.as_ref().map(|(position, _)| *position);
        let is_state_next = match (state, event) {
            (None, _) => false,
            (Some(state), Some(event)) => state <= event,
            (Some(state), None) if state <= self.settled => true,
            (Some(_), None) => return Next::Settle,
        };
        let taken = match is_state_next {
            true => self.state.take().map(|(_, state)| Next::State(state)),
            false => self.event.take().map(|(_, event)| Next::Event(event)),
        };
        taken.unwrap_or(Next::Wait)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use conn_state::{
        Closing, LimitsConfig, Recommended, Route, SharedTracker, State, TrackerConfig,
    };
    use multiaddr::Multiaddr;

    use super::*;
    use crate::{event::EventSender, part::Change};

    /// A timeline with what it follows. The test delivers the public events.
    fn start(
        now: Instant,
    ) -> (
        SharedTracker<PeerId>,
        Arc<Connections>,
        EventSender,
        Timeline,
    ) {
        let config = TrackerConfig::default();
        let tracker = SharedTracker::new(now, PeerId::random(), Recommended::default(), config);
        let connections = Connections::new(tracker.clone(), LimitsConfig::default());
        let sender = EventSender::new(16);
        let timeline = Timeline::new(sender.subscribe(), Arc::clone(&connections));
        (tracker, connections, sender, timeline)
    }

    #[tokio::test]
    async fn states_and_public_events_come_in_the_order_in_which_they_happened() {
        let (peer, now) = (PeerId::random(), Instant::now());
        let (tracker, connections, sender, mut timeline) = start(now);
        connections.observe(Box::new(move |change, position| {
            if let Change::Public(event) = change {
                sender.send(position, event.clone());
            }
        }));
        let happen = || {
            let address = Multiaddr::empty();
            connections.report(Change::Public(Event::Listening { address }));
        };
        happen();
        for _ in 0..2 {
            let id = tracker.handle_inbound(now).unwrap();
            let route = Route::Direct;
            tracker.handle_authenticated(now, id, &peer, route).unwrap();
            happen();
            tracker
                .handle_closed(now, id, Closing::Local, None)
                .unwrap();
            happen();
        }
        let mut order = Vec::new();
        for _ in 0..9 {
            order.push(match timeline.next().await.unwrap() {
                Moment::Event(_) => "event",
                Moment::State(state) if state.to == State::Connected => "connected",
                Moment::State(_) => "not connected",
                Moment::Missed(_) => "missed",
            });
        }
        let life = ["connected", "event", "not connected", "event"];
        assert_eq!(order, [&["event"][..], &life, &life].concat());
    }

    #[test]
    fn a_change_of_a_state_waits_for_an_earlier_event_that_is_still_being_delivered() {
        use std::{sync::mpsc, thread};
        let (peer, now) = (PeerId::random(), Instant::now());
        let (tracker, connections, sender, mut timeline) = start(now);
        let (started, delivering) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        let gate = std::sync::Mutex::new((started, released));
        connections.observe(Box::new(move |change, position| {
            if let Change::Public(event) = change {
                let gate = gate.lock().unwrap();
                gate.0.send(()).unwrap();
                // The channel is closed after the test's only event.
                let _ = gate.1.recv();
                sender.send(position, event.clone());
            }
        }));
        let deliverer = thread::spawn(move || {
            let address = Multiaddr::empty();
            connections.report(Change::Public(Event::Listening { address }));
        });
        delivering.recv().unwrap();
        let id = tracker.handle_inbound(now).unwrap();
        let route = Route::Direct;
        tracker.handle_authenticated(now, id, &peer, route).unwrap();
        let (done, first) = mpsc::channel();
        let reader = thread::spawn(move || {
            let next = futures::executor::block_on(timeline.next());
            done.send(next).unwrap();
        });
        // Long enough for a reader that does not wait.
        let early = first.recv_timeout(std::time::Duration::from_millis(200));
        assert!(early.is_err(), "{early:?}");
        drop(release);
        let first = first.recv().unwrap();
        assert!(matches!(first, Some(Moment::Event(_))), "{first:?}");
        deliverer.join().unwrap();
        reader.join().unwrap();
    }

    fn merge(event: Option<u64>, state: Option<u64>, settled: u64) -> Next<u64, u64> {
        let mut merge = Merge {
            event: event.map(|place| (place, place)),
            state: state.map(|place| (place, place)),
            settled,
        };
        merge.next()
    }

    #[test]
    fn a_change_of_a_state_comes_before_the_events_that_were_queued_after_it() {
        // The event knows of 7 changes, and the change is the 7th or the 8th.
        assert_eq!(merge(Some(7), Some(7), 0), Next::State(7));
        assert_eq!(merge(Some(7), Some(8), 0), Next::Event(7));
        assert_eq!(merge(Some(7), None, 0), Next::Event(7));
        assert_eq!(merge(None, None, 7), Next::Wait);
    }

    #[test]
    fn a_change_of_a_state_without_an_event_waits_until_all_earlier_events_are_here() {
        assert_eq!(merge(None, Some(7), 6), Next::Settle);
        assert_eq!(merge(None, Some(7), 7), Next::State(7));
    }

    #[tokio::test]
    async fn a_reader_that_falls_behind_is_told_the_number_of_missed_events() {
        let config = TrackerConfig::default();
        let local = PeerId::random();
        let tracker = SharedTracker::new(Instant::now(), local, Recommended::default(), config);
        let connections = Connections::new(tracker, LimitsConfig::default());
        let sender = EventSender::new(16);
        let mut timeline = Timeline::new(sender.subscribe(), connections);
        for _ in 0..20 {
            let address = Multiaddr::empty();
            sender.send(0, Event::Listening { address });
        }
        let first = timeline.next().await.unwrap();
        assert!(matches!(first, Moment::Missed(4)), "{first:?}");
        for _ in 0..16 {
            let next = timeline.next().await.unwrap();
            assert!(matches!(next, Moment::Event(_)), "{next:?}");
        }
    }

    #[tokio::test]
    async fn a_reader_that_falls_behind_is_told_the_number_of_missed_changes_of_states() {
        let (peer, now) = (PeerId::random(), Instant::now());
        let config = TrackerConfig::default().with_history(2, 2);
        let tracker = SharedTracker::new(now, PeerId::random(), Recommended::default(), config);
        let connections = Connections::new(tracker.clone(), LimitsConfig::default());
        let sender = EventSender::new(16);
        let mut timeline = Timeline::new(sender.subscribe(), connections);
        for _ in 0..2 {
            let id = tracker.handle_inbound(now).unwrap();
            let route = Route::Direct;
            tracker.handle_authenticated(now, id, &peer, route).unwrap();
            let closing = Closing::Local;
            tracker.handle_closed(now, id, closing, None).unwrap();
        }
        drop(sender);
        let first = timeline.next().await;
        assert!(matches!(first, Some(Moment::Missed(4))), "{first:?}");
    }
}
