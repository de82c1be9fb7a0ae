//! Merges repeated reports, so that unknown peers cannot flood a log.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use crate::{Budget, Rate};

/// The limits on the number of summaries that [`Summaries`] returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SummariesConfig {
    /// The minimum time between two summaries of one key. Default 1 s.
    pub interval: Duration,
    /// The number of keys that have their own summaries at the same time. Further keys share one summary. Default 16.
    pub max_keys: usize,
    /// The number of summaries at once, and the time until one more is allowed. Without an allowed summary, the reports join
    /// the shared summary, which waits. Default 64, and one more per second. A log with 200 bytes per summary thus grows by at
    /// most 17 MB per day.
    pub rate: Rate,
}

impl Default for SummariesConfig {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(1),
            max_keys: 16,
            rate: Rate::new(64, Duration::from_secs(1)),
        }
    }
}

impl SummariesConfig {
    /// Sets [`Self::interval`].
    pub fn with_interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// Sets [`Self::max_keys`].
    pub fn with_max_keys(mut self, keys: usize) -> Self {
        self.max_keys = keys;
        self
    }

    /// Sets [`Self::rate`].
    pub fn with_rate(mut self, rate: Rate) -> Self {
        self.rate = rate;
        self
    }
}

/// One or more reports of one key, or of all keys without their own summary.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary<Key, Item> {
    /// The common key of the reports. `None`: the reports may have different keys.
    pub key: Option<Key>,
    /// The number of reports. The counts of all summaries add up to the number of reports.
    pub count: u64,
    /// The latest report.
    pub latest: Item,
}

/// Returns the first report of a key at once, and merges the next reports into one summary per [`SummariesConfig::interval`].
///
/// There are at most `max_keys + 1` summaries per interval, and at most that many reports are kept. While the reports of many keys
/// keep coming, the number of summaries is bounded by [`SummariesConfig::rate`].
///
/// ```
/// use std::time::{Duration, Instant};
/// use conn_state::{Summaries, SummariesConfig};
///
/// let now = Instant::now();
/// let mut summaries = Summaries::new(SummariesConfig::default());
/// for n in 1..=1_000 {
///     summaries.handle_report(now, "192.0.2.0/24", n);
/// }
/// assert_eq!(summaries.poll_event().unwrap().count, 1);
/// assert_eq!(summaries.poll_event(), None);
/// summaries.handle_timeout(now + Duration::from_secs(1));
/// assert_eq!(summaries.poll_event().unwrap().count, 999);
/// ```
#[derive(Debug)]
pub struct Summaries<Key, Item> {
    config: SummariesConfig,
    windows: BTreeMap<Key, Window<Item>>,
    /// The common window of all further keys.
    others: Option<Window<Item>>,
    budget: Budget<()>,
    ready: VecDeque<Summary<Key, Item>>,
}

/// The interval after a summary, and the reports in it.
#[derive(Debug)]
struct Window<Item> {
    ends: Instant,
    count: u64,
    latest: Option<Item>,
}

impl<Item> Window<Item> {
    fn new(now: Instant, interval: Duration) -> Self {
        Self {
            ends: now + interval,
            count: 0,
            latest: None,
        }
    }

    fn merge(&mut self, count: u64, item: Item) {
        self.count += count;
        self.latest = Some(item);
    }

    /// Takes the reports, and begins the next window. `None`: there are no reports.
    fn restart(&mut self, now: Instant, interval: Duration) -> Option<(u64, Item)> {
        let latest = self.latest.take()?;
        self.ends = now + interval;
        Some((std::mem::take(&mut self.count), latest))
    }
}

impl<Key: Ord + Clone, Item> Summaries<Key, Item> {
    /// Summaries without reports.
    pub fn new(config: SummariesConfig) -> Self {
        Self {
            config,
            windows: BTreeMap::new(),
            others: None,
            budget: Budget::new(config.rate, config.rate, 1),
            ready: VecDeque::new(),
        }
    }

    /// Adds a report.
    pub fn handle_report(&mut self, now: Instant, key: Key, item: Item) {
        self.handle_timeout(now);
        if let Some(window) = self.windows.get_mut(&key) {
            return window.merge(1, item);
        }
        let has_place = self.windows.len() < self.config.max_keys;
        if !has_place && self.others.is_some() || self.budget.take(now, ()).is_err() {
            return self.share(now, 1, item);
        }
        let window = Window::new(now, self.config.interval);
        match has_place {
            true => drop(self.windows.insert(key.clone(), window)),
            false => self.others = Some(window),
        }
        self.ready.push_back(Summary {
            key: has_place.then_some(key),
            count: 1,
            latest: item,
        });
    }

    /// Adds reports to the shared window.
    fn share(&mut self, now: Instant, count: u64, item: Item) {
        let interval = self.config.interval;
        let others = self
            .others
            .get_or_insert_with(|| Window::new(now, interval));
        others.merge(count, item);
    }

    /// When to call [`Self::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        let windows = self.windows.values().chain(&self.others);
        windows.map(|window| window.ends).min()
    }

    /// Ends the intervals that are over, and makes their summaries.
    pub fn handle_timeout(&mut self, now: Instant) {
        // It takes its turn first, so that the other windows cannot take every allowed summary.
        let shared = self.end_others(now);
        let is_over = |window: &Window<Item>| window.ends <= now;
        let over = self.windows.iter().filter(|(_, window)| is_over(window));
        let over: Vec<Key> = over.map(|(key, _)| key.clone()).collect();
        for key in over {
            let window = self.windows.get_mut(&key);
            let reports = window.and_then(|window| window.restart(now, self.config.interval));
            match reports {
                Some((count, latest)) if self.budget.take(now, ()).is_ok() => {
                    self.ready.push_back(Summary {
                        key: Some(key),
                        count,
                        latest,
                    });
                }
                reports => {
                    self.windows.remove(&key);
                    if let Some((count, latest)) = reports {
                        self.share(now, count, latest);
                    }
                }
            }
        }
        self.ready.extend(shared);
    }

    /// Ends the shared window if it is over.
    fn end_others(&mut self, now: Instant) -> Option<Summary<Key, Item>> {
        let others = self.others.as_mut().filter(|others| others.ends <= now)?;
        if others.latest.is_none() {
            self.others = None;
            return None;
        }
        if let Err(next) = self.budget.take(now, ()) {
            others.ends = next;
            return None;
        }
        let (count, latest) = others.restart(now, self.config.interval)?;
        Some(Summary {
            key: None,
            count,
            latest,
        })
    }

    /// Ends all intervals, so that the summaries include every report. Call this when the host stops.
    pub fn handle_end(&mut self, now: Instant) {
        let windows = std::mem::take(&mut self.windows).into_iter();
        let all = windows.map(|(key, window)| (Some(key), window));
        let all = all.chain(self.others.take().map(|others| (None, others)));
        for (key, mut window) in all {
            let reports = window.restart(now, self.config.interval);
            self.ready
                .extend(reports.map(|(count, latest)| Summary { key, count, latest }));
        }
    }

    /// The next summary. Call this until it returns `None` after each `handle_*`.
    pub fn poll_event(&mut self) -> Option<Summary<Key, Item>> {
        self.ready.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn drain(summaries: &mut Summaries<u8, u32>) -> Vec<(Option<u8>, u64, u32)> {
        std::iter::from_fn(|| summaries.poll_event())
            .map(|summary| (summary.key, summary.count, summary.latest))
            .collect()
    }

    #[test]
    fn the_first_report_is_passed_on_at_once_and_the_next_ones_as_one_summary_per_second() {
        let begun = Instant::now();
        let mut summaries = Summaries::new(SummariesConfig::default());
        summaries.handle_report(begun, 1, 10);
        assert_eq!(drain(&mut summaries), [(Some(1), 1, 10)]);
        for item in 11..=15 {
            summaries.handle_report(begun + SECOND / 2, 1, item);
        }
        assert_eq!(drain(&mut summaries), []);
        assert_eq!(summaries.poll_timeout(), Some(begun + SECOND));
        summaries.handle_timeout(begun + SECOND - Duration::from_nanos(1));
        assert_eq!(drain(&mut summaries), []);
        summaries.handle_timeout(begun + SECOND);
        assert_eq!(drain(&mut summaries), [(Some(1), 5, 15)]);
        // The next window begins with the summary.
        summaries.handle_report(begun + SECOND * 3 / 2, 1, 16);
        assert_eq!(drain(&mut summaries), []);
        summaries.handle_timeout(begun + 2 * SECOND);
        assert_eq!(drain(&mut summaries), [(Some(1), 1, 16)]);
    }

    #[test]
    fn a_key_that_was_quiet_for_a_second_is_forgotten_and_its_next_report_is_a_first_one() {
        let begun = Instant::now();
        let mut summaries = Summaries::new(SummariesConfig::default());
        summaries.handle_report(begun, 1, 10);
        summaries.handle_timeout(begun + SECOND);
        assert_eq!(summaries.poll_timeout(), None);
        summaries.handle_report(begun + SECOND, 1, 11);
        let got = drain(&mut summaries);
        assert_eq!(got, [(Some(1), 1, 10), (Some(1), 1, 11)]);
    }

    #[test]
    fn keys_beyond_the_limit_share_one_summary_and_a_key_that_has_its_own_keeps_it() {
        let begun = Instant::now();
        let config = SummariesConfig::default().with_max_keys(2);
        let mut summaries = Summaries::new(config);
        for (key, item) in [(1, 10), (2, 20), (3, 30), (4, 40), (2, 21), (5, 50)] {
            summaries.handle_report(begun, key, item);
        }
        let firsts = [(Some(1), 1, 10), (Some(2), 1, 20), (None, 1, 30)];
        assert_eq!(drain(&mut summaries), firsts);
        summaries.handle_timeout(begun + SECOND);
        assert_eq!(drain(&mut summaries), [(Some(2), 1, 21), (None, 2, 50)]);
        // The first key is forgotten, so another one has its place.
        summaries.handle_report(begun + SECOND, 6, 60);
        assert_eq!(drain(&mut summaries), [(Some(6), 1, 60)]);
    }

    #[test]
    fn new_keys_all_the_time_cause_no_more_summaries_than_the_rate_and_each_report_is_counted() {
        let begun = Instant::now();
        let mut summaries = Summaries::new(SummariesConfig::default());
        let (mut lines, mut reports) = (0, 0);
        for tenth in 0..600 {
            let now = begun + SECOND / 10 * tenth;
            for key in 0..2 {
                let key = u8::try_from((tenth * 2 + key) % 251).unwrap();
                summaries.handle_report(now, key, tenth);
            }
            for (_, count, _) in drain(&mut summaries) {
                lines += 1;
                reports += count;
            }
        }
        // 64 at once, and one in each of 59.9 s.
        assert_eq!(lines, 64 + 59);
        let waiting = 1_200 - reports;
        assert!(waiting <= 40, "two seconds of reports: {waiting}");
        summaries.handle_end(begun + SECOND * 60);
        let rest: u64 = drain(&mut summaries)
            .iter()
            .map(|(_, count, _)| count)
            .sum();
        assert_eq!(reports + rest, 1_200);
    }

    #[test]
    fn a_key_that_may_have_no_summary_joins_the_shared_one_which_waits_for_its_turn() {
        let begun = Instant::now();
        let config = SummariesConfig::default().with_rate(Rate::new(1, 3 * SECOND));
        let mut summaries = Summaries::new(config);
        for (key, item) in [(1, 10), (1, 11), (2, 20)] {
            summaries.handle_report(begun, key, item);
        }
        assert_eq!(drain(&mut summaries), [(Some(1), 1, 10)]);
        summaries.handle_timeout(begun + SECOND);
        assert_eq!(drain(&mut summaries), []);
        assert_eq!(summaries.poll_timeout(), Some(begun + 3 * SECOND));
        summaries.handle_timeout(begun + 3 * SECOND);
        assert_eq!(drain(&mut summaries), [(None, 2, 11)]);
    }

    #[test]
    fn at_the_end_everything_merged_is_told() {
        let begun = Instant::now();
        let mut summaries = Summaries::new(SummariesConfig::default());
        for item in 10..15 {
            summaries.handle_report(begun, 1, item);
        }
        summaries.handle_end(begun);
        assert_eq!(drain(&mut summaries), [(Some(1), 1, 10), (Some(1), 4, 14)]);
    }

    proptest! {
        #[test]
        fn every_report_is_counted_once_and_no_second_has_more_summaries_than_keys_and_one(
            reports in proptest::collection::vec((0_u64..300, 0_u8..20), 1..400),
        ) {
            let begun = Instant::now();
            let config = SummariesConfig::default().with_max_keys(4);
            let mut summaries = Summaries::new(config);
            let (mut now, mut told) = (begun, Vec::new());
            for (millis, key) in &reports {
                now += Duration::from_millis(*millis);
                summaries.handle_report(now, *key, 0);
                told.extend(drain(&mut summaries).into_iter().map(|(_, count, _)| (now, count)));
            }
            for (at, _) in &told {
                let same_second = told.iter().filter(|(other, _)| other >= at && *other < *at + SECOND);
                prop_assert!(same_second.count() <= 5);
            }
            summaries.handle_end(now);
            let rest: u64 = drain(&mut summaries).into_iter().map(|(_, count, _)| count).sum();
            let sum: u64 = told.iter().map(|(_, count)| count).sum();
            prop_assert_eq!(sum + rest, reports.len() as u64);
        }
    }
}
