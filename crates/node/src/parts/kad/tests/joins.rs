//! A node that is connected, but to no server of the DHT.

use std::task::Poll;

use bootstrap::{Candidate, Found, Origin, PeerSource};
use tokio::sync::mpsc;

use super::*;
use crate::part::Observer;

/// Names the candidates that the test sends.
struct Later(mpsc::UnboundedReceiver<Candidate<PeerId, Multiaddr>>);

impl PeerSource<PeerId, Multiaddr> for Later {
    fn poll_found(
        &mut self,
        cx: &mut std::task::Context<'_>,
    ) -> Poll<Option<Found<PeerId, Multiaddr>>> {
        self.0
            .poll_recv(cx)
            .map(|found| found.map(Found::Candidate))
    }
}

#[tokio::test]
async fn a_node_whose_connected_peers_do_not_serve_dials_candidates_until_its_table_has_a_server() {
    let plain = Node::builder(Keypair::generate_ed25519()).build().unwrap();
    let server = node(dht(Mode::Server), &[], 8);
    let (plain_at, server_at) = (listen(&plain).await, listen(&server).await);
    let (sender, later) = mpsc::unbounded_channel();
    let rejoin = RejoinConfig::default()
        .with_target(1)
        .with_stays(Duration::from_millis(50), Duration::from_millis(100));
    let bootstrap = BootstrapConfig::default()
        .with_list([plain_at])
        .with_rejoin(rejoin);
    let config = Config::default()
        .with_kademlia(dht(Mode::Client))
        .with_bootstrap(bootstrap);
    let builder = Node::builder(Keypair::generate_ed25519()).config(config);
    let client = builder.source(Box::new(Later(later))).build().unwrap();
    // `rejoin` has all the peers that it wants, and dials no further candidate.
    client.joined(soon()).await.unwrap();
    assert_eq!(peers(&client), 0);
    let at = crate::address::without_peer(&server_at);
    let candidate = Candidate::new(Some(server.peer_id()), vec![at], Origin::Saved);
    sender.send(candidate).unwrap();
    let found = client.find_peer(server.peer_id(), soon()).await.unwrap();
    assert!(found.reached);
    until("the server is in the table", || peers(&client) == 1).await;
    end(vec![client, plain, server]).await;
}

#[tokio::test]
async fn peers_of_the_routing_table_without_a_connection_are_candidates_of_rejoin() {
    let (nodes, at) = network(4).await;
    // The DHT closes two of the three connections that it opens, and `rejoin` wants more peers than there are.
    let client = node(dht(Mode::Client).with_max_connections(1), &[at], 8);
    until("rejoin has two of the other peers as candidates", || {
        let known = client.candidates();
        let routing = known
            .iter()
            .filter(|candidate| candidate.origins.contains(&Origin::Routing));
        routing.count() >= 2
    })
    .await;
    client.shutdown().await;
    end(nodes).await;
}

#[tokio::test]
async fn a_node_asks_for_eight_candidates_besides_its_connected_peers_and_dials_eight_of_them() {
    let plain = Node::builder(Keypair::generate_ed25519()).build().unwrap();
    let plain_at = listen(&plain).await;
    let counts = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&counts);
    let observer = Observer(move |change: &Change| {
        if let Change::Wanted {
            purpose: DHT_SERVERS,
            count,
        } = change
        {
            seen.lock().unwrap().push(*count);
        }
    });
    let config = Config::default().with_kademlia(dht(Mode::Client));
    let builder = Node::builder(Keypair::generate_ed25519()).config(config);
    let built = builder.build_with(|_| vec![Arc::new(observer)]);
    let (client, _events) = built.unwrap();
    client.dial([plain_at]).await.unwrap();
    until("the node has counted the connected peer", || {
        counts.lock().unwrap().contains(&(WANTED + 1))
    })
    .await;
    end(vec![client, plain]).await;

    let builder = Node::builder(Keypair::generate_ed25519());
    let (node, _events, context) = builder.build_with_context().unwrap();
    // This part does not run, so that nobody takes the offers.
    let part = Kademlia::new(context, node.peer_id(), &dht(Mode::Client)).unwrap();
    let offer = || (0..2 * WANTED).for_each(|_| part.note_offered(PeerId::random(), Vec::new()));
    offer();
    assert!(part.take_offered().is_empty(), "no peer is wanted");
    part.want();
    offer();
    assert_eq!(part.take_offered().len(), WANTED);
    end(vec![node]).await;
}
