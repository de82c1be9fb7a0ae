//! Which addresses of a peer are kept.

use bootstrap::{Origin, RejoinConfig};

use super::host::{Host, MS, SECOND};

const OLD: [u32; 8] = [1, 2, 3, 4, 5, 6, 7, 8];
const NEW: [u32; 8] = [11, 12, 13, 14, 15, 16, 17, 18];

/// A host that knows eight addresses of peer 1 from this origin, and dials none of them.
fn knowing(origin: Origin) -> Host {
    let mut host = Host::new(RejoinConfig::default().with_target(0));
    assert!(host.add(1, &OLD, origin));
    host
}

/// The addresses of peer 1, sorted.
fn known(host: &Host) -> Vec<u32> {
    let mut known = host.view(1).addresses;
    known.sort_unstable();
    known
}

#[test]
fn a_peer_whose_addresses_have_all_changed_is_learned_anew() {
    for origin in [Origin::Peer, Origin::Saved, Origin::Claimed, Origin::Lan] {
        let mut host = knowing(origin);
        host.connect(1);
        host.add(1, &NEW, Origin::Peer);
        assert_eq!(known(&host), NEW, "{origin}");
        // The peer is lost, and dialed where it was last.
        host.pass(10 * SECOND);
        host.told_lasted();
        host.disconnect(1);
        host.pass(2 * SECOND);
        let mut dialed = host.dials().remove(0).addresses;
        dialed.sort_unstable();
        assert_eq!(dialed, NEW, "{origin}");
    }
    for origin in [Origin::Kept, Origin::List, Origin::File, Origin::DnsAddr] {
        let mut host = knowing(origin);
        host.connect(1);
        host.add(1, &NEW, Origin::Peer);
        assert_eq!(known(&host), OLD, "the user has named these: {origin}");
    }
}

#[test]
fn an_address_that_the_peer_still_tells_or_that_works_stays() {
    let mut host = knowing(Origin::Saved);
    host.core.handle_connected(host.now, &1, Some(3));
    host.add(1, &[11, 12, 13, 14, 5, 16, 17, 18], Origin::Peer);
    assert_eq!(known(&host), [3, 5, 11, 12, 13, 14, 16, 17]);
    // More addresses than there is room for do not displace each other.
    host.add(1, &[11, 12, 13, 14, 5, 16, 17, 18], Origin::Peer);
    assert_eq!(known(&host), [3, 5, 11, 12, 13, 14, 16, 17]);
}

#[test]
fn what_a_peer_only_claims_displaces_its_claims_and_nothing_that_was_shown() {
    for (origin, expected) in [
        (Origin::Claimed, NEW),
        (Origin::Peer, OLD),
        (Origin::Saved, OLD),
    ] {
        let mut host = knowing(origin);
        host.add(1, &NEW, Origin::Claimed);
        assert_eq!(known(&host), expected, "{origin}");
    }
}

#[test]
fn addresses_that_failed_make_place_for_new_ones_that_are_as_trusted() {
    let config = RejoinConfig::default()
        .with_base(100 * SECOND)
        .with_caps(100 * SECOND, 100 * SECOND);
    for ends_by_itself in [false, true] {
        let mut host = Host::new(config.clone());
        host.add(1, &OLD, Origin::Lan);
        let dial = host.dials().remove(0);
        host.add(1, &[11], Origin::Lan);
        assert_eq!(known(&host), OLD, "the dial has not ended");
        match ends_by_itself {
            true => host.pass(3 * SECOND),
            false => host.core.handle_failed(host.now, dial.attempt),
        }
        host.add(1, &[11, 12], Origin::Other);
        assert_eq!(known(&host), OLD, "less trusted");
        host.add(1, &[11, 12], Origin::Lan);
        assert_eq!(known(&host), [1, 2, 3, 4, 5, 6, 11, 12]);
    }
}

#[test]
fn a_dial_that_another_connection_ends_says_nothing_of_its_addresses_and_one_that_is_replaced_has_failed()
 {
    let mut host = Host::new(RejoinConfig::default());
    host.add(1, &OLD, Origin::Lan);
    host.connect(1);
    host.add(1, &[11], Origin::Lan);
    assert_eq!(known(&host), OLD);

    // Dials so close to each other that none lives until its end.
    let config = RejoinConfig::default().with_lost(100 * MS, 120 * SECOND, 16);
    let mut host = Host::new(config);
    host.add(1, &OLD, Origin::Lan);
    host.connect(1);
    host.pass(10 * SECOND);
    host.abandoned();
    host.disconnect(1);
    host.pass(SECOND);
    assert!(!host.abandoned().is_empty());
    host.add(1, &[11], Origin::Lan);
    assert!(known(&host).contains(&11));
}
