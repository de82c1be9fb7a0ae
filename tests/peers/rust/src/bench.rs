//! The benchmarks: bytes over one stream, and connections one after the other.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::{
    Multiaddr, PeerId, Stream, StreamProtocol, Swarm, ping,
    swarm::{ConnectionId, SwarmEvent, dial_opts::DialOpts},
};
use libp2p_stream::IncomingStreams;
use tokio::time::timeout;

use crate::{
    event::{self, Event},
    node::{self, Behaviour, BehaviourEvent, NodeArgs, PATIENCE},
};

/// The dialer writes until it closes its side, the listener answers with the number of bytes it has read.
pub const BULK: StreamProtocol = StreamProtocol::new("/bowline/bench/bulk/1");

const READ_BUFFER: usize = 64 * 1024;

/// Serves all bulk streams, each on a task of its own.
pub async fn count_streams(mut streams: IncomingStreams) {
    while let Some((peer, stream)) = streams.next().await {
        tokio::spawn(async move {
            if let Err(error) = count(stream).await {
                eprintln!("a bulk stream of {peer} failed: {error:#}");
            }
        });
    }
}

async fn count(mut stream: Stream) -> Result<()> {
    let mut buffer = vec![0; READ_BUFFER];
    let mut bytes = 0_u64;
    loop {
        match stream.read(&mut buffer).await? {
            0 => break,
            read => bytes += read as u64,
        }
    }
    stream.write_all(&bytes.to_be_bytes()).await?;
    stream.close().await?;
    Ok(())
}

pub async fn bulk(args: &NodeArgs, address: Multiaddr, bytes: u64, write: u32) -> Result<()> {
    let mut swarm = node::build(args, ping::Config::default())?;
    let opts = DialOpts::from(address);
    let connection = opts.connection_id();
    swarm.dial(opts)?;
    let peer = within_patience(established(&mut swarm, connection)).await?;

    let mut control = swarm.behaviour().stream.new_control();
    // On a task of its own, so that progress on the stream does not also poll the swarm each time.
    let mut transfer = tokio::spawn(async move {
        let stream = within_patience(async { Ok(control.open_stream(peer, BULK).await?) }).await?;
        transfer(stream, bytes, write as usize).await
    });
    let took = loop {
        tokio::select! {
            took = &mut transfer => break took.context("the transfer died")??,
            _ = swarm.select_next_some() => {}
        }
    };

    event::emit(&Event::Bulk {
        bytes,
        seconds: took.as_secs_f64(),
    })?;
    node::close(&mut swarm, |_| Ok(())).await
}

/// Writes and checks the answer. Returns the time from the first write to the answer.
async fn transfer(mut stream: Stream, bytes: u64, write: usize) -> Result<Duration> {
    let chunk = vec![0x5a; write];
    let started = Instant::now();
    let mut left = bytes;
    while left > 0 {
        let len = usize::try_from(left).map_or(write, |left| left.min(write));
        stream.write_all(&chunk[..len]).await?;
        left -= len as u64;
    }
    stream.close().await?;
    let mut answer = [0; 8];
    stream.read_exact(&mut answer).await.context("no answer")?;
    let took = started.elapsed();

    let counted = u64::from_be_bytes(answer);
    ensure!(
        counted == bytes,
        "wrote {bytes} bytes, but the remote has read {counted}"
    );
    Ok(took)
}

pub async fn connects(args: &NodeArgs, address: Multiaddr, count: u32) -> Result<()> {
    let mut swarm = node::build(args, ping::Config::default())?;
    let mut times = Vec::new();
    for _ in 0..count {
        let started = Instant::now();
        let opts = DialOpts::from(address.clone());
        let connection = opts.connection_id();
        swarm.dial(opts)?;
        within_patience(first_pong(&mut swarm, connection)).await?;
        times.push(started.elapsed());

        swarm.close_connection(connection);
        within_patience(closed(&mut swarm, connection)).await?;
    }

    times.sort_unstable();
    let total: Duration = times.iter().sum();
    event::emit(&Event::Connects {
        count,
        p50_us: percentile(&times, 50).as_micros(),
        p99_us: percentile(&times, 99).as_micros(),
        per_second: f64::from(count) / total.as_secs_f64(),
    })?;
    Ok(())
}

/// The nearest-rank percentile of times that are sorted and at least one.
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    sorted[(sorted.len() * percent).div_ceil(100) - 1]
}

async fn within_patience<T>(step: impl Future<Output = Result<T>>) -> Result<T> {
    timeout(PATIENCE, step)
        .await
        .with_context(|| format!("gave up after {PATIENCE:?}"))?
}

async fn established(swarm: &mut Swarm<Behaviour>, connection: ConnectionId) -> Result<PeerId> {
    loop {
        let event = swarm.select_next_some().await;
        node::check(&event, connection)?;
        if let SwarmEvent::ConnectionEstablished {
            connection_id,
            peer_id,
            ..
        } = event
            && connection_id == connection
        {
            return Ok(peer_id);
        }
    }
}

async fn first_pong(swarm: &mut Swarm<Behaviour>, connection: ConnectionId) -> Result<()> {
    loop {
        let event = swarm.select_next_some().await;
        node::check(&event, connection)?;
        if let SwarmEvent::Behaviour(BehaviourEvent::Ping(event)) = event
            && event.connection == connection
        {
            event.result.context("ping failed")?;
            return Ok(());
        }
    }
}

async fn closed(swarm: &mut Swarm<Behaviour>, connection: ConnectionId) -> Result<()> {
    loop {
        if let SwarmEvent::ConnectionClosed { connection_id, .. } = swarm.select_next_some().await
            && connection_id == connection
        {
            return Ok(());
        }
    }
}
