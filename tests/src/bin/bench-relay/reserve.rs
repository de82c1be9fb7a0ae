//! Many peers, each a whole node, that ask one relay for a slot at once.

use std::time::Instant;

use anyhow::{Context, bail};
use futures::{StreamExt, stream};
use node::{
    Connection, Event, EventsError, Multiaddr, Node, RelayConfig,
    relay_slots::{Answer, driver, wire::HOP_PROTOCOL},
};
use serde_json::json;
use tokio::{io::AsyncWriteExt, task::JoinSet};

use crate::nodes;

/// How many connect at a time, where that is not measured.
const CONNECTING: usize = 32;

/// Prints how long it takes from the first request, or the first dial, until everyone has a slot.
pub(crate) async fn all_at_once(relay: &str, count: usize, connected: bool) -> anyhow::Result<()> {
    let at: Multiaddr = relay.parse()?;
    let nodes = (0..count).map(|_| nodes::node(RelayConfig::default()));
    let nodes: Vec<Node> = nodes.collect::<Result<_, _>>()?;
    let mut asking = JoinSet::new();
    let start = if connected {
        let connecting = stream::iter(nodes).map(|node| tokio::spawn(connect(node, at.clone())));
        let connected: Vec<_> = connecting.buffered(CONNECTING).collect().await;
        let start = begin();
        for connection in connected {
            let (node, connection) = connection??;
            asking.spawn(async move { reserve(&node, &connection).await.map(|()| node) });
        }
        start
    } else {
        let start = begin();
        for node in nodes {
            let at = at.clone();
            asking.spawn(async move {
                let connection = node.dial([at]).await?;
                reserve(&node, &connection).await.map(|()| node)
            });
        }
        start
    };
    let mut granted = Vec::with_capacity(count);
    while let Some(asked) = asking.join_next().await {
        granted.push(asked??);
    }
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{}",
        json!({"event": "reserved", "count": granted.len(), "seconds": seconds})
    );
    Ok(())
}

/// Tells whoever watches the relay.
fn begin() -> Instant {
    println!("{}", json!({"event": "begin"}));
    Instant::now()
}

/// Connected, and done with asking each other who they are.
async fn connect(node: Node, relay: Multiaddr) -> anyhow::Result<(Node, Connection)> {
    let mut events = node.events();
    let connection = node.dial([relay]).await?;
    loop {
        match events.next().await {
            Ok(Event::Identified { .. }) => return Ok((node, connection)),
            Ok(_) | Err(EventsError::Lagged { .. }) => {}
            Err(error) => bail!("{error}"),
        }
    }
}

async fn reserve(node: &Node, connection: &Connection) -> anyhow::Result<()> {
    let (_, mut stream) = connection.open(&[HOP_PROTOCOL]).await?;
    let answer = driver::reserve(&mut stream, connection.peer(), node.peer_id()).await;
    stream.shutdown().await.context("the stream broke")?;
    match answer {
        Answer::Granted { .. } => Ok(()),
        other => bail!("no slot: {other:?}"),
    }
}
