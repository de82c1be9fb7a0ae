//! What `cargo xtask bench rejoin` measures of Bowline: many nodes in one process, and a cold start that connects to some of them.
//!
//! | command | does |
//! | --- | --- |
//! | `servers` | listens with many nodes until its standard input closes |
//! | `join ADDR…` | starts a node with a bootstrap list, and says when enough peers are connected and identified |

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::{Parser, Subcommand, ValueEnum};
use libp2p_identity::Keypair;
use node::{
    BootstrapConfig, Config, Event, EventsError, Multiaddr, Node,
    bootstrap::RejoinConfig,
    transport_tcp::{Security, UpgradeConfig},
};
use serde_json::json;
use tests::harness::program::{on_a_worker, over};
use tokio::time::timeout;

/// How long a cold start may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The allocator of the `bowline` binary, which this stands for.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Servers {
        #[arg(long)]
        transport: Transport,
        /// How many nodes
        #[arg(long)]
        count: usize,
    },
    Join {
        peers: Vec<Multiaddr>,
        /// How many peers to connect
        #[arg(long)]
        wanted: usize,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Transport {
    Tcp,
    Quic,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let start = Instant::now();
    let command = Cli::parse().command;
    on_a_worker(async move {
        match command {
            Command::Servers { transport, count } => servers(transport, count).await,
            Command::Join { peers, wanted } => join(start, peers, wanted).await,
        }
    })
    .await
}

/// TLS is the only security over TCP, as at the other end of the comparison.
fn config() -> Config {
    Config::default().with_upgrade(UpgradeConfig::default().with_security([Security::Tls]))
}

async fn servers(transport: Transport, count: usize) -> anyhow::Result<()> {
    let at: Multiaddr = match transport {
        Transport::Tcp => "/ip4/127.0.0.1/tcp/0".parse()?,
        Transport::Quic => "/ip4/127.0.0.1/udp/0/quic-v1".parse()?,
    };
    let (mut nodes, mut addresses) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let node = Node::builder(Keypair::generate_ed25519())
            .config(config())
            .build()?;
        let listening = node.listen(at.clone()).await?;
        let address = listening.first().context("no address")?;
        addresses.push(address.to_string());
        nodes.push(node);
    }
    println!("{}", json!({"event": "ready", "addresses": addresses}));
    over().await
}

async fn join(start: Instant, peers: Vec<Multiaddr>, wanted: usize) -> anyhow::Result<()> {
    let rejoin = RejoinConfig::default()
        .with_target(wanted)
        .with_wanted(wanted);
    let bootstrap = BootstrapConfig::default()
        .with_list(peers)
        .with_rejoin(rejoin);
    let (node, mut events) = Node::builder(Keypair::generate_ed25519())
        .config(config().with_bootstrap(bootstrap))
        .build_with_events()?;
    let identified = async {
        let mut identified = BTreeSet::new();
        while identified.len() < wanted {
            match events.next().await {
                Ok(Event::Identified { peer, .. }) => drop(identified.insert(peer)),
                Ok(_) | Err(EventsError::Lagged { .. }) => {}
                Err(error) => bail!("{error}"),
            }
        }
        Ok(())
    };
    timeout(PATIENCE, identified).await.context("too slow")??;
    let (peers, seconds) = (node.connections().len(), start.elapsed().as_secs_f64());
    println!(
        "{}",
        json!({"event": "joined", "peers": peers, "seconds": seconds})
    );
    over().await?;
    node.shutdown().await;
    Ok(())
}
