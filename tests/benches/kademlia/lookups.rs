//! Lookups over sockets.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tests::harness::bench::{Area, Target};
use tests::harness::percentile::percentile;
use tests::harness::process::{Deadline, Process};
use tests::harness::program::serve;

use crate::Sizes;
use crate::contender::Contender;

/// How long the servers or one turn may take.
const PATIENCE: Duration = Duration::from_secs(180);

/// What Bowline has to reach, at the median and at the 99th percentile.
const TARGET: Target = Target::RatioAtMost(0.8);

/// The connections of the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Links {
    /// One to each server, all the time.
    Open,
    /// None when a lookup begins.
    Fresh,
}

struct Client {
    contender: Contender,
    process: Process,
}

/// What one client did in a round.
#[derive(Default)]
struct Round {
    micros: Vec<f64>,
    answers: f64,
    connections: f64,
}

/// The lookups of both clients with these servers, with open connections and without.
pub(crate) fn measure(servers: Contender, sizes: &Sizes, rounds: u32) -> Result<[Area; 2]> {
    let count = ["--count".to_owned(), sizes.servers.to_string()];
    let mut command = servers.job("servers", &count)?;
    let (_servers, addresses) = serve("servers", &mut command, Deadline::within(PATIENCE))?;
    let mut clients = Vec::new();
    for contender in Contender::BOTH {
        clients.push(Client::start(contender, &addresses, sizes)?);
    }
    let mut areas = Links::BOTH.map(|links| (links, Area::new(links.area(servers), "ms")));
    let mut seed = 0;
    for round in 1..=rounds {
        for (links, area) in &mut areas {
            eprintln!("round {round} of {rounds}: {}", links.area(servers));
            let mut both = [Round::default(), Round::default()];
            for turn in 0..sizes.turns {
                seed += 1;
                for order in 0..2 {
                    // Neither client is always the first one.
                    let which = (order + turn as usize) % 2;
                    let looked_up = clients[which].take_turn(*links, seed, sizes)?;
                    both[which].add(looked_up);
                }
            }
            for (client, looked_up) in clients.iter().zip(&both) {
                add_rows(area, client.contender, looked_up, &both[0]);
            }
        }
    }
    Ok(areas.map(|(_, area)| area))
}

/// Adds the median and the 99th percentile of a round. `rival` is the round of rust-libp2p.
fn add_rows(area: &mut Area, contender: Contender, round: &Round, rival: &Round) {
    for (figure, share) in [("p50", 0.50), ("p99", 0.99)] {
        let value = percentile(&round.micros, share);
        let mut notes = vec![
            ("lookups", round.micros.len() as f64),
            ("answers", round.answers / round.micros.len() as f64),
            ("connections", round.connections),
        ];
        if contender == Contender::Bowline {
            let rival = percentile(&rival.micros, share);
            notes.push(("ratio_of_round", value / rival));
        }
        let entry = contender.entry(figure, Some(TARGET));
        area.add(entry, value / 1e3, &notes);
    }
}

impl Links {
    const BOTH: [Self; 2] = [Self::Open, Self::Fresh];

    fn area(self, servers: Contender) -> &'static str {
        match (servers, self) {
            (Contender::RustLibp2p, Self::Open) => "lookups, rust-libp2p servers, connected",
            (Contender::RustLibp2p, Self::Fresh) => "lookups, rust-libp2p servers, not connected",
            (Contender::Bowline, Self::Open) => "lookups, bowline servers, connected",
            (Contender::Bowline, Self::Fresh) => "lookups, bowline servers, not connected",
        }
    }

    fn command(self, sizes: &Sizes) -> (&'static str, u64) {
        match self {
            Self::Open => ("open", sizes.open),
            Self::Fresh => ("fresh", sizes.fresh),
        }
    }
}

impl Client {
    /// Starts a client. Its first lookups fill its routing table and do not count.
    fn start(contender: Contender, servers: &[String], sizes: &Sizes) -> Result<Self> {
        let mut command = contender.job("client", servers)?;
        let (process, _) = serve("client", &mut command, Deadline::within(PATIENCE))?;
        let mut client = Self { contender, process };
        client.take_turn(Links::Open, 0, sizes)?;
        Ok(client)
    }

    fn take_turn(&mut self, links: Links, seed: u64, sizes: &Sizes) -> Result<Round> {
        let (how, count) = links.command(sizes);
        let input = self.process.stdin().context("no standard input")?;
        writeln!(input, "{how} {seed} {count}")?;
        input.flush()?;
        let deadline = Deadline::within(PATIENCE);
        let looked_up = self.process.wait_for("lookups", deadline, |event| {
            matches!(event.kind(), "lookups" | "error")
        });
        let event = match looked_up {
            Ok(event) if event.kind() == "lookups" => event,
            Ok(event) => bail!("the client failed: {}", event.0),
            Err(error) => bail!("{error:#}\n{}", self.process.stderr_tail()),
        };
        let micros = event.0["micros"].as_array().context("no times")?;
        let micros: Vec<f64> = micros.iter().filter_map(|time| time.as_f64()).collect();
        ensure!(micros.len() as u64 == count, "not {count} lookups");
        Ok(Round {
            micros,
            answers: event.number("answers")?,
            connections: event.number("connections")?,
        })
    }
}

impl Round {
    fn add(&mut self, turn: Self) {
        self.micros.extend(turn.micros);
        self.answers += turn.answers;
        self.connections = turn.connections;
    }
}
