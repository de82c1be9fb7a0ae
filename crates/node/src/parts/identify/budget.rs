//! How often a peer's pushes are read, and how often this node pushes to its peers.

use std::time::{Duration, Instant};

/// The number of pushes that the node reads from one connection, or sends, without a pause. A starting peer registers
/// several protocols.
const PUSH_BURST: u32 = 8;
/// The pause before each further push.
const PUSH_INTERVAL: Duration = Duration::from_secs(1);
/// A token bucket. It bounds how often a peer's pushes reach the events and the other parts, and how often this node signs
/// its description and pushes it.
pub(super) struct PushBudget {
    tokens: u32,
    refilled: Instant,
}

impl PushBudget {
    /// A budget of which nothing is spent.
    pub(super) fn full(now: Instant) -> Self {
        Self {
            tokens: PUSH_BURST,
            refilled: now,
        }
    }

    /// Takes a token. Returns the time to wait for the token.
    pub(super) fn take(&mut self, now: Instant) -> Duration {
        let elapsed = now.saturating_duration_since(self.refilled);
        let earned = u32::try_from(elapsed.as_secs() / PUSH_INTERVAL.as_secs()).unwrap_or(u32::MAX);
        if earned > 0 {
            self.tokens = self.tokens.saturating_add(earned).min(PUSH_BURST);
            self.refilled = now;
        }
        if self.tokens > 0 {
            self.tokens -= 1;
            return Duration::ZERO;
        }
        // The refill moves into the future with each push that waits.
        self.refilled += PUSH_INTERVAL;
        self.refilled.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Keypair, Node, event::Event, local::Announcer, parts::Identify};

    #[test]
    fn after_a_burst_each_push_waits_a_second_longer_and_a_rest_earns_another_burst() {
        let begun = Instant::now();
        let mut budget = PushBudget::full(begun);
        for _ in 0..PUSH_BURST {
            assert_eq!(budget.take(begun), Duration::ZERO);
        }
        assert_eq!(budget.take(begun), PUSH_INTERVAL);
        assert_eq!(budget.take(begun), 2 * PUSH_INTERVAL);
        // What waits was paid for in advance.
        assert_eq!(budget.take(begun + 2 * PUSH_INTERVAL), PUSH_INTERVAL);
        assert_eq!(budget.take(begun + 4 * PUSH_INTERVAL), Duration::ZERO);
        let rested = begun + Duration::from_secs(3600);
        for _ in 0..PUSH_BURST {
            assert_eq!(budget.take(rested), Duration::ZERO);
        }
        assert_eq!(budget.take(rested), PUSH_INTERVAL);
    }

    #[cfg(feature = "tcp")]
    #[tokio::test]
    async fn nothing_is_kept_of_a_connection_that_has_ended() {
        let node = || Node::builder(Keypair::generate_ed25519()).build().unwrap();
        let (here, there) = (node(), node());
        let address = there.listen("/ip4/127.0.0.1/tcp/0".parse().unwrap()).await;
        let mut events = here.events();
        let connection = here.dial(address.unwrap()).await.unwrap();
        let part = here.part::<Identify>().unwrap();
        assert!(!part.known().is_empty());
        connection.close();
        while !matches!(events.next().await.unwrap(), Event::Disconnected { .. }) {}
        assert!(part.known().is_empty());
    }

    #[cfg(feature = "tcp")]
    #[tokio::test]
    async fn however_fast_the_description_changes_it_is_pushed_at_the_pace_of_the_budget() {
        let mut kept = None;
        let built = Node::builder(Keypair::generate_ed25519()).build_with(|context| {
            kept = Some(context.clone());
            Vec::new()
        });
        let ((here, mut events), context) = (built.unwrap(), kept.unwrap());
        let there = Node::builder(Keypair::generate_ed25519()).build().unwrap();
        let address = there.listen("/ip4/127.0.0.1/tcp/0".parse().unwrap()).await;
        let connection = here.dial(address.unwrap()).await.unwrap();
        while !matches!(events.next().await.unwrap(), Event::Identified { .. }) {}
        let part = here.part::<Identify>().unwrap();
        let (begun, mut told) = (Instant::now(), std::collections::BTreeSet::new());
        let (mut changes, announcer) = (0_u64, Announcer::Relay(there.peer_id()));
        while begun.elapsed() < Duration::from_millis(2_500) {
            let address = format!("/ip4/192.0.2.1/tcp/{}", changes % 60_000);
            context.publish(announcer, vec![address.parse().unwrap()]);
            changes += 1;
            tokio::time::sleep(Duration::from_millis(1)).await;
            told.extend(
                part.known()
                    .get(&connection.id())
                    .and_then(|known| known.told),
            );
        }
        // Each push notes a version when it is planned, and perhaps a later one when it is written.
        let most = 2 * (PUSH_BURST as usize + 3) + 1;
        println!("{} versions were pushed of {changes}", told.len());
        assert!(told.len() <= most, "{} of {changes}", told.len());
    }
}
