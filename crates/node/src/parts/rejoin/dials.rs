//! Carries out the dials that the core asks for: one task per dial.

use std::{collections::BTreeMap, future::pending, sync::atomic::Ordering::Relaxed};

use bootstrap::{AttemptId, Handle};
use libp2p_identity::PeerId;
use multiaddr::{Multiaddr, Protocol};
use tokio::{
    task::{AbortHandle, JoinSet},
    time::Instant,
};

use super::{BootstrapFailed, Counters, told::Told};
use crate::{
    address,
    context::Context,
    dial_budget::DialBudget,
    error::{AttemptCause, DialError, error_chain},
    part::{Circuits, DialRequest, Existing, Origin},
};

/// The dials in flight. The core bounds their number. Dropping this value ends all of them.
pub(super) struct Dials<'a> {
    context: &'a Context,
    handle: &'a Handle<PeerId, Multiaddr>,
    counters: &'a Counters,
    tasks: JoinSet<Ended>,
    running: BTreeMap<AttemptId, AbortHandle>,
    told: Told,
    /// The budget of all dials of peers that others have named: their addresses may be host names, which lead to many addresses.
    of_others: DialBudget,
}

struct Ended {
    attempt: AttemptId,
    peer: Option<PeerId>,
    addresses: Vec<Multiaddr>,
    origin: bootstrap::Origin,
    outcome: Result<PeerId, DialError>,
}

impl<'a> Dials<'a> {
    pub(super) fn new(
        context: &'a Context,
        handle: &'a Handle<PeerId, Multiaddr>,
        counters: &'a Counters,
    ) -> Self {
        Self {
            context,
            handle,
            counters,
            tasks: JoinSet::new(),
            running: BTreeMap::new(),
            told: Told::default(),
            of_others: DialBudget::default(),
        }
    }

    /// Dials all of the addresses at once, until a connection is open or the time is over.
    pub(super) fn start(
        &mut self,
        attempt: AttemptId,
        peer: Option<PeerId>,
        addresses: Vec<Multiaddr>,
        origin: bootstrap::Origin,
        until: Instant,
    ) {
        // An error then names the address as the user wrote it.
        let named = |address: Multiaddr| match peer {
            Some(peer) if address::peer(&address).is_none() => address.with(Protocol::P2p(peer)),
            _ => address,
        };
        let addresses: Vec<Multiaddr> = addresses.into_iter().map(named).collect();
        let request = DialRequest {
            addresses: addresses.clone(),
            expected: peer,
            origin: Origin::Part,
            existing: self.existing(peer.as_ref()),
            circuits: Circuits::Allowed,
            until: Some(until),
            budget: self.budget(origin),
        };
        let context = self.context.clone();
        let task = self.tasks.spawn(async move {
            let outcome = context.dial(request).await;
            let outcome = outcome.map(|connection| connection.peer());
            Ended {
                attempt,
                peer,
                addresses,
                origin,
                outcome,
            }
        });
        self.running.insert(attempt, task);
    }

    /// The dials of the user's own peers, and of peers that the node knows from connections, have a budget each.
    fn budget(&self, origin: bootstrap::Origin) -> DialBudget {
        use bootstrap::Origin as From;
        match origin {
            From::DnsAddr | From::Routing | From::Claimed | From::Other => {
                self.of_others.renew(Instant::now().into_std());
                self.of_others.clone()
            }
            _ => DialBudget::default(),
        }
    }

    /// The core dials a connected peer only if its connection is quiet.
    fn existing(&self, peer: Option<&PeerId>) -> Existing {
        match peer.is_some_and(|peer| self.context.unlimited(peer).is_some()) {
            true => Existing::Ignore,
            false => Existing::PreferUnlimited,
        }
    }

    pub(super) fn abandon(&mut self, attempt: AttemptId) {
        if let Some(task) = self.running.remove(&attempt) {
            task.abort();
        }
    }

    /// Waits for the end of a dial and reports it. Cancel-safe.
    pub(super) async fn ended(&mut self) {
        match self.tasks.join_next().await {
            Some(Ok(ended)) => self.report(ended),
            // The dial was abandoned, or it panicked and its time in the core runs out.
            Some(Err(_)) => {}
            None => pending().await,
        }
    }

    fn report(&mut self, ended: Ended) {
        let Ended {
            attempt,
            peer,
            addresses,
            origin,
            outcome,
        } = ended;
        let known = self.running.remove(&attempt).is_some();
        let error = match outcome {
            Ok(answered) => {
                self.told.answered(peer, &addresses);
                return self
                    .handle
                    .with(|core, now| core.handle_answered(now, attempt, &answered));
            }
            Err(error) => error,
        };
        let oneself = self.context.peer_id().filter(|_| is_oneself(&error));
        self.handle.with(|core, now| match oneself {
            Some(local) => core.handle_answered(now, attempt, &local),
            None => core.handle_failed(now, attempt),
        });
        self.counters.failures.fetch_add(1, Relaxed);
        if known && oneself.is_none() && self.told.is_news(origin, peer, &addresses) {
            let what = match origin {
                bootstrap::Origin::Kept => "peer to keep",
                _ => "bootstrap peer",
            };
            let error = error_chain(&error);
            self.context.emit_part(BootstrapFailed { what, error });
        }
    }
}

/// Whether the node reached itself.
fn is_oneself(error: &DialError) -> bool {
    let is_self = |cause: &AttemptCause| matches!(cause, AttemptCause::Oneself);
    match error {
        DialError::Oneself { .. } => true,
        DialError::AllFailed(attempts) => attempts.iter().any(|attempt| is_self(&attempt.cause)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is a test's verdict")]

    use super::{super::Rejoin, *};
    use crate::{Keypair, Node};

    #[tokio::test]
    async fn the_dials_of_peers_that_others_have_named_share_a_budget_and_no_other_dials_do() {
        use bootstrap::Origin as From;
        let node = Node::builder(Keypair::generate_ed25519()).build().unwrap();
        let part = node.part::<Rejoin>().unwrap();
        let dials = Dials::new(&part.context, &part.handle, &part.counters);
        let taken = |origin| {
            let budget = dials.budget(origin);
            (0..200).filter(|_| budget.take_address()).count()
        };
        let of_others = [From::DnsAddr, From::Routing, From::Claimed, From::Other].map(taken);
        // A slow machine needs some time, in which the budget grows a little.
        assert_eq!(of_others[0], 100);
        assert!(
            of_others[1..].iter().all(|taken| *taken < 50),
            "{of_others:?}"
        );
        let own = [
            From::Kept,
            From::List,
            From::File,
            From::Saved,
            From::Peer,
            From::Lan,
        ];
        assert_eq!(own.map(taken), [100; 6]);
    }
}
