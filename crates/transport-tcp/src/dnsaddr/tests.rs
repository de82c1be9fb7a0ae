use super::*;

fn record(address: &str) -> Vec<u8> {
    format!("dnsaddr={address}").into_bytes()
}

/// Answers every query with what `zone` makes of its name; gives what was found and what was asked.
fn expand(
    mut expansion: Expansion,
    zone: impl Fn(&str) -> Vec<String>,
) -> (Vec<String>, Vec<String>) {
    let mut asked = Vec::new();
    while let Some(query) = expansion.poll_query() {
        let records: Vec<_> = zone(&query.name).iter().map(|a| record(a)).collect();
        expansion.handle_answer(&query, records.iter().map(Vec::as_slice));
        asked.push(query.name);
    }
    let found = expansion.take_found();
    (found.iter().map(Multiaddr::to_string).collect(), asked)
}

fn peers() -> (PeerId, PeerId) {
    let peer = || crate::Keypair::generate_ed25519().public().to_peer_id();
    (peer(), peer())
}

#[test]
fn records_of_any_transport_are_found_in_their_order() {
    let addresses = [
        "/ip4/1.2.3.4/tcp/1",
        "/ip6/::1/udp/1/quic-v1",
        "/dns/a.example/tcp/443/wss",
    ];
    let zone = |_: &str| addresses.map(String::from).to_vec();
    let (found, asked) = expand(Expansion::new("net.example", None), zone);
    assert_eq!(
        (found, asked),
        (
            addresses.map(String::from).to_vec(),
            vec!["net.example".into()]
        )
    );
}

#[test]
fn a_chain_is_followed_to_a_depth_of_four_and_no_further() {
    let zone = |name: &str| {
        let n: u8 = name[1..2].parse().unwrap();
        vec![
            format!("/ip4/192.0.2.{n}/tcp/1"),
            format!("/dnsaddr/n{}.example", n + 1),
        ]
    };
    let (found, asked) = expand(Expansion::new("n1.example", None), zone);
    assert_eq!(
        asked,
        ["n1.example", "n2.example", "n3.example", "n4.example"]
    );
    assert_eq!(found.len(), 4);
}

#[test]
fn a_name_is_asked_once_however_it_is_written() {
    let zone = |_: &str| {
        ["a.example", "A.Example", "a.example.", "b.example"]
            .map(|name| format!("/dnsaddr/{name}"))
            .to_vec()
    };
    let (_, asked) = expand(Expansion::new("A.example.", None), zone);
    assert_eq!(asked, ["a.example", "b.example"]);
}

#[test]
fn a_hundred_addresses_are_taken_and_not_one_more() {
    for (given, taken) in [(99, 99), (100, 100), (101, 100)] {
        let zone = |_: &str| {
            (0..given)
                .map(|n| format!("/ip4/1.2.3.4/tcp/{}", n + 1))
                .collect()
        };
        let (found, _) = expand(Expansion::new("net.example", None), zone);
        assert_eq!(found.len(), taken);
    }
}

#[test]
fn names_that_fan_out_end_at_a_hundred_questions() {
    let zone = |name: &str| (0..50).map(|n| format!("/dnsaddr/{n}.{name}")).collect();
    let (found, asked) = expand(Expansion::new("net.example", None), zone);
    assert_eq!((found.len(), asked.len()), (0, 100));
}

#[test]
fn an_address_that_is_given_twice_counts_once() {
    let zone = |_: &str| vec!["/ip4/1.2.3.4/tcp/1".to_owned(); 3];
    assert_eq!(expand(Expansion::new("net.example", None), zone).0.len(), 1);
}

#[test]
fn only_the_wanted_peer_counts_and_only_its_names_are_asked() {
    let (wanted, other) = peers();
    let zone = |name: &str| match name {
        "net.example" => vec![
            format!("/dnsaddr/one.example/p2p/{wanted}"),
            format!("/dnsaddr/two.example/p2p/{other}"),
            "/dnsaddr/three.example".to_owned(),
            format!("/ip4/192.0.2.1/tcp/1/p2p/{other}"),
        ],
        "one.example" => vec![
            format!("/ip4/192.0.2.2/tcp/1/p2p/{wanted}"),
            format!("/ip4/192.0.2.3/tcp/1/p2p/{other}"),
        ],
        _ => vec![format!("/ip4/192.0.2.4/tcp/1/p2p/{wanted}")],
    };
    let (found, asked) = expand(Expansion::new("net.example", Some(wanted)), zone);
    assert_eq!(asked, ["net.example", "one.example", "three.example"]);
    assert_eq!(
        found,
        [2, 4].map(|n| format!("/ip4/192.0.2.{n}/tcp/1/p2p/{wanted}")),
    );
}

#[test]
fn what_a_pointer_ends_in_its_records_must_end_in_too() {
    let (one, two) = peers();
    let zone = |name: &str| match name {
        "net.example" => vec![format!("/dnsaddr/one.example/p2p/{one}")],
        _ => vec![
            format!("/ip4/192.0.2.1/tcp/1/p2p/{one}"),
            format!("/ip4/192.0.2.2/tcp/1/p2p/{two}"),
            "/ip4/192.0.2.3/tcp/1".to_owned(),
        ],
    };
    let (found, _) = expand(Expansion::new("net.example", None), zone);
    assert_eq!(found, [format!("/ip4/192.0.2.1/tcp/1/p2p/{one}")]);
}

#[test]
fn a_record_is_dnsaddr_and_a_multiaddr() {
    let parse = |text: &str| parse_record(text.as_bytes()).map(|address| address.to_string());
    assert_eq!(
        parse("dnsaddr=/ip4/1.2.3.4/tcp/1"),
        Some("/ip4/1.2.3.4/tcp/1".into())
    );
    for text in [
        "",
        "dnsaddr=",
        "dnsaddr=/",
        "dnsaddr=1.2.3.4",
        "DNSADDR=/ip4/1.2.3.4",
        "/ip4/1.2.3.4",
    ] {
        assert_eq!(parse(text), None, "{text}");
    }
    assert_eq!(parse_record(b"dnsaddr=/dns/\xff"), None);
}

#[test]
fn a_record_of_1024_bytes_is_read_and_a_longer_one_is_not() {
    let id = peers().0;
    for (length, read) in [(1024, true), (1025, false)] {
        let mut text = format!("dnsaddr=/ip4/192.0.2.1/tcp/1/p2p/{id}");
        text.insert_str("dnsaddr=".len(), &" ".repeat(length - text.len()));
        assert_eq!(parse_record(text.as_bytes()).is_some(), read, "{length}");
    }
}

#[test]
fn a_record_may_spell_its_peer_id_as_a_cid() {
    let (peer, other) = peers();
    let spell = |peer: PeerId| {
        let cid = [&[0x01, 0x72][..], &peer.to_bytes()].concat();
        multibase::encode(multibase::Base::Base36Lower, cid)
    };
    let zone = |_: &str| {
        vec![
            format!("/ip4/192.0.2.1/tcp/1/p2p/{}", spell(peer)),
            format!("/ip4/192.0.2.2/tcp/1/p2p/{}", spell(other)),
        ]
    };
    let (found, _) = expand(Expansion::new("net.example", Some(peer)), zone);
    assert_eq!(found, [format!("/ip4/192.0.2.1/tcp/1/p2p/{peer}")]);
}
