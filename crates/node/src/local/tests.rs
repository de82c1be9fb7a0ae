//! The choice of announced addresses.
#![allow(clippy::unwrap_used, reason = "a panic is a test's verdict")]

use super::*;

fn address(text: &str) -> Multiaddr {
    text.parse().unwrap()
}

fn addresses<const N: usize>(texts: [&str; N]) -> Vec<Multiaddr> {
    texts.map(address).to_vec()
}

fn interfaces<const N: usize>(local: &Local, ips: [&str; N]) -> Option<InterfaceChange> {
    let ips = ips.map(|ip| ip.parse().unwrap());
    local.read_interfaces(|| Ok(ips.to_vec())).unwrap()
}

const TCP: Announcer = Announcer::Listener(0);
const QUIC: Announcer = Announcer::Listener(1);

/// A node with a wildcard listener, an observed address and an address at a relay.
fn node(config: AnnounceConfig) -> (Local, Multiaddr) {
    let local = Local::new(config);
    interfaces(&local, ["10.0.0.1", "127.0.0.1"]);
    local.announce(TCP, addresses(["/ip4/0.0.0.0/tcp/1"]));
    local.announce(Announcer::Observers, addresses(["/ip4/192.0.2.1/tcp/1"]));
    let relay = PeerId::random();
    let circuit = address(&format!("/ip4/10.0.0.9/tcp/9/p2p/{relay}/p2p-circuit"));
    local.announce(Announcer::Relay(relay), vec![circuit.clone()]);
    (local, circuit)
}

#[test]
fn an_announcer_replaces_its_own_addresses_only_and_a_new_address_is_told_once() {
    let local = Local::new(AnnounceConfig::default());
    let (a, b) = (
        address("/ip4/192.0.2.1/tcp/1"),
        address("/ip4/192.0.2.1/tcp/2"),
    );
    let change = local.announce(TCP, vec![a.clone()]).unwrap();
    assert_eq!((change.added, change.removed), (vec![a.clone()], vec![]));
    assert_eq!(local.announce(QUIC, vec![a.clone()]), None);
    let both = vec![a.clone(), b.clone()];
    let change = local.announce(QUIC, both.clone()).unwrap();
    assert_eq!((change.now, change.added), (both.clone(), vec![b.clone()]));
    assert_eq!(local.addresses(), both);
    let change = local.announce(QUIC, Vec::new()).unwrap();
    assert_eq!((change.added, change.removed), (vec![], vec![b]));
    assert_eq!(local.addresses(), [a]);
}

#[test]
fn a_wildcard_follows_the_interfaces_and_a_fixed_address_does_not() {
    let local = Local::new(AnnounceConfig::default());
    local.announce(TCP, addresses(["/ip4/0.0.0.0/tcp/1"]));
    local.announce(QUIC, addresses(["/ip4/192.0.2.9/udp/1/quic-v1"]));
    let fixed = address("/ip4/192.0.2.9/udp/1/quic-v1");
    assert_eq!(local.addresses(), std::slice::from_ref(&fixed));
    let change = interfaces(&local, ["192.0.2.1", "127.0.0.1"]).unwrap();
    let both = addresses(["/ip4/192.0.2.1/tcp/1", "/ip4/127.0.0.1/tcp/1"]);
    assert_eq!(
        (change.gone, change.announced.unwrap().added),
        (vec![], both)
    );
    assert_eq!(interfaces(&local, ["192.0.2.1", "127.0.0.1"]), None);
    let change = interfaces(&local, ["127.0.0.1"]).unwrap();
    assert_eq!(change.gone, ["192.0.2.1".parse::<IpAddr>().unwrap()]);
    let removed = change.announced.unwrap().removed;
    assert_eq!(removed, addresses(["/ip4/192.0.2.1/tcp/1"]));
    assert_eq!(local.addresses(), [address("/ip4/127.0.0.1/tcp/1"), fixed]);
}

#[test]
fn interfaces_that_cannot_be_read_keep_their_addresses() {
    let (local, _) = node(AnnounceConfig::default());
    let before = local.addresses();
    let failed = local.read_interfaces(|| Err(io::ErrorKind::OutOfMemory.into()));
    assert!(failed.is_err());
    assert_eq!(local.addresses(), before);
}

#[test]
fn configured_addresses_replace_detected_ones_or_come_before_them_and_keep_those_at_relays() {
    let public = address("/dns4/node.example/tcp/1");
    let config = AnnounceConfig::default().with_addresses([public.clone()]);
    let alone = Local::new(config.clone()).addresses();
    assert_eq!(alone, std::slice::from_ref(&public));
    let (local, circuit) = node(config.clone());
    assert_eq!(local.addresses(), [public.clone(), circuit.clone()]);
    let (local, circuit) = node(config.with_detected(true));
    let detected = [
        "/ip4/10.0.0.1/tcp/1",
        "/ip4/127.0.0.1/tcp/1",
        "/ip4/192.0.2.1/tcp/1",
    ];
    let mut all = vec![public];
    all.extend(detected.map(address));
    all.push(circuit);
    assert_eq!(local.addresses(), all);
    let (local, circuit) = node(AnnounceConfig::default().with_detected(false));
    assert_eq!(local.addresses(), [circuit]);
}

#[test]
fn a_forbidden_address_is_announced_from_no_source() {
    let never = ["10.0.0.0/8", "/ip4/192.0.2.1"].map(|text| text.parse().unwrap());
    let (local, _) = node(AnnounceConfig::default().with_never(never));
    assert_eq!(local.addresses(), [address("/ip4/127.0.0.1/tcp/1")]);
    // The node still listens there.
    assert!(local.is_listening());
    let reachable = local.reachable_at(&address("/ip4/0.0.0.0/tcp/1"));
    assert_eq!(reachable[0], address("/ip4/10.0.0.1/tcp/1"));
    local.announce(TCP, Vec::new());
    assert!(!local.is_listening());
}

#[test]
fn a_connection_finds_its_listener_and_no_other() {
    let (local, _) = node(AnnounceConfig::default());
    let at = |text: &str| local.listener_at(&address(text));
    assert_eq!(at("/ip4/10.0.0.1/tcp/1"), Some(0));
    assert_eq!(at("/ip4/10.0.0.1/tcp/2"), None);
    // An address at a relay or an observed address is no listener.
    assert_eq!(at("/ip4/10.0.0.9/tcp/9"), None);
}
