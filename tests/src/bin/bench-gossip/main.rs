//! What `cargo xtask bench gossip` measures of Bowline: members of a topic, each a whole node. The programs on iroh-gossip and on
//! rust-libp2p's gossipsub have the same commands.
//!
//! `members` runs many members and carries out the lines of its standard input, see `load.rs`. It prints the neighbours that come
//! and go.

mod load;
mod members;

use clap::{Parser, Subcommand, ValueEnum};
use node::Multiaddr;
use tests::harness::program::on_a_worker;

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
    Members {
        #[arg(long)]
        transport: Transport,
        /// How many members
        #[arg(long)]
        count: usize,
        /// The addresses of a member in another process through which all members join
        #[arg(long)]
        join: Vec<Multiaddr>,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Transport {
    Tcp,
    Quic,
}

impl Transport {
    fn loopback(self) -> &'static str {
        match self {
            Self::Tcp => "/ip4/127.0.0.1/tcp/0",
            Self::Quic => "/ip4/127.0.0.1/udp/0/quic-v1",
        }
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Command::Members {
        transport,
        count,
        join,
    } = Cli::parse().command;
    on_a_worker(members::run(transport.loopback().parse()?, count, join)).await
}
