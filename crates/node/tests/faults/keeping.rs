//! Which of two connections to one peer is kept, and what ends a connection that cannot be closed in order.

use std::time::Duration;

use node::{Closing, Config, Event, Keypair, Node, conn_state::Recommended};
use tokio::io::AsyncWriteExt;

use super::common::{TCP, fragile_path, listen, node, wait, with, within};

#[tokio::test]
async fn an_old_connection_that_answers_is_kept_and_a_dead_one_makes_room_for_the_new_one() {
    for dead in [true, false] {
        // A peer that answers has time for it, on a busy machine too.
        let time = Duration::from_millis(if dead { 100 } else { 20_000 });
        let state = Recommended::default().with_probe(time, time);
        // Of two dials in opposite directions, that of the lower id is kept if it answers: the old one.
        let mut keys = [Keypair::generate_ed25519(), Keypair::generate_ed25519()];
        keys.sort_by_key(|key| key.public().to_peer_id());
        let [lower, key] = keys;
        let mut config = Config::default().with_state(state);
        // A dead connection is not closed in order: that would take this long.
        config.upgrade = config.upgrade.with_close_timeout(Duration::from_secs(3600));
        let builder = Node::builder(lower).config(config);
        let here = builder.build().unwrap();
        let there = || Node::builder(key.clone()).build().unwrap();
        let (before, after) = (there(), there());
        let (path, kill) = fragile_path(&listen(&before, TCP).await).await;
        let old = within(here.dial([path])).await.unwrap();
        within(old.identify()).await.unwrap();
        let mut events = here.events();
        if dead {
            kill.send(()).unwrap();
        }
        let _new = within(after.dial([listen(&here, TCP).await]))
            .await
            .unwrap();
        if !dead {
            let is_drained = || here.connections().iter().any(|c| c.is_draining());
            within(async {
                while !is_drained() {
                    tokio::task::yield_now().await;
                }
            })
            .await;
        }
        let (ended, reason) = wait(&mut events, |event| match event {
            Event::Disconnected {
                connection, reason, ..
            } => Some((connection, reason)),
            _ => None,
        })
        .await;
        let left = here.connections();
        assert!(left.len() == 1 && left[0].id() != ended, "{left:?}");
        match dead {
            true => assert_eq!((ended, reason), (old.id(), Closing::Unresponsive)),
            false => assert_eq!(left[0].id(), old.id(), "{reason}"),
        }
        within(left[0].ping()).await.unwrap();
    }
}

#[tokio::test]
async fn a_shutdown_cuts_connections_whose_path_is_dead() {
    let mut config = Config::default().with_shutdown_timeout(Duration::from_millis(100));
    // Only the node's own deadline can end this.
    config.upgrade = config.upgrade.with_close_timeout(Duration::from_secs(3600));
    let (here, there) = (with(config), node());
    let mut streams = there.handle("/stuck/1", 1).unwrap();
    let (path, kill) = fragile_path(&listen(&there, TCP).await).await;
    let connection = within(here.dial([path])).await.unwrap();
    let (_, mut stream) = connection.open(&["/stuck/1"]).await.unwrap();
    let _unread = within(streams.next()).await.unwrap();
    kill.send(()).unwrap();
    tokio::task::yield_now().await;
    stream.write_all(b"unheard").await.unwrap();
    stream.shutdown().await.unwrap();
    within(here.shutdown()).await;
    assert!(connection.is_closed() && here.connections().is_empty());
}
