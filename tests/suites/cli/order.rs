//! The order of the lines of `bowline up --json`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use node::{Keypair, Multiaddr, Node};
use tests::harness::{Deadline, Event, Home};
use tokio::sync::Notify;

use super::{QUIC, TCP, soon};

const CONNECTIONS: usize = 300;

/// The number of peers that connect at the same time.
const PEERS: usize = 6;

/// Wakes a peer when the node has printed that it has identified the peer.
type Identified = BTreeMap<String, Arc<Notify>>;

/// Two of three connections are closed when the node has identified the peer, and the others at once.
async fn connect_often(address: Multiaddr, keys: Vec<Keypair>, identified: Identified) {
    let mut peers = tokio::task::JoinSet::new();
    for (peer, key) in keys.into_iter().enumerate() {
        let address = address.clone();
        let identified = Arc::clone(&identified[&key.public().to_peer_id().to_string()]);
        peers.spawn(async move {
            let node = Node::builder(key).build().unwrap();
            for round in 0..CONNECTIONS / PEERS {
                let connection = node.dial([address.clone()]).await.unwrap();
                if (round + peer) % 3 > 0 {
                    identified.notified().await;
                }
                connection.close();
                connection.closed().await;
            }
            node.shutdown().await;
        });
    }
    peers.join_all().await;
}

/// The place of a line in the life of its connection.
fn stage(line: &Event) -> Option<u32> {
    Some(match (line.kind(), line.text("to")) {
        ("state", "connected") => 1,
        ("connected", _) => 2,
        ("identified", _) => 3,
        ("state", "not connected") => 4,
        ("disconnected", _) => 5,
        _ => return None,
    })
}

#[test]
fn the_lines_of_300_short_connections_come_in_the_order_of_their_lives() {
    for listen in [TCP, QUIC] {
        let home = Home::new().unwrap();
        let mut up = home.up(&["--listen", listen]).unwrap();
        let address = up.addresses()[0].parse().unwrap();
        let keys: Vec<_> = (0..PEERS).map(|_| Keypair::generate_ed25519()).collect();
        let ids = keys.iter().map(|key| key.public().to_peer_id().to_string());
        let waiting: Identified = ids.map(|id| (id, Arc::default())).collect();
        let peers = std::thread::spawn({
            let waiting = waiting.clone();
            move || {
                let runtime = tokio::runtime::Runtime::new().unwrap();
                runtime.block_on(connect_often(address, keys, waiting));
            }
        });
        let begun = Instant::now();
        let mut lives = BTreeMap::<String, Vec<u32>>::new();
        let (mut ended, mut missed) = (0, 0);
        let patience = Deadline::within(Duration::from_secs(60));
        while ended < CONNECTIONS {
            let line = up.process.next(patience).unwrap();
            if line.kind() == "lagged" {
                missed += line.number("missed").unwrap() as usize;
            }
            let Some(stage) = stage(&line) else { continue };
            if stage == 3 {
                waiting[line.text("peer_id")].notify_one();
            }
            let life = lives.entry(line.text("connection").to_owned()).or_default();
            life.push(stage);
            ended += usize::from(stage == 5);
        }
        peers.join().unwrap();
        assert_eq!(lives.len(), CONNECTIONS);
        let mut identified = 0;
        for (connection, life) in &lives {
            assert!(
                life.is_sorted(),
                "{listen}, connection {connection}: {life:?}"
            );
            assert!(life.contains(&2) && life.contains(&5), "{life:?}");
            identified += usize::from(life.contains(&3));
        }
        let states = lives
            .values()
            .flatten()
            .filter(|stage| [1, 4].contains(*stage));
        let states = states.count();
        // Only lines about states may be missing, because their number has a limit.
        assert!(
            identified >= CONNECTIONS / 2 && states > CONNECTIONS,
            "{identified} {states}"
        );
        println!(
            "{listen}: {identified} identified, {states} states, {missed} missed, {:?}",
            begun.elapsed()
        );
        up.process
            .signal(tests::harness::process::Signal::TERM)
            .unwrap();
        assert_eq!(up.process.finish(soon()).unwrap().code, Some(0));
    }
}
