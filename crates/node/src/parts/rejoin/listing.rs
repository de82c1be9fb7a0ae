//! The node's state in its network, for hosts and for the admin endpoint.

use std::time::Instant;

use bootstrap::{CandidateView, Driver, Handle, NotJoined, Rejoin as Core, RejoinConfig, Status};
use libp2p_identity::PeerId;
use multiaddr::Multiaddr;
use serde_json::{Value, json};

use super::{Rejoin, is_ready};
use crate::{
    Node,
    part::{Answer, Query, QueryError},
};

/// A candidate for a dial, with its history.
pub type NodeCandidate = CandidateView<PeerId, Multiaddr>;

/// Joining and rejoining the network.
impl Node {
    /// Waits until enough peers are connected and have settled ([`bootstrap::RejoinConfig::wanted`]). Cancel-safe.
    ///
    /// # Errors
    ///
    /// The node was not joined by the deadline. The error has the state with its reason.
    pub async fn joined(&self, deadline: tokio::time::Instant) -> Result<(), NotJoined> {
        self.rejoin().joined(deadline).await
    }

    /// The node's state in its network, with the reason.
    pub fn rejoin_status(&self) -> Status {
        self.rejoin().status()
    }

    /// The peers that the node may dial to join or rejoin its network, with their history.
    pub fn candidates(&self) -> Vec<NodeCandidate> {
        self.rejoin().with(|core, now| core.candidates(now))
    }

    fn rejoin(&self) -> Handle<PeerId, Multiaddr> {
        let part = self.part::<Rejoin>();
        // Every node with this feature has the part.
        let without = || Driver::new(Core::new(None, 0, RejoinConfig::default()), Vec::new()).1;
        part.map_or_else(without, |part| part.handle.clone())
    }
}

pub(super) fn queries(handle: &Handle<PeerId, Multiaddr>) -> Vec<Query> {
    let (ready, listed) = (handle.clone(), handle.clone());
    vec![
        Query::read("/readyz", move |_| Answer::ready(readiness(ready.status()))),
        Query::read("/candidates", move |_| {
            Answer::ready(Ok(candidates(&listed)))
        }),
    ]
}

fn readiness(status: Status) -> Result<Value, QueryError> {
    let body = json!({"state": status.state.to_string(), "reason": status.reason.to_string()});
    match is_ready(status.state) {
        true => Ok(body),
        false => Err(QueryError::NotReady(body)),
    }
}

fn candidates(handle: &Handle<PeerId, Multiaddr>) -> Value {
    let (status, candidates) = handle.with(|core, now| {
        let views = core.candidates(now);
        let candidates: Vec<Value> = views.iter().map(|view| describe(view, now)).collect();
        (core.status(), candidates)
    });
    json!({
        "candidates": candidates,
        "state": status.state.to_string(),
        "reason": status.reason.to_string(),
    })
}

fn describe(view: &NodeCandidate, now: Instant) -> Value {
    let millis = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let texts = |all: &[Multiaddr]| all.iter().map(ToString::to_string).collect::<Vec<_>>();
    let origins = view.origins.iter().map(ToString::to_string);
    json!({
        "peer": view.peer.map(|peer| peer.to_string()),
        "addresses": texts(&view.addresses),
        "origins": origins.collect::<Vec<_>>(),
        "connected": view.connected,
        "lost": view.lost,
        "in_flight": view.in_flight,
        "dials": view.dials,
        "failures": view.failures,
        "next_ms": view.next.map(|next| millis(next.saturating_duration_since(now))),
        "longest_ms": view.longest.map(millis),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bootstrap::{Candidate, Origin};

    use super::*;

    #[test]
    fn a_listed_candidate_has_its_state_and_its_history() {
        let mut core = Core::new(None, 7, RejoinConfig::default());
        let (start, peer, at) = (Instant::now(), PeerId::random(), "/ip4/192.0.2.1/tcp/1");
        let address = at.parse().expect("an address");
        let candidate = Candidate::new(Some(peer), vec![address], Origin::Saved);
        core.handle_candidate(start, candidate);
        core.handle_connected(start, &peer, None);
        let end = start + Duration::from_secs(20);
        core.handle_timeout(end);
        core.handle_disconnected(end, &peer);
        let view = core.candidates(end).remove(0);
        let next = view.next.expect("a lost peer is dialed");
        let now = next - Duration::from_millis(100);
        let expected = json!({
            "peer": peer.to_string(),
            "addresses": [at],
            "origins": ["saved"],
            "connected": false,
            "lost": true,
            "in_flight": 0,
            "dials": 1,
            "failures": 0,
            "next_ms": 100,
            "longest_ms": 20_000,
        });
        assert_eq!(describe(&view, now), expected);
    }
}
