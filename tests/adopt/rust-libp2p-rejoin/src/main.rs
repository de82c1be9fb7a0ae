//! A stock rust-libp2p swarm with QUIC and gossipsub, which finds its peers again after a restart, its own or that of a peer.

mod behaviour;
mod node;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Result;
use clap::Parser;
use libp2p::Multiaddr;
use serde_json::{Value, json};

/// A member of a gossipsub topic, which obeys standard input until its end
///
/// Commands, one per line: publish TEXT | quiet | dial MULTIADDR
#[derive(Parser)]
struct Options {
    /// Listen at this address
    #[arg(long, value_name = "MULTIADDR")]
    listen: Multiaddr,
    /// Take the identity from this file, which is written if it does not exist
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Do without the crate bootstrap
    #[arg(long)]
    bare: bool,
    /// Dial these peers. Without `--bare`, they are the bootstrap list
    #[arg(long, value_name = "MULTIADDR", value_delimiter = ',')]
    peers: Vec<Multiaddr>,
    /// Save peers in this file
    #[arg(long, value_name = "FILE", conflicts_with = "bare")]
    saved: Option<PathBuf>,
    /// A peer is saved, and its backoff reset, when it has been connected for so long
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    lasted: Duration,
}

fn seconds(text: &str) -> Result<Duration> {
    Ok(Duration::try_from_secs_f64(text.parse()?)?)
}

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = node::run(Options::parse()).await;
    if let Err(error) = &outcome {
        line(json!({ "event": "error", "message": format!("{error:#}") }));
    }
    ExitCode::from(u8::from(outcome.is_err()))
}

/// Prints one line. If the reader is gone, standard input ends too.
fn line(value: Value) {
    use std::io::Write;
    let _ = writeln!(std::io::stdout().lock(), "{value}");
}
