//! Bytes that a peer sends back: whether all of them come, and how the stream ends if not.

use std::io;

use anyhow::{Context, Result, bail};
use futures::{AsyncReadExt, AsyncWriteExt, StreamExt, future::join};
use libp2p::{
    Multiaddr, PeerId, Stream, StreamProtocol, Swarm,
    swarm::{SwarmEvent, dial_opts::DialOpts},
};
use libp2p_stream::IncomingStreams;
use tokio::time::timeout;

use crate::{
    event::{self, Event},
    node::{self, Behaviour, NodeArgs, PATIENCE},
    relaying::chain,
};

pub const ECHO: StreamProtocol = StreamProtocol::new("/bowline-echo/1");

/// The bytes repeat after this many, which is prime, so that a lost or doubled block does not go unseen.
const PERIOD: u64 = 251;

const BLOCK: usize = 16 * 1024;

/// Echoes every stream, and says how it ended.
pub async fn serve(mut streams: IncomingStreams) {
    while let Some((peer, stream)) = streams.next().await {
        tokio::spawn(async move {
            let mut bytes = 0;
            let end = match echoed(stream, &mut bytes).await {
                Ok(()) => "eof".to_owned(),
                Err(error) => chain(&error),
            };
            let said = event::emit(&Event::Served {
                peer_id: peer.to_string(),
                bytes,
                end: &end,
            });
            if let Err(error) = said {
                eprintln!("cannot say how a stream ended: {error}");
            }
        });
    }
}

async fn echoed(mut stream: Stream, bytes: &mut u64) -> io::Result<()> {
    let mut block = vec![0; BLOCK];
    loop {
        let read = stream.read(&mut block).await?;
        if read == 0 {
            return stream.close().await;
        }
        stream.write_all(&block[..read]).await?;
        stream.flush().await?;
        *bytes += read as u64;
    }
}

/// What became of the bytes.
enum Outcome {
    Whole,
    Cut {
        sent: u64,
        received: u64,
        reason: String,
    },
}

pub async fn echo(args: &NodeArgs, address: Multiaddr, bytes: u64) -> Result<()> {
    let mut swarm = node::build_for_circuits(args, None)?;
    timeout(PATIENCE, converse(&mut swarm, address, bytes))
        .await
        .with_context(|| format!("gave up after {PATIENCE:?}"))??;
    event::emit(&Event::Done)?;
    node::close(&mut swarm, node::report).await
}

async fn converse(swarm: &mut Swarm<Behaviour>, address: Multiaddr, bytes: u64) -> Result<()> {
    let opts = DialOpts::from(address);
    let connection = opts.connection_id();
    swarm.dial(opts)?;
    let peer = loop {
        let event = swarm.select_next_some().await;
        node::report(&event)?;
        node::check(&event, connection)?;
        match event {
            SwarmEvent::ConnectionEstablished {
                peer_id,
                connection_id,
                ..
            } if connection_id == connection => break peer_id,
            _ => {}
        }
    };

    let mut control = swarm.behaviour().stream.new_control();
    let exchange = async move {
        let stream = control.open_stream(peer, ECHO).await?;
        exchange(stream, bytes).await
    };
    tokio::pin!(exchange);
    let mut connected = true;
    let outcome = loop {
        tokio::select! {
            outcome = &mut exchange => break outcome?,
            event = swarm.select_next_some() => {
                node::report(&event)?;
                connected &= !is_gone(&event, peer);
            }
        }
    };
    match outcome {
        Outcome::Whole => event::emit(&Event::Echoed { bytes })?,
        Outcome::Cut {
            sent,
            received,
            reason,
        } => {
            event::emit(&Event::Cut {
                sent,
                received,
                reason: &reason,
            })?;
            while connected {
                let event = swarm.select_next_some().await;
                node::report(&event)?;
                connected = !is_gone(&event, peer);
            }
        }
    }
    Ok(())
}

fn is_gone(event: &node::NodeEvent, peer: PeerId) -> bool {
    matches!(event, SwarmEvent::ConnectionClosed { peer_id, num_established: 0, .. } if *peer_id == peer)
}

async fn exchange(stream: Stream, bytes: u64) -> Result<Outcome> {
    let (mut reader, mut writer) = stream.split();
    let (mut sent, mut received) = (0, 0);
    let send = async {
        while sent < bytes {
            let length = (bytes - sent).min(BLOCK as u64);
            let block: Vec<u8> = (sent..sent + length).map(pattern).collect();
            writer.write_all(&block).await?;
            sent += length;
        }
        writer.close().await
    };
    let receive = async {
        let mut block = vec![0; BLOCK];
        let mut differs = None;
        loop {
            match reader.read(&mut block).await {
                Ok(0) => return (Ok(()), differs),
                Ok(read) => {
                    for byte in &block[..read] {
                        if *byte != pattern(received) {
                            differs = differs.or(Some(received));
                        }
                        received += 1;
                    }
                }
                Err(error) => return (Err(error), differs),
            }
        }
    };
    let (written, (read, differs)) = join(send, receive).await;
    if let Some(at) = differs {
        bail!("the byte {at} came back as another");
    }
    let reason = match (read, written) {
        (Err(error), _) => format!("reading: {}", chain(&error)),
        (Ok(()), Err(error)) => format!("writing: {}", chain(&error)),
        (Ok(()), Ok(())) if received == bytes => return Ok(Outcome::Whole),
        (Ok(()), Ok(())) => "the stream ended".to_owned(),
    };
    Ok(Outcome::Cut {
        sent,
        received,
        reason,
    })
}

fn pattern(position: u64) -> u8 {
    (position % PERIOD) as u8
}
