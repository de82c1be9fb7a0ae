//! Checks whether the other side still answers.
//!
//! quinn sends no ping on request, but sends a MAX_DATA frame at once. Such a frame takes a few
//! bytes, the peer must acknowledge it, and the peer's application does not notice it. This module
//! raises the receive window by one byte and lowers it again, which sends exactly one such frame.
//! The peer then has one more byte of credit, until quinn withholds this byte after the next read.

use std::time::Duration;

use quinn::Connection;
use tokio::time::{Instant, sleep, sleep_until};

/// The longest a peer may take to acknowledge (RFC 9000 section 18.2, default `max_ack_delay`).
const MAX_ACK_DELAY: Duration = Duration::from_millis(25);

/// Shortest pause between two looks at the statistics, which have no event of their own.
const SHORTEST_LOOK: Duration = Duration::from_millis(1);

/// Returns when the peer has acknowledged something that was sent after the call. `elicit` is
/// what sends it.
pub(crate) async fn run(connection: &Connection, elicit: impl Fn()) {
    loop {
        let rtt = connection.rtt();
        let sent = Instant::now();
        elicit();
        // An acknowledgement that is under way already was sent up to half a round trip ago
        // and says nothing about now. The answer to this question takes a whole one.
        sleep_until(sent + connection.stats().path.min_rtt.mul_f32(0.75)).await;
        let before = acknowledgements(connection);
        let again = sent + 2 * rtt + 2 * MAX_ACK_DELAY;
        let look = (rtt / 8).max(SHORTEST_LOOK);
        while Instant::now() < again {
            if acknowledgements(connection) > before {
                return;
            }
            sleep(look).await;
        }
    }
}

fn acknowledgements(connection: &Connection) -> u64 {
    connection.stats().frame_rx.acks
}
