//! What `cargo xtask bench relay` measures: our relay, its two ends, those who hold slots, and the bare table.
//!
//! | command | does |
//! | --- | --- |
//! | `relay` | relays over TCP and TLS until its standard input closes |
//! | `destination RELAY` | holds a slot, and counts what comes through it |
//! | `source CIRCUIT` | writes many bytes over one stream through a relay and waits for the count of them |
//! | `reserve RELAY` | has many peers ask for a slot at once |
//! | `table` | lets slots come, be renewed and go, without any network |

mod nodes;
mod reserve;
mod table;

use clap::{Parser, Subcommand};
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
    Relay,
    Destination {
        relay: String,
    },
    Source {
        circuit: String,
        #[arg(long)]
        bytes: u64,
        /// The size of one write, in bytes
        #[arg(long)]
        write: usize,
    },
    Reserve {
        relay: String,
        #[arg(long)]
        count: usize,
        /// Whether all are connected before the time begins
        #[arg(long)]
        connected: bool,
    },
    Table {
        #[arg(long)]
        slots: usize,
        #[arg(long)]
        rounds: usize,
    },
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    on_a_worker(run(Cli::parse().command)).await
}

async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Relay => nodes::relay().await,
        Command::Destination { relay } => nodes::destination(&relay).await,
        Command::Source {
            circuit,
            bytes,
            write,
        } => nodes::source(&circuit, bytes, write).await,
        Command::Reserve {
            relay,
            count,
            connected,
        } => reserve::all_at_once(&relay, count, connected).await,
        Command::Table { slots, rounds } => {
            tokio::task::block_in_place(|| table::run(slots, rounds))
        }
    }
}
