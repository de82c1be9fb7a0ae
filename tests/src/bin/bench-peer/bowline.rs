//! A whole node, with ping and identify running as they always do.

use std::time::Instant;

use anyhow::{Context, bail};
use libp2p_identity::Keypair;
use node::{Config, Event, EventsError, Multiaddr, Node, PeerId, transport_tcp};
use serde_json::json;
use tests::harness::bulk::PROTOCOL as BULK;
use tokio::io::AsyncReadExt;

use crate::{How, Security, Transport, measure};

fn node(how: &How) -> anyhow::Result<Node> {
    let security = match how.security {
        Security::Tls => transport_tcp::Security::Tls,
        Security::Noise => transport_tcp::Security::Noise,
    };
    let upgrade = transport_tcp::UpgradeConfig::default().with_security(vec![security]);
    let limits = Config::default().limits.with_max_inbound(4_096);
    let config = Config::default().with_upgrade(upgrade).with_limits(limits);
    Ok(Node::builder(Keypair::generate_ed25519())
        .config(config)
        .build()?)
}

pub(crate) async fn serve(how: &How) -> anyhow::Result<()> {
    let node = node(how)?;
    let address = match how.transport {
        Transport::Tcp => "/ip4/127.0.0.1/tcp/0",
        Transport::Quic => "/ip4/127.0.0.1/udp/0/quic-v1",
    };
    let mut streams = node.handle(BULK, 16);
    let addresses = node.listen(address.parse()?).await?;
    measure::ready(
        &addresses
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>(),
    );
    while let Some(incoming) = streams.next().await {
        tokio::spawn(async move {
            let _place = incoming.place;
            measure::sink(incoming.stream).await
        });
    }
    Ok(())
}

pub(crate) async fn bulk(how: &How, address: &str, bytes: u64, write: usize) -> anyhow::Result<()> {
    let node = node(how)?;
    let connection = node.dial([address.parse()?]).await?;
    let (_, stream) = connection.open(&[BULK]).await?;
    measure::pump(stream, bytes, write).await?;
    node.shutdown().await;
    Ok(())
}

pub(crate) async fn connects(how: &How, address: &str, count: usize) -> anyhow::Result<()> {
    let node = node(how)?;
    let address: Multiaddr = address.parse()?;
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let mut events = node.events();
        let start = Instant::now();
        let connection = node.dial([address.clone()]).await?;
        // The node pings every new connection at once: that ping is the one that is timed.
        wait(&mut events, |event| matches!(event, Event::Pong { .. })).await?;
        times.push(start.elapsed());
        connection.close();
        connection.closed().await;
        wait(&mut events, |event| {
            matches!(event, Event::Disconnected { .. })
        })
        .await?;
    }
    measure::connects(times);
    node.shutdown().await;
    Ok(())
}

async fn wait(events: &mut node::Events, wanted: impl Fn(&Event) -> bool) -> anyhow::Result<()> {
    loop {
        match events.next().await {
            Ok(event) if wanted(&event) => return Ok(()),
            Ok(_) | Err(EventsError::Lagged { .. }) => {}
            Err(error) => bail!("{error}"),
        }
    }
}

/// Connections of `count` identities, each identified and pinged, held until standard input closes.
pub(crate) async fn hold(how: &How, address: &str, count: usize) -> anyhow::Result<()> {
    let address: Multiaddr = address.parse()?;
    let mut nodes = Vec::with_capacity(count);
    for n in 0..count {
        let node = node(how)?;
        let mut events = node.events();
        let connection = node.dial([address.clone()]).await;
        let connection = connection.with_context(|| format!("connection {n} of {count}"))?;
        let _: PeerId = connection.peer();
        wait(&mut events, |event| {
            matches!(event, Event::Identified { .. })
        })
        .await?;
        nodes.push(node);
    }
    measure::print(&json!({"event": "held", "count": nodes.len()}));
    let mut rest = Vec::new();
    tokio::io::stdin().read_to_end(&mut rest).await?;
    let broken = nodes
        .iter()
        .filter(|node| node.connections().is_empty())
        .count();
    if broken > 0 {
        bail!("{broken} of {count} connections did not last");
    }
    Ok(())
}
