//! Connects to several addresses. The first address to answer wins.

use std::{
    future::{Future, poll_fn},
    io,
    net::SocketAddr,
    pin::Pin,
    task::Poll,
    time::Duration,
};

use futures::{StreamExt, channel::mpsc::UnboundedReceiver};
use tokio::time::Instant;

use super::{
    eyeballs::{self, Schedule},
    lookup::Found,
    uplink::Uplink,
};
use crate::{Attempt, ConnectBudget, DialContext, DialStage, PeerId};

/// An address, the uplink to dial it from, and the peer that must answer. No uplink: the system chooses.
#[derive(Debug, Clone)]
pub(crate) struct Candidate<'a> {
    pub(crate) address: SocketAddr,
    pub(crate) uplink: Option<&'a Uplink>,
    pub(crate) peer: Option<PeerId>,
}

/// The race of one dial. It outlives the attempts, so that it can report how far they got.
pub(crate) struct Race<'a> {
    uplinks: Option<&'a [Uplink]>,
    schedule: Schedule<Candidate<'a>>,
    /// Everything that was found so far.
    found: Vec<Found>,
    started: bool,
    /// Every failure so far. The budget bounds their number.
    pub(crate) tried: Vec<Attempt>,
}

impl<'a> Race<'a> {
    /// A race that dials each address from each of these uplinks, or from the address that the system chooses. Each attempt
    /// starts `delay` after the previous one, or later if `budget` admits it later.
    pub(crate) fn new(
        uplinks: Option<&'a [Uplink]>,
        delay: Duration,
        budget: ConnectBudget,
    ) -> Self {
        Self {
            uplinks,
            schedule: Schedule::new(delay, budget),
            found: Vec::new(),
            started: false,
            tried: Vec::new(),
        }
    }

    /// Whether there was any address, reachable or not.
    pub(crate) fn found_any(&self) -> bool {
        !self.found.is_empty()
    }

    /// Whether an address was left out because the budget was used up.
    pub(crate) fn is_spent(&self) -> bool {
        self.schedule.is_spent()
    }

    /// How far the dial has got.
    pub(crate) fn stage(&self) -> DialStage {
        match self.started {
            true => DialStage::Connect,
            false => DialStage::Resolve,
        }
    }

    /// Connects to the addresses that arrive. Returns `None` if every attempt has failed, and either no more addresses arrive
    /// or the budget is used up.
    pub(crate) async fn run<S, F>(
        &mut self,
        mut arriving: UnboundedReceiver<Vec<Found>>,
        cx: &DialContext,
        connect: impl Fn(Candidate<'a>) -> F,
    ) -> Option<S>
    where
        F: Future<Output = io::Result<S>>,
    {
        let mut running = Running(Vec::new());
        let mut open = true;
        loop {
            while let Some(candidate) = self.schedule.poll_start(Instant::now().into_std()) {
                if !self.started {
                    self.started = true;
                    cx.enter(DialStage::Connect);
                }
                let address = candidate.address;
                running.0.push((address, Box::pin(connect(candidate))));
            }
            let last = self.is_spent() || (!open && self.schedule.is_exhausted());
            if last && running.0.is_empty() {
                return None;
            }
            let next = self.schedule.poll_timeout().map(Instant::from_std);
            let pause = async {
                match next {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                (address, result) = running.next() => match result {
                    Ok(stream) => return Some(stream),
                    Err(error) => {
                        self.tried.push(Attempt { address, error });
                        self.schedule.handle_failure();
                    }
                },
                batch = arriving.next(), if open => match batch {
                    Some(batch) => self.add(batch),
                    None => open = false,
                },
                () = pause => {}
            }
        }
    }

    /// Orders what arrived together. Every address from the first uplink, then from the second: a later uplink is for
    /// when an earlier one is silent.
    fn add(&mut self, batch: Vec<Found>) {
        let new: Vec<_> = eyeballs::order(batch, |found| found.address)
            .into_iter()
            .filter(|found| !self.found.contains(found))
            .collect();
        let from = |uplink: Option<&'a Uplink>| {
            let reachable = new
                .iter()
                .filter(move |found| uplink.is_none_or(|uplink| uplink.reaches(found.address)));
            reachable.map(move |found| Candidate {
                address: found.address,
                uplink,
                peer: found.peer,
            })
        };
        match self.uplinks {
            None => self.schedule.add(from(None)),
            Some(uplinks) => {
                let all = uplinks.iter().flat_map(|uplink| from(Some(uplink)));
                self.schedule.add(all);
            }
        }
        self.found.extend(new);
    }
}

/// The attempts that are running. They are few and share the waker of the task. `FuturesUnordered` gives each attempt its own
/// waker, and a dial of one address then took 20 µs longer.
struct Running<F>(Vec<(SocketAddr, Pin<Box<F>>)>);

impl<F: Future> Running<F> {
    /// The outcome of the next attempt to end. Cancel-safe. Waits forever if no attempt runs.
    async fn next(&mut self) -> (SocketAddr, F::Output) {
        poll_fn(|cx| {
            for (place, (address, attempt)) in self.0.iter_mut().enumerate() {
                if let Poll::Ready(output) = attempt.as_mut().poll(cx) {
                    let address = *address;
                    self.0.swap_remove(place);
                    return Poll::Ready((address, output));
                }
            }
            Poll::Pending
        })
        .await
    }
}

#[cfg(test)]
mod tests;
