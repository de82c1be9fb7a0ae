//! Links to iroh peers: QUIC with raw public keys, on a port of their own.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::Arc,
    time::Duration,
};

use node::{
    Config, IrohListenError, IrohPeer, Keypair, Node, SubscribeError,
    conn_state::LimitsConfig,
    gossip_net::{
        Bytes, DownCause, Event, Id, IdError, MessageId, TopicId, async_trait,
        wire::{BOWLINE_ALPN, Frames, Gossip, IROH_ALPN, Message, Scope, Swarm, put_header},
    },
    transport_quic::{self, Connection, Endpoint, Flavour, RecvStream, SendStream},
    transport_tcp::{ByteStream, DialContext, DialError, Dialer, Target},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{
    AT,
    common::{listen, node, with, within},
    expect,
    hostile::asks,
    neighbour_up, neighbours, next_text, soon, topic,
};

fn local() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

/// A node that accepts links of iroh peers, and its name for them.
fn listening(config: Config) -> (Node, IrohPeer) {
    let node = with(config);
    let at = node.listen_for_iroh(local()).unwrap();
    let own = node.iroh_addresses();
    assert_eq!(own.len(), 1);
    assert_eq!(own[0].address(), at);
    (node, own[0])
}

/// A member of the topic on plain QUIC, which speaks gossip itself.
struct Foreign {
    key: Keypair,
    endpoint: Endpoint,
}

/// A connection of a [`Foreign`] member, with the stream of the topic in each direction.
struct Link {
    connection: Connection,
    writer: SendStream,
    reader: Option<(RecvStream, Frames)>,
}

impl Foreign {
    fn new(alpn: &[&[u8]]) -> Self {
        Self::with(alpn, transport_quic::Config::default())
    }

    fn with(alpn: &[&[u8]], config: transport_quic::Config) -> Self {
        let key = Keypair::generate_ed25519();
        let alpn = alpn.iter().map(|name| name.to_vec()).collect();
        let config = config.with_flavour(Flavour::RawPublicKey { alpn });
        let endpoint = Endpoint::bind(local(), &key, config).unwrap();
        Self { key, endpoint }
    }

    fn name(&self) -> IrohPeer {
        let id = Id::from_peer_id(&self.key.public().to_peer_id().to_bytes()).unwrap();
        IrohPeer::new(id, self.endpoint.local_addr().unwrap())
    }

    async fn dial(&self, to: IrohPeer) -> Connection {
        let dialed = self.endpoint.dial(to.address(), None).await;
        dialed.unwrap()
    }

    async fn accept(&self) -> Connection {
        let incoming = within(self.endpoint.accept()).await.unwrap();
        within(incoming.accept()).await.unwrap()
    }

    /// Connects to a node, and asks to become a neighbour.
    async fn join(&self, to: IrohPeer) -> Link {
        let connection = self.dial(to).await;
        let mut writer = within(connection.open_uni()).await.unwrap();
        writer.write_all(&asks(&topic())).await.unwrap();
        Link {
            connection,
            writer,
            reader: None,
        }
    }
}

impl Link {
    async fn say(&mut self, text: &str) {
        let content = Bytes::copy_from_slice(text.as_bytes());
        let (id, scope) = (MessageId::of(&content), Scope::Swarm(0));
        let mut frame = Vec::new();
        Message::Gossip(Gossip::Content { id, content, scope }).encode(&mut frame);
        self.writer.write_all(&frame).await.unwrap();
    }

    /// The next message of the node.
    async fn next(&mut self) -> Message {
        if self.reader.is_none() {
            let stream = within(self.connection.accept_uni()).await.unwrap();
            self.reader = Some((stream, Frames::new(1 << 20)));
        }
        let (stream, frames) = self.reader.as_mut().unwrap();
        loop {
            if let Some(frame) = frames.next_frame().unwrap() {
                assert_eq!(frames.topic(), Some(topic()));
                return Message::decode(&frame).unwrap();
            }
            let read = within(stream.read_buf(frames.buffer())).await.unwrap();
            assert!(read > 0, "the node has ended the stream");
        }
    }

    /// The next text that the node sends.
    async fn hear(&mut self) -> String {
        loop {
            if let Message::Gossip(Gossip::Content { content, .. }) = self.next().await {
                return String::from_utf8(content.to_vec()).unwrap();
            }
        }
    }
}

#[tokio::test]
async fn two_nodes_hear_each_other_over_an_iroh_link_and_have_no_other_connection() {
    let (here, name) = listening(Config::default());
    let there = node();
    let mut one = here.subscribe(topic(), []).unwrap();
    let mut other = there.subscribe(topic(), []).unwrap();
    let named = there.name_iroh_peers([name]).unwrap();
    other.sender().join_peers(&named);
    one.joined(soon()).await.unwrap();
    other.joined(soon()).await.unwrap();
    one.publish("of the listener", soon()).await.unwrap();
    other.publish("of the dialer", soon()).await.unwrap();
    expect(&mut one, ["of the dialer".to_owned()]).await;
    expect(&mut other, ["of the listener".to_owned()]).await;
    assert!(here.connections().is_empty() && there.connections().is_empty());
    within(there.shutdown()).await;
    within(here.shutdown()).await;
    // The port is free again.
    UdpSocket::bind(name.address()).unwrap();
}

#[tokio::test]
async fn one_node_passes_messages_between_libp2p_neighbours_and_iroh_neighbours() {
    let [(here, mut one), (there, mut other)] = neighbours(Config::default(), AT).await;
    here.listen_for_iroh(local()).unwrap();
    let name = here.iroh_addresses()[0];
    let foreign = Foreign::new(&[IROH_ALPN]);
    let mut link = foreign.join(name).await;
    neighbour_up(&mut one).await;
    link.say("of the iroh peer").await;
    assert_eq!(within(next_text(&mut other)).await, "of the iroh peer");
    other.publish("of the node", soon()).await.unwrap();
    assert_eq!(within(link.hear()).await, "of the node");
    within(there.shutdown()).await;
    within(here.shutdown()).await;
}

#[tokio::test]
async fn a_node_dials_an_iroh_peer_with_both_protocols_and_the_peer_chooses_its_own() {
    for (speaks, chosen) in [
        (vec![IROH_ALPN], IROH_ALPN),
        (vec![BOWLINE_ALPN, IROH_ALPN], BOWLINE_ALPN),
    ] {
        let (here, foreign) = (node(), Foreign::new(&speaks));
        let subscription = here.subscribe(topic(), []).unwrap();
        let named = here.name_iroh_peers([foreign.name()]).unwrap();
        subscription.sender().join_peers(&named);
        let connection = foreign.accept().await;
        assert_eq!(connection.peer(), here.peer_id());
        assert_eq!(connection.alpn().unwrap(), chosen);
        let writer = within(connection.open_uni()).await.unwrap();
        let mut link = Link {
            connection,
            writer,
            reader: None,
        };
        let first = link.next().await;
        assert!(matches!(first, Message::Swarm(Swarm::Join(_))), "{first:?}");
        within(here.shutdown()).await;
    }
}

#[tokio::test]
async fn iroh_connections_count_in_the_limits_of_the_node_and_end_with_their_links() {
    let limits = LimitsConfig::for_memory(0)
        .with_max_inbound(1)
        .with_trim_idle(None);
    let (here, name) = listening(Config::default().with_limits(limits));
    let mut subscription = here.subscribe(topic(), []).unwrap();
    let first = Foreign::new(&[IROH_ALPN]);
    let link = first.join(name).await;
    neighbour_up(&mut subscription).await;
    let second = Foreign::new(&[IROH_ALPN]);
    let refused = second.endpoint.dial(name.address(), None).await;
    // The refusal may come after the handshake.
    if let Ok(connection) = refused {
        within(connection.closed()).await;
    }
    let address = listen(&here, AT).await;
    let libp2p = node();
    assert!(within(libp2p.dial([address.clone()])).await.is_err());
    drop(link);
    let admitted = async {
        while libp2p.dial([address.clone()]).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within(admitted).await;
    within(here.shutdown()).await;
}

/// Dials nothing. It does not say that any address is direct.
#[derive(Debug)]
struct Proxy;

#[async_trait]
impl Dialer for Proxy {
    async fn dial(&self, _: &Target, _: &DialContext) -> Result<ByteStream, DialError> {
        std::future::pending().await
    }
}

#[tokio::test]
async fn no_packet_goes_to_an_iroh_peer_past_the_dialer() {
    let builder = Node::builder(Keypair::generate_ed25519());
    let here = builder.dialer(Arc::new(Proxy)).build().unwrap();
    let socket = UdpSocket::bind(local()).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    let id = Foreign::new(&[IROH_ALPN]).name().id();
    let peer = IrohPeer::new(id, socket.local_addr().unwrap());
    let subscription = here.subscribe(topic(), []).unwrap();
    let named = here.name_iroh_peers([peer]).unwrap();
    subscription.sender().join_peers(&named);
    let failed = async {
        while here.gossip_counters().failed_dials == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    within(failed).await;
    assert!(socket.recv(&mut [0; 1500]).is_err(), "a packet has come");
    within(here.shutdown()).await;
}

#[tokio::test]
async fn an_identity_of_another_type_has_no_iroh_links() {
    let other = Node::builder(Keypair::generate_ecdsa()).build().unwrap();
    let identity = SubscribeError::Identity(IdError::NotEd25519);
    match other.listen_for_iroh(local()).unwrap_err() {
        IrohListenError::Gossip { source, .. } => assert_eq!(source, identity),
        error => panic!("{error}"),
    }
    let peer = Foreign::new(&[IROH_ALPN]).name();
    assert_eq!(other.name_iroh_peers([peer]).err(), Some(identity));
    assert!(other.iroh_addresses().is_empty());
}

#[tokio::test]
async fn a_taken_port_is_an_error_that_names_the_address() {
    let taken = UdpSocket::bind(local()).unwrap();
    let address = taken.local_addr().unwrap();
    let error = node().listen_for_iroh(address).unwrap_err();
    let text = node::error_chain(&error);
    assert!(text.contains(&address.to_string()), "{text}");
    assert!(text.contains("in use"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_iroh_neighbour_that_never_reads_is_evicted_and_the_others_hear_every_message() {
    let [(here, one), (there, mut other)] = neighbours(Config::default(), AT).await;
    here.listen_for_iroh(local()).unwrap();
    let small = transport_quic::Config::default()
        .with_stream_window(16 << 10)
        .with_connection_window(16 << 10);
    let foreign = Foreign::with(&[IROH_ALPN], small);
    let link = foreign.join(here.iroh_addresses()[0]).await;
    let id = foreign.name().id();
    let is_up = async {
        while !one.neighbors().contains(&id) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    within(is_up).await;
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
    within(link.connection.closed()).await;
    let _other = within(reading).await.unwrap();
    assert_eq!(here.gossip_counters().stalled, 1);
    assert!(!one.neighbors().contains(&id));
    within(there.shutdown()).await;
    within(here.shutdown()).await;
}

#[tokio::test]
async fn an_iroh_peer_has_128_streams_and_waits_until_some_of_them_have_ended() {
    let (here, name) = listening(Config::default());
    let _topic = here.subscribe(topic(), []).unwrap();
    let foreign = Foreign::new(&[IROH_ALPN]);
    let connection = foreign.dial(name).await;
    let mut open = Vec::new();
    for number in 0..128 {
        let mut stream = within(connection.open_uni()).await.unwrap();
        let mut header = Vec::new();
        put_header(&mut header, &TopicId::from_name(&number.to_string()));
        stream.write_all(&header).await.unwrap();
        open.push(stream);
    }
    let wait = Duration::from_millis(300);
    let further = tokio::time::timeout(wait, connection.open_uni());
    assert!(further.await.is_err(), "the node allows no further stream");
    // QUIC tells the peer about room when more than an eighth of the streams have ended.
    for stream in &mut open[..17] {
        stream.shutdown().await.unwrap();
    }
    within(connection.open_uni()).await.unwrap();
    within(here.shutdown()).await;
}

#[tokio::test]
async fn a_killed_iroh_neighbour_is_noticed_and_hears_messages_again_after_its_return() {
    let (here, name) = listening(Config::default());
    let mut subscription = here.subscribe(topic(), []).unwrap();
    let foreign = Foreign::new(&[IROH_ALPN]);
    let link = foreign.join(name).await;
    neighbour_up(&mut subscription).await;
    link.connection
        .abort(transport_quic::CloseCode::NONE, "killed");
    let down = async {
        loop {
            if let Some(Event::NeighborDown(_, cause)) = subscription.recv().await {
                return cause;
            }
        }
    };
    assert_eq!(within(down).await, DownCause::Transport);
    let mut again = foreign.join(name).await;
    neighbour_up(&mut subscription).await;
    subscription.publish("again", soon()).await.unwrap();
    assert_eq!(within(again.hear()).await, "again");
    within(here.shutdown()).await;
}
