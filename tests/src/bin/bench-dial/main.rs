//! What `cargo xtask bench dial` measures: dialers, and the bare libraries under them, behind one face.
//!
//! | command | does |
//! | --- | --- |
//! | `target` | prints a ready line, then accepts and closes |
//! | `forward ADDR` | prints a ready line, then forwards to ADDR as over a long way |
//! | `dials TARGET` | dials in turn by several ways, many times, and prints how long each way took |

mod dials;
mod way;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use clap::{Parser, Subcommand};
use serde_json::json;
use tests::harness::forwarder::Forwarder;
use tests::harness::program::on_a_worker;
use tokio::net::TcpSocket;

/// The allocator of the `bowline` binary, which this stands for.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// More than are ever dialed at once: a full queue would cost a dial a second.
const BACKLOG: u32 = 4096;

#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Target,
    Forward {
        server: SocketAddr,
        /// In each direction
        #[arg(long, default_value_t = 10)]
        delay_ms: u64,
    },
    Dials {
        target: SocketAddr,
        #[command(flatten)]
        how: dials::How,
    },
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    on_a_worker(run(Cli::parse().command)).await
}

async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Target => target().await,
        Command::Forward { server, delay_ms } => {
            let forwarder = Forwarder::start(server, Duration::from_millis(delay_ms)).await?;
            ready(forwarder.address());
            std::future::pending().await
        }
        Command::Dials { target, how } => dials::run(target, &how).await,
    }
}

/// Closes what it accepts. It is the target that closes first, so that what lingers in TIME_WAIT are accepted
/// connections, which take no ports from those who dial.
async fn target() -> anyhow::Result<()> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
    let listener = socket.listen(BACKLOG)?;
    ready(listener.local_addr()?);
    loop {
        drop(listener.accept().await?);
    }
}

fn ready(address: SocketAddr) {
    println!("{}", json!({"event": "ready", "address": address}));
}
