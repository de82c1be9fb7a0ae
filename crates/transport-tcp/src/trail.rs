//! The trail of a dial: its route, and the time at which it entered each stage.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::DialStage;

/// Stages that are kept. A dial with more of them, by many retries, keeps its first ones.
const MAX_MARKS: usize = 64;

#[derive(Debug)]
pub(crate) struct Trail {
    begin: Instant,
    notes: Mutex<Notes>,
    /// Of the dial that this one is a part of.
    outer: Option<Arc<Trail>>,
}

#[derive(Debug, Default)]
struct Notes {
    way: Option<Arc<str>>,
    marks: Vec<(Instant, DialStage)>,
}

impl Trail {
    pub(crate) fn new(begin: Instant, outer: Option<Arc<Trail>>) -> Self {
        Self {
            begin,
            notes: Mutex::default(),
            outer,
        }
    }

    pub(crate) fn enter(&self, now: Instant, stage: DialStage) {
        if let Some(outer) = &self.outer {
            outer.enter(now, stage);
        }
        let mut notes = self.notes();
        if notes.marks.len() < MAX_MARKS {
            notes.marks.push((now, stage));
        }
    }

    pub(crate) fn take(&self, way: &Arc<str>) {
        if let Some(outer) = &self.outer {
            outer.take(way);
        }
        self.notes().way = Some(Arc::clone(way));
    }

    /// The way that was taken last.
    pub(crate) fn way(&self) -> Option<Arc<str>> {
        self.notes().way.clone()
    }

    /// The stage that was entered last.
    pub(crate) fn stage(&self) -> Option<DialStage> {
        self.notes().marks.last().map(|(_, stage)| *stage)
    }

    /// Since the dial began.
    pub(crate) fn elapsed(&self, now: Instant) -> Duration {
        now - self.begin
    }

    /// Each stage with its time, the last one until `end`.
    pub(crate) fn stages(&self, end: Instant) -> Stages {
        let notes = self.notes();
        let ends = notes.marks.iter().skip(1).map(|(at, _)| *at);
        let spans = notes.marks.iter().zip(ends.chain([end]));
        Stages(
            spans
                .map(|((at, stage), end)| (*stage, end - *at))
                .collect(),
        )
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `reach 1.2ms, greet 300µs`, as a log shows it.
pub(crate) struct Stages(Vec<(DialStage, Duration)>);

impl fmt::Display for Stages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (stage, took)) in self.0.iter().enumerate() {
            let separator = if n == 0 { "" } else { ", " };
            write!(f, "{separator}{} {took:.1?}", stage.name())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stage_lasts_until_the_next_one_and_the_last_until_the_end() {
        let begin = Instant::now();
        let ms = Duration::from_millis;
        let trail = Trail::new(begin, None);
        trail.enter(begin, DialStage::Reach);
        trail.enter(begin + ms(20), DialStage::Greet);
        assert_eq!(
            trail.stages(begin + ms(25)).to_string(),
            "reach 20.0ms, greet 5.0ms"
        );
        assert_eq!(trail.stage(), Some(DialStage::Greet));
        assert_eq!(trail.elapsed(begin + ms(25)), ms(25));
    }

    #[test]
    fn endless_retries_are_not_kept() {
        let trail = Trail::new(Instant::now(), None);
        for _ in 0..10_000 {
            trail.enter(Instant::now(), DialStage::Reach);
        }
        assert_eq!(trail.notes().marks.len(), MAX_MARKS);
    }
}
