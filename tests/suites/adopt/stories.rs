//! What peers on rust-libp2p learn of their connections, from conn-state.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;

use anyhow::{Context, Result, ensure};
use tests::harness::process::Deadline;

use crate::swarms::{self, Change, Swarm};

const DIALING: Change = ("transient (handshaking)", &["dialing"]);
const LIMITED: Change = ("transient (limited)", &["authenticated"]);
const CONNECTED: Change = ("connected", &["authenticated"]);
const CLOSED_HERE: Change = ("not connected", &["closed by us"]);
/// If something arrived that was not read any more, TCP resets the connection, and the goodbye may be lost.
const CLOSED_THERE: Change = ("not connected", &["closed by the peer", "broken"]);

/// What a relay grants where that does not matter.
const AMPLE: (u32, u32) = (120, 1 << 17);

/// How often two peers dial each other at once.
const CROSSINGS: usize = 5;

/// More events than [`SMALL_HISTORY`], three a round.
const ROUNDS: u32 = 8;
const SMALL_HISTORY: &str = "16";

#[derive(Clone, Copy, Debug)]
pub(crate) enum Story {
    Direct,
    DirectLost,
    RelayedDrained,
    RelayKilled,
    RelayKilledUnderDirect,
    TooLong,
    Grant,
    Crossing,
    Late,
    Slow,
    Denied,
    Strangers,
    TooSlow,
    Dead,
}

impl Story {
    pub(crate) const ALL: [Self; 14] = [
        Self::Direct,
        Self::DirectLost,
        Self::RelayedDrained,
        Self::RelayKilled,
        Self::RelayKilledUnderDirect,
        Self::TooLong,
        Self::Grant,
        Self::Crossing,
        Self::Late,
        Self::Slow,
        Self::Denied,
        Self::Strangers,
        Self::TooSlow,
        Self::Dead,
    ];

    /// The program, the way to the peer and the case, for tables.
    pub(crate) fn names(self) -> [&'static str; 3] {
        let (target, case) = match self {
            Self::Direct => ("direct", "connected, closed"),
            Self::DirectLost => ("relayed", "then direct, which is lost"),
            Self::RelayedDrained => ("relayed", "then direct, which replaces it"),
            Self::RelayKilled => ("relayed", "the relay is killed"),
            Self::RelayKilledUnderDirect => ("relayed", "then direct, the relay is killed"),
            Self::TooLong => ("relayed", "limited for too long"),
            Self::Grant => ("relayed", "what the relay grants"),
            Self::Crossing => ("direct", "both dial at once"),
            Self::Late => ("direct", "a late reader"),
            Self::Slow => ("direct", "a slow reader"),
            Self::Denied => ("direct", "another behaviour denies it"),
            Self::Strangers => ("direct", "too many strangers"),
            Self::TooSlow => ("direct", "handshaking for too long"),
            Self::Dead => ("direct", "nobody listens"),
        };
        [swarms::NAME, target, case]
    }

    /// Nothing, if the program was not named.
    pub(crate) fn run(self, deadline: Deadline) -> Option<Result<()>> {
        std::env::var_os("PEER_ADOPT")?;
        Some(match self {
            Self::Direct => is_connected_and_closed(deadline),
            Self::DirectLost => falls_back(deadline),
            Self::RelayedDrained => is_replaced(deadline),
            Self::RelayKilled => ends_with_its_relay(deadline),
            Self::RelayKilledUnderDirect => outlives_the_relay(deadline),
            Self::TooLong => is_reaped(deadline),
            Self::Grant => knows_the_grant(deadline),
            Self::Crossing => one_is_left(deadline),
            Self::Late => begins_with_a_snapshot(deadline),
            Self::Slow => misses_and_is_told(deadline),
            Self::Denied => was_never_there(deadline),
            Self::Strangers => counts_strangers(deadline),
            Self::TooSlow => is_denied_when_up(deadline),
            Self::Dead => is_dialed_in_vain(deadline),
        })
    }
}

/// A listener and a dialer, each with the other's name.
struct Pair {
    listener: Swarm,
    dialer: Swarm,
    /// The listener's.
    there: String,
    /// The dialer's.
    here: String,
}

impl Pair {
    fn start(at_listener: &[&str], at_dialer: &[&str], deadline: Deadline) -> Result<Self> {
        let listener = Swarm::listener(at_listener, deadline)?;
        let dialer = Swarm::dialer(at_dialer, deadline)?;
        let (there, here) = (listener.peer_id(), dialer.peer_id());
        Ok(Self {
            listener,
            dialer,
            there,
            here,
        })
    }

    /// Connects them through a relay. Each then is transient to the other.
    fn relayed(&mut self, (seconds, bytes): (u32, u32), deadline: Deadline) -> Result<Swarm> {
        let relay = Swarm::relay(seconds, bytes, deadline)?;
        let address = self.listener.reserve(&relay)?;
        self.dialer.connect(&address)?;
        self.dialer.goes_through(&self.there, &[DIALING, LIMITED])?;
        // It knew nobody before the handshake was over.
        self.listener.goes_through(&self.here, &[LIMITED])?;
        Ok(relay)
    }

    /// Connects them directly, on top of a relayed connection. The dial does not make it worse meanwhile.
    fn improved(&mut self) -> Result<String> {
        let connection = self.dialer.connect(&self.listener.address()?)?;
        self.dialer.goes_through(&self.there, &[CONNECTED])?;
        self.listener.goes_through(&self.here, &[CONNECTED])?;
        Ok(connection)
    }

    fn close(&mut self, connection: &str) -> Result<()> {
        self.dialer.tell(&format!("close {connection}"))
    }

    fn both(&mut self, at_dialer: &[Change], at_listener: &[Change]) -> Result<()> {
        self.dialer.goes_through(&self.there, at_dialer)?;
        self.listener.goes_through(&self.here, at_listener)
    }

    /// And nothing more was said.
    fn is_settled(&mut self) -> Result<()> {
        self.dialer.is_settled(&self.there)?;
        self.listener.is_settled(&self.here)
    }
}

fn is_connected_and_closed(deadline: Deadline) -> Result<()> {
    let mut pair = Pair::start(&[], &[], deadline)?;
    let connection = pair.dialer.connect(&pair.listener.address()?)?;
    pair.both(&[DIALING, CONNECTED], &[CONNECTED])?;
    pair.close(&connection)?;
    pair.both(&[CLOSED_HERE], &[CLOSED_THERE])?;
    pair.is_settled()
}

/// The relayed connection is being drained when the direct one is lost, and takes over: nobody is seen without one.
fn falls_back(deadline: Deadline) -> Result<()> {
    let mut pair = Pair::start(&[], &[], deadline)?;
    let relay = pair.relayed(AMPLE, deadline)?;
    let direct = pair.improved()?;
    pair.close(&direct)?;
    let back = |(_, causes): Change| ("transient (limited)", causes);
    pair.both(&[back(CLOSED_HERE)], &[back(CLOSED_THERE)])?;
    drop(relay);
    pair.dialer.loses(&pair.there, true)?;
    pair.listener.loses(&pair.here, true)?;
    pair.both(&[CLOSED_THERE], &[CLOSED_THERE])?;
    pair.is_settled()
}

/// The end of the drain closes the relayed connection, which changes nothing. With the direct one, all is gone.
fn is_replaced(deadline: Deadline) -> Result<()> {
    let drain = ["--drain", "0.2"];
    let mut pair = Pair::start(&drain, &drain, deadline)?;
    let _relay = pair.relayed(AMPLE, deadline)?;
    let direct = pair.improved()?;
    pair.dialer.loses(&pair.there, true)?;
    pair.listener.loses(&pair.here, true)?;
    pair.is_settled()?;
    pair.close(&direct)?;
    pair.both(&[CLOSED_HERE], &[CLOSED_THERE])?;
    pair.is_settled()
}

fn ends_with_its_relay(deadline: Deadline) -> Result<()> {
    let mut pair = Pair::start(&[], &[], deadline)?;
    let relay = pair.relayed(AMPLE, deadline)?;
    let name = relay.peer_id();
    pair.dialer.goes_through(&name, &[DIALING, CONNECTED])?;
    pair.listener.goes_through(&name, &[DIALING, CONNECTED])?;
    drop(relay);
    pair.both(&[CLOSED_THERE], &[CLOSED_THERE])?;
    pair.dialer.goes_through(&name, &[CLOSED_THERE])?;
    pair.listener.goes_through(&name, &[CLOSED_THERE])?;
    pair.is_settled()
}

fn outlives_the_relay(deadline: Deadline) -> Result<()> {
    let mut pair = Pair::start(&[], &[], deadline)?;
    let relay = pair.relayed(AMPLE, deadline)?;
    pair.improved()?;
    drop(relay);
    pair.dialer.loses(&pair.there, true)?;
    pair.listener.loses(&pair.here, true)?;
    pair.is_settled()
}

/// The end that has had enough closes; the other is closed.
fn is_reaped(deadline: Deadline) -> Result<()> {
    let mut pair = Pair::start(&[], &["--max-limited", "0.3"], deadline)?;
    let _relay = pair.relayed(AMPLE, deadline)?;
    let reaped = ("not connected", &["transient for too long"][..]);
    pair.both(&[reaped], &[CLOSED_THERE])?;
    pair.is_settled()
}

fn knows_the_grant(deadline: Deadline) -> Result<()> {
    let (seconds, bytes) = (60, 4096);
    let mut pair = Pair::start(&[], &[], deadline)?;
    let _relay = pair.relayed((seconds, bytes), deadline)?;
    let lists = [
        pair.dialer.connections(&pair.there)?,
        pair.listener.connections(&pair.here)?,
    ];
    for connections in lists {
        let [connection] = connections.as_slice() else {
            anyhow::bail!("not one connection: {connections:?}");
        };
        let limit = &connection["limit"];
        let left = limit["seconds"].as_u64().context("no time is known")?;
        ensure!(
            connection["phase"] == "limited"
                && limit["bytes"] == bytes
                && (1..=u64::from(seconds)).contains(&left),
            "not what was granted: {connection}"
        );
    }
    Ok(())
}

/// Whoever's dial stays, it is the same at both ends, and neither was without one meanwhile.
fn one_is_left(deadline: Deadline) -> Result<()> {
    let drain = ["--drain", "0.1"];
    let mut peers = [
        Swarm::listener(&drain, deadline)?,
        Swarm::listener(&drain, deadline)?,
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

fn begins_with_a_snapshot(deadline: Deadline) -> Result<()> {
    let mut pair = Pair::start(&[], &[], deadline)?;
    let connection = pair.dialer.connect(&pair.listener.address()?)?;
    pair.both(&[DIALING, CONNECTED], &[CONNECTED])?;
    pair.dialer.tell("subscribe late")?;
    let snapshot = pair
        .dialer
        .wait_for("a snapshot", |event| event.kind() == "snapshot")?;
    let peers = &snapshot.0["peers"];
    let entry = &peers[0];
    ensure!(
        peers.as_array().map(Vec::len) == Some(1)
            && entry["peer"] == pair.there.as_str()
            && entry["state"] == "connected"
            && entry["number"] == 2,
        "not how it was: {}",
        snapshot.0
    );
    pair.close(&connection)?;
    // Numbered from there on, which is checked of every event.
    pair.dialer
        .reader_sees("late", &pair.there, &[CLOSED_HERE])?;
    pair.both(&[CLOSED_HERE], &[CLOSED_THERE])?;
    pair.is_settled()
}

/// Three read: the swarm's owner, a reader, and one that begins when its part of the history is gone.
fn misses_and_is_told(deadline: Deadline) -> Result<()> {
    let mut pair = Pair::start(&[], &["--history", SMALL_HISTORY], deadline)?;
    let address = pair.listener.address()?;
    pair.dialer.tell("hold slow")?;
    pair.dialer.tell("subscribe quick")?;
    let round = [DIALING, CONNECTED, CLOSED_HERE];
    for _ in 0..ROUNDS {
        let connection = pair.dialer.connect(&address)?;
        pair.listener.goes_through(&pair.here, &[CONNECTED])?;
        pair.close(&connection)?;
        pair.both(&round, &[CLOSED_THERE])?;
        pair.dialer.reader_sees("quick", &pair.there, &round)?;
    }
    pair.dialer.connect(&address)?;
    pair.dialer.goes_through(&pair.there, &round[..2])?;
    pair.dialer.reader_sees("quick", &pair.there, &round[..2])?;

    pair.dialer.tell("read slow")?;
    let lagged = pair
        .dialer
        .wait_for("a lag", |event| event.kind() == "lagged")?;
    let happened = 3 * ROUNDS + 2;
    let entry = &lagged.0["peers"][0];
    ensure!(
        lagged.text("reader") == "slow"
            && lagged.0["missed"] == happened
            && entry["peer"] == pair.there.as_str()
            && entry["state"] == "connected"
            && entry["number"] == happened,
        "not what it missed: {}",
        lagged.0
    );
    let here = pair.here.clone();
    let there = pair.there.clone();
    pair.listener.goes_through(&here, &[CONNECTED])?;
    drop(pair.listener);
    for reader in ["", "quick", "slow"] {
        pair.dialer.reader_sees(reader, &there, &[CLOSED_THERE])?;
    }
    pair.dialer.is_settled(&there)
}

/// The handshake ends well, but there is a behaviour that refuses: nobody was there, so nobody left.
fn was_never_there(deadline: Deadline) -> Result<()> {
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
fn counts_strangers(deadline: Deadline) -> Result<()> {
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
fn is_denied_when_up(deadline: Deadline) -> Result<()> {
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

fn is_dialed_in_vain(deadline: Deadline) -> Result<()> {
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
        anyhow::bail!("not a TCP address: {address}");
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
            let _ = to.shutdown(std::net::Shutdown::Write);
        });
    }
    Ok(())
}
