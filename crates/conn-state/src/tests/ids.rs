//! Reports by ids that are unknown or in use.

use std::time::Instant;

use super::{ip, limits, up};
use crate::{LimitsConfig, Refused, Usage};

#[test]
fn a_handshake_that_succeeds_after_its_connection_has_ended_holds_no_place() {
    let mut limits = limits(LimitsConfig::default());
    let now = Instant::now();
    limits.handle_dialing(1).unwrap();
    limits.handle_inbound(now, 2, ip("127.0.0.1")).unwrap();
    for id in 1..=3 {
        limits.handle_closed(id);
        assert_eq!(up(&mut limits, now, id, 7).unwrap_err(), Refused::UnknownId);
    }
    assert!(limits.peers.is_empty() && limits.connections.is_empty());
}

#[test]
fn an_id_in_use_is_refused_and_its_connection_keeps_its_place() {
    let mut limits = limits(LimitsConfig::default());
    let (now, there) = (Instant::now(), ip("192.0.2.1"));
    limits.handle_inbound(now, 1, there).unwrap();
    up(&mut limits, now, 1, 7).unwrap();
    limits.handle_inbound(now, 2, there).unwrap();
    limits.handle_dialing(3).unwrap();
    let usage = Usage::new(now);
    for id in 1..=3 {
        let refused = [
            limits.handle_inbound(now, id, there),
            limits.handle_circuit(now, id, 9),
            limits.handle_dialing(id),
            limits.handle_inbound_authenticated(now, id, there, 8, &usage),
        ];
        assert_eq!(refused, [const { Err(Refused::IdInUse) }; 4]);
    }
    assert_eq!((limits.inbound(), limits.handshaking()), (2, 1));
    // The same report again changes nothing; another peer is a mistake of the host.
    up(&mut limits, now, 1, 7).unwrap();
    assert_eq!(up(&mut limits, now, 1, 8).unwrap_err(), Refused::IdInUse);
    for id in 1..=3 {
        limits.handle_closed(id);
    }
    assert!(limits.connections.is_empty() && limits.groups.is_empty());
    assert_eq!(limits.inbound(), 0);
}
