//! The windows of a connection, which bound the bytes in flight. They are no larger than the round
//! trip requires.
//!
//! A window beyond the bandwidth-delay product only fills queues. On a short path, it overflows the
//! socket buffer of the receiver, and the losses cost more than the window gains. The window also
//! bounds the data that a peer can make an endpoint hold. A connection therefore starts with a
//! small window, and gets a larger one if its round trip is long. Windows only grow. This module
//! reads no clock.

use std::time::Duration;

/// The windows of a new connection, in bytes. Enough for 1 Gbit/s at 33 ms, and about what a
/// socket buffer of several MiB takes in at once.
pub(crate) const INITIAL: u32 = 4 << 20;

/// Bytes per second that a connection should be able to carry: 1 Gbit/s.
const RATE: u64 = 125_000_000;

/// The windows of one connection.
#[derive(Debug)]
pub(crate) struct Windows {
    receive: u64,
    send: u64,
    max_receive: u64,
    max_send: u64,
}

impl Windows {
    pub(crate) fn new(max_receive: u32, max_send: u64) -> Self {
        let max_receive = u64::from(max_receive);
        Self {
            receive: max_receive.min(INITIAL.into()),
            send: max_send.min(INITIAL.into()),
            max_receive,
            max_send,
        }
    }

    /// The current receive window.
    pub(crate) fn receive(&self) -> u64 {
        self.receive
    }

    /// Takes note of the round trip. Returns the new receive and send windows if one of them grows.
    pub(crate) fn handle_round_trip(&mut self, rtt: Duration) -> Option<(u64, u64)> {
        let micros = u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX);
        let product = micros.saturating_mul(RATE / 1_000_000);
        let receive = product.clamp(self.receive, self.max_receive);
        let send = product.clamp(self.send, self.max_send);
        if (receive, send) == (self.receive, self.send) {
            return None;
        }
        (self.receive, self.send) = (receive, send);
        Some((receive, send))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn windows() -> Windows {
        Windows::new(16 << 20, 10 << 20)
    }

    #[test]
    fn a_short_round_trip_leaves_them_as_they_are() {
        let mut windows = windows();
        assert_eq!(windows.receive(), 4 * MIB);
        assert_eq!(windows.handle_round_trip(Duration::from_millis(33)), None);
        assert_eq!(windows.handle_round_trip(Duration::ZERO), None);
    }

    #[test]
    fn a_long_one_makes_room_for_a_gigabit_up_to_the_maxima() {
        let mut windows = windows();
        let grown = windows.handle_round_trip(Duration::from_millis(80));
        assert_eq!(grown, Some((10_000_000, 10_000_000)));
        let grown = windows.handle_round_trip(Duration::from_secs(10));
        assert_eq!(grown, Some((16 * MIB, 10 * MIB)));
        assert_eq!(windows.handle_round_trip(Duration::MAX), None);
    }

    #[test]
    fn they_never_shrink() {
        let mut windows = windows();
        windows.handle_round_trip(Duration::from_millis(80));
        assert_eq!(windows.handle_round_trip(Duration::from_millis(40)), None);
        assert_eq!(windows.receive(), 10_000_000);
    }

    #[test]
    fn small_maxima_hold_from_the_start() {
        let mut windows = Windows::new(1000, 2000);
        assert_eq!(windows.receive(), 1000);
        assert_eq!(windows.handle_round_trip(Duration::from_secs(1)), None);
    }
}
