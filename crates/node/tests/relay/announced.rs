//! The addresses in a reservation, and those that its holder announces.

use node::relay_slots::{Answer, driver, wire::HOP_PROTOCOL};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// A relay at 127.0.0.2, and its address behind a forwarder on another port of 127.0.0.1.
async fn forwarded_relay() -> (Node, Multiaddr) {
    let relay = relay(Caps::default(), TableConfig::default());
    listen(&relay, "/ip4/127.0.0.2/tcp/0").await;
    let own = relay.listen_addresses().remove(0);
    let Some(Protocol::Tcp(port)) = own.iter().nth(1) else {
        panic!("{own}");
    };
    let forwarder = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let at = forwarder.local_addr().expect("it is bound").port();
    tokio::spawn(async move {
        while let Ok((mut near, _)) = forwarder.accept().await {
            tokio::spawn(async move {
                let far = TcpStream::connect(("127.0.0.2", port)).await;
                let mut far = far.expect("the relay accepts");
                let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
    let through: Multiaddr = format!("/ip4/127.0.0.1/tcp/{at}")
        .parse()
        .expect("an address");
    let through = through.with(Protocol::P2p(relay.peer_id()));
    (relay, through)
}

#[tokio::test]
async fn the_holder_of_a_slot_announces_first_the_address_at_which_it_dialed_the_relay() {
    let (_relay, through) = forwarded_relay().await;
    let hidden = behind(&[&through]);
    let circuit = through.clone().with(Protocol::P2pCircuit);
    let expected = circuit.with(Protocol::P2p(hidden.peer_id()));
    assert_eq!(reached_at(&hidden).await, expected);
}

#[tokio::test]
async fn a_third_node_reaches_the_holder_at_the_first_address_that_a_relay_behind_a_forwarder_lists()
 {
    let (relay, through) = forwarded_relay().await;
    let hidden = behind(&[&through]);
    reached_at(&hidden).await;

    // This holder asks at once, before the relay knows where the holder sees it.
    let seeker = node();
    let connection = within(seeker.dial([through.clone()])).await.unwrap();
    let (_, mut hop) = within(connection.open(&[HOP_PROTOCOL])).await.unwrap();
    let answer = driver::reserve(&mut hop, relay.peer_id(), seeker.peer_id());
    let answer = within(answer).await;
    let Answer::Granted { reservation, .. } = &answer else {
        panic!("{answer:?}");
    };
    let listed = &reservation.addresses;
    assert_eq!(listed[0], through, "{listed:?}");
    assert_eq!(listed[1..], relay.listen_addresses(), "{listed:?}");

    let third = node();
    let at = listed[0].clone().with(Protocol::P2pCircuit);
    let dial = third.dial([at.with(Protocol::P2p(hidden.peer_id()))]);
    let connection = within(dial).await.unwrap();
    assert_eq!(connection.via(), "relay/tls/yamux");
}
