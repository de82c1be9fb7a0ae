//! A peer of the suite `network`. It shows what a node and a relay say on the wire, as JSON lines.

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Parser, Subcommand};
use node::relay_slots::{Answer, driver, wire::HOP_PROTOCOL};
use node::{Config, Event, Events, Keypair, Multiaddr, Node};
use serde_json::json;
use tests::harness::program::{end, say};

#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Dial a node, and print the addresses in each of its identify messages until the process is killed
    Watch { address: Multiaddr },
    /// Reserve a slot at a relay, and print the addresses in its answer
    Reserve { address: Multiaddr },
}

#[tokio::main]
async fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Watch { address } => watch(address).await,
        Command::Reserve { address } => reserve(address).await,
    };
    end(done)
}

fn start() -> Result<(Node, Events)> {
    let node = Node::builder(Keypair::generate_ed25519()).config(Config::default());
    Ok(node.build_with_events()?)
}

async fn watch(address: Multiaddr) -> Result<()> {
    let (node, mut events) = start()?;
    node.dial([address]).await?;
    loop {
        match events.next().await? {
            Event::Identified { info, .. } => {
                let addresses = info.listen.iter().map(ToString::to_string);
                let addresses: Vec<String> = addresses.collect();
                say(&json!({"event": "identified", "addresses": addresses}));
            }
            Event::Disconnected { reason, .. } => bail!("the connection ended: {reason}"),
            _ => {}
        }
    }
}

async fn reserve(address: Multiaddr) -> Result<()> {
    let (node, _events) = start()?;
    let connection = node.dial([address]).await?;
    let (_, mut hop) = connection.open(&[HOP_PROTOCOL]).await?;
    let answer = driver::reserve(&mut hop, connection.peer(), node.peer_id()).await;
    let Answer::Granted { reservation, .. } = answer else {
        bail!("the relay refused: {answer:?}");
    };
    let addresses = reservation.addresses.iter().map(ToString::to_string);
    let addresses: Vec<String> = addresses.collect();
    say(&json!({"event": "reserved", "addresses": addresses}));
    node.shutdown().await;
    Ok(())
}
