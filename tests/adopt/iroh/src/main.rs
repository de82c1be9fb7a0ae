//! Three members of a topic in one process, each on an iroh endpoint of its own. Alice and Bob use gossip-net over the endpoint,
//! and Carol uses iroh-gossip. Carol knows Alice, and Bob knows Carol. Alice and Bob learn each other's address from the topic.

mod links;
mod members;

use std::{
    io::{self, Write},
    net::Ipv4Addr,
    process::ExitCode,
    time::Duration,
};

use anyhow::{Result, anyhow, ensure};
use iroh::{
    Endpoint, RelayMode, SecretKey, address_lookup::memory::MemoryLookup, endpoint::presets,
};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::members::{Foreign, Member};

/// The names of the members.
const NAMES: [&str; 3] = ["alice", "bob", "carol"];

/// How long the whole program may take.
const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = timeout(PATIENCE, run()).await;
    match outcome.unwrap_or_else(|_| Err(anyhow!("the members took more than {PATIENCE:?}"))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&json!({"event": "error", "message": format!("{error:#}")}));
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<()> {
    let known = MemoryLookup::new();
    let mut alice = Member::start(endpoint("alice", None).await?, &[]).await?;
    known.add_endpoint_info(alice.address());
    let carol = endpoint("carol", Some(known)).await?;
    let mut carol = Foreign::start(carol, vec![alice.address().id]).await?;
    let bob = endpoint("bob", None).await?;
    let mut bob = Member::start(bob, &[carol.address()]).await?;

    let others = NAMES.len() - 1;
    alice.wait_for_neighbours(others).await?;
    bob.wait_for_neighbours(others).await?;
    carol.wait_for_neighbours(others).await?;

    alice.publish("from alice").await?;
    bob.publish("from bob").await?;
    carol.publish("from carol").await?;
    alice.receive(others).await?;
    bob.receive(others).await?;
    carol.receive(others).await?;

    ensure!(bob.leave().await?, "Bob's last messages were not sent");
    alice.wait_for_departure().await?;
    ensure!(alice.leave().await?, "Alice's last messages were not sent");
    carol.leave().await
}

/// An endpoint on the loopback interface, without relays and discovery. `known` names endpoints with their addresses.
async fn endpoint(name: &str, known: Option<MemoryLookup>) -> Result<Endpoint> {
    let mut builder = Endpoint::builder(presets::Minimal)
        .secret_key(key(name))
        .relay_mode(RelayMode::Disabled)
        .clear_ip_transports()
        .bind_addr((Ipv4Addr::LOCALHOST, 0))?;
    if let Some(known) = known {
        builder = builder.address_lookup(known);
    }
    Ok(builder.bind().await?)
}

/// The key of a member. It is no secret, so that the program can print names instead of keys.
fn key(name: &str) -> SecretKey {
    let mut bytes = [0; 32];
    bytes
        .iter_mut()
        .zip(name.bytes())
        .for_each(|(byte, letter)| *byte = letter);
    SecretKey::from_bytes(&bytes)
}

/// The name of the member with this id.
fn name_of(id: &[u8; 32]) -> &'static str {
    let named = NAMES
        .into_iter()
        .find(|name| key(name).public().as_bytes() == id);
    named.unwrap_or("unknown")
}

/// Prints one line at once.
fn say(line: &Value) {
    let mut out = io::stdout().lock();
    // Nobody reads the lines if standard output is closed.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
