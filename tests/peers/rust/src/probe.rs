//! Pings on new streams over connections that the stack chooses.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures::{AsyncReadExt, AsyncWriteExt, future::join_all};
use libp2p::{PeerId, ping};
use libp2p_stream::Control;
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use crate::event::{self, Event};

/// The time that a connected peer has to answer.
const LIMIT: Duration = Duration::from_secs(1);

/// Pings every connected peer on a new stream, waits for the answers, pauses, and begins again. Prints the answers.
pub async fn run(control: Control, peers: watch::Receiver<Vec<PeerId>>, pause: Duration) {
    loop {
        let connected = peers.borrow().clone();
        let probes = connected.into_iter().map(|peer| {
            let control = control.clone();
            async move {
                let begun = Instant::now();
                if let Ok(Ok(())) = timeout(LIMIT, one(control, peer)).await {
                    let said = event::emit(&Event::Probed {
                        peer_id: peer.to_string(),
                        took_us: begun.elapsed().as_micros(),
                    });
                    said.unwrap_or_else(|error| eprintln!("cannot tell of an answer: {error}"));
                }
            }
        });
        join_all(probes).await;
        sleep(pause).await;
        // The peers may be gone, and with them the swarm.
        if peers.has_changed().is_err() {
            return;
        }
    }
}

async fn one(mut control: Control, peer: PeerId) -> Result<()> {
    let mut stream = control.open_stream(peer, ping::PROTOCOL_NAME).await?;
    let sent: [u8; 32] = std::array::from_fn(|byte| byte as u8);
    stream.write_all(&sent).await?;
    stream.flush().await?;
    let mut received = [0; 32];
    stream.read_exact(&mut received).await?;
    (received == sent).then_some(()).context("a wrong answer")?;
    Ok(stream.close().await?)
}
