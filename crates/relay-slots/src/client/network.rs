//! Changes of this host's network.

use std::time::{Duration, Instant};

use super::{Client, relay::State};

/// The time in which a failure or a loss counts as an effect of the change.
const EXCUSED: Duration = Duration::from_secs(10);

impl Client {
    /// The addresses of this host's network interfaces changed. Relays that wait after a failure may be asked at once, because
    /// the change may have removed the cause of the failure. For 10 s, the first failure or loss of each relay causes no pause.
    pub fn handle_network_changed(&mut self, now: Instant) {
        for relay in self.relays.values_mut() {
            if let Some(offer) = &mut relay.offer {
                // The change makes no relay of a peer that is none.
                if offer.is_no_relay() {
                    continue;
                }
                offer.declined = false;
            }
            relay.excused = Some(now + EXCUSED);
            if let State::Idle { until } = &mut relay.state {
                *until = now.min(*until);
                relay.failures = 0;
            }
        }
        self.fill(now);
    }
}
