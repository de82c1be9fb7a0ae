//! Direct connections, those included that never come up.

use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use tests::harness::process::Deadline;

use super::{CLOSED_HERE, CLOSED_THERE, CONNECTED, DIALING, Pair};
use crate::swarms::Swarm;

/// How often two peers dial each other at once.
const CROSSINGS: usize = 5;

pub(super) fn is_connected_and_closed(deadline: Deadline) -> Result<()> {
    let mut pair = Pair::start(&[], &[], deadline)?;
    let connection = pair.dialer.connect(&pair.listener.address()?)?;
    pair.both(&[DIALING, CONNECTED], &[CONNECTED])?;
    pair.close(&connection)?;
    pair.both(&[CLOSED_HERE], &[CLOSED_THERE])?;
    pair.is_settled()
}

/// Whoever's dial stays, it is the same at both ends, and neither was without one meanwhile.
pub(super) fn one_is_left(deadline: Deadline) -> Result<()> {
    let flags = ["--probe", "10", "--drain", "0.1"];
    let mut peers = [
        Swarm::listener(&flags, deadline)?,
        Swarm::listener(&flags, deadline)?,
    ];
    let names = [peers[1].peer_id(), peers[0].peer_id()];
    let addresses = [peers[1].address()?, peers[0].address()?];
    for _ in 0..CROSSINGS {
        for (peer, address) in peers.iter_mut().zip(&addresses) {
            peer.tell(&format!("dial {address}"))?;
        }
        let mut left = Vec::new();
        for (peer, name) in peers.iter_mut().zip(&names) {
            let first = peer.next_state("", name)?;
            // Unless the other one's dial was there before its own began.
            if first.text("to") != "connected" {
                peer.goes_through(name, &[CONNECTED])?;
            }
        }
        let mut kept = Vec::new();
        for (peer, name) in peers.iter_mut().zip(&names) {
            let lost = peer.loses(name, false)?;
            peer.is_settled(name)?;
            left.push(peer.connections(name)?);
            kept.extend(peer.ups(name)?.into_iter().filter(|up| *up != lost));
        }
        ensure!(
            left.iter().all(|connections| connections.len() == 1)
                && left[0][0]["direction"] != left[1][0]["direction"],
            "not one connection, the same at both ends: {left:?}"
        );
        peers[0].tell(&format!("close {}", kept[0]))?;
        peers[0].goes_through(&names[0], &[CLOSED_HERE])?;
        peers[1].goes_through(&names[1], &[CLOSED_THERE])?;
        for (peer, name) in peers.iter_mut().zip(&names) {
            peer.loses(name, false)?;
        }
    }
    Ok(())
}

/// The first connection, dialed by the lower id, may be dead for all that the two know when the other one comes. It is
/// asked, answers, and stays; unasked, it would go.
pub(super) fn the_old_one_answers(deadline: Deadline) -> Result<()> {
    let flags = ["--probe", "10", "--drain", "0.1"];
    let mut peers = [
        Swarm::listener(&flags, deadline)?,
        Swarm::listener(&flags, deadline)?,
    ];
    // In base58, names of the same length sort as the bytes that they stand for.
    peers.sort_by_key(Swarm::peer_id);
    let [mut lower, mut higher] = peers;
    let (low, high) = (lower.peer_id(), higher.peer_id());
    let old = lower.connect(&higher.address()?)?;
    lower.goes_through(&high, &[DIALING, CONNECTED])?;
    higher.goes_through(&low, &[CONNECTED])?;
    higher.connect(&lower.address()?)?;
    let lost = lower.loses(&high, false)?;
    ensure!(lost != old, "the connection that answers is gone");
    higher.loses(&low, false)?;
    for (peer, name) in [(&mut lower, &high), (&mut higher, &low)] {
        peer.is_settled(name)?;
        let left = peer.connections(name)?;
        ensure!(left.len() == 1, "not one connection: {left:?}");
    }
    Ok(())
}

/// The handshake ends well, but there is a behaviour that refuses: nobody was there, so nobody left.
pub(super) fn was_never_there(deadline: Deadline) -> Result<()> {
    let mut dialer = Swarm::dialer(&[], deadline)?;
    let here = dialer.peer_id();
    let mut listener = Swarm::listener(&["--block", &here], deadline)?;
    let there = listener.peer_id();
    dialer.tell(&format!("dial {}", listener.address()?))?;
    listener.wait_for("a refusal", |event| event.kind() == "refused")?;
    listener.is_settled(&here)?;
    dialer.goes_through(&there, &[DIALING])?;
    // Its end of the handshake may be over before the other end has refused.
    let next = dialer.next_state("", &there)?;
    if next.text("to") == "connected" {
        dialer.goes_through(&there, &[CLOSED_THERE])?;
    } else {
        ensure!(next.text("to") == "not connected", "it is {}", next.0);
    }
    Ok(())
}

/// An inbound connection counts from before its handshake, though nobody knows whose it is.
pub(super) fn counts_strangers(deadline: Deadline) -> Result<()> {
    let mut pair = Pair::start(&["--max-transient", "1"], &[], deadline)?;
    let address = pair.listener.address()?;
    let stranger = TcpStream::connect(socket(&address)?)?;
    pair.listener
        .wait_for("a stranger", |event| event.kind() == "incoming")?;
    let _another = TcpStream::connect(socket(&address)?)?;
    let refused = pair
        .listener
        .wait_for("a refusal", |event| event.kind() == "refused")?;
    ensure!(
        refused
            .text("message")
            .contains("1 connections are transient"),
        "another refusal: {}",
        refused.0
    );
    drop(stranger);
    pair.listener
        .wait_for("the stranger's end", |event| event.kind() == "refused")?;
    pair.dialer.connect(&address)?;
    pair.both(&[DIALING, CONNECTED], &[CONNECTED])?;
    pair.is_settled()
}

/// The swarm cannot be told to end the handshake: it is denied, for it was given up before it was over.
pub(super) fn is_denied_when_up(deadline: Deadline) -> Result<()> {
    const PATIENCE: u64 = 200;
    let mut pair = Pair::start(&[], &["--max-handshake", "0.2"], deadline)?;
    let address = pair.listener.address()?;
    let port = socket(&address)?.port();
    let slow = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let detour = address.replace(
        &format!("/tcp/{port}/"),
        &format!("/tcp/{}/", slow.local_addr()?.port()),
    );
    pair.dialer.tell(&format!("dial {detour}"))?;
    pair.dialer.goes_through(&pair.there, &[DIALING])?;
    let (client, _) = slow.accept()?;
    // Two answers after its time is over: the swarm has seen to it between them.
    let mut overdue = 0;
    while overdue < 2 {
        let connections = pair.dialer.connections(&pair.there)?;
        let age = connections.first().and_then(|one| one["age_ms"].as_u64());
        overdue += u32::from(age.context("it was not waited for")? > 2 * PATIENCE);
    }
    forward(client, socket(&address)?)?;
    let too_long = ("not connected", &["transient for too long"][..]);
    pair.dialer.goes_through(&pair.there, &[too_long])?;
    pair.dialer.is_settled(&pair.there)
}

pub(super) fn is_dialed_in_vain(deadline: Deadline) -> Result<()> {
    let mut pair = Pair::start(&[], &[], deadline)?;
    let address = pair.listener.address()?;
    let there = pair.there.clone();
    drop(pair.listener);
    pair.dialer.tell(&format!("dial {address}"))?;
    let failed = ("not connected", &["handshake failed"][..]);
    pair.dialer.goes_through(&there, &[DIALING, failed])?;
    pair.dialer.is_settled(&there)
}

/// Where TCP connections to `address`, of IPv4, go.
fn socket(address: &str) -> Result<SocketAddr> {
    let parts: Vec<&str> = address.split('/').collect();
    let [_, "ip4", ip, "tcp", port, ..] = parts.as_slice() else {
        bail!("not a TCP address: {address}");
    };
    Ok(SocketAddr::new(ip.parse()?, port.parse()?))
}

/// Joins a connection to one to `target`, until both ends have closed.
fn forward(client: TcpStream, target: SocketAddr) -> Result<()> {
    let server = TcpStream::connect(target)?;
    let ways = [(client.try_clone()?, server.try_clone()?), (server, client)];
    for (mut from, mut to) in ways {
        thread::spawn(move || {
            // A broken connection is an end like any other.
            let _ = io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Write);
        });
    }
    Ok(())
}
