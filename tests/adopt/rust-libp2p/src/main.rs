//! A stock rust-libp2p swarm that dials through a [`Dialer`](transport_tcp::Dialer): pings a peer once.

mod transport;

use std::{process::ExitCode, time::Duration};

use anyhow::{Context, Error, Result};
use clap::{Parser, ValueEnum};
use futures::StreamExt;
use libp2p::{
    Multiaddr, PeerId, Swarm, SwarmBuilder, Transport,
    core::{muxing::StreamMuxerBox, transport::Boxed, upgrade::Version},
    identity::Keypair,
    noise, ping,
    swarm::{DialError, SwarmEvent},
    tls, yamux,
};
use serde::Serialize;
use tokio::time::timeout;

use crate::transport::DialerTransport;

/// How long the upgrade may take.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the connection is for.
const PATIENCE: Duration = Duration::from_secs(20);

/// Pings a peer once, through a dialer of transport-tcp
#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    way: adopt_cli::Way,
    /// What secures the connection
    #[arg(long, value_enum, default_value_t = Security::Tls)]
    security: Security,
    #[arg(value_name = "MULTIADDR")]
    address: Multiaddr,
}

#[derive(Clone, Copy, ValueEnum)]
enum Security {
    Tls,
    Noise,
}

#[derive(Serialize)]
struct Pong {
    event: &'static str,
    rtt_us: u128,
    peer_id: String,
}

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = run(Cli::parse()).await;
    adopt_cli::report(&outcome, |error| transport::dial_error(error.as_ref()))
}

async fn run(cli: Cli) -> Result<Pong> {
    let connection_timeout = cli.way.timeout + UPGRADE_TIMEOUT;
    let mut swarm = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_other_transport(|key| secured(&cli, key))?
        .with_behaviour(|_| ping::Behaviour::default())?
        .with_swarm_config(|config| config.with_idle_connection_timeout(PATIENCE))
        .with_connection_timeout(connection_timeout)
        .build();
    let patience = connection_timeout + PATIENCE;
    timeout(patience, ping(&mut swarm, cli.address))
        .await
        .with_context(|| format!("gave up after {patience:?}"))?
}

/// The dialer's streams, secured and multiplexed by libp2p's own code.
fn secured(
    cli: &Cli,
    key: &Keypair,
) -> Result<Boxed<(PeerId, StreamMuxerBox)>, Box<dyn std::error::Error + Send + Sync>> {
    let dialed = DialerTransport::new(cli.way.dialer()?, cli.way.timeout).upgrade(Version::V1Lazy);
    let muxer = yamux::Config::default();
    Ok(match cli.security {
        Security::Tls => {
            let authenticated = dialed.authenticate(tls::Config::new(key)?);
            authenticated.multiplex(muxer).boxed()
        }
        Security::Noise => {
            let authenticated = dialed.authenticate(noise::Config::new(key)?);
            authenticated.multiplex(muxer).boxed()
        }
    })
}

/// Connects, pings once and closes, so that the peer need not find out by itself that nobody is there any more.
async fn ping(swarm: &mut Swarm<ping::Behaviour>, address: Multiaddr) -> Result<Pong> {
    swarm.dial(address)?;
    let mut pong = None;
    loop {
        match swarm.select_next_some().await {
            SwarmEvent::Behaviour(ping::Event { peer, result, .. }) => {
                pong = Some(Pong {
                    event: "pong",
                    rtt_us: result?.as_micros(),
                    peer_id: peer.to_string(),
                });
                // Fails only if the peer is gone already, which is what is wanted.
                let _ = swarm.disconnect_peer_id(peer);
            }
            SwarmEvent::ConnectionClosed { cause, .. } => {
                return pong.with_context(|| format!("closed before a pong: {cause:?}"));
            }
            SwarmEvent::OutgoingConnectionError { error, .. } => return Err(failure(error)),
            _ => {}
        }
    }
}

/// The swarm's report lists an error for each address; here there is one address.
fn failure(error: DialError) -> Error {
    match error {
        DialError::Transport(mut errors) => match errors.pop() {
            Some((_, error)) => error.into(),
            None => Error::msg("no address to dial"),
        },
        error => error.into(),
    }
}
