//! Happy Eyeballs (RFC 8305): the order and the pace in which addresses are tried.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    time::{Duration, Instant},
};

use crate::ConnectBudget;

/// Orders addresses as RFC 8305 section 4 does: families in turn, IPv6 first, each in the order given, and each item
/// once.
pub(crate) fn order<T: PartialEq>(
    items: impl IntoIterator<Item = T>,
    address: impl Fn(&T) -> SocketAddr,
) -> Vec<T> {
    let (mut six, mut four) = (VecDeque::new(), VecDeque::new());
    for item in items {
        let family = match address(&item) {
            SocketAddr::V6(_) => &mut six,
            SocketAddr::V4(_) => &mut four,
        };
        if !family.contains(&item) {
            family.push_back(item);
        }
    }
    let mut ordered = Vec::with_capacity(six.len() + four.len());
    while !(six.is_empty() && four.is_empty()) {
        ordered.extend(six.pop_front());
        ordered.extend(four.pop_front());
    }
    ordered
}

/// The candidates of one dial, and the time at which the next may be tried.
#[derive(Debug)]
pub(crate) struct Schedule<T> {
    waiting: VecDeque<T>,
    /// The next candidate, if the budget admits it only later. No failure makes it start sooner.
    paced: Option<T>,
    delay: Duration,
    next_at: Option<Instant>,
    budget: ConnectBudget,
    spent: bool,
}

impl<T> Schedule<T> {
    pub(crate) fn new(delay: Duration, budget: ConnectBudget) -> Self {
        Self {
            waiting: VecDeque::new(),
            paced: None,
            delay,
            next_at: None,
            budget,
            spent: false,
        }
    }

    /// Adds candidates behind those that wait.
    pub(crate) fn add(&mut self, candidates: impl IntoIterator<Item = T>) {
        if !self.spent {
            self.waiting.extend(candidates);
        }
    }

    /// The next candidate, if its time has come.
    pub(crate) fn poll_start(&mut self, now: Instant) -> Option<T> {
        if self.next_at.is_some_and(|at| now < at) {
            return None;
        }
        let candidate = match self.paced.take() {
            Some(candidate) => candidate,
            None => self.admit(now)?,
        };
        self.next_at = now.checked_add(self.delay);
        Some(candidate)
    }

    /// The next candidate, if the budget admits it now.
    fn admit(&mut self, now: Instant) -> Option<T> {
        let candidate = self.waiting.pop_front()?;
        match self.budget.reserve(now) {
            Some(at) if at <= now => Some(candidate),
            Some(at) => {
                self.next_at = Some(at);
                self.paced = Some(candidate);
                None
            }
            None => {
                self.spent = true;
                self.waiting.clear();
                None
            }
        }
    }

    /// An attempt failed, so the next one can start without a further delay (RFC 8305 section 5). Only the budget can still
    /// delay it.
    pub(crate) fn handle_failure(&mut self) {
        if self.paced.is_none() {
            self.next_at = None;
        }
    }

    /// When [`Schedule::poll_start`] will return a candidate.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.next_at.filter(|_| !self.is_exhausted())
    }

    /// Whether all candidates have been returned.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.waiting.is_empty() && self.paced.is_none()
    }

    /// Whether the budget is used up, so that no more candidates will be returned.
    pub(crate) fn is_spent(&self) -> bool {
        self.spent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(list: &[&str]) -> Vec<SocketAddr> {
        list.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn order_all(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
        order(addresses, |address| *address)
    }

    fn schedule(delay: Duration) -> Schedule<SocketAddr> {
        let mut schedule = Schedule::new(delay, ConnectBudget::default());
        schedule.add(addresses(&["1.1.1.1:1", "2.2.2.2:1"]));
        schedule
    }

    #[test]
    fn families_take_turns_and_ipv6_goes_first() {
        assert_eq!(
            order_all(addresses(&[
                "1.1.1.1:1",
                "2.2.2.2:1",
                "3.3.3.3:1",
                "[::1]:1",
                "[::2]:1"
            ])),
            addresses(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1", "3.3.3.3:1"]),
        );
    }

    #[test]
    fn an_address_given_twice_is_tried_once() {
        assert_eq!(
            order_all(addresses(&["1.1.1.1:1", "1.1.1.1:1", "1.1.1.1:2"])),
            addresses(&["1.1.1.1:1", "1.1.1.1:2"]),
        );
    }

    #[test]
    fn the_next_address_starts_after_the_delay_and_not_before() {
        let delay = Duration::from_millis(250);
        let mut schedule = schedule(delay);
        let start = Instant::now();
        assert!(schedule.poll_start(start).is_some());
        assert_eq!(schedule.poll_timeout(), Some(start + delay));
        let just_before = start + delay - Duration::from_nanos(1);
        assert!(schedule.poll_start(just_before).is_none());
        assert!(schedule.poll_start(start + delay).is_some());
        assert_eq!(schedule.poll_timeout(), None);
        assert!(schedule.is_exhausted());
    }

    #[test]
    fn a_failure_brings_the_next_address_forward() {
        let delay = Duration::from_millis(250);
        let mut schedule = schedule(delay);
        let start = Instant::now();
        schedule.poll_start(start);
        schedule.handle_failure();
        assert!(schedule.poll_start(start).is_some());
    }
    #[test]
    fn a_failure_brings_nothing_forward_that_the_budget_holds_back() {
        let (start, gap) = (Instant::now(), Duration::from_millis(20));
        let budget = ConnectBudget::new(move |now| Some(now + gap));
        let mut schedule = Schedule::new(Duration::from_millis(250), budget);
        schedule.add([1, 2]);
        assert_eq!(schedule.poll_start(start), None);
        schedule.handle_failure();
        assert_eq!(schedule.poll_timeout(), Some(start + gap));
        assert_eq!(
            schedule.poll_start(start + gap - Duration::from_nanos(1)),
            None
        );
        assert_eq!(schedule.poll_start(start + gap), Some(1));
        assert!(!schedule.is_exhausted());
    }

    #[test]
    fn a_budget_that_is_used_up_ends_the_schedule() {
        let mut schedule = Schedule::new(Duration::ZERO, ConnectBudget::new(|_| None));
        schedule.add([1, 2]);
        assert!(!schedule.is_spent());
        assert_eq!(schedule.poll_start(Instant::now()), None);
        schedule.add([3]);
        assert!(schedule.is_spent() && schedule.is_exhausted());
        assert_eq!(schedule.poll_timeout(), None);
    }
}
