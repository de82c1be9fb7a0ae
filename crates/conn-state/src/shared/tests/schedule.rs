//! A schedule that is written down: whose turn it is at each step.

use shuttle::{
    Runner,
    scheduler::{Schedule, Scheduler, Task, TaskId},
};

/// Plays a story once. Each digit is a task in the order in which they were begun, 0 the story's own. Where that one cannot
/// go on, and after the end, whoever has run goes on for as long as it can, then the first that can.
pub(super) fn replay(story: impl Fn() + Send + Sync + 'static, turns: &'static str) {
    let named = Named {
        turns: turns.bytes().map(|turn| usize::from(turn - b'0')).collect(),
        step: 0,
        is_begun: false,
    };
    Runner::new(named, Default::default()).run(story);
}

struct Named {
    turns: Vec<usize>,
    step: usize,
    is_begun: bool,
}

impl Scheduler for Named {
    fn new_execution(&mut self) -> Option<Schedule> {
        let begun = std::mem::replace(&mut self.is_begun, true);
        (!begun).then(|| Schedule::new(0))
    }

    fn next_task(
        &mut self,
        runnable: &[&Task],
        current: Option<TaskId>,
        is_yielding: bool,
    ) -> Option<TaskId> {
        let can_run = |wanted: TaskId| runnable.iter().any(|task| task.id() == wanted);
        let turn = self.turns.get(self.step).copied().map(TaskId::from);
        self.step += 1;
        let goes_on = current.filter(|_| !is_yielding);
        let other = runnable.iter().map(|task| task.id());
        let mut other = other.filter(|id| Some(*id) != current);
        let chosen = turn.filter(|turn| can_run(*turn));
        let chosen = chosen.or(goes_on.filter(|current| can_run(*current)));
        chosen.or_else(|| other.next()).or(current)
    }

    fn next_u64(&mut self) -> u64 {
        0
    }
}
