//! A Bowline node and a process on iroh-gossip that dial each other when they start.

use std::net::UdpSocket;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use node::Keypair;
use tests::harness::process::Deadline;
use tests::harness::{Home, Peer};

use crate::group::Outcome;
use crate::member::{Member, PATIENCE, Sent, Via, endpoint_id};

/// How many messages each end publishes.
const MESSAGES: usize = 20;

/// How long a pair is watched for the loss of a neighbour after its messages.
const WATCHED: Duration = Duration::from_secs(1);

/// Runs pairs, one after another.
pub(crate) fn run(peer: &Peer, rounds: usize) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    for round in 0..rounds {
        let pair = pair(peer, u8::try_from(round % 200).unwrap_or(0));
        let took = pair.with_context(|| format!("pair {round}"))?;
        outcome.slowest = outcome.slowest.max(took);
        outcome.messages += 2 * MESSAGES;
        outcome.deliveries += 2 * MESSAGES;
    }
    Ok(outcome)
}

fn pair(peer: &Peer, seed: u8) -> Result<Duration> {
    let home = Home::new()?;
    let node_id = new_identity(&home)?;
    let mut secret = [seed; 32];
    let foreign = Keypair::ed25519_from_bytes(&mut secret)?.public();
    let foreign_id = endpoint_id(&foreign.to_peer_id())?;
    let (here, there) = (free_port()?, free_port()?);
    let (here_at, there_at) = (format!("127.0.0.1:{here}"), format!("127.0.0.1:{there}"));
    let (here_name, there_name) = (
        format!("{node_id}@{here_at}"),
        format!("{foreign_id}@{there_at}"),
    );
    let begun = Instant::now();
    let seed = seed.to_string();
    let flags = ["--addr", &there_at, "--key-seed", &seed];
    // The process on iroh-gossip starts in less time, so both dial at about the same moment.
    let started = std::thread::scope(|scope| {
        let (at, by) = (&here_at, &there_name);
        let ours =
            scope.spawn(move || Member::bowline_at("bowline", home, at, &[Via::Address(by)]));
        let theirs = Member::iroh_at(peer, "iroh", &flags, &[Via::Address(&here_name)]);
        let ours = ours.join().ok().context("the thread panicked")?;
        Ok::<_, anyhow::Error>([ours?, theirs?])
    });
    let mut members = started?;
    let mut wanted = Vec::new();
    for member in &mut members {
        crate::group::wait_for_neighbour(member)?;
        for number in 0..MESSAGES {
            let (by, text) = (member.name.clone(), format!("{number} of {}", member.name));
            member.publish(&text)?;
            wanted.push(Sent { by, text });
        }
    }
    let deadline = Deadline::within(PATIENCE);
    while !have_heard(&mut members, &wanted) {
        ensure!(
            !deadline.left().is_zero(),
            "messages are missing: {:?}",
            members.each_ref().map(|member| member.missing(&wanted))
        );
        sleep(Duration::from_millis(10));
    }
    let took = begun.elapsed();
    sleep(WATCHED);
    for member in &mut members {
        member.read();
        let lost = member
            .changes
            .iter()
            .any(|change| change.contains("neighbour_down"));
        ensure!(
            !lost,
            "{} lost its neighbour: {:?}",
            member.name,
            member.changes
        );
        ensure!(member.doubled().is_empty(), "{:?}", member.doubled());
    }
    Ok(took)
}

fn have_heard(members: &mut [Member; 2], wanted: &[Sent]) -> bool {
    members.iter_mut().all(|member| {
        member.read();
        member.missing(wanted).is_empty()
    })
}

/// Creates the identity of a node. Returns its endpoint id.
fn new_identity(home: &Home) -> Result<String> {
    let data = home.data_dir();
    let data = data.to_str().context("the folder has no name")?;
    let created = home.run(&["key", "new", "--json", "--data-dir", data])?;
    ensure!(created.code == Some(0), "{created:?}");
    let events = created.events()?;
    let peer = events.first().context("no line")?.text("peer_id").parse()?;
    endpoint_id(&peer)
}

/// A UDP port that was free a moment ago.
fn free_port() -> Result<u16> {
    Ok(UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port())
}
