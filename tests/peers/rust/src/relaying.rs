//! Being a relay, and being behind one.

use std::{iter, time::Duration};

use anyhow::{Context, Result};
use clap::Args;
use libp2p::{
    Multiaddr, Swarm, core::transport::ListenerId, multiaddr::Protocol, relay, swarm::SwarmEvent,
};
use tokio::time::{Instant, sleep_until};

use crate::{
    event::{self, Event},
    node::{Behaviour, NodeEvent},
};

/// How long to wait before a relay that refused is asked again.
const AGAIN: Duration = Duration::from_millis(500);

#[derive(Args)]
pub struct RelayArgs {
    /// Be a relay
    #[arg(long)]
    relay: bool,
    /// How many bytes a circuit carries in each direction
    #[arg(long, value_name = "BYTES", requires = "relay")]
    relay_data: Option<u64>,
    /// Reserve a slot at this relay, and keep it
    #[arg(long, value_name = "MULTIADDR")]
    pub reserve: Option<Multiaddr>,
}

impl RelayArgs {
    pub fn is_unused(&self) -> bool {
        !self.relay && self.reserve.is_none()
    }

    /// The stack's defaults but for what was said, and for limits of rate: here everybody comes from one address.
    pub fn terms(&self) -> Option<relay::Config> {
        let defaults = relay::Config::default();
        self.relay.then(|| relay::Config {
            max_circuit_bytes: self.relay_data.unwrap_or(defaults.max_circuit_bytes),
            reservation_rate_limiters: Vec::new(),
            circuit_src_rate_limiters: Vec::new(),
            ..defaults
        })
    }
}

/// A slot to be had.
pub struct Reserving {
    relay: Multiaddr,
    listener: Option<ListenerId>,
    due: Option<Instant>,
}

impl Reserving {
    pub fn at(relay: Multiaddr) -> Self {
        Self {
            relay,
            listener: None,
            due: None,
        }
    }
}

/// The first time to ask has come.
pub fn begin(reserving: &mut Option<Reserving>) {
    if let Some(reserving) = reserving {
        reserving.due = Some(Instant::now());
    }
}

/// Resolves when it is time to ask.
pub async fn due(reserving: &mut Option<Reserving>) {
    match reserving.as_ref().and_then(|reserving| reserving.due) {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

pub fn ask(reserving: &mut Option<Reserving>, swarm: &mut Swarm<Behaviour>) -> Result<()> {
    let Some(reserving) = reserving else {
        return Ok(());
    };
    reserving.due = None;
    let circuit = reserving.relay.clone().with(Protocol::P2pCircuit);
    let listener = swarm.listen_on(circuit.clone());
    reserving.listener = Some(listener.with_context(|| format!("cannot listen on {circuit}"))?);
    Ok(())
}

/// Whether the event says that the slot was refused or lost. It is asked for again then.
pub fn refused(reserving: &mut Option<Reserving>, event: &NodeEvent) -> Result<bool> {
    let (
        Some(reserving),
        SwarmEvent::ListenerClosed {
            listener_id,
            reason,
            ..
        },
    ) = (reserving, event)
    else {
        return Ok(false);
    };
    if reserving.listener != Some(*listener_id) {
        return Ok(false);
    }
    let message = match reason {
        Ok(()) => "the listener closed".to_owned(),
        Err(error) => chain(error),
    };
    event::emit(&Event::Refused { message: &message })?;
    reserving.listener = None;
    reserving.due = Some(Instant::now() + AGAIN);
    Ok(true)
}

/// An error with all that it came from.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let all: Vec<String> = iter::successors(Some(error), |error| error.source())
        .map(ToString::to_string)
        .collect();
    all.join(": ")
}
