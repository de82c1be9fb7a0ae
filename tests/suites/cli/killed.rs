//! A node that is killed right after a handshake and starts again with the same key on the same port.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tests::harness::process::Signal;
use tests::harness::{Event, Home, Up};

use super::{ONCE, QUIC, TCP, soon};

/// The times between the survivor's report of the first handshake and the kill. At 0 ms the survivor has no stateless
/// reset token of the peer yet, at 5 ms it has one.
const DELAYS: [Duration; 3] = [
    Duration::ZERO,
    Duration::from_millis(1),
    Duration::from_millis(5),
];

/// The number of kills over each transport, shared out among the delays.
const ROUNDS: usize = 200;

/// How many pairs of nodes run at the same time. Each has a survivor of its own.
const PAIRS: usize = 2;

/// The longest time for which the survivor may have two connections.
const LIMIT: Duration = Duration::from_secs(1);

/// On a busy machine: how many times as long as the new handshake took at the most. conn-state waits for eight of them.
const HANDSHAKES: u32 = 9;

/// One kill.
#[derive(Clone, Copy)]
struct Round {
    delay: Duration,
    /// How long the survivor still had the dead connection after the new handshake.
    held: Duration,
    /// How long it may have it.
    limit: Duration,
}

/// The node that is not killed. Its standard output says which connections it has.
struct Survivor {
    up: Up,
}

impl Survivor {
    fn start(home: &Home, listen: &str) -> Result<Self> {
        let mut command = home.bowline_with_data(&["up", "--json", "--listen", listen]);
        let up = Up::start(command.envs(ONCE), soon())?;
        Ok(Self { up })
    }

    /// Waits until the peer has a connection other than `known`. Gives its id, and the ids of those that closed before that.
    fn connected(&mut self, peer: &str, known: &str) -> Result<(String, Vec<String>)> {
        let mut closed = Vec::new();
        loop {
            let event = self.up.process.next(soon())?;
            let connection = event.text("connection").to_owned();
            match event.kind() {
                "connected" if event.text("peer_id") == peer && connection != known => {
                    return Ok((connection, closed));
                }
                "disconnected" => closed.push(connection),
                _ => {}
            }
        }
    }

    /// Waits until the connection is closed.
    fn disconnected(&mut self, connection: &str) -> Result<Event> {
        let is_it = |event: &Event| {
            event.kind() == "disconnected" && event.text("connection") == connection
        };
        self.up.process.wait_for("the close", soon(), is_it)
    }

    fn start_peer(&self, home: &Home, listen: &str) -> Result<Up> {
        let address = &self.up.addresses()[0];
        let mut command = home.bowline_with_data(&["up", "--json", "--listen", listen]);
        command.args(["--bootstrap", address]);
        Up::start(command.envs(ONCE), soon())
    }
}

/// Kills a peer of the survivor and starts it again.
fn round(survivor: &mut Survivor, listen: &str, delay: Duration) -> Result<Round> {
    let home = Home::new()?;
    let peer = survivor.start_peer(&home, listen)?;
    let id = peer.peer_id().to_owned();
    let address = peer.addresses()[0].clone();
    let listen = address.split("/p2p/").next().unwrap_or(&address);
    let (old, _) = survivor.connected(&id, "")?;
    thread::sleep(delay);
    peer.process.signal(Signal::KILL)?;
    peer.process.finish(soon())?;

    let started = Instant::now();
    let back = survivor.start_peer(&home, listen)?;
    ensure!(back.peer_id() == id, "the peer came back with another key");
    let (new, closed) = survivor.connected(&id, &old)?;
    let connected = Instant::now();
    // The handshake took no longer than that.
    let limit = LIMIT.max(HANDSHAKES * (connected - started));
    let mut held = Duration::ZERO;
    if !closed.contains(&old) {
        survivor.disconnected(&old)?;
        held = connected.elapsed();
    }
    back.process.signal(Signal::TERM)?;
    back.process.finish(soon())?;
    // The new connection is the one that was kept.
    survivor.disconnected(&new)?;
    Ok(Round { delay, held, limit })
}

/// Runs all rounds over one transport.
fn rounds(listen: &str) -> Result<Vec<Round>> {
    let pair = |first: usize| -> Result<Vec<Round>> {
        let home = Home::new()?;
        let mut survivor = Survivor::start(&home, listen)?;
        let mut rounds = Vec::new();
        for number in (first..ROUNDS).step_by(PAIRS) {
            let delay = DELAYS[number % DELAYS.len()];
            let round = round(&mut survivor, listen, delay)
                .with_context(|| format!("round {number}, killed after {delay:?}"))?;
            rounds.push(round);
        }
        Ok(rounds)
    };
    let outcomes = thread::scope(|scope| {
        let pairs: Vec<_> = (0..PAIRS)
            .map(|first| scope.spawn(move || pair(first)))
            .collect();
        let outcomes = pairs.into_iter().map(|pair| pair.join().unwrap());
        outcomes.collect::<Result<Vec<_>>>()
    })?;
    Ok(outcomes.concat())
}

#[track_caller]
fn assert_has_one_connection_within_a_second(listen: &str) {
    let rounds = rounds(listen).unwrap();
    assert_eq!(rounds.len(), ROUNDS);
    for delay in DELAYS {
        let of_delay = rounds.iter().filter(|round| round.delay == delay);
        let mut times: Vec<Duration> = of_delay.map(|round| round.held).collect();
        times.sort_unstable();
        let (count, median) = (times.len(), times[times.len() / 2]);
        let longest = times[count - 1];
        let doubled = times.iter().filter(|held| !held.is_zero()).count();
        println!(
            "{listen}: {count} kills after {delay:?}: two connections {doubled} times, median {median:?}, longest {longest:?}"
        );
    }
    for Round { delay, held, limit } in rounds {
        assert!(held < limit, "{listen}, killed after {delay:?}: {held:?}");
    }
}

#[test]
fn a_peer_killed_right_after_a_quic_handshake_has_one_connection_within_a_second_of_its_return() {
    assert_has_one_connection_within_a_second(QUIC);
}

#[test]
fn a_peer_killed_right_after_a_tcp_handshake_has_one_connection_within_a_second_of_its_return() {
    assert_has_one_connection_within_a_second(TCP);
}
