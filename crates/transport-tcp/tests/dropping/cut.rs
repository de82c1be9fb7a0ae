//! Futures that are dropped after so many polls, and what must be left of them.

use std::{
    future::Future,
    pin::Pin,
    sync::{Mutex, PoisonError},
    task::{Context, Poll},
};

use tokio::{
    runtime::{Builder, Handle},
    time::{Instant, timeout},
};
use transport_tcp::{DialContext, Dialer, Target};

use crate::support::PATIENCE;

/// One test at a time, its runtime included: what another opens would be counted.
pub(crate) fn alone(test: impl Future<Output = ()>) {
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(test);
}

/// Polls `inner` so many times, then drops it.
pub(crate) struct Cut<F> {
    inner: Option<Pin<Box<F>>>,
    left: usize,
}

impl<F: Future> Future for Cut<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.left > 0 {
            self.left -= 1;
            let inner = self.inner.as_mut().expect("not polled again");
            if let Poll::Ready(output) = inner.as_mut().poll(cx) {
                self.inner = None;
                return Poll::Ready(Some(output));
            }
        }
        if self.left == 0 {
            self.inner = None;
            return Poll::Ready(None);
        }
        Poll::Pending
    }
}

pub(crate) fn cut<F: Future>(polls: usize, inner: F) -> Cut<F> {
    Cut {
        inner: Some(Box::pin(inner)),
        left: polls,
    }
}

fn open() -> Vec<String> {
    let entries = std::fs::read_dir("/proc/self/fd").unwrap();
    let links = entries.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok());
    let mut links: Vec<String> = links.map(|link| link.display().to_string()).collect();
    links.sort();
    links
}

fn tasks() -> usize {
    Handle::current().metrics().num_alive_tasks()
}

/// Waits until the descriptors and tasks are back to what they were.
async fn settles(descriptors: usize, alive: usize, what: &str) {
    let settled = timeout(PATIENCE, async {
        while open().len() > descriptors || tasks() > alive {
            tokio::task::yield_now().await;
        }
    });
    let settled = settled.await.is_ok();
    assert!(
        settled,
        "{what}: {} tasks, not {alive}; {descriptors} descriptors before, now {:#?}",
        tasks(),
        open(),
    );
}

/// What may be left over: descriptors and tasks.
pub(crate) type Rest = (usize, usize);

/// Runs `attempt(k)` for rising k until it is completed; after each, everything must be as before. Gives the last k.
pub(crate) async fn for_every_cut(what: &str, attempt: impl AsyncFnMut(usize) -> bool) -> usize {
    for_every_cut_but(what, (0, 0), attempt).await
}

/// The same, but for what the dialer may keep.
pub(crate) async fn for_every_cut_but(
    what: &str,
    rest: Rest,
    mut attempt: impl AsyncFnMut(usize) -> bool,
) -> usize {
    // Whatever is set up once, in the runtime or by a first use, is set up now.
    let (descriptors, alive) = (open().len() + rest.0, tasks() + rest.1);
    assert!(attempt(usize::MAX).await, "{what} does not even work uncut");
    settles(descriptors, alive, &format!("{what} uncut")).await;
    let mut polls = 0;
    while !attempt(polls).await {
        let what = format!("{what} dropped after {polls} polls");
        settles(descriptors, alive, &what).await;
        polls += 1;
        assert!(polls < 10_000, "{what} never ends");
    }
    assert!(polls > 1, "{what} was over at once: nothing was cut");
    settles(descriptors, alive, &format!("{what} completed")).await;
    polls
}

/// Polls a dial so many times, then drops it. Whether it was over by then, with a stream.
pub(crate) async fn dial(dialer: &dyn Dialer, target: &Target, polls: usize) -> bool {
    let cx = DialContext::new(Instant::now() + PATIENCE);
    match cut(polls, dialer.dial(target, &cx)).await {
        Some(outcome) => outcome.map(drop).is_ok(),
        None => false,
    }
}
