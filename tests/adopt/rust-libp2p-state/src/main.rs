//! A stock rust-libp2p swarm that knows who is connected, how well, and in what order that came about.

mod behaviour;
mod circuits;
mod handler;
mod peer;
mod relay;
mod report;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use serde_json::json;

/// A relay, and peers that tell what becomes of their connections
#[derive(Parser)]
enum Cli {
    /// Relays circuits, until standard input ends
    Relay(relay::Options),
    /// Does what standard input says, a command a line, until it ends
    ///
    /// listen MULTIADDR | dial MULTIADDR | close CONNECTION | connections PEER | subscribe READER | hold READER |
    /// read READER
    Peer(peer::Options),
}

#[tokio::main]
async fn main() -> ExitCode {
    let outcome: Result<()> = match Cli::parse() {
        Cli::Relay(options) => relay::run(options).await,
        Cli::Peer(options) => peer::run(options).await,
    };
    if let Err(error) = &outcome {
        report::line(json!({ "event": "error", "message": format!("{error:#}") }));
    }
    ExitCode::from(u8::from(outcome.is_err()))
}
