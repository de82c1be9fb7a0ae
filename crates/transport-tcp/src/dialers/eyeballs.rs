//! Happy Eyeballs (RFC 8305): in what order and at what pace addresses are tried.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    time::{Duration, Instant},
};

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

/// What one dial tries, and when the next may be tried.
#[derive(Debug)]
pub(crate) struct Schedule<T> {
    waiting: VecDeque<T>,
    delay: Duration,
    next_at: Option<Instant>,
}

impl<T> Schedule<T> {
    pub(crate) fn new(delay: Duration) -> Self {
        Self {
            waiting: VecDeque::new(),
            delay,
            next_at: None,
        }
    }

    /// Adds candidates behind those that wait.
    pub(crate) fn add(&mut self, candidates: impl IntoIterator<Item = T>) {
        self.waiting.extend(candidates);
    }

    /// The next one, if its time has come.
    pub(crate) fn poll_start(&mut self, now: Instant) -> Option<T> {
        if self.next_at.is_some_and(|at| now < at) {
            return None;
        }
        let candidate = self.waiting.pop_front()?;
        self.next_at = now.checked_add(self.delay);
        Some(candidate)
    }

    /// An attempt failed: nothing is gained by waiting for it (RFC 8305 section 5).
    pub(crate) fn handle_failure(&mut self) {
        self.next_at = None;
    }

    /// When [`Schedule::poll_start`] will have something to say.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.next_at.filter(|_| !self.waiting.is_empty())
    }

    /// Whether everything has been handed out.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.waiting.is_empty()
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
        let mut schedule = Schedule::new(delay);
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
}
