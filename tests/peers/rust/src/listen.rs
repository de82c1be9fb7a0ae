//! `listen` and `serve`: wait for peers until told to stop.

use std::{io, io::BufRead, thread, time::Duration};

use anyhow::{Context, Result, bail};
use futures::StreamExt;
use libp2p::{
    Multiaddr, Swarm, identify,
    multiaddr::Protocol,
    ping,
    swarm::{SwarmEvent, dial_opts::DialOpts},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, oneshot, watch},
};

use crate::{
    bench,
    dht::{self, Dht},
    echo,
    event::{self, Event},
    node::{self, Behaviour, BehaviourEvent, NodeArgs, NodeEvent, Transport},
    probe,
    relaying::{self, RelayArgs, Reserving},
};

/// What the flags of `listen` ask for.
pub struct Listening {
    pub addr: Option<Multiaddr>,
    pub probing: Option<Duration>,
    pub kad: Option<String>,
    pub relaying: RelayArgs,
}

/// What a listener does besides answering.
#[derive(Default)]
struct Duties {
    probing: Option<Duration>,
    reserving: Option<Reserving>,
    dht: Option<Dht>,
}

pub async fn listen(args: &NodeArgs, listening: Listening) -> Result<()> {
    let Listening {
        addr,
        probing,
        kad,
        relaying,
    } = listening;
    let mut duties = Duties {
        probing,
        ..Duties::default()
    };
    let swarm = if let Some(name) = kad {
        let dht = Dht::new(&name)?;
        let swarm = node::build_for_dht(args, dht.config())?;
        duties.dht = Some(dht);
        swarm
    } else if relaying.is_unused() {
        node::build(args, ping::Config::default())?
    } else {
        let swarm = node::build_for_circuits(args, relaying.terms())?;
        let streams = swarm.behaviour().stream.new_control().accept(echo::ECHO)?;
        tokio::spawn(echo::serve(streams));
        duties.reserving = relaying.reserve.map(Reserving::at);
        swarm
    };
    run(swarm, args.transport, addr, duties).await
}

pub async fn serve(args: &NodeArgs, addr: Option<Multiaddr>) -> Result<()> {
    let swarm = node::build(args, ping::Config::default())?;
    let streams = swarm.behaviour().stream.new_control().accept(bench::BULK)?;
    tokio::spawn(bench::count_streams(streams));
    run(swarm, args.transport, addr, Duties::default()).await
}

async fn run(
    mut swarm: Swarm<Behaviour>,
    transport: Transport,
    addr: Option<Multiaddr>,
    duties: Duties,
) -> Result<()> {
    let Duties {
        probing,
        mut reserving,
        mut dht,
    } = duties;
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
            Some(order) = orders.recv() => obey(&mut swarm, &mut dht, &order)?,
            () = relaying::due(&mut reserving) => relaying::ask(&mut reserving, &mut swarm)?,
            event = swarm.select_next_some() => {
                if let SwarmEvent::NewListenAddr { address, .. } = &event
                    && !ready
                {
                    ready = true;
                    announce(&swarm, address.clone())?;
                    if swarm.behaviour().gives_out_addresses() {
                        swarm.add_external_address(address.clone());
                    }
                    relaying::begin(&mut reserving);
                }
                if relaying::refused(&mut reserving, &event)? {
                    continue;
                }
                handle(&event)?;
                note(&mut swarm, &mut dht, &event)?;
                let _ = connected.send(swarm.connected_peers().copied().collect());
            }
        }
    }
    node::close(&mut swarm, node::report).await
}

/// Carries out a line of standard input.
fn obey(swarm: &mut Swarm<Behaviour>, dht: &mut Option<Dht>, order: &str) -> Result<()> {
    match order.split_once(' ') {
        Some(("dial", address)) => dial(swarm, address),
        Some(("dht", job)) => match (dht, swarm.behaviour_mut().dht.as_mut()) {
            (Some(dht), Some(behaviour)) => dht.start(behaviour, job),
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

/// Tells the DHT of peers, and takes what comes of its jobs.
fn note(swarm: &mut Swarm<Behaviour>, dht: &mut Option<Dht>, event: &NodeEvent) -> Result<()> {
    let (Some(dht), Some(behaviour)) = (dht, swarm.behaviour_mut().dht.as_mut()) else {
        return Ok(());
    };
    match event {
        SwarmEvent::Behaviour(BehaviourEvent::Identify(identify::Event::Received {
            peer_id,
            info,
            ..
        })) => dht::note_identified(behaviour, peer_id, info),
        SwarmEvent::Behaviour(BehaviourEvent::Dht(event)) => dht.handle(behaviour, event)?,
        _ => {}
    }
    Ok(())
}

/// A dial that fails is told of and ends nothing.
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
/// once the future is polled. The lines of standard input come out of the channel.
fn stop_request() -> io::Result<(impl Future<Output = ()>, mpsc::Receiver<String>)> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (closed, stdin_closed) = oneshot::channel();
    let (order, orders) = mpsc::channel(16);
    // A thread of its own, because the runtime would wait for the pending read of a tokio stdin when it shuts down.
    thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            let _ = order.blocking_send(line);
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
