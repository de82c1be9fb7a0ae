//! Connections on sockets of parts.

use std::{net::IpAddr, time::Duration};

use conn_state::{Closing, LimitsConfig, Refused, State};
use futures::FutureExt;
use libp2p_identity::PeerId;

use super::connections;
use crate::{error::AttemptCause, part::Source};

/// Limits with one place, which an idle connection loses at once.
fn one_place() -> LimitsConfig {
    LimitsConfig::for_memory(0)
        .with_max_inbound(1)
        .with_trim_idle(Some(Duration::ZERO))
}

fn from(host: u8) -> Option<Source> {
    Some(Source::Validated(IpAddr::from([192, 0, 2, host])))
}

fn is_full(outcome: Result<(), AttemptCause>) -> bool {
    matches!(
        outcome,
        Err(AttemptCause::Refused(Refused::TooManyInbound { limit: 1 }))
    )
}

#[test]
fn a_connection_outside_of_the_tracker_counts_in_the_limits_until_its_permit_is_dropped() {
    let connections = connections(one_place());
    let peer = PeerId::random();
    let mut permit = connections.begin_outside(from(1)).unwrap();
    permit.authenticate(peer).unwrap();
    let protection = connections.protect(peer);
    assert_eq!(connections.tracker().state(&peer), State::NotConnected);
    let refused = connections.begin_outside(from(2)).map(drop);
    assert!(is_full(refused));
    let refused = connections.begin_inbound(from(2).unwrap()).map(drop);
    assert!(is_full(refused));
    drop((permit, protection));
    assert!(connections.begin_outside(from(2)).is_ok());
}

#[test]
fn an_idle_connection_outside_of_the_tracker_gives_way_to_a_newcomer_and_a_protected_one_does_not()
{
    let connections = connections(one_place());
    let mut old = connections.begin_outside(from(1)).unwrap();
    old.authenticate(PeerId::random()).unwrap();
    assert_eq!(old.cancelled().now_or_never(), None);
    let mut new = connections.begin_outside(from(2)).unwrap();
    let peer = PeerId::random();
    new.authenticate(peer).unwrap();
    assert_eq!(old.cancelled().now_or_never(), Some(Closing::Trimmed));
    drop(old);

    let _protection = connections.protect(peer);
    assert!(is_full(connections.begin_outside(from(3)).map(drop)));
    assert_eq!(new.cancelled().now_or_never(), None);
}

#[test]
fn a_peer_has_as_many_connections_outside_of_the_tracker_as_the_limit_per_peer_allows() {
    let limits = LimitsConfig::for_memory(0).with_max_per_peer(2);
    let connections = connections(limits);
    let peer = PeerId::random();
    let mut permits = Vec::new();
    let mut refused = None;
    while refused.is_none() && permits.len() < 20 {
        let mut permit = connections.begin_outside(None).unwrap();
        match permit.authenticate(peer) {
            Ok(()) => permits.push(permit),
            Err(error) => refused = Some(error),
        }
    }
    assert!(matches!(
        refused,
        Some(AttemptCause::Refused(Refused::TooManyToPeer { .. }))
    ));
    // Twice the limit and one more, because a new connection may replace a dead one.
    assert_eq!(permits.len(), 5);
    let ids = permits.iter().map(|permit| permit.id());
    assert_eq!(ids.collect::<std::collections::BTreeSet<_>>().len(), 5);
}
