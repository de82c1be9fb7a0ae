//! Many peers, each a whole node, that ask one relay for a slot at once.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail, ensure};
use futures::{StreamExt, stream};
use node::{
    Connection, Event, EventsError, Multiaddr, Node, RelayConfig,
    relay_slots::{
        Status,
        wire::{Frames, HOP_PROTOCOL, HopMessage, Reservation, Voucher},
    },
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::JoinSet,
};

use crate::nodes;

/// How many connect at a time, where that is not measured.
const CONNECTING: usize = 32;

/// Prints how long it takes from the first request, or the first dial, until everyone has been told of a slot. What a relay
/// signs is looked at afterwards: not every relay does.
pub(crate) async fn all_at_once(relay: &str, count: usize, connected: bool) -> anyhow::Result<()> {
    let at: Multiaddr = relay.parse()?;
    let nodes = (0..count).map(|_| nodes::node(RelayConfig::default()));
    let nodes: Vec<Node> = nodes.collect::<Result<_, _>>()?;
    let mut asking = JoinSet::new();
    let start = if connected {
        let connecting = stream::iter(nodes).map(|node| tokio::spawn(connect(node, at.clone())));
        let connected: Vec<_> = connecting.buffered(CONNECTING).collect().await;
        let start = begin();
        for connection in connected {
            let (node, connection) = connection??;
            asking.spawn(async move {
                reserve(&connection)
                    .await
                    .map(|granted| (node, connection, granted))
            });
        }
        start
    } else {
        let start = begin();
        for node in nodes {
            let at = at.clone();
            asking.spawn(async move {
                let connection = node.dial([at]).await?;
                reserve(&connection)
                    .await
                    .map(|granted| (node, connection, granted))
            });
        }
        start
    };
    let mut granted = Vec::with_capacity(count);
    while let Some(asked) = asking.join_next().await {
        granted.push(asked??);
    }
    let seconds = start.elapsed().as_secs_f64();
    let mut vouchers = 0;
    for (node, connection, reservation) in &granted {
        vouchers += u32::from(check(node, connection, reservation)?);
    }
    println!(
        "{}",
        json!({
            "event": "reserved",
            "count": granted.len(),
            "seconds": seconds,
            "vouchers": vouchers,
        })
    );
    Ok(())
}

/// Tells whoever watches the relay.
fn begin() -> Instant {
    println!("{}", json!({"event": "begin"}));
    Instant::now()
}

/// Connected, and done with asking each other who they are.
async fn connect(node: Node, relay: Multiaddr) -> anyhow::Result<(Node, Connection)> {
    let mut events = node.events();
    let connection = node.dial([relay]).await?;
    loop {
        match events.next().await {
            Ok(Event::Identified { .. }) => return Ok((node, connection)),
            Ok(_) | Err(EventsError::Lagged { .. }) => {}
            Err(error) => bail!("{error}"),
        }
    }
}

async fn reserve(connection: &Connection) -> anyhow::Result<Reservation> {
    let (_, mut stream) = connection.open(&[HOP_PROTOCOL]).await?;
    stream.write_all(&HopMessage::Reserve.encode()?).await?;
    stream.flush().await?;
    let (mut frames, mut buffer) = (Frames::default(), Vec::new());
    let message = loop {
        buffer.resize(frames.wanted(), 0);
        let length = stream.read(&mut buffer).await?;
        ensure!(length > 0, "no answer came");
        if let Some(body) = frames.next(&mut &buffer[..length])? {
            break HopMessage::decode(&body)?;
        }
    };
    stream.shutdown().await.context("the stream broke")?;
    match message {
        HopMessage::Status {
            status: Status::Ok,
            reservation: Some(reservation),
            ..
        } => Ok(reservation),
        other => bail!("no slot: {other:?}"),
    }
}

/// Whether there is a voucher. One that is not good is an error.
fn check(node: &Node, connection: &Connection, granted: &Reservation) -> anyhow::Result<bool> {
    let Some(sealed) = &granted.voucher else {
        return Ok(false);
    };
    let unix = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    Voucher::open(sealed, connection.peer(), node.peer_id(), unix)?;
    Ok(true)
}
