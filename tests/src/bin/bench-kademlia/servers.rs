//! Many servers of a DHT, each a whole node.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use node::{Node, bootstrap::kad::Mode};
use serde_json::json;
use tests::harness::program::{over, say};
use tokio::time::sleep;

/// How often the tables are looked at.
const POLL: Duration = Duration::from_millis(250);

/// The tables are ready once they have not grown for this long.
const QUIET: Duration = Duration::from_secs(3);

/// How long they may take until then.
const PATIENCE: Duration = Duration::from_secs(120);

/// How many peers each server must know, unless there are fewer.
const LEAST: usize = 20;

/// Serves with nodes that have joined through the first one, until standard input closes. They are ready when they know each
/// other.
pub(crate) async fn run(count: usize) -> anyhow::Result<()> {
    let (mut nodes, mut addresses) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let node = crate::node(Mode::Server, addresses.first().cloned())?;
        let listening = node.listen("/ip4/127.0.0.1/tcp/0".parse()?).await?;
        addresses.push(listening.first().context("no address")?.clone());
        nodes.push(node);
    }
    until_known(&nodes).await?;
    let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    say(&json!({"event": "ready", "addresses": addresses}));
    over().await
}

async fn until_known(nodes: &[Node]) -> anyhow::Result<()> {
    let begun = Instant::now();
    let (mut known, mut since) = (0, begun);
    loop {
        let tables = nodes.iter().filter_map(Node::dht_status);
        let tables: Vec<usize> = tables.map(|status| status.peers).collect();
        let sum: usize = tables.iter().sum();
        let least = tables.iter().min().copied().unwrap_or(0);
        if sum != known {
            (known, since) = (sum, Instant::now());
        }
        let enough = least >= LEAST.min(nodes.len() - 1);
        if enough && since.elapsed() >= QUIET {
            return Ok(());
        }
        ensure!(
            begun.elapsed() < PATIENCE,
            "a server knows only {least} others after {PATIENCE:?}"
        );
        sleep(POLL).await;
    }
}
