//! Floods against the release binary, while honest peers of other implementations connect to it and ping it.
//!
//! `cargo xtask integration hostile` builds the peers and names their programs in `PEER_RUST`, `PEER_GO` and `PEER_JS`. Peers
//! that are not named are left out. `HOSTILE_SECONDS` is the length of each flood, and `HOSTILE_ONLY` a list of floods.

mod bystanders;
mod figures;
mod floods;
mod libp2p;
mod logs;
mod node_under_attack;
mod siege;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tests::harness::bench::raise_file_limit;
use tests::harness::peers::Peer;
use tests::harness::table::Table;

use self::figures::{Figures, HEADING};

/// The length of a flood in CI.
const SECONDS: u64 = 6;

/// What all floods share.
struct Setting {
    /// The length of a flood.
    length: Duration,
    /// The foreign bystanders.
    peers: Vec<Peer>,
}

/// One kind of attack. `docs/TESTING.md` names the floods.
struct Flood {
    name: &'static str,
    run: fn(&Setting) -> Result<Outcome>,
}

enum Outcome {
    Ran(Box<Figures>),
    /// The flood needs something that this machine does not have.
    Skipped(&'static str),
}

fn main() -> Result<ExitCode> {
    raise_file_limit();
    let setting = setting()?;
    let only = std::env::var("HOSTILE_ONLY").unwrap_or_default();
    let chosen = |flood: &&Flood| only.is_empty() || only.split(',').any(|it| it == flood.name);
    let mut table = Table::new(&HEADING);
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for flood in floods::ALL.iter().filter(chosen) {
        let begun = Instant::now();
        let outcome = (flood.run)(&setting);
        let outcome = outcome.with_context(|| format!("the flood {} did not run", flood.name));
        let seconds = begun.elapsed().as_secs_f64();
        match outcome {
            Ok(Outcome::Ran(figures)) => {
                let broken = figures.broken();
                table.row(figures.row(flood.name, broken.is_empty()));
                eprintln!("{}: {seconds:.0} s, {}", flood.name, figures.note);
                for bound in &broken {
                    println!("{}: {bound}", flood.name);
                }
                *(if broken.is_empty() {
                    &mut passed
                } else {
                    &mut failed
                }) += 1;
            }
            Ok(Outcome::Skipped(reason)) => {
                println!("{}: skipped, {reason}", flood.name);
                skipped += 1;
            }
            Err(error) => {
                println!("{error:#}");
                failed += 1;
            }
        }
    }
    println!("{table}");
    println!("hostile: {passed} passed, {failed} failed, {skipped} skipped");
    Ok(ExitCode::from(u8::from(failed > 0)))
}

fn setting() -> Result<Setting> {
    let seconds = match std::env::var("HOSTILE_SECONDS") {
        Ok(text) => text.parse().context("HOSTILE_SECONDS is not a number")?,
        Err(_) => SECONDS,
    };
    let mut peers = Vec::new();
    for name in ["rust", "go", "js"] {
        match Peer::from_env(name) {
            Some(peer) => peers.push(peer),
            None => println!(
                "{name}: no such bystander, because PEER_{} is not set",
                name.to_uppercase()
            ),
        }
    }
    Ok(Setting {
        length: Duration::from_secs(seconds),
        peers,
    })
}
