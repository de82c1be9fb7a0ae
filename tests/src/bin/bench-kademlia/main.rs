//! What `cargo xtask bench kademlia` measures of Bowline. The rust peer has the same commands.
//!
//! | command | does |
//! | --- | --- |
//! | `servers` | runs many servers of a DHT until its standard input closes |
//! | `client ADDR…` | looks up random keys in the DHT of these servers, as the lines of its standard input say |
//! | `table` | fills routing tables without any network, and says how much memory they take |
//! | `network` | looks up random keys in a large network without any sockets, and says how many requests the lookups sent |

mod client;
mod network;
mod servers;
mod table;

use clap::{Parser, Subcommand};
use libp2p_identity::{Keypair, PeerId};
use node::{
    BootstrapConfig, Config, KademliaConfig, Multiaddr, Node,
    bootstrap::{
        RejoinConfig,
        kad::{Mode, Preset},
    },
    conn_state::Recommended,
    transport_tcp::{Security, UpgradeConfig},
};
use tests::harness::program::on_a_worker;

/// The protocol of the DHT.
const PROTOCOL: &str = "/bench/kad/1.0.0";

/// More than ever come.
const MANY: usize = 10_000;

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
        /// How many servers
        #[arg(long)]
        count: usize,
    },
    Client {
        servers: Vec<Multiaddr>,
    },
    Table {
        /// How many routing tables
        #[arg(long)]
        tables: usize,
        /// How many peers each of them hears of
        #[arg(long)]
        peers: usize,
    },
    Network {
        /// How many nodes
        #[arg(long)]
        nodes: u64,
        /// How many lookups
        #[arg(long)]
        lookups: u64,
    },
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let command = Cli::parse().command;
    on_a_worker(async move {
        match command {
            Command::Servers { count } => servers::run(count).await,
            Command::Client { servers } => client::run(servers).await,
            Command::Table { tables, peers } => {
                tokio::task::block_in_place(|| table::run(tables, peers))
            }
            Command::Network { nodes, lookups } => {
                tokio::task::block_in_place(|| network::run(nodes, lookups))
            }
        }
    })
    .await
}

/// Ids of peers. The same seed gives the same ids in the rust peer.
fn ids(seed: u64, count: u64) -> anyhow::Result<Vec<PeerId>> {
    let id = |number: u64| {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_be_bytes());
        bytes[8..16].copy_from_slice(&number.to_be_bytes());
        let key = Keypair::ed25519_from_bytes(bytes)?;
        anyhow::Ok(key.public().to_peer_id())
    };
    (0..count).map(id).collect()
}

/// A node of the DHT with TLS as the only security, as at the other end of the comparison. It closes no connection by itself, and
/// dials nobody besides the peers of the list and those that lookups need.
fn node(mode: Mode, list: Option<Multiaddr>) -> anyhow::Result<Node> {
    let dht = KademliaConfig::default()
        .with_protocols([PROTOCOL])
        .with_mode(mode)
        .with_preset(Preset::Private)
        .with_max_connections(MANY);
    let bootstrap = BootstrapConfig::default()
        .with_rejoin(RejoinConfig::default().with_target(usize::from(list.is_some())))
        .with_list(list)
        .with_redial(false);
    let limits = Config::default().limits.with_max_inbound(MANY);
    let config = Config::default()
        .with_upgrade(UpgradeConfig::default().with_security([Security::Tls]))
        .with_limits(limits.with_max_handshaking(MANY))
        .with_state(Recommended::default().with_max_transient(MANY, 32))
        .with_bootstrap(bootstrap)
        .with_kademlia(dht);
    let builder = Node::builder(Keypair::generate_ed25519());
    Ok(builder.config(config).build()?)
}
