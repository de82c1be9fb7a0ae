use super::*;

const PEER: &str = "12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp";
const ONION: &str = "/onion3/vww6ybal4bd7szmgncyruucpgfkqahzddi37ktceo3ah7ngmcopnpyyd:1234";

fn parse(text: &str) -> Result<Target, AddressError> {
    text.parse()
}

#[test]
fn every_kind_of_host_is_read_and_written_back() {
    let dns = |name: &str, family| Host::Dns {
        name: name.into(),
        family,
    };
    for (text, host, port) in [
        (
            "/ip4/192.0.2.1/tcp/4001",
            Host::Ip([192, 0, 2, 1].into()),
            4001,
        ),
        (
            "/ip6/2001:db8::1/tcp/1",
            Host::Ip("2001:db8::1".parse().unwrap()),
            1,
        ),
        (
            "/ip6zone/eth0/ip6/fe80::1/tcp/1",
            Host::Ip6Zone {
                ip: "fe80::1".parse().unwrap(),
                zone: "eth0".into(),
            },
            1,
        ),
        ("/dns/a.example/tcp/443", dns("a.example", Family::Any), 443),
        ("/dns4/a.example/tcp/443", dns("a.example", Family::V4), 443),
        ("/dns6/a.example/tcp/443", dns("a.example", Family::V6), 443),
        ("/dnsaddr/a.example", Host::DnsAddr("a.example".into()), 0),
    ] {
        for suffix in ["".to_owned(), format!("/p2p/{PEER}")] {
            let text = format!("{text}{suffix}");
            let target = parse(&text).unwrap();
            assert_eq!((target.host(), target.port()), (&host, port));
            assert_eq!(target.peer().is_some(), !suffix.is_empty());
            assert_eq!(target.to_string(), text);
            assert_eq!(Target::new(host.clone(), port, target.peer()), target);
        }
    }
}

#[test]
fn an_onion_address_keeps_its_port_and_gives_its_host_name() {
    let target = parse(ONION).unwrap();
    assert_eq!(
        (target.port(), target.to_string()),
        (1234, ONION.to_owned())
    );
    let name = "vww6ybal4bd7szmgncyruucpgfkqahzddi37ktceo3ah7ngmcopnpyyd.onion";
    assert_eq!(target.host_name(), name);
}

#[test]
fn a_host_name_is_what_a_proxy_wants_to_hear() {
    for (text, name) in [
        ("/ip4/192.0.2.1/tcp/1", "192.0.2.1"),
        ("/ip6/::1/tcp/1", "::1"),
        ("/ip6zone/eth0/ip6/fe80::1/tcp/1", "fe80::1%eth0"),
        ("/dns4/a.example/tcp/1", "a.example"),
        ("/dnsaddr/a.example", "a.example"),
    ] {
        assert_eq!(parse(text).unwrap().host_name(), name);
    }
}

#[test]
fn what_is_no_target_is_refused_with_its_reason() {
    for (text, reason) in [
        (
            "/ip4/192.0.2.1",
            "/ip4/192.0.2.1: no tcp port after the host",
        ),
        (
            "/ip4/192.0.2.1/udp/1",
            "/ip4/192.0.2.1/udp/1: no tcp port after the host",
        ),
        (
            "/tcp/1",
            "/tcp/1: does not begin with ip4, ip6, ip6zone, dns, dns4, dns6, dnsaddr or onion3",
        ),
        (
            "/ip4/1.2.3.4/tcp/1/ws",
            "/ip4/1.2.3.4/tcp/1/ws: `/ws` is not part of a tcp address",
        ),
        (
            "/dnsaddr/a.example/tcp/1",
            "/dnsaddr/a.example/tcp/1: `/tcp/1` is not part of a tcp address",
        ),
        ("nonsense", "`nonsense` is not a multiaddr"),
        (
            "/ip6/fe80::1/tcp/1",
            "/ip6/fe80::1/tcp/1: a link-local address needs the interface: write /ip6zone/INTERFACE/ip6/fe80::1/tcp/1",
        ),
        (
            "/ip6zone/eth0/ip6/2001:db8::1/tcp/1",
            "/ip6zone/eth0/ip6/2001:db8::1/tcp/1: ip6zone needs an interface, and a link-local address after it, as in \
             /ip6zone/eth0/ip6/fe80::1/tcp/4001",
        ),
    ] {
        assert_eq!(parse(text).unwrap_err().to_string(), reason);
    }
    let relayed = format!("/ip4/1.2.3.4/tcp/1/p2p/{PEER}/p2p-circuit");
    let error = parse(&relayed).unwrap_err().to_string();
    assert_eq!(
        error,
        format!("{relayed}: `/p2p-circuit` is not part of a tcp address")
    );
}

#[test]
fn a_name_of_253_bytes_is_taken_and_one_of_254_is_not() {
    for (length, taken) in [(1, true), (253, true), (254, false)] {
        let text = format!("/dns/{}/tcp/1", "x".repeat(length));
        assert_eq!(parse(&text).is_ok(), taken, "{length} bytes");
    }
    let empty = Multiaddr::from(Protocol::Dns("".into())).with(Protocol::Tcp(1));
    assert!(matches!(
        Target::try_from(&empty),
        Err(AddressError::BadName(_))
    ));
}

#[test]
fn the_expected_peer_can_be_put_and_taken() {
    let target = parse("/ip4/1.2.3.4/tcp/1").unwrap();
    let peer = PEER.parse().unwrap();
    let with = target.clone().with_peer(Some(peer));
    assert_eq!(with.to_string(), format!("/ip4/1.2.3.4/tcp/1/p2p/{PEER}"));
    assert_eq!(with.with_peer(None), target);
}

#[test]
fn a_socket_address_with_a_scope_is_a_target_with_a_zone() {
    let target = Target::from("[fe80::1%7]:1".parse::<SocketAddr>().unwrap());
    assert_eq!(target.to_string(), "/ip6zone/7/ip6/fe80::1/tcp/1");
    assert_eq!(target.ip(), "fe80::1".parse().ok());
    assert_eq!(parse(&target.to_string()).unwrap(), target);
}
