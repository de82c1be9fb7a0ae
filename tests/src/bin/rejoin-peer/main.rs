//! A host of the suite `rejoin`: a node that keeps its peers connected, and pings them without a pause.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Parser;
use node::{BootstrapConfig, Config, Connection, Event, Events, Keypair, Multiaddr, Node};
use serde_json::json;
use tests::harness::program::{end, say};
use tokio::sync::Semaphore;
use tokio::time::{interval, timeout};

/// The time that a ping may take.
const PING_LIMIT: Duration = Duration::from_secs(5);

/// The number of pings that may be under way at the same time.
const MAX_PINGS: usize = 32;

#[derive(Debug, Parser)]
struct Cli {
    /// Listen on this address; repeatable
    #[arg(long, value_name = "MULTIADDR")]
    listen: Vec<Multiaddr>,
    /// Keep this peer connected; repeatable
    #[arg(long, value_name = "MULTIADDR")]
    keep: Vec<Multiaddr>,
    /// The pause between the starts of two pings, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    ping_every: u64,
}

#[tokio::main]
async fn main() -> ExitCode {
    end(run(Cli::parse()).await)
}

async fn run(cli: Cli) -> Result<()> {
    let bootstrap = BootstrapConfig::default().with_keep(cli.keep);
    let config = Config::default().with_bootstrap(bootstrap);
    let node = Node::builder(Keypair::generate_ed25519()).config(config);
    let (node, events) = node.listen_first().build_with_events()?;
    for address in cli.listen {
        node.listen(address).await?;
    }
    node.begin();
    let addresses = node.listen_addresses();
    let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    say(&json!({"event": "ready", "peer_id": node.peer_id().to_string(), "addresses": addresses}));
    tokio::spawn(ping(node, Duration::from_millis(cli.ping_every)));
    report(events).await
}

/// Starts a ping on each peer's connection at each tick, and does not wait for its answer.
async fn ping(node: Node, every: Duration) {
    let (mut ticks, room) = (interval(every), Arc::new(Semaphore::new(MAX_PINGS)));
    loop {
        ticks.tick().await;
        let mut peers: Vec<_> = node.connections().iter().map(Connection::peer).collect();
        peers.sort_unstable();
        peers.dedup();
        // The node chooses the connection.
        for connection in peers.into_iter().filter_map(|peer| node.connection(peer)) {
            let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
                continue;
            };
            tokio::spawn(async move {
                let begun = Instant::now();
                if let Ok(Ok(_)) = timeout(PING_LIMIT, connection.ping()).await {
                    say(&json!({
                        "event": "pong",
                        "peer_id": connection.peer().to_string(),
                        "connection": connection.id().to_string(),
                        "rtt_us": u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX),
                    }));
                }
                drop(permit);
            });
        }
    }
}

async fn report(mut events: Events) -> Result<()> {
    loop {
        let line = match events.next().await? {
            Event::Connected {
                peer,
                connection,
                address,
                direction,
                via,
            } => json!({
                "event": "connected",
                "peer_id": peer.to_string(),
                "connection": connection.to_string(),
                "address": address.to_string(),
                "direction": direction.to_string(),
                "via": via,
            }),
            Event::Disconnected {
                peer,
                connection,
                reason,
                ..
            } => json!({
                "event": "disconnected",
                "peer_id": peer.to_string(),
                "connection": connection.to_string(),
                "reason": reason.to_string(),
            }),
            Event::Part(event) if event.name() == "network" => {
                let mut line = event.to_json();
                line["event"] = "network".into();
                line
            }
            _ => continue,
        };
        say(&line);
    }
}
