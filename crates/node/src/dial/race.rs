//! The attempts of one dial. Each attempt starts when it is due. The first connection wins, and the other attempts are
//! dropped.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use conn_state::{Direction, Outcome};
use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use libp2p_identity::PeerId;
use multiaddr::{Multiaddr, Protocol};
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep_until, timeout_at},
};

use super::plan::plan;
use crate::{
    address::{self, Kind, zone},
    connection::Connection,
    connections::ConnectionPermit,
    core::Core,
    dial_budget::{DialBudget, MAX_DIAL_ADDRESSES},
    error::{AttemptCause, AttemptError},
    establish,
    part::{Attempt, Change, Circuits, DialRequest, Origin, Reached},
};

/// Runs the attempts until one has won. Returns all failures if no attempt has won.
pub(super) async fn run(
    core: &Arc<Core>,
    request: DialRequest,
    expected: Option<PeerId>,
) -> Result<Connection, Vec<AttemptError>> {
    let now = Instant::now();
    let longest = now + core.config.whole_dial_timeout();
    let deadline = request.until.map_or(longest, |until| until.min(longest));
    let mut race = Race {
        core,
        deadline,
        whole: deadline.saturating_duration_since(now),
        origin: request.origin,
        circuits: request.circuits,
        budget: request.budget,
        expected,
        seen: BTreeSet::new(),
        left_out: None,
        due: Vec::new(),
        running: FuturesUnordered::new(),
        at_once: Arc::new(Semaphore::new(core.config.dials_per_peer.max(1))),
        failed: Vec::new(),
    };
    let mut addresses = request.addresses;
    if addresses.is_empty() {
        addresses.extend(expected.map(|peer| Multiaddr::from(Protocol::P2p(peer))));
    }
    race.add(addresses);
    match race.run().await {
        Some(connection) => Ok(connection),
        None => Err(race.failures()),
    }
}

struct Race<'a> {
    core: &'a Arc<Core>,
    /// The end of the whole dial.
    deadline: Instant,
    /// The time of the whole dial.
    whole: Duration,
    origin: Origin,
    circuits: Circuits,
    budget: DialBudget,
    expected: Option<PeerId>,
    seen: BTreeSet<Multiaddr>,
    /// The first address that the budget did not admit, and the number of these addresses.
    left_out: Option<(Multiaddr, usize)>,
    /// The next attempts, the earliest first.
    due: Vec<(Instant, Multiaddr)>,
    running: FuturesUnordered<BoxFuture<'static, Ended>>,
    at_once: Arc<Semaphore>,
    failed: Vec<AttemptError>,
}

/// A look-up or an attempt that has ended.
enum Ended {
    /// A look-up.
    Expanded {
        address: Multiaddr,
        outcome: Result<Vec<Multiaddr>, AttemptCause>,
    },
    /// An attempt.
    Tried {
        attempt: Attempt,
        outcome: Result<(ConnectionPermit, Reached), AttemptCause>,
    },
}

impl Race<'_> {
    async fn run(&mut self) -> Option<Connection> {
        loop {
            let next = self.due.first().map(|(at, _)| *at);
            tokio::select! {
                biased;
                Some(ended) = self.running.next() => match ended {
                    Ended::Expanded { address, outcome } => match outcome {
                        Ok(addresses) => self.add(addresses),
                        Err(cause) => self.failed.push(AttemptError { address, cause }),
                    },
                    Ended::Tried {
                        attempt: Attempt { address, .. },
                        outcome: Err(cause @ AttemptCause::OutOfTime { .. }),
                    } => self.failed.push(AttemptError { address, cause }),
                    Ended::Tried { attempt, outcome } => {
                        if let Some(connection) = self.finish(attempt, outcome) {
                            return Some(connection);
                        }
                    }
                },
                () = wait(next), if next.is_some() => self.start_due(),
                else => return None,
            }
            self.pull_forward();
        }
    }

    /// The failed attempts, and the addresses that were not tried.
    fn failures(self) -> Vec<AttemptError> {
        let mut failed = self.failed;
        if let Some((address, left_out)) = self.left_out {
            let limit = MAX_DIAL_ADDRESSES;
            let cause = AttemptCause::NotTried { limit, left_out };
            failed.push(AttemptError { address, cause });
        }
        failed
    }

    /// Adds addresses. Looks up names at once, and plans the attempts on all other addresses.
    fn add(&mut self, addresses: Vec<Multiaddr>) {
        let mut planned = Vec::new();
        let mut pending = addresses;
        while let Some(address) = pending.pop() {
            if self.seen.contains(&address) {
                continue;
            }
            if !self.budget.take_address() {
                self.left_out.get_or_insert((address, 0)).1 += 1;
                continue;
            }
            self.seen.insert(address.clone());
            if let Err(wrong) = zone::check(&address) {
                let reason = wrong.to_string();
                let cause = AttemptCause::Unsupported { reason };
                self.failed.push(AttemptError { address, cause });
                continue;
            }
            match address::kind(&address) {
                Kind::Peer => match self.known(&address) {
                    Some(known) => pending.extend(known),
                    None => {
                        let cause = AttemptCause::NoKnownAddress;
                        self.failed.push(AttemptError { address, cause });
                    }
                },
                Kind::Circuit if self.circuits == Circuits::Refused => {
                    let cause = AttemptCause::NestedCircuit;
                    self.failed.push(AttemptError { address, cause });
                }
                kind => match self.expand(kind, &address) {
                    Some(Ok(look_up)) => self.running.push(look_up),
                    Some(Err(cause)) => self.failed.push(AttemptError { address, cause }),
                    None => planned.push(address),
                },
            }
        }
        planned.reverse();
        let (now, steps) = (Instant::now(), plan(&planned));
        let foreign = planned
            .into_iter()
            .filter(|address| !steps.iter().any(|step| step.addresses.contains(address)));
        let foreign: Vec<_> = foreign.collect();
        for address in foreign {
            let cause = unsupported(&address);
            self.failed.push(AttemptError { address, cause });
        }
        for step in steps {
            self.due.extend(
                step.addresses
                    .into_iter()
                    .map(|address| (now + step.at, address)),
            );
        }
        self.due.sort_by_key(|(at, _)| *at);
    }

    /// The addresses of a peer in the address book.
    fn known(&self, address: &Multiaddr) -> Option<Vec<Multiaddr>> {
        let peer = address::peer(address)?;
        let known = self.core.address_book.addresses(&peer);
        let named = known
            .into_iter()
            .map(|address| address.with(Protocol::P2p(peer)));
        // `add` takes the last address first.
        Some(named.rev().collect::<Vec<_>>()).filter(|known| !known.is_empty())
    }

    fn attempt(&self, address: &Multiaddr, after: Duration) -> Attempt {
        Attempt {
            address: address.clone(),
            expected: address::peer(address).or(self.expected),
            deadline: self.deadline.min(Instant::now() + after),
            budget: self.budget.clone(),
        }
    }

    /// A look-up of the addresses that `address` stands for. `None`: the address needs no look-up.
    fn expand(
        &self,
        kind: Kind,
        address: &Multiaddr,
    ) -> Option<Result<BoxFuture<'static, Ended>, AttemptCause>> {
        let connector = self.core.connector(kind)?;
        let left = self.deadline.saturating_duration_since(Instant::now());
        let after = self.core.config.dial_timeout.min(left);
        let attempt = self.attempt(address, after);
        let look_up = connector.expand(&attempt)?;
        if !(self.core.is_direct)(address) {
            let what = "a DNS look-up of this name";
            return Some(Err(AttemptCause::NotDirect { what }));
        }
        let address = address.clone();
        let look_up = async move {
            let outcome = timeout_at(attempt.deadline, look_up).await;
            let outcome = outcome.unwrap_or(Err(AttemptCause::TimedOut { after }));
            Ended::Expanded { address, outcome }
        };
        Some(Ok(look_up.boxed()))
    }

    /// Starts the attempts that are due. After the end of the dial's time, each attempt fails at once and the next is due.
    fn start_due(&mut self) {
        let now = Instant::now();
        let later = self
            .due
            .iter()
            .position(|(at, _)| *at > now)
            .unwrap_or(self.due.len());
        for (_, address) in self.due.drain(..later).collect::<Vec<_>>() {
            let (core, at_once) = (Arc::clone(self.core), Arc::clone(&self.at_once));
            // The attempt's own time begins with its turn.
            let whole = self.whole;
            let attempt = self.attempt(&address, whole);
            let tried = async move {
                let (attempt, outcome) = try_in_turn(&core, attempt, &at_once, whole).await;
                Ended::Tried { attempt, outcome }
            };
            self.running.push(tried.boxed());
        }
    }

    /// If no attempt is running, moves the next attempt to the present.
    fn pull_forward(&mut self) {
        let Some((next, _)) = self.due.first().filter(|_| self.running.is_empty()) else {
            return;
        };
        let early = next.saturating_duration_since(Instant::now());
        for (at, _) in &mut self.due {
            *at -= early;
        }
    }

    fn finish(
        &mut self,
        attempt: Attempt,
        outcome: Result<(ConnectionPermit, Reached), AttemptCause>,
    ) -> Option<Connection> {
        let plain = address::without_peer(&attempt.address);
        let registered = outcome.and_then(|(permit, reached)| {
            establish::register(self.core, permit, reached, plain, Direction::Outbound)
        });
        let (connection, failure) = match registered {
            Ok(session) => (Some(session.spawn()), None),
            Err(cause) => (None, Some(cause)),
        };
        let peer = connection
            .as_ref()
            .map(Connection::peer)
            .or(attempt.expected);
        let result = if connection.is_some() {
            Outcome::Connected
        } else {
            Outcome::Failed
        };
        if let Some(peer) = &peer {
            self.core
                .address_book
                .note_outcome(peer, &attempt.address, result);
        }
        let address = attempt.address;
        self.core.report(Change::Attempted {
            peer,
            address: address.clone(),
            origin: self.origin,
            succeeded: failure.is_none(),
        });
        if let Some(cause) = failure {
            let reason = crate::error::error_chain(&cause);
            tracing::debug!(%address, reason, "a dial attempt failed");
            self.failed.push(AttemptError { address, cause });
        }
        connection
    }
}

fn unsupported(address: &Multiaddr) -> AttemptCause {
    let reason = address::unsupported::reason(address);
    AttemptCause::Unsupported { reason }
}

async fn wait(due: Option<Instant>) {
    // A timer rounds up to the next millisecond, which is too late for an attempt that is already due.
    if let Some(due) = due.filter(|due| *due > Instant::now()) {
        sleep_until(due).await;
    }
}

/// Waits for a turn, and then tries the address. `whole` is the time limit of the whole dial, which ends at the deadline of
/// `attempt`.
async fn try_in_turn(
    core: &Arc<Core>,
    attempt: Attempt,
    at_once: &Semaphore,
    whole: Duration,
) -> (Attempt, Result<(ConnectionPermit, Reached), AttemptCause>) {
    let connector = core.connector(address::kind(&attempt.address));
    let turn = async {
        let of_this_dial = at_once.acquire().await.ok();
        // A connector that first dials another peer holds no permit and makes no connect. The dial of that peer does both.
        let of_all_dials = match connector {
            Some(connector) if !connector.dials_through() => {
                let start = attempt.budget.pace(Instant::now().into_std());
                wait(Some(Instant::from_std(start))).await;
                core.dials.acquire().await.ok()
            }
            _ => None,
        };
        (of_this_dial, of_all_dials)
    };
    let turn = timeout_at(attempt.deadline, turn).await;
    let is_over = Instant::now() >= attempt.deadline;
    let Some(_turn) = turn.ok().filter(|_| !is_over) else {
        return (attempt, Err(AttemptCause::OutOfTime { after: whole }));
    };
    try_one(core, attempt).await
}

async fn try_one(
    core: &Arc<Core>,
    mut attempt: Attempt,
) -> (Attempt, Result<(ConnectionPermit, Reached), AttemptCause>) {
    let kind = address::kind(&attempt.address);
    let after = match address::is_private(&attempt.address) {
        true => core.config.dial_timeout_private,
        false => core.config.dial_timeout,
    };
    let now = Instant::now();
    // The whole dial may end earlier.
    let after = after.min(attempt.deadline.saturating_duration_since(now));
    attempt.deadline = now + after;
    let outcome = async {
        let connector = core.connector(kind);
        let connector = connector.ok_or_else(|| unsupported(&attempt.address))?;
        if kind == Kind::Quic && !(core.is_direct)(&attempt.address) {
            return Err(AttemptCause::NotDirect { what: "QUIC" });
        }
        let mut permit = core.connections.begin_dial(attempt.expected.as_ref())?;
        let connect = Arc::clone(connector).connect(attempt.clone());
        let connecting = timeout_at(attempt.deadline, connect);
        let in_time = async {
            let timed_out = Err(AttemptCause::TimedOut { after });
            connecting.await.unwrap_or(timed_out)
        };
        let reached = permit.run(in_time).await?;
        Ok((permit, reached))
    };
    let outcome = outcome.await;
    (attempt, outcome)
}
