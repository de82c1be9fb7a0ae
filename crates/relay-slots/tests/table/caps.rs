//! The caps, asked without a table: each admits up to its number, and refuses by its name beyond.

use std::time::Duration;

use relay_slots::{
    Admission, Caps, Connect, Held, Origin, Rate, Refusal, Reserve, Scope, ScopeKind,
};

use crate::at;

const V4: &str = "198.51.100.7";
const V6: &str = "2001:db8:1:2300::1";

/// What the rules say of a slot for a peer at `origin`, beyond so many.
fn slot(caps: &Caps, origin: Origin, [all, of_peer]: [usize; 2]) -> Result<(), Refusal> {
    caps.reserve(&Reserve::new(&"peer", origin).with_slots(all, of_peer))
}

fn slot_near(caps: &Caps, origin: Origin, scope: Scope, count: usize) -> Result<(), Refusal> {
    let nearby = [Held::new(scope, count)];
    caps.reserve(&Reserve::new(&"peer", origin).with_nearby(&nearby))
}

fn circuit(caps: &Caps, [all, to, from]: [usize; 3]) -> Result<(), Refusal> {
    caps.connect(&Connect::new(&"a", Origin::Local, &"b").with_circuits(all, to, from))
}

fn circuit_near(caps: &Caps, origin: Origin, scope: Scope, count: usize) -> Result<(), Refusal> {
    let held = Some(Held::new(scope, count));
    caps.connect(&Connect::new(&"a", origin, &"b").with_from_subnet(held))
}

fn net(kind: ScopeKind, address: &str) -> Scope {
    let address = address.parse().expect("an address");
    Scope::new(kind, address).expect("of this kind")
}

#[test]
fn slots_are_capped_in_all_and_by_peer() {
    let caps = Caps::default().with_slots(5).with_slots_per_peer(3);
    for (held, refused) in [
        ([4, 2], None),
        ([5, 0], Some(Refusal::Slots { limit: 5 })),
        ([4, 3], Some(Refusal::SlotsOfPeer { limit: 3 })),
    ] {
        assert_eq!(slot(&caps, at(V4), held).err(), refused, "{held:?}");
        // These two are not of addresses: no origin is exempt.
        assert_eq!(slot(&caps, Origin::Local, held).err(), refused, "{held:?}");
        assert_eq!(slot(&caps, at("10.0.0.1"), held).err(), refused);
    }
}

#[test]
fn slots_are_capped_by_each_kind_of_network_with_its_own_number() {
    let caps = Caps::default()
        .with_slots_per_ipv4(2, 3)
        .with_slots_per_ipv6(4, 5, 6)
        .with_slots_per_asn(7);
    let asn = Scope::asn(64_500);
    for (scope, limit) in [
        (net(ScopeKind::Ipv4, V4), 2),
        (net(ScopeKind::Ipv4Net24, V4), 3),
        (net(ScopeKind::Ipv6Net64, V6), 4),
        (net(ScopeKind::Ipv6Net56, V6), 5),
        (net(ScopeKind::Ipv6Net48, V6), 6),
        (asn, 7),
    ] {
        assert_eq!(caps.slots_per(scope.kind()), limit);
        for origin in [at(V4), at(V6)] {
            assert_eq!(slot_near(&caps, origin, scope, limit - 1), Ok(()));
            let refused = Err(Refusal::SlotsFrom { scope, limit });
            assert_eq!(slot_near(&caps, origin, scope, limit), refused);
        }
        let private = at("192.168.1.1");
        assert_eq!(slot_near(&caps, private, scope, limit), Ok(()));
        let strict = caps.clone().with_exempt_private(false);
        assert!(slot_near(&strict, private, scope, limit).is_err());
    }
    // The widest network is asked about, too.
    let nearby = [Held::new(net(ScopeKind::Ipv4, V4), 0), Held::new(asn, 7)];
    let request = Reserve::new(&"peer", at(V4)).with_nearby(&nearby);
    let refused = Err(Refusal::SlotsFrom {
        scope: asn,
        limit: 7,
    });
    assert_eq!(caps.reserve(&request), refused);
}

#[test]
fn circuits_are_capped_in_all_by_destination_and_by_source() {
    let caps = Caps::default().with_circuits(9, 5, 3);
    for (open, refused) in [
        ([8, 4, 2], None),
        ([9, 0, 0], Some(Refusal::Circuits { limit: 9 })),
        ([8, 5, 0], Some(Refusal::CircuitsTo { limit: 5 })),
        ([8, 4, 3], Some(Refusal::CircuitsFrom { limit: 3 })),
    ] {
        assert_eq!(circuit(&caps, open).err(), refused, "{open:?}");
    }
}

#[test]
fn circuits_from_one_subnet_to_one_destination_are_capped_unless_the_source_is_private() {
    let caps = Caps::default().with_circuits_from_subnet_to_peer(2);
    let scope = net(ScopeKind::Ipv4Net24, V4);
    let limit = 2;
    assert_eq!(circuit_near(&caps, at(V4), scope, 1), Ok(()));
    let refused = Err(Refusal::CircuitsFromSubnet { scope, limit });
    assert_eq!(circuit_near(&caps, at(V4), scope, 2), refused);
    assert_eq!(circuit_near(&caps, at("10.0.0.1"), scope, 2), Ok(()));
    let strict = caps.with_exempt_private(false);
    assert_eq!(circuit_near(&strict, at("10.0.0.1"), scope, 2), refused);
}

#[test]
fn without_caps_every_peer_is_served_and_still_holds_one_slot() {
    let caps = Caps::unlimited();
    let most = usize::MAX - 1;
    assert_eq!(slot(&caps, at(V4), [most, 0]), Ok(()));
    let second = Err(Refusal::SlotsOfPeer { limit: 1 });
    assert_eq!(slot(&caps, at(V4), [1, 1]), second);
    for kind in [ScopeKind::Ipv4, ScopeKind::Ipv4Net24] {
        assert_eq!(slot_near(&caps, at(V4), net(kind, V4), most), Ok(()));
    }
    for kind in [
        ScopeKind::Ipv6Net64,
        ScopeKind::Ipv6Net56,
        ScopeKind::Ipv6Net48,
    ] {
        assert_eq!(slot_near(&caps, at(V6), net(kind, V6), most), Ok(()));
    }
    assert_eq!(slot_near(&caps, at(V4), Scope::asn(64_500), most), Ok(()));
    assert_eq!(circuit(&caps, [most; 3]), Ok(()));
    let scope = net(ScopeKind::Ipv4Net24, V4);
    assert_eq!(circuit_near(&caps, at(V4), scope, most), Ok(()));
    let rates = Admission::<&str>::rates(&caps, &"peer", at(V4));
    assert_eq!(rates, relay_slots::Rates::default(), "no rates");
    // A cap that is set on top counts for private addresses, too.
    let caps = caps.with_slots_per_ipv4(1, 1);
    let scope = net(ScopeKind::Ipv4, "10.0.0.1");
    let refused = Err(Refusal::SlotsFrom { scope, limit: 1 });
    assert_eq!(slot_near(&caps, at("10.0.0.1"), scope, 1), refused);
}

#[test]
fn a_private_address_has_the_rates_of_its_peer_and_none_of_its_subnet() {
    let rate = |burst| Some(Rate::new(burst, Duration::from_secs(1)));
    let caps = Caps::default()
        .with_reserve_rates(rate(1), rate(2))
        .with_connect_rates(rate(3), rate(4));
    let rates = |caps: &Caps, origin| Admission::<&str>::rates(caps, &"peer", origin);
    let public = rates(&caps, at(V4));
    assert_eq!(
        [public.reserve_of_peer, public.reserve_of_subnet],
        [rate(1), rate(2)]
    );
    assert_eq!(
        [public.connect_of_peer, public.connect_of_subnet],
        [rate(3), rate(4)]
    );
    let private = rates(&caps, at("fd00::1"));
    assert_eq!(
        [private.reserve_of_peer, private.reserve_of_subnet],
        [rate(1), None]
    );
    assert_eq!(
        [private.connect_of_peer, private.connect_of_subnet],
        [rate(3), None]
    );
    let strict = caps.with_exempt_private(false);
    assert_eq!(rates(&strict, at("fd00::1")), public);
}
