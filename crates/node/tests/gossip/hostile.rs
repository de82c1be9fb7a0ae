//! Members that mean no good.

use std::time::{Duration, Instant};

use node::{
    Config, Event as NodeEvent, GossipEvent, Keypair, Multiaddr,
    gossip_net::{
        DownCause, TopicId,
        wire::{Message, Priority, Swarm, put_header},
    },
    transport_tcp::{self, Target, Upgrader},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{
    AT,
    common::{listen, node, wait, with, within},
    expect, neighbours, soon, topic,
};

const PROPOSAL: &[u8] = b"\x13/multistream/1.0.0\n\x12/bowline/gossip/1\n";

/// A connection to the node by a peer that speaks gossip itself. Its streams are not accepted.
async fn attacker(address: &Multiaddr, key: &Keypair) -> transport_tcp::Connection {
    let upgrader = Upgrader::new(key, Default::default()).unwrap();
    let at = Target::from_multiaddr(address).unwrap().authority();
    let socket = TcpStream::connect(at).await.unwrap();
    let connection = upgrader.outbound(socket, None, &mut |_| {}).await;
    connection.unwrap()
}

/// A gossip stream, with its protocol agreed on.
async fn stream(connection: &transport_tcp::Connection) -> transport_tcp::Stream {
    let mut stream = connection.open().await.unwrap();
    stream.write_all(PROPOSAL).await.unwrap();
    stream.flush().await.unwrap();
    let mut answer = [0; PROPOSAL.len()];
    within(stream.read_exact(&mut answer)).await.unwrap();
    assert_eq!(answer, PROPOSAL);
    stream
}

/// The header of a stream and a request to become a neighbour.
pub(crate) fn asks(topic: &TopicId) -> Vec<u8> {
    let mut bytes = Vec::new();
    put_header(&mut bytes, topic);
    let (priority, data) = (Priority::High, None);
    Message::Swarm(Swarm::Neighbor { priority, data }).encode(&mut bytes);
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_neighbour_that_never_reads_is_evicted_and_the_others_hear_every_message() {
    let [(here, one), (there, mut other)] = neighbours(Config::default(), AT).await;
    let mut events = here.events();
    let address = here.listen_addresses().remove(0);
    let key = Keypair::generate_ed25519();
    let connection = attacker(&address, &key).await;
    let mut stream = stream(&connection).await;
    stream.write_all(&asks(&topic())).await.unwrap();
    stream.flush().await.unwrap();
    let peer = key.public().to_peer_id();
    let of_attacker = move |event: NodeEvent| match event {
        NodeEvent::Part(event) => {
            let event = event.downcast_ref::<GossipEvent>()?;
            (event.peer == peer).then_some(event.cause)
        }
        _ => None,
    };
    assert_eq!(wait(&mut events, of_attacker).await, None);

    let text = |number: usize| format!("{number} {}", "a".repeat(1000));
    let reading = tokio::spawn(async move {
        expect(&mut other, (0..3000).map(text)).await;
        other
    });
    for number in 0..3000 {
        one.publish(text(number), soon()).await.unwrap();
        if number % 32 == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    let cause = wait(&mut events, of_attacker).await;
    assert_eq!(cause, Some(DownCause::Stalled));
    let _other = within(reading).await.unwrap();
    assert_eq!(here.gossip_counters().stalled, 1);
    let begun = Instant::now();
    within(here.shutdown()).await;
    let took = begun.elapsed();
    // The goodbye of gossip has one second. The attacker's connection has three more, like any other connection.
    assert!(took < Duration::from_secs(5), "{took:?}");
    within(there.shutdown()).await;
}

#[tokio::test]
async fn a_peer_has_128_gossip_streams_and_the_next_one_is_reset() {
    let here = with(Config::default());
    let address = listen(&here, AT).await;
    let _topic = here.subscribe(topic(), []).unwrap();
    let connection = attacker(&address, &Keypair::generate_ed25519()).await;
    let mut open = Vec::new();
    for number in 0..128 {
        let mut stream = stream(&connection).await;
        let mut header = Vec::new();
        put_header(&mut header, &TopicId::from_name(&number.to_string()));
        stream.write_all(&header).await.unwrap();
        stream.flush().await.unwrap();
        // The other half ends, and nothing follows.
        let mut rest = Vec::new();
        within(stream.read_to_end(&mut rest)).await.unwrap();
        assert!(rest.is_empty());
        open.push(stream);
    }
    let mut refused = stream(&connection).await;
    let mut rest = Vec::new();
    let end = within(refused.read_to_end(&mut rest)).await;
    assert!(end.is_err(), "the stream is reset");
    assert!(open[0].write_all(b"still open").await.is_ok());
    within(here.shutdown()).await;
}

#[tokio::test]
async fn a_peer_without_an_ed25519_key_has_no_gossip_stream() {
    let here = node();
    let address = listen(&here, AT).await;
    let _topic = here.subscribe(topic(), []).unwrap();
    let connection = attacker(&address, &Keypair::generate_ecdsa()).await;
    let mut stream = stream(&connection).await;
    let mut rest = Vec::new();
    assert!(within(stream.read_to_end(&mut rest)).await.is_err());
    assert_eq!(here.gossip_counters().opened, 0);
    within(here.shutdown()).await;
}

/// The id of a link's peer is what its handshake has proved. No message claims an id.
#[tokio::test]
async fn the_sender_of_a_message_is_the_peer_that_the_handshake_proved() {
    let here = node();
    let address = listen(&here, AT).await;
    let mut subscription = here.subscribe(topic(), []).unwrap();
    let key = Keypair::generate_ed25519();
    let connection = attacker(&address, &key).await;
    let mut stream = stream(&connection).await;
    stream.write_all(&asks(&topic())).await.unwrap();
    stream.flush().await.unwrap();
    super::neighbour_up(&mut subscription).await;
    let peer = subscription.neighbors()[0].to_peer_id().to_vec();
    assert_eq!(peer, key.public().to_peer_id().to_bytes());
    within(here.shutdown()).await;
}
