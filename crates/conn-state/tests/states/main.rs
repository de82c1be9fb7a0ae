//! What is said of connections and peers: each thing that others get wrong, and each bound.

mod best;
mod bounds;
mod elsewhere;
mod late;
mod memory;
mod wakes;

use std::{
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use conn_state::{
    Action, Closing, ConnectionId, Event, Limit, Reason, Recommended, Route, SharedTracker, State,
    StreamCount, Subscription, Tracker, TrackerConfig, Update,
};

/// A relay's usual grant.
pub(crate) const LIMIT: Limit = Limit {
    until: None,
    bytes: Some(128 * 1024),
};

pub(crate) const LIMITED: Route = Route::Relayed(Some(LIMIT));

/// A tracker of the host `me`, and its clock.
pub(crate) struct Host {
    pub(crate) tracker: SharedTracker<&'static str>,
    pub(crate) now: Instant,
}

impl Host {
    pub(crate) fn new(policy: Recommended) -> Self {
        Self::with(policy, TrackerConfig::default())
    }

    pub(crate) fn with(policy: Recommended, config: TrackerConfig) -> Self {
        let now = Instant::now();
        Self {
            tracker: SharedTracker::new(now, "me", policy, config),
            now,
        }
    }

    /// Time goes by, and what is due is done.
    pub(crate) fn wait(&mut self, time: Duration) {
        self.now += time;
        self.tracker.handle_timeout(self.now);
    }

    pub(crate) fn dial(&self, peer: &'static str) -> ConnectionId {
        self.tracker
            .handle_dialing(self.now, Some(&peer))
            .expect("room")
    }

    pub(crate) fn authenticated(&self, id: ConnectionId, peer: &'static str, route: Route) {
        self.tracker
            .handle_authenticated(self.now, id, &peer, route)
            .expect("it is in its handshake");
    }

    /// We dial, and are connected.
    pub(crate) fn connect(&self, peer: &'static str, route: Route) -> ConnectionId {
        let id = self.dial(peer);
        self.authenticated(id, peer, route);
        id
    }

    pub(crate) fn streams(&self, id: ConnectionId) -> StreamCount<&'static str> {
        self.tracker.stream_count(id).expect("it is there")
    }

    pub(crate) fn close(&self, id: ConnectionId, closing: Closing) {
        let detail = Some("as was asked".into());
        self.tracker
            .handle_closed(self.now, id, closing, detail)
            .expect("it is there");
    }

    pub(crate) fn actions(&self) -> Vec<Action> {
        let mut cx = Context::from_waker(Waker::noop());
        std::iter::from_fn(|| match self.tracker.poll_action(&mut cx) {
            Poll::Ready(action) => Some(action),
            Poll::Pending => None,
        })
        .collect()
    }

    /// A peer's history: what it was, what it became and by what.
    pub(crate) fn story(&self, peer: &'static str) -> Vec<String> {
        let history = self.tracker.history(&peer);
        history.iter().map(tell).collect()
    }
}

pub(crate) fn tell<Id>(event: &Event<Id>) -> String {
    let Event {
        number,
        from,
        to,
        cause,
        ..
    } = event;
    format!("{number}: {from} -> {to}, {cause}")
}

/// All that there is to read; nothing may be missed.
pub(crate) fn events<Id: Eq + std::hash::Hash + Clone + std::fmt::Debug>(
    subscription: &mut Subscription<Id>,
) -> Vec<Event<Id>> {
    std::iter::from_fn(|| match subscription.try_next()? {
        Update::Event(event) => Some(event),
        lagged => panic!("{lagged:?}"),
    })
    .collect()
}

#[test]
fn an_inbound_connection_has_no_peer_and_joins_it_when_authenticated() {
    let host = Host::new(Recommended::default());
    let (_, mut all) = host.tracker.subscribe();
    let id = host.tracker.handle_inbound(host.now).expect("room");
    assert_eq!(events(&mut all), []);
    assert!(host.tracker.connection(host.now, id).is_some());
    assert!(host.tracker.connections(host.now, &"bob").is_empty());
    host.authenticated(id, "bob", Route::Direct);
    assert_eq!(host.tracker.connections(host.now, &"bob").len(), 1);
    assert_eq!(
        host.story("bob"),
        ["1: not connected -> connected, authenticated"]
    );
}

#[test]
fn a_dial_that_ends_at_another_peer_is_that_peers() {
    let host = Host::new(Recommended::default());
    let id = host.dial("bob");
    host.authenticated(id, "eve", Route::Direct);
    assert_eq!(
        host.story("bob"),
        [
            "1: not connected -> transient (handshaking), dialing",
            "2: transient (handshaking) -> not connected, another peer answered",
        ]
    );
    assert_eq!(host.tracker.state(&"eve"), State::Connected);
}

#[test]
fn a_peer_is_as_well_connected_as_its_best_connection() {
    let host = Host::new(Recommended::default());
    assert!(!host.tracker.is_transient(&"bob"), "it is unknown");
    let _handshake = host.dial("bob");
    assert!(host.tracker.is_transient(&"bob"));
    let limited = host.connect("bob", LIMITED);
    assert!(host.tracker.is_transient(&"bob"));
    assert_eq!(
        host.tracker.state(&"bob").to_string(),
        "transient (limited)"
    );
    let full = host.connect("bob", Route::Direct);
    assert_eq!(host.tracker.state(&"bob"), State::Connected);
    assert!(!host.tracker.is_transient(&"bob"));
    host.close(limited, Closing::Remote { code: None });
    host.close(full, Closing::Remote { code: None });
    assert_eq!(
        host.tracker.state(&"bob").to_string(),
        "transient (handshaking)"
    );
}

#[test]
fn a_subscription_to_one_peer_gives_that_peers_events_and_nobody_elses() {
    let host = Host::new(Recommended::default());
    host.connect("bob", LIMITED);
    let (snapshot, mut of_bob) = host.tracker.subscribe_to(&"bob");
    assert!(snapshot.state(&"bob").is_transient());
    for _ in 0..1_000 {
        let other = host.connect("eve", Route::Direct);
        host.close(other, Closing::Local);
    }
    host.connect("bob", Route::Direct);
    let told: Vec<_> = events(&mut of_bob).iter().map(tell).collect();
    assert_eq!(told, ["3: transient (limited) -> connected, authenticated"]);
}

#[test]
fn a_connections_name_is_never_used_again() {
    let host = Host::new(Recommended::default());
    let mut names = std::collections::HashSet::new();
    for _ in 0..1_000 {
        let id = host.connect("bob", Route::Direct);
        assert!(names.insert(id), "{id}");
        host.close(id, Closing::Local);
        assert!(host.tracker.connection(host.now, id).is_none());
    }
}

#[test]
fn streams_are_counted_by_all_handles_together_never_below_zero_and_not_after_the_end() {
    let host = Host::new(Recommended::default());
    let id = host.connect("bob", Route::Direct);
    let (one, other) = (host.streams(id), host.streams(id).clone());
    one.handle_closed(host.now);
    one.handle_opened(host.now);
    other.handle_opened(host.now);
    assert_eq!((one.open(), other.open()), (2, 2));
    let streams = |id| {
        host.tracker
            .connection(host.now, id)
            .map(|info| info.streams)
    };
    assert_eq!(streams(id), Some(2));
    host.close(id, Closing::Local);
    let next = host.connect("bob", Route::Direct);
    other.handle_opened(host.now);
    other.handle_closed(host.now);
    assert_eq!(streams(next), Some(0));
    assert_eq!(host.actions(), []);
    assert!(host.tracker.stream_count(id).is_none());
}

#[test]
fn a_close_by_the_peer_names_the_code_where_there_is_one() {
    let closed = |code| Closing::Remote { code }.to_string();
    assert_eq!(closed(None), "closed by the peer");
    assert_eq!(closed(Some(0x1001)), "closed by the peer with code 0x1001");
}

#[test]
fn an_id_survives_the_way_through_a_number() {
    let host = Host::new(Recommended::default());
    let first = host.connect("bob", Route::Direct);
    host.close(first, Closing::Local);
    let second = host.connect("bob", Route::Direct);
    assert_ne!(first.as_u64(), second.as_u64());
    assert_eq!(ConnectionId::from_u64(second.as_u64()), second);
    let unknown = ConnectionId::from_u64(u64::MAX);
    assert!(host.tracker.connection(host.now, unknown).is_none());
}

#[test]
fn whichever_of_a_peers_connections_closes_first_the_others_are_still_its_own() {
    for [first, second, third] in [
        [0, 1, 2],
        [0, 2, 1],
        [1, 0, 2],
        [1, 2, 0],
        [2, 0, 1],
        [2, 1, 0],
    ] {
        let host = Host::new(Recommended::default());
        let all = [(); 3].map(|()| host.dial("bob"));
        let left = || {
            let infos = host.tracker.connections(host.now, &"bob");
            infos
                .iter()
                .map(|info| info.id)
                .collect::<std::collections::BTreeSet<_>>()
        };
        host.close(all[first], Closing::Handshake);
        assert_eq!(left(), [all[second], all[third]].into());
        host.close(all[second], Closing::Handshake);
        assert_eq!(left(), [all[third]].into());
        assert!(host.tracker.is_transient(&"bob"));
        host.close(all[third], Closing::Handshake);
        assert_eq!(left(), [].into());
        assert_eq!(host.tracker.state(&"bob"), State::NotConnected);
    }
}

#[test]
fn a_tracker_counts_every_connection_and_names_only_the_peers_that_have_one_in_use() {
    let now = Instant::now();
    let policy = Recommended::default();
    let mut tracker = Tracker::new(now, "me", policy, TrackerConfig::default());
    assert!(tracker.is_empty());
    let inbound = tracker.handle_inbound(now).expect("room");
    assert!(!tracker.is_empty(), "it has no peer yet");
    let dials = ["bob", "eve"].map(|peer| tracker.handle_dialing(now, Some(&peer)).expect("room"));
    assert_eq!(tracker.len(), 3);
    let limited = tracker.handle_authenticated(now, dials[1], &"eve", LIMITED);
    limited.expect("a handshake");
    let mut peers: Vec<_> = tracker
        .peers()
        .map(|(peer, state)| (*peer, state))
        .collect();
    peers.sort();
    let transient = [Reason::Handshaking, Reason::Limited].map(State::Transient);
    assert_eq!(peers, [("bob", transient[0]), ("eve", transient[1])]);
    for id in [inbound, dials[0], dials[1]] {
        let closed = tracker.handle_closed(now, id, Closing::Local, None);
        closed.expect("it is there");
    }
    assert_eq!((tracker.len(), tracker.is_empty()), (0, true));
    assert_eq!(tracker.peers().count(), 0, "both are remembered");
    assert_eq!(tracker.remembered(), 2);
}
