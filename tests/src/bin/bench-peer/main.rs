//! What `cargo xtask bench transport` measures: Bowline, and the bare libraries under it, behind one face.
//!
//! | command | does |
//! | --- | --- |
//! | `serve` | prints a ready line, then counts what bulk streams bring and answers pings |
//! | `bulk ADDR` | writes many bytes over one stream and waits for the count of them |
//! | `connects ADDR` | connects, pings once, closes, many times in sequence |
//! | `hold ADDR` | holds many connections of distinct identities until its standard input closes |

mod bare_quic;
mod bare_tcp;
mod bowline;
mod measure;

use clap::{Args, Parser, Subcommand, ValueEnum};
use tests::harness::program::on_a_worker;

/// The allocator of the `bowline` binary, which this stands for.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Which software is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Stack {
    /// A whole node.
    Bowline,
    /// Plain tokio sockets.
    Tcp,
    /// TLS 1.3 over plain tokio sockets.
    TokioRustls,
    /// quinn by itself.
    Quinn,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Transport {
    Tcp,
    Quic,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Security {
    Tls,
    Noise,
}

#[derive(Debug, Clone, Args)]
struct How {
    #[arg(long, value_enum, default_value = "bowline")]
    stack: Stack,
    #[arg(long, value_enum, default_value = "tcp")]
    transport: Transport,
    #[arg(long, value_enum, default_value = "tls")]
    security: Security,
}

#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve {
        #[command(flatten)]
        how: How,
    },
    Bulk {
        address: String,
        #[command(flatten)]
        how: How,
        #[arg(long, default_value_t = 1 << 30)]
        bytes: u64,
        #[arg(long, default_value_t = 65_536)]
        write: usize,
    },
    Connects {
        address: String,
        #[command(flatten)]
        how: How,
        #[arg(long, default_value_t = 300)]
        count: usize,
    },
    Hold {
        address: String,
        #[command(flatten)]
        how: How,
        #[arg(long, default_value_t = 1_000)]
        count: usize,
    },
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    on_a_worker(run(Cli::parse().command)).await
}

async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Serve { how } => match how.stack {
            Stack::Bowline => bowline::serve(&how).await,
            Stack::Tcp => bare_tcp::serve(false).await,
            Stack::TokioRustls => bare_tcp::serve(true).await,
            Stack::Quinn => bare_quic::serve().await,
        },
        Command::Bulk {
            address,
            how,
            bytes,
            write,
        } => match how.stack {
            Stack::Bowline => bowline::bulk(&how, &address, bytes, write).await,
            Stack::Tcp => bare_tcp::bulk(false, &address, bytes, write).await,
            Stack::TokioRustls => bare_tcp::bulk(true, &address, bytes, write).await,
            Stack::Quinn => bare_quic::bulk(&address, bytes, write).await,
        },
        Command::Connects {
            address,
            how,
            count,
        } => match how.stack {
            Stack::Bowline => bowline::connects(&how, &address, count).await,
            Stack::Tcp => bare_tcp::connects(false, &address, count).await,
            Stack::TokioRustls => bare_tcp::connects(true, &address, count).await,
            Stack::Quinn => bare_quic::connects(&address, count).await,
        },
        Command::Hold {
            address,
            how,
            count,
        } => bowline::hold(&how, &address, count).await,
    }
}
