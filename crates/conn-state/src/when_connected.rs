//! Something that is there only while a peer is fully connected.

use crate::State;

/// Holds a resource while a peer is [`State::Connected`]: made when it becomes that, dropped when it is that no more.
///
/// Feed it the peer's states, from a snapshot and from events, or have
/// [`SharedTracker::when_connected`](crate::SharedTracker::when_connected) do it.
///
/// ```
/// use conn_state::{State, WhenConnected};
///
/// let mut made = 0;
/// let mut session = WhenConnected::new(|| { made += 1; "a session" });
/// assert_eq!(session.get(), None);
/// session.handle_state(State::Connected);
/// session.handle_state(State::Connected);
/// assert_eq!(session.get(), Some(&"a session"));
/// session.handle_state(State::NotConnected);
/// assert_eq!(session.get(), None);
/// drop(session);
/// assert_eq!(made, 1);
/// ```
#[derive(Debug)]
pub struct WhenConnected<R, F> {
    make: F,
    held: Option<R>,
}

impl<R, F: FnMut() -> R> WhenConnected<R, F> {
    /// Nothing is held yet.
    pub fn new(make: F) -> Self {
        Self { make, held: None }
    }

    /// The peer is in this state now.
    pub fn handle_state(&mut self, state: State) {
        match (state, &self.held) {
            (State::Connected, None) => self.held = Some((self.make)()),
            (State::Connected, Some(_)) => {}
            _ => self.held = None,
        }
    }

    /// What is held.
    pub fn get(&self) -> Option<&R> {
        self.held.as_ref()
    }
}
