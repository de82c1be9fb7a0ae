//! `dial`: one connection, its identify and its pongs.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::StreamExt;
use libp2p::{
    Multiaddr, Swarm, identify, ping,
    swarm::{SwarmEvent, dial_opts::DialOpts},
};
use tokio::time::timeout;

use crate::{
    event::{self, Event},
    node::{self, Behaviour, BehaviourEvent, NodeArgs, PATIENCE},
};

/// The default of 15 seconds would make a few pings last longer than this subcommand waits.
const PING_INTERVAL: Duration = Duration::from_millis(200);

pub async fn dial(args: &NodeArgs, address: Multiaddr, pings: u32) -> Result<()> {
    let mut swarm = node::build(args, ping::Config::default().with_interval(PING_INTERVAL))?;
    timeout(PATIENCE, converse(&mut swarm, address, pings))
        .await
        .with_context(|| format!("gave up after {PATIENCE:?}"))??;
    event::emit(&Event::Done)?;
    node::close(&mut swarm, node::report).await
}

/// Returns once the remote was identified and has answered `pings` pings.
async fn converse(swarm: &mut Swarm<Behaviour>, address: Multiaddr, pings: u32) -> Result<()> {
    let opts = DialOpts::from(address);
    let connection = opts.connection_id();
    swarm.dial(opts)?;

    let mut identified = false;
    let mut pongs = 0;
    while !identified || pongs < pings {
        let event = swarm.select_next_some().await;
        node::report(&event)?;
        node::check(&event, connection)?;
        match event {
            SwarmEvent::Behaviour(BehaviourEvent::Identify(event)) => match event {
                identify::Event::Received { .. } => identified = true,
                identify::Event::Error { error, .. } => bail!("identify failed: {error}"),
                _ => {}
            },
            SwarmEvent::Behaviour(BehaviourEvent::Ping(event)) => match event.result {
                Ok(_) => pongs += 1,
                Err(error) => bail!("ping failed: {error}"),
            },
            _ => {}
        }
    }
    Ok(())
}
