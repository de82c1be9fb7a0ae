//! A relay, who is behind it, and who dials through it: each a process of its own.

use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use tests::harness::bowline::{Home, Up};
use tests::harness::peers::{Listening, Peer, Stack};
use tests::harness::process::{Deadline, Event, Process, run};

use super::{BEYOND, Case, WHOLE};

/// How much later than of a connection's end a stack may tell of its stream.
const LATER: Duration = Duration::from_secs(2);

/// How many letters of what an end says of a limit stand in the table.
const SHORT: usize = 60;

/// A running relay.
pub(super) struct Relay {
    running: Running,
    pub(super) address: String,
}

enum Running {
    Ours { up: Up, home: Home },
    Foreign(Listening),
}

impl Relay {
    /// Starts `bowline up --relay-server`, or a foreign peer as a relay, whose circuits carry `data` bytes.
    pub(super) fn start(
        peer: &Peer,
        stack: Stack,
        data: Option<u64>,
        deadline: Deadline,
    ) -> Result<Self> {
        let data = data.map(|data| data.to_string());
        if peer.name == "ours" {
            let terms = data.map(|data| ("CIRCUIT_DATA", data));
            return Self::ours(stack, terms.as_slice(), deadline);
        }
        let mut flags = vec!["--relay"];
        if let Some(data) = &data {
            flags.extend(["--relay-data", data]);
        }
        let listening = peer.listen_with(&flags, stack, deadline)?;
        let address = listening.address.clone();
        Ok(Self {
            running: Running::Foreign(listening),
            address,
        })
    }

    /// Starts `bowline up --relay-server` on these terms.
    pub(super) fn ours(stack: Stack, terms: &[(&str, String)], deadline: Deadline) -> Result<Self> {
        let home = Home::new()?;
        let up = ["up", "--json", "--relay-server"];
        let mut command = home.bowline_with_data(&up);
        command.args(["--listen", stack.loopback()]);
        for (name, value) in terms {
            command.env(format!("BOWLINE_RELAY__TERMS__{name}"), value);
        }
        let up = Up::start(&mut command, deadline)?;
        let address = up.address_with("/p2p/")?;
        Ok(Self {
            running: Running::Ours { up, home },
            address,
        })
    }

    /// What `bowline slots` shows.
    pub(super) fn slots(&self, deadline: Deadline) -> Result<Vec<Event>> {
        let Running::Ours { home, .. } = &self.running else {
            return Err(anyhow!("a foreign relay does not show its slots"));
        };
        let mut slots = home.bowline_with_data(&["slots", "--json"]);
        run("bowline slots", &mut slots, deadline)?
            .succeeded()?
            .events()
    }

    pub(super) fn stderr_tail(&self) -> String {
        match &self.running {
            Running::Ours { up, .. } => up.process.stderr_tail(),
            Running::Foreign(listening) => listening.process.stderr_tail(),
        }
    }
}

/// A peer that holds a slot at a relay.
pub(super) struct Destination {
    pub(super) process: Process,
    name: String,
    at_ours: bool,
    peer_id: String,
    address: String,
}

impl Destination {
    /// Starts the peer, which asks the relay for a slot.
    pub(super) fn start(
        peer: &Peer,
        relay: &Relay,
        stack: Stack,
        deadline: Deadline,
    ) -> Result<Self> {
        let there = peer.listen_with(&["--reserve", &relay.address], stack, deadline)?;
        Ok(Self {
            process: there.process,
            name: peer.name.clone(),
            at_ours: matches!(relay.running, Running::Ours { .. }),
            address: format!("{}/p2p-circuit/p2p/{}", relay.address, there.peer_id),
            peer_id: there.peer_id,
        })
    }

    /// The same, and it gets one.
    pub(super) fn reserve(
        peer: &Peer,
        relay: &Relay,
        stack: Stack,
        deadline: Deadline,
    ) -> Result<Self> {
        let mut there = Self::start(peer, relay, stack, deadline)?;
        let granted = |event: &Event| event.kind() == "reserved";
        let waited = there.process.wait_for("a slot", deadline, granted);
        let said = waited.map_err(|error| {
            let (own, relays) = (there.process.stderr_tail(), relay.stderr_tail());
            anyhow!("{error:#}\n{own}\n{relays}")
        })?;
        // go tells whether there was one, and has checked it; not every foreign relay gives one.
        ensure!(
            !there.at_ours || said.0.get("voucher") != Some(&false.into()),
            "no voucher: {}",
            said.0
        );
        // Not every stack tells where the relay says that it can be reached, and not every relay says so of loopback.
        if let Some(address) = said.texts("addresses").into_iter().next() {
            there.address = address;
        }
        Ok(there)
    }

    pub(super) fn peer_id(&self) -> &str {
        &self.peer_id
    }

    /// `from` dials it through the relay and has it echo bytes; gives what both ends saw of a limit.
    pub(super) fn reached(
        &mut self,
        from: &Peer,
        stack: Stack,
        case: Case,
        deadline: Deadline,
    ) -> Result<String> {
        let bytes = match case {
            Case::Limit => BEYOND,
            Case::Whole | Case::Binary => WHOLE,
        };
        let job = ["echo", &self.address, "--bytes", &bytes.to_string()];
        let ran = run(&from.name, &mut from.command(&job, stack), deadline)?;
        let seen = ran.succeeded()?.events()?;
        let relayed = |event: &&Event| {
            event.kind() == "connected"
                && event.text("peer_id") == self.peer_id
                && event.text("address").contains("/p2p-circuit")
        };
        ensure!(
            seen.iter().any(|event| relayed(&event)),
            "{} was not connected by the relay: {seen:?}",
            from.name
        );
        one("done", &seen)?;
        let served = self.served(deadline);
        let served =
            served.map_err(|error| anyhow!("{error:#}\n{}", self.process.stderr_tail()))?;
        match case {
            Case::Limit => {
                let ends = [from.name.as_str(), &self.name];
                cut(
                    &seen,
                    &served,
                    ends.map(|name| self.at_ours && name == "go"),
                )
            }
            Case::Whole | Case::Binary => whole(&seen, &served),
        }
    }

    /// What it says of a stream, and of the end of that stream's connection, which came by the relay.
    fn served(&mut self, deadline: Deadline) -> Result<Served> {
        let mut past: Vec<Event> = Vec::new();
        let over = |event: &Event| {
            past.push(event.clone());
            Served::among(&past).is_some()
        };
        let what = "the end of a connection by the relay";
        self.process.wait_for(what, deadline, over)?;
        let mut served = Served::among(&past).context(what)?;
        if served.stream.is_none() {
            let peer = served.end.text("peer_id").to_owned();
            let of_peer = |event: &Event| event.kind() == "served" && event.text("peer_id") == peer;
            // Some stacks tell of a connection's end first, and a limit may be hit before there is a stream.
            let soon = deadline.at_most(LATER);
            served.stream = self.process.wait_for("a stream", soon, of_peer).ok();
        }
        Ok(served)
    }
}

/// What a destination saw of who came.
struct Served {
    stream: Option<Event>,
    end: Event,
}

impl Served {
    /// The end of a connection by the relay, and its stream if that is told of already.
    fn among(past: &[Event]) -> Option<Self> {
        let is_circuit = |event: &&Event| {
            event.kind() == "connected" && event.text("address").contains("/p2p-circuit")
        };
        let came = past.iter().find(is_circuit)?;
        let of_peer = |kind: &'static str| {
            let of_peer = |event: &&Event| {
                event.kind() == kind && event.text("peer_id") == came.text("peer_id")
            };
            past.iter().find(of_peer).cloned()
        };
        Some(Self {
            stream: of_peer("served"),
            end: of_peer("disconnected")?,
        })
    }
}

fn whole(source: &[Event], served: &Served) -> Result<String> {
    let echoed = one("echoed", source)?;
    let served = served
        .stream
        .as_ref()
        .context("the stream is not told of")?;
    ensure!(echoed.number("bytes")? == WHOLE as f64, "{}", echoed.0);
    ensure!(served.number("bytes")? == WHOLE as f64, "{}", served.0);
    ensure!(served.text("end") == "eof", "{}", served.0);
    Ok(String::new())
}

/// Whether a limit cut both ends off, and what they saw of it. Who knows a reset from an end, as go does and yamux in Rust
/// does not, must have seen a reset.
fn cut(source: &[Event], served: &Served, [source_knows, knows]: [bool; 2]) -> Result<String> {
    let cut = one("cut", source)?;
    ensure!(cut.number("received")? < BEYOND as f64, "{}", cut.0);
    let is_reset = |text: &str| text.ends_with("stream reset");
    ensure!(!source_knows || is_reset(cut.text("reason")), "{}", cut.0);
    let stream = match &served.stream {
        Some(stream) => {
            ensure!(stream.number("bytes")? < BEYOND as f64, "{}", stream.0);
            ensure!(!knows || is_reset(stream.text("end")), "{}", stream.0);
            short(stream.text("end"))
        }
        None => "no stream yet".to_owned(),
    };
    let (reason, end) = (short(cut.text("reason")), short(served.end.text("reason")));
    Ok(format!("source: {reason}; destination: {stream}, {end}"))
}

/// The end of a chain of causes says the most, and not every stack says why.
fn short(text: &str) -> String {
    // rustls explains itself by a link.
    let text = text.split(": http").next().unwrap_or_default();
    let count = text.chars().count();
    match count {
        0 => "gone".to_owned(),
        _ if count > SHORT => format!("…{}", text.chars().skip(count - SHORT).collect::<String>()),
        _ => text.to_owned(),
    }
}

/// `bowline up --reserve-at` is reached through the relay by `bowline identify` and `bowline ping`.
pub(super) fn binaries(relay: &Relay, deadline: Deadline) -> Result<String> {
    let (home, seeker) = (Home::new()?, Home::new()?);
    let listen = Stack::TcpTls.loopback();
    let mut up = home.up(&["--listen", listen, "--reserve-at", &relay.address])?;
    let granted = |event: &Event| event.kind() == "reservation_granted";
    let waited = up.process.wait_for("a slot", deadline, granted);
    waited.map_err(|error| anyhow!("{error:#}\n{}", relay.stderr_tail()))?;
    let address = format!("{}/p2p-circuit/p2p/{}", relay.address, up.peer_id());

    let mut identify = seeker.bowline(&["identify", &address, "--json"]);
    let said = run("bowline", &mut identify, deadline)?
        .succeeded()?
        .events()?;
    let said = one("identified", &said)?;
    ensure!(said.text("peer_id") == up.peer_id(), "{}", said.0);
    // A peer behind a relay can be anywhere, so it is not told loopback addresses, of which this network consists.
    ensure!(said.texts("listen").is_empty(), "{}", said.0);

    let mut ping = seeker.bowline(&["ping", &address, "-c", "3", "--json"]);
    let pongs = run("bowline", &mut ping, deadline)?.succeeded()?.events()?;
    let pongs = pongs.iter().filter(|event| event.kind() == "pong").count();
    ensure!(pongs == 3, "{pongs} pongs instead of 3");
    Ok(String::new())
}

fn one(kind: &str, events: &[Event]) -> Result<Event> {
    let found = events.iter().find(|event| event.kind() == kind);
    let found = found.cloned();
    found.with_context(|| format!("no {kind} among {events:?}"))
}
