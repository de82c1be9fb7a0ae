//! Detects that this host was asleep.

use std::time::{Duration, Instant};

/// Detects that the host was suspended or the process was stopped. The caller calls [`Self::handle_tick`] about once per second
/// and passes its clocks. The wall clock is not used, because users and time servers change it, too.
///
/// If the process was stopped (SIGSTOP), the gap between two ticks is long. While a Linux host is suspended, `Instant` does not
/// advance, but the clock BOOTTIME does. BOOTTIME − MONOTONIC therefore grows by the length of the suspension. `time_asleep`
/// (feature `tokio`) reads both clocks.
///
/// `Driver` does all this itself. A host without it calls [`crate::Rejoin::handle_changed`] after a sleep:
///
/// ```
/// use std::time::{Duration, Instant};
/// use bootstrap::{Rejoin, RejoinConfig, Resume};
///
/// let mut now = Instant::now();
/// let mut core = Rejoin::<&str, &str>::new(None, 7, RejoinConfig::default());
/// let mut resume = Resume::default();
/// assert_eq!(resume.handle_tick(now, None), None); // nothing is known before the first tick
/// now += Duration::from_secs(60);
/// if let Some(asleep) = resume.handle_tick(now, None) {
///     assert_eq!(asleep, Duration::from_secs(60));
///     core.handle_changed(now);
/// }
/// ```
#[derive(Debug, Clone, Default)]
pub struct Resume {
    last: Option<Instant>,
    asleep: Option<Duration>,
}

impl Resume {
    /// A gap of this length between two ticks counts as a sleep: 5 s. A busy host does not delay a task for that long.
    pub const GAP: Duration = Duration::from_secs(5);

    /// The least growth of the time asleep that counts as a suspension: 1 s. The two clocks are read within microseconds of each
    /// other.
    pub const SUSPENDED: Duration = Duration::from_secs(1);

    /// A tick. `asleep` is BOOTTIME − MONOTONIC, if the host has both clocks. Returns how long the host was asleep since the last
    /// tick.
    pub fn handle_tick(&mut self, now: Instant, asleep: Option<Duration>) -> Option<Duration> {
        let gap = self
            .last
            .replace(now)
            .map(|last| now.saturating_duration_since(last));
        let before = std::mem::replace(&mut self.asleep, asleep);
        let grown = asleep
            .zip(before)
            .map(|(now, before)| now.saturating_sub(before));
        let grown = grown.filter(|grown| *grown >= Self::SUSPENDED);
        match (gap.filter(|gap| *gap >= Self::GAP), grown) {
            (None, None) => None,
            (gap, grown) => Some(
                gap.unwrap_or_default()
                    .saturating_add(grown.unwrap_or_default()),
            ),
        }
    }
}

/// BOOTTIME − MONOTONIC: how long this host has been suspended since it was booted. `None` if the system has no such clocks.
#[cfg(feature = "tokio")]
pub fn time_asleep() -> Option<Duration> {
    #[cfg(target_os = "linux")]
    {
        use rustix::time::{ClockId, Timespec, clock_gettime};
        let nanos = |clock| {
            let Timespec { tv_sec, tv_nsec } = clock_gettime(clock);
            let nanos = i128::from(tv_sec) * 1_000_000_000 + i128::from(tv_nsec);
            u64::try_from(nanos).ok().map(Duration::from_nanos)
        };
        let awake = nanos(ClockId::Monotonic)?;
        Some(nanos(ClockId::Boottime)?.saturating_sub(awake))
    }
    #[cfg(not(target_os = "linux"))]
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_process_that_was_stopped_for_five_seconds_was_asleep_and_one_that_was_late_was_not() {
        let (mut resume, start) = (Resume::default(), Instant::now());
        assert_eq!(resume.handle_tick(start, None), None);
        let late = start + 5 * SECOND - Duration::from_nanos(1);
        assert_eq!(resume.handle_tick(late, None), None);
        assert_eq!(
            resume.handle_tick(late + 5 * SECOND, None),
            Some(5 * SECOND)
        );
        assert_eq!(
            resume.handle_tick(late + 6 * SECOND, None),
            None,
            "told once"
        );
    }

    #[test]
    fn a_suspension_shows_in_the_boot_clock_though_instants_stand_still() {
        let (mut resume, start) = (Resume::default(), Instant::now());
        let asleep = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(
            resume.handle_tick(start, asleep(100)),
            None,
            "it slept before this process began"
        );
        assert_eq!(resume.handle_tick(start + SECOND, asleep(100)), None);
        let woken = resume.handle_tick(start + 2 * SECOND, asleep(160));
        assert_eq!(woken, Some(60 * SECOND));
        assert_eq!(
            resume.handle_tick(start + 3 * SECOND, asleep(160)),
            None,
            "told once"
        );
    }

    #[test]
    fn a_second_of_growth_of_the_time_asleep_is_a_suspension_and_a_gap_is_added_to_it() {
        let (mut resume, start) = (Resume::default(), Instant::now());
        let millis = Duration::from_millis;
        assert_eq!(resume.handle_tick(start, Some(millis(0))), None);
        let almost = resume.handle_tick(start + SECOND, Some(millis(999)));
        assert_eq!(almost, None);
        let woken = resume.handle_tick(start + 2 * SECOND, Some(millis(1999)));
        assert_eq!(woken, Some(SECOND));
        let both = resume.handle_tick(start + 8 * SECOND, Some(millis(4999)));
        assert_eq!(both, Some(6 * SECOND + 3 * SECOND));
    }

    #[cfg(all(feature = "tokio", target_os = "linux"))]
    #[test]
    fn the_time_asleep_can_be_read_and_stands_still_while_the_host_is_awake() {
        let (before, after) = (time_asleep().unwrap(), time_asleep().unwrap());
        assert!(after.abs_diff(before) < Resume::SUSPENDED);
    }
}
