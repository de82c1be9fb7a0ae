//! A client of the DHT that looks up one random key after another.
//!
//! | line of standard input | does |
//! | --- | --- |
//! | `open SEED COUNT` | so many lookups, with a connection to each server |
//! | `fresh SEED COUNT` | so many lookups, each of which begins without any connection |

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context, bail};
use libp2p_identity::PeerId;
use node::{
    Connection, DhtError, Multiaddr, Node,
    bootstrap::kad::{Mode, QueryError},
};
use serde_json::json;
use tests::harness::program::say;
use tokio::{
    io::{AsyncBufReadExt, BufReader, stdin},
    time::{Instant, timeout},
};

/// How long a lookup, or the end of all connections, may take.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) async fn run(servers: Vec<Multiaddr>) -> anyhow::Result<()> {
    let node = crate::node(Mode::Client, None)?;
    connect(&node, &servers).await?;
    say(&json!({"event": "ready"}));
    let mut lines = BufReader::new(stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [how, seed, count] = words[..] else {
            bail!("there is no such command: {line}");
        };
        let fresh = how == "fresh";
        // No peer has one of these ids.
        let keys = crate::ids(seed.parse()?, count.parse()?)?;
        if !fresh {
            connect(&node, &servers).await?;
        }
        let (mut micros, mut answers) = (Vec::new(), 0);
        for key in keys {
            if fresh {
                disconnect(&node).await?;
            }
            let (took, answered) = look_up(&node, key).await?;
            micros.push(took.as_micros());
            answers += answered;
        }
        let connections = node.connections();
        let connected: BTreeSet<PeerId> = connections.iter().map(Connection::peer).collect();
        say(&json!({
            "event": "lookups",
            "micros": micros,
            "answers": answers,
            "connections": connected.len(),
        }));
    }
    node.shutdown().await;
    Ok(())
}

async fn connect(node: &Node, servers: &[Multiaddr]) -> anyhow::Result<()> {
    for server in servers {
        node.dial([server.clone()]).await?;
    }
    Ok(())
}

async fn disconnect(node: &Node) -> anyhow::Result<()> {
    let all = node.connections();
    all.iter().for_each(|connection| connection.close());
    let closed = async {
        for connection in &all {
            connection.closed().await;
        }
    };
    timeout(PATIENCE, closed)
        .await
        .context("a connection does not close")
}

/// The time of a lookup, and how many peers have answered.
async fn look_up(node: &Node, key: PeerId) -> anyhow::Result<(Duration, usize)> {
    let begun = Instant::now();
    let found = node.find_peer(key, begun + PATIENCE).await;
    let took = begun.elapsed();
    match found {
        Err(DhtError::Query(QueryError::NotFound { asked })) if asked > 0 => Ok((took, asked)),
        other => bail!("a lookup of a peer that is not there: {other:?}"),
    }
}
