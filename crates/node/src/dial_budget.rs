//! The budget of one dial: a number of addresses, a number of questions to name servers, and the pace of the connects.
//!
//! The owner of a DNS name or of an address record chooses the addresses that a dial finds. There may be many addresses, and they
//! may belong to other hosts. TCP, QUIC and the dials of relays therefore share one budget per dial. Dials that repeat by
//! themselves share one budget, which is renewed slowly.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// The most addresses that one dial tries. The addresses of host names and of relays count, too, and so does each address that
/// only leads to other addresses.
pub(crate) const MAX_DIAL_ADDRESSES: usize = 100;
/// The most names that one dial looks up for `/dnsaddr` records.
const MAX_QUESTIONS: usize = 100;
/// The number of connects that may start without a pause. It is the default of `Config::dials_per_peer`.
const CONNECTS_AT_ONCE: u32 = 8;
/// The time in which a shared budget regains one address and one question.
const RENEWAL: Duration = Duration::from_millis(50);
/// The pause before each further connect. 100 connects take 2 s.
const CONNECT_GAP: Duration = Duration::from_millis(20);

/// The budget of one dial. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct DialBudget(Arc<Mutex<Spent>>);

#[derive(Debug, Default)]
struct Spent {
    addresses: usize,
    questions: usize,
    /// The time from which `CONNECTS_AT_ONCE` connects may again start without a pause.
    rested_at: Option<Instant>,
    /// The time up to which the budget is renewed.
    renewed_at: Option<Instant>,
}

impl DialBudget {
    /// Counts one address. `false`: the dial must not try it.
    pub(crate) fn take_address(&self) -> bool {
        self.spent().take_address()
    }

    /// Counts one question. `false`: the dial must not ask it.
    #[allow(dead_code, reason = "only TCP looks up /dnsaddr records")]
    pub(crate) fn take_question(&self) -> bool {
        let mut spent = self.spent();
        let left = spent.questions < MAX_QUESTIONS;
        spent.questions += usize::from(left);
        left
    }

    /// Gives back one address and one question for each [`RENEWAL`] since the last call that gave back something. A dial that
    /// shares its budget with later dials calls this first, so that all of them try at most [`MAX_DIAL_ADDRESSES`] addresses at
    /// once, and then 20 per second.
    #[allow(
        dead_code,
        reason = "only rejoining, gossip and the search for relays share a budget"
    )]
    pub(crate) fn renew(&self, now: Instant) {
        self.spent().renew(now);
    }

    /// The time at which the first connect to a counted address may start. The caller must make this connect.
    pub(crate) fn pace(&self, now: Instant) -> Instant {
        self.spent().pace(now)
    }

    /// The budget of one attempt, for its transport. The closure returns the time at which the next connect may start, or
    /// `None` if the budget is used up. [`Self::take_address`] and [`Self::pace`] have admitted the first connect. Each further
    /// connect, to another address of the name or in a retry, counts as an address.
    #[allow(dead_code, reason = "a node without transports has no connects")]
    pub(crate) fn connects(&self) -> impl Fn(Instant) -> Option<Instant> + Send + Sync + 'static {
        let (budget, first) = (self.clone(), AtomicBool::new(true));
        move |now| match first.swap(false, Ordering::Relaxed) {
            true => Some(now),
            false => {
                let mut spent = budget.spent();
                spent.take_address().then(|| spent.pace(now))
            }
        }
    }

    fn spent(&self) -> MutexGuard<'_, Spent> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Spent {
    fn take_address(&mut self) -> bool {
        let left = self.addresses < MAX_DIAL_ADDRESSES;
        self.addresses += usize::from(left);
        left
    }

    fn renew(&mut self, now: Instant) {
        let renewed_at = *self.renewed_at.get_or_insert(now);
        let passed = now.saturating_duration_since(renewed_at).as_nanos() / RENEWAL.as_nanos();
        let regained = usize::try_from(passed).unwrap_or(usize::MAX);
        self.addresses = self.addresses.saturating_sub(regained);
        self.questions = self.questions.saturating_sub(regained);
        // The rest of an interval counts for the next call.
        let rest = u32::try_from(passed)
            .ok()
            .and_then(|passed| renewed_at.checked_add(RENEWAL * passed));
        self.renewed_at = Some(rest.unwrap_or(now));
    }

    fn pace(&mut self, now: Instant) -> Instant {
        let rested_at = self.rested_at.map_or(now, |at| at.max(now)) + CONNECT_GAP;
        self.rested_at = Some(rested_at);
        let start = rested_at.checked_sub(CONNECT_GAP * CONNECTS_AT_ONCE);
        start.map_or(now, |at| at.max(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_connects_start_at_once_and_then_one_per_20_ms() {
        let (budget, now) = (DialBudget::default(), Instant::now());
        for n in 0..50_u32 {
            let start = now + CONNECT_GAP * (n + 1).saturating_sub(CONNECTS_AT_ONCE);
            assert_eq!(budget.pace(now), start, "connect {n}");
        }
        let later = now + CONNECT_GAP * 43;
        assert_eq!(budget.pace(later), later, "the pause made room for one");
        assert_eq!(budget.pace(later), later + CONNECT_GAP);
    }

    #[test]
    fn all_attempts_of_a_dial_share_a_hundred_addresses_and_each_brings_one_with_it() {
        let (budget, now) = (DialBudget::default(), Instant::now());
        assert!((0..90).all(|_| budget.take_address()));
        let (one, two) = (budget.connects(), budget.clone().connects());
        assert_eq!((one(now), two(now)), (Some(now), Some(now)));
        let further = std::iter::from_fn(|| one(now)).take(200).count();
        assert_eq!(further, 10);
        assert_eq!(two(now), None);
        assert!(!budget.take_address());
    }

    #[test]
    fn a_shared_budget_has_a_hundred_addresses_at_once_and_then_twenty_per_second() {
        let (budget, start) = (DialBudget::default(), Instant::now());
        let second = Duration::from_secs(1);
        let almost = RENEWAL - Duration::from_millis(1);
        for (after, expected) in [
            (Duration::ZERO, 100),
            (almost, 0),
            (RENEWAL, 1),
            (RENEWAL + almost, 0),
            (second, 19),
            (2 * second, 20),
            (3600 * second, 100),
        ] {
            budget.renew(start + after);
            let taken = (0..200).filter(|_| budget.take_address()).count();
            let asked = (0..200).filter(|_| budget.take_question()).count();
            assert_eq!((taken, asked), (expected, expected), "after {after:?}");
        }
    }

    #[test]
    fn a_dial_asks_a_hundred_questions_and_not_one_more() {
        let budget = DialBudget::default();
        let asked = (0..150).filter(|_| budget.clone().take_question()).count();
        assert_eq!(asked, 100);
    }
}
