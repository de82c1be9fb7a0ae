//! A foreign peer on rust-libp2p: the face that all foreign peers share (`listen`, `dial` and `echo`), and the counterpart of
//! the benchmarks (`serve`, `bulk`, `connects` and the commands that begin with `bench`).

mod bench;
mod bench_gossip;
mod bench_kad;
mod bench_kad_network;
mod bench_rejoin;
mod bench_relay;
mod dht;
mod dial;
mod echo;
mod event;
mod listen;
mod node;
mod probe;
mod relaying;

use std::{process::ExitCode, time::Duration};

use clap::{Parser, Subcommand};
use libp2p::Multiaddr;

use crate::{event::Event, listen::Listening, node::NodeArgs, relaying::RelayArgs};

/// A libp2p peer on rust-libp2p that prints what happens as one JSON object a line
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Wait for peers until SIGTERM, SIGINT or the end of standard input
    Listen {
        /// Where to listen [default: loopback with a free port]
        #[arg(long, value_name = "MULTIADDR")]
        addr: Option<Multiaddr>,
        /// Ping every connected peer on a new stream, with this pause in milliseconds between two pings
        #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..))]
        probe_every: Option<u64>,
        /// Be a server of the DHT with the protocol `/NAME/kad/1.0.0`
        #[arg(long, value_name = "NAME", conflicts_with_all = ["relay", "reserve"])]
        kad: Option<String>,
        #[command(flatten)]
        relaying: RelayArgs,
        #[command(flatten)]
        node: NodeArgs,
    },
    /// Dial a peer, have it echo bytes, then close
    Echo {
        #[arg(value_name = "MULTIADDR")]
        address: Multiaddr,
        /// How many bytes
        #[arg(long, value_name = "N", default_value_t = 100_000)]
        bytes: u64,
        #[command(flatten)]
        node: NodeArgs,
    },
    /// Dial a peer, wait for its identify and its pongs, then close
    Dial {
        #[arg(value_name = "MULTIADDR")]
        address: Multiaddr,
        /// How many pongs to wait for
        #[arg(long, value_name = "N", default_value_t = 3)]
        pings: u32,
        #[command(flatten)]
        node: NodeArgs,
    },
    /// Listen, and count the bytes of bulk streams
    Serve {
        /// Where to listen [default: loopback with a free port]
        #[arg(long, value_name = "MULTIADDR")]
        addr: Option<Multiaddr>,
        #[command(flatten)]
        node: NodeArgs,
    },
    /// Measure how long it takes to write bytes to a serving peer over one stream
    Bulk {
        #[arg(value_name = "MULTIADDR")]
        address: Multiaddr,
        /// How many bytes to write
        #[arg(long, value_name = "N")]
        bytes: u64,
        /// The size of one write, in bytes
        #[arg(long, value_name = "N", default_value_t = 65_536, value_parser = clap::value_parser!(u32).range(1..))]
        write: u32,
        #[command(flatten)]
        node: NodeArgs,
    },
    /// Measure how long it takes to connect to a peer and get a first pong from it
    Connects {
        #[arg(value_name = "MULTIADDR")]
        address: Multiaddr,
        /// How many connections to make, one after the other
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        count: u32,
        #[command(flatten)]
        node: NodeArgs,
    },
    /// Relay over TCP and TLS, with limits that are out of the way, until the end of standard input
    BenchRelay {
        /// How many reservations and circuits there may be
        #[arg(long, value_name = "N", default_value_t = 10_000)]
        slots: usize,
    },
    /// Listen with many peers until the end of standard input
    BenchServers {
        /// How many
        #[arg(long, value_name = "N")]
        count: usize,
        #[command(flatten)]
        node: NodeArgs,
    },
    /// Run many servers of a DHT until the end of standard input
    BenchKadServers {
        /// How many
        #[arg(long, value_name = "N")]
        count: usize,
    },
    /// Look up random keys in the DHT of these servers, as the lines of standard input say
    BenchKadClient {
        #[arg(value_name = "MULTIADDR")]
        servers: Vec<Multiaddr>,
    },
    /// Fill routing tables without any network, and tell how much memory they take
    BenchKadTable {
        /// How many routing tables
        #[arg(long, value_name = "N")]
        tables: usize,
        /// How many peers each of them hears of
        #[arg(long, value_name = "N")]
        peers: usize,
    },
    /// Look up random keys in a large network over the memory transport
    BenchKadNetwork {
        /// How many nodes
        #[arg(long, value_name = "N")]
        nodes: u64,
        /// How many lookups
        #[arg(long, value_name = "N")]
        lookups: u64,
    },
    /// Run members of a gossipsub topic, and carry out the lines of standard input
    BenchGossipMembers {
        /// How many
        #[arg(long, value_name = "N")]
        count: usize,
        /// A member in another process; repeatable
        #[arg(long, value_name = "MULTIADDR")]
        join: Vec<Multiaddr>,
    },
    /// Measure how long it takes until some of these peers are connected and identified
    BenchJoin {
        #[arg(value_name = "MULTIADDR")]
        peers: Vec<Multiaddr>,
        /// How many peers to connect
        #[arg(long, value_name = "N")]
        wanted: usize,
        /// How many peers to dial at a time
        #[arg(long, value_name = "N")]
        dials: usize,
        #[command(flatten)]
        node: NodeArgs,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Listen {
            addr,
            probe_every,
            kad,
            relaying,
            node,
        } => {
            let listening = Listening {
                addr,
                probing: probe_every.map(Duration::from_millis),
                kad,
                relaying,
            };
            listen::listen(&node, listening).await
        }
        Command::Echo {
            address,
            bytes,
            node,
        } => echo::echo(&node, address, bytes).await,
        Command::Dial {
            address,
            pings,
            node,
        } => dial::dial(&node, address, pings).await,
        Command::Serve { addr, node } => listen::serve(&node, addr).await,
        Command::Bulk {
            address,
            bytes,
            write,
            node,
        } => bench::bulk(&node, address, bytes, write).await,
        Command::Connects {
            address,
            count,
            node,
        } => bench::connects(&node, address, count).await,
        Command::BenchRelay { slots } => bench_relay::run(slots).await,
        Command::BenchKadServers { count } => bench_kad::servers(count).await,
        Command::BenchKadClient { servers } => bench_kad::client(servers).await,
        Command::BenchKadTable { tables, peers } => bench_kad::table(tables, peers),
        Command::BenchKadNetwork { nodes, lookups } => bench_kad_network::run(nodes, lookups).await,
        Command::BenchGossipMembers { count, join } => bench_gossip::members(count, join).await,
        Command::BenchServers { count, node } => bench_rejoin::servers(&node, count).await,
        Command::BenchJoin {
            peers,
            wanted,
            dials,
            node,
        } => bench_rejoin::join(&node, peers, wanted, dials).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let message = format!("{error:#}");
            if let Err(unsaid) = event::emit(&Event::Error { message: &message }) {
                eprintln!("{message} (and could not say so on standard output: {unsaid})");
            }
            ExitCode::FAILURE
        }
    }
}
