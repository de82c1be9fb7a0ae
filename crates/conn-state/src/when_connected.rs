//! A resource that exists only while a peer is fully connected.

use crate::State;

/// Holds a resource while a peer is [`State::Connected`]. The resource is made when the peer becomes connected, and
/// dropped when the peer is no longer connected.
///
/// Pass the peer's states and their numbers to [`Self::handle_state`], from a snapshot and from events, or use
/// [`SharedTracker::when_connected`](crate::SharedTracker::when_connected). If events were missed, the peer may have
/// left and returned in between. The number of the state shows this, and the resource is then made again.
///
/// ```
/// use conn_state::{State, WhenConnected};
///
/// let mut made = 0;
/// let mut session = WhenConnected::new(|| { made += 1; made });
/// assert_eq!(session.get(), None);
/// session.handle_state(7, State::Connected);
/// session.handle_state(7, State::Connected);
/// assert_eq!(session.get(), Some(&1));
/// // Event 8, by which it left, was missed.
/// session.handle_state(9, State::Connected);
/// assert_eq!(session.get(), Some(&2));
/// session.handle_state(10, State::NotConnected);
/// assert_eq!(session.get(), None);
/// ```
#[derive(Debug)]
pub struct WhenConnected<R, F> {
    make: F,
    /// With the number of the event by which the peer became connected.
    held: Option<(u64, R)>,
}

impl<R, F: FnMut() -> R> WhenConnected<R, F> {
    /// Holds nothing at first. `make` makes the resource.
    pub fn new(make: F) -> Self {
        Self { make, held: None }
    }

    /// The peer is in `state` since its event `number`: [`Event::number`](crate::Event::number), or
    /// [`PeerSnapshot::number`](crate::PeerSnapshot::number). An earlier resource is dropped before a new one is made.
    pub fn handle_state(&mut self, number: u64, state: State) {
        let is_current = |(since, _): &(u64, R)| *since == number && state == State::Connected;
        self.held = self.held.take().filter(is_current);
        if state == State::Connected && self.held.is_none() {
            self.held = Some((number, (self.make)()));
        }
    }

    /// The resource, while the peer is connected.
    pub fn get(&self) -> Option<&R> {
        self.held.as_ref().map(|(_, resource)| resource)
    }
}
