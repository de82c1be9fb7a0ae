//! `listen` and `serve`: wait for peers until told to stop.

use std::{io, io::BufRead, thread, time::Duration};

use anyhow::{Context, Result, bail};
use futures::StreamExt;
use libp2p::{
    Multiaddr, Swarm,
    multiaddr::Protocol,
    ping,
    swarm::{SwarmEvent, dial_opts::DialOpts},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, oneshot, watch},
};

use crate::{
    bench, echo,
    event::{self, Event},
    node::{self, Behaviour, NodeArgs, NodeEvent, Transport},
    probe,
    relaying::{self, RelayArgs, Reserving},
};

pub async fn listen(
    args: &NodeArgs,
    relaying: RelayArgs,
    addr: Option<Multiaddr>,
    probing: Option<Duration>,
) -> Result<()> {
    if relaying.is_unused() {
        let swarm = node::build(args, ping::Config::default())?;
        return run(swarm, args.transport, addr, None, probing).await;
    }
    let swarm = node::build_for_circuits(args, relaying.terms())?;
    let streams = swarm.behaviour().stream.new_control().accept(echo::ECHO)?;
    tokio::spawn(echo::serve(streams));
    let reserving = relaying.reserve.map(Reserving::at);
    run(swarm, args.transport, addr, reserving, probing).await
}

pub async fn serve(args: &NodeArgs, addr: Option<Multiaddr>) -> Result<()> {
    let swarm = node::build(args, ping::Config::default())?;
    let streams = swarm.behaviour().stream.new_control().accept(bench::BULK)?;
    tokio::spawn(bench::count_streams(streams));
    run(swarm, args.transport, addr, None, None).await
}

async fn run(
    mut swarm: Swarm<Behaviour>,
    transport: Transport,
    addr: Option<Multiaddr>,
    mut reserving: Option<Reserving>,
    probing: Option<Duration>,
) -> Result<()> {
    let (connected, peers) = watch::channel(Vec::new());
    if let Some(pause) = probing {
        let control = swarm.behaviour().stream.new_control();
        tokio::spawn(probe::run(control, peers, pause));
    }
    let (stop, mut orders) = stop_request().context("cannot watch for signals")?;
    tokio::pin!(stop);

    let addr = match addr {
        Some(addr) => addr,
        None => loopback(transport)?,
    };
    swarm
        .listen_on(addr.clone())
        .with_context(|| format!("cannot listen on {addr}"))?;

    let mut ready = false;
    loop {
        tokio::select! {
            () = &mut stop => break,
            Some(address) = orders.recv() => dial(&mut swarm, &address)?,
            () = relaying::due(&mut reserving) => relaying::ask(&mut reserving, &mut swarm)?,
            event = swarm.select_next_some() => {
                if let SwarmEvent::NewListenAddr { address, .. } = &event
                    && !ready
                {
                    ready = true;
                    announce(&swarm, address.clone())?;
                    if swarm.behaviour().is_relay() {
                        // It gives out the addresses that it knows to be its own.
                        swarm.add_external_address(address.clone());
                    }
                    relaying::begin(&mut reserving);
                }
                if relaying::refused(&mut reserving, &event)? {
                    continue;
                }
                handle(&event)?;
                let _ = connected.send(swarm.connected_peers().copied().collect());
            }
        }
    }
    node::close(&mut swarm, node::report).await
}

/// What standard input orders. A dial that fails is told of and ends nothing.
fn dial(swarm: &mut Swarm<Behaviour>, address: &str) -> Result<()> {
    let address: Multiaddr = address
        .parse()
        .with_context(|| format!("cannot dial {address}"))?;
    if let Err(error) = swarm.dial(DialOpts::unknown_peer_id().address(address).build()) {
        eprintln!("a dial was refused: {error}");
    }
    Ok(())
}

fn loopback(transport: Transport) -> Result<Multiaddr> {
    let addr = match transport {
        Transport::Tcp => "/ip4/127.0.0.1/tcp/0",
        Transport::Quic => "/ip4/127.0.0.1/udp/0/quic-v1",
    };
    Ok(addr.parse()?)
}

fn announce(swarm: &Swarm<Behaviour>, address: Multiaddr) -> io::Result<()> {
    let peer_id = *swarm.local_peer_id();
    event::emit(&Event::Ready {
        peer_id: peer_id.to_string(),
        addresses: vec![address.with(Protocol::P2p(peer_id)).to_string()],
    })
}

fn handle(event: &NodeEvent) -> Result<()> {
    match event {
        SwarmEvent::ListenerClosed { reason, .. } => match reason {
            Ok(()) => bail!("the listener closed"),
            Err(error) => bail!("the listener closed: {error}"),
        },
        // A remote that fails to connect is that remote's failure, not this listener's.
        SwarmEvent::IncomingConnectionError {
            send_back_addr,
            error,
            ..
        } => {
            eprintln!("a connection from {send_back_addr} failed: {error}");
        }
        SwarmEvent::ListenerError { error, .. } => eprintln!("listener: {error}"),
        _ => {}
    }
    node::report(event)
}

/// Resolves at SIGTERM, at SIGINT or when standard input closes. The signals are caught from the call on, not only
/// once the future is polled. What follows `dial` in the lines of standard input comes out of the channel.
fn stop_request() -> io::Result<(impl Future<Output = ()>, mpsc::Receiver<String>)> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (closed, stdin_closed) = oneshot::channel();
    let (order, orders) = mpsc::channel(16);
    // A thread of its own, because the runtime would wait for the pending read of a tokio stdin when it shuts down.
    thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            if let Some(address) = line.strip_prefix("dial ") {
                let _ = order.blocking_send(address.to_owned());
            }
        }
        // Whether it ended well or with an error, nothing more can be read.
        let _ = closed.send(());
    });
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = stdin_closed => {}
        }
    };
    Ok((stop, orders))
}
