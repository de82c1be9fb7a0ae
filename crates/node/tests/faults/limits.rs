//! Source addresses that anyone can write.

use std::{collections::BTreeMap, net::Ipv4Addr, sync::Arc};

use node::{
    AttemptCause, Config, DialError, Event, Keypair, Multiaddr, Node,
    conn_state::{Closing, LimitsConfig, Recommended},
    multiaddr::Protocol,
    transport_quic,
    transport_tcp::{Bound, DirectConfig, Uplink},
};
use tokio::net::UdpSocket;

use super::common::{QUIC, TCP, half_open, listen, node, wait, with, within};

/// What a peer learns that is one too many: go-libp2p's code for it.
const RESOURCE_LIMIT: Closing = Closing::Remote { code: Some(0x1001) };

/// The first datagrams of this many dials.
pub(super) async fn initials(count: usize) -> Vec<Vec<u8>> {
    let trap = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let at = trap.local_addr().unwrap();
    let mut dials = Vec::new();
    for _ in 0..count {
        let key = Keypair::generate_ed25519();
        let endpoint = transport_quic::Endpoint::bind(
            "127.0.0.1:0".parse().unwrap(),
            &key,
            Default::default(),
        )
        .unwrap();
        dials.push(tokio::spawn(async move {
            endpoint.dial(at, None).await.is_ok()
        }));
    }
    let mut first = BTreeMap::new();
    let mut buffer = [0; 1500];
    while first.len() < count {
        let (length, from) = within(trap.recv_from(&mut buffer)).await.unwrap();
        first
            .entry(from)
            .or_insert_with(|| buffer[..length].to_vec());
    }
    dials.iter().for_each(|dial| dial.abort());
    first.into_values().collect()
}

fn socket(address: &Multiaddr) -> (Ipv4Addr, u16) {
    let mut parts = address.iter();
    match (parts.next(), parts.next()) {
        (Some(Protocol::Ip4(ip)), Some(Protocol::Udp(port))) => (ip, port),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn first_packets_with_anothers_source_address_lock_nobody_out() {
    let limits = LimitsConfig::for_memory(0).with_exempt_private(false);
    let there = with(Config::default().with_limits(limits));
    let (tcp, quic) = (listen(&there, TCP).await, listen(&there, QUIC).await);
    let victim = Ipv4Addr::new(127, 0, 0, 9);
    for packet in initials(80).await {
        // Nobody behind these sockets ever answers, as nobody does behind a spoofed address.
        let spoofed = UdpSocket::bind((victim, 0)).await.unwrap();
        spoofed.send_to(&packet, socket(&quic)).await.unwrap();
    }
    let dialer = Bound::new([Uplink::Address(victim.into())], DirectConfig::default());
    let honest = Node::builder(Keypair::generate_ed25519())
        .dialer(Arc::new(dialer))
        .build()
        .unwrap();
    within(honest.dial([tcp]))
        .await
        .unwrap()
        .ping()
        .await
        .unwrap();
    // Others are not locked out of QUIC, either.
    let other = with(Config::default());
    within(other.dial([quic]))
        .await
        .unwrap()
        .ping()
        .await
        .unwrap();
}

#[tokio::test]
async fn a_connection_beyond_the_limit_is_ended_at_once_and_reported() {
    for transport in [TCP, QUIC] {
        let limits = LimitsConfig::for_memory(0).with_max_inbound(1);
        let there = with(Config::default().with_limits(limits));
        let mut events = there.events();
        let address = listen(&there, transport).await;
        let first = node();
        let _admitted = within(first.dial([address.clone()])).await.unwrap();
        let second = node();
        match within(second.dial([address])).await {
            // A QUIC address is not proved before the handshake is over, and is counted only then.
            Ok(connection) => {
                assert_eq!(transport, QUIC);
                let closing = within(connection.closed()).await;
                assert_eq!(closing, RESOURCE_LIMIT);
            }
            Err(refused) => {
                let DialError::AllFailed(attempts) = &refused else {
                    panic!("{refused}");
                };
                let in_time = !matches!(attempts[0].cause, AttemptCause::TimedOut { .. });
                assert!(in_time, "{transport}: {refused}");
            }
        }
        let cause = wait(&mut events, |event| match event {
            Event::InboundFailed { cause, .. } => Some(cause),
            _ => None,
        })
        .await;
        assert!(matches!(*cause, AttemptCause::Refused(_)), "{cause}");
    }
}

#[tokio::test]
async fn while_there_is_no_room_for_a_handshake_a_quic_dial_must_prove_its_address_and_is_refused()
{
    let state = Recommended::default().with_max_transient(1, 1);
    let there = with(Config::default().with_state(state));
    let (tcp, quic) = (listen(&there, TCP).await, listen(&there, QUIC).await);
    let _only_room = half_open(&tcp).await;
    // Without a proof of its address, a dial is asked for one (RFC 9000, section 17.2.5: a Retry packet).
    let unproved = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let packet = initials(1).await.remove(0);
    unproved.send_to(&packet, socket(&quic)).await.unwrap();
    let mut answer = [0; 1500];
    within(unproved.recv(&mut answer)).await.unwrap();
    assert_eq!(answer[0] & 0xf0, 0xf0, "{:x}", answer[0]);
    // With the proof, it is refused.
    let refused = within(node().dial([quic])).await.unwrap_err();
    let DialError::AllFailed(attempts) = &refused else {
        panic!("{refused}");
    };
    let at_once = matches!(
        attempts[0].cause,
        AttemptCause::Quic(transport_quic::DialError::Handshake { .. })
    );
    assert!(at_once, "{:?}", attempts[0].cause);
}
