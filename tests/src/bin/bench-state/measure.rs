//! One measurement of one contender.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use conn_state::State;
use libp2p_identity::PeerId;
use serde_json::{Value, json};
use tests::harness::program::resident;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

use crate::readers::{self, Seen};
use crate::stores::{Broadcast, Core, Shared, Store, Watches};
use crate::{How, Who};

/// A coming has two transitions, a going has one.
const TRANSITIONS: u64 = 3;

/// How many peers are there at a time: the others have gone.
const PRESENT: usize = 64;

/// The most answers whose times are kept.
const ANSWERS: usize = 4_000_000;

type Ask = Box<dyn Fn(&PeerId) -> State + Send>;

/// What there is beside the one who writes.
struct Company {
    readers: Vec<JoinHandle<Seen>>,
    ask: Option<Ask>,
    /// Kept and not read.
    idlers: Vec<Box<dyn Send>>,
}

pub(crate) fn write(who: Who, how: &How) -> anyhow::Result<()> {
    let peers: Vec<PeerId> = (0..how.peers).map(|_| PeerId::random()).collect();
    let transitions = u64::from(how.peers) * u64::from(how.rounds) * TRANSITIONS;
    // Readers get the threads that a program's runtime would give them.
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    let over = Arc::new(AtomicBool::new(false));
    let (mut store, company) = begin(who, how, &peers, &runtime, transitions, &over)?;

    let before = resident()?;
    let asking = company.ask.map(|ask| {
        let (peers, over) = (peers.clone(), Arc::clone(&over));
        thread::spawn(move || answers(&ask, &peers, &over))
    });
    let start = Instant::now();
    come_and_go(store.as_mut(), &peers, how.rounds, start);
    let took = start.elapsed();
    over.store(true, Ordering::Relaxed);
    // Who waits for a change of one peer is to see that it is over.
    come_and_go(store.as_mut(), &peers, u32::from(who == Who::Watch), start);

    let mut result = json!({
        "event": "written",
        "transitions": transitions,
        "per_second": transitions as f64 / took.as_secs_f64(),
        "grown_mib": (resident()?.saturating_sub(before)) as f64 / f64::from(1 << 20),
        "idlers": company.idlers.len(),
    });
    if let Some(asking) = asking {
        let times = asking.join().ok().context("the one who asks panicked")?;
        result["asked"] = times.len().into();
        result["ask_p50_us"] = percentile(&times, 0.50);
        result["ask_p99_us"] = percentile(&times, 0.99);
    }
    let mut seen = Seen::default();
    for reader in company.readers {
        let one = runtime.block_on(reader)?;
        seen.events += one.events;
        seen.missed += one.missed;
    }
    result["seen"] = seen.events.into();
    result["missed"] = seen.missed.into();
    println!("{result}");
    Ok(())
}

fn begin(
    who: Who,
    how: &How,
    peers: &[PeerId],
    runtime: &Runtime,
    transitions: u64,
    over: &Arc<AtomicBool>,
) -> anyhow::Result<(Box<dyn Store>, Company)> {
    let now = Instant::now();
    let (readers, idlers) = (0..how.readers, 0..how.idlers);
    Ok(match who {
        Who::Tracker => {
            let alone = how.readers == 0 && how.idlers == 0 && !how.ask;
            anyhow::ensure!(alone, "a tracker that is not shared has nobody beside it");
            let company = Company {
                readers: Vec::new(),
                ask: None,
                idlers: Vec::new(),
            };
            (Box::new(Core::new(now, peers.len())), company)
        }
        Who::Shared => {
            let store = Shared::new(now, peers.len());
            let tracker = store.tracker.clone();
            let company = Company {
                readers: readers
                    .map(|_| readers::of_shared(&store, runtime, transitions))
                    .collect(),
                idlers: idlers
                    .map(|_| Box::new(store.tracker.subscribe()) as Box<dyn Send>)
                    .collect(),
                ask: how
                    .ask
                    .then(|| Box::new(move |peer: &PeerId| tracker.state(peer)) as Ask),
            };
            (Box::new(store), company)
        }
        Who::Watch => {
            let store = Watches::of(peers);
            let asked = store.clone();
            let company = Company {
                readers: readers
                    .flat_map(|_| readers::of_watches(&store, runtime, peers, over))
                    .collect(),
                idlers: Vec::new(),
                ask: how
                    .ask
                    .then(|| Box::new(move |peer: &PeerId| asked.state(peer)) as Ask),
            };
            (Box::new(store), company)
        }
        Who::Broadcast => {
            let store = Broadcast::new();
            let asked = store.clone();
            let company = Company {
                readers: readers
                    .map(|_| readers::of_broadcast(&store, runtime, transitions))
                    .collect(),
                idlers: idlers
                    .map(|_| Box::new(store.changes.subscribe()) as Box<dyn Send>)
                    .collect(),
                ask: how
                    .ask
                    .then(|| Box::new(move |peer: &PeerId| asked.state(peer)) as Ask),
            };
            (Box::new(store), company)
        }
    })
}

/// Every peer comes, and goes when some others have come.
fn come_and_go(store: &mut dyn Store, peers: &[PeerId], rounds: u32, start: Instant) {
    let mut now = start;
    for _ in 0..rounds {
        for (place, peer) in peers.iter().enumerate() {
            // The clock is the host's: reading it is not what is measured.
            now += Duration::from_nanos(100);
            store.come(now, place, peer);
            if let Some(gone) = place.checked_sub(PRESENT) {
                store.go(now, gone, &peers[gone]);
            }
        }
        let last = peers.len().saturating_sub(PRESENT);
        for (place, peer) in peers.iter().enumerate().skip(last) {
            store.go(now, place, peer);
        }
    }
}

/// Asks for one peer's state after the other's until it is over, and gives what each answer took, sorted.
fn answers(ask: &Ask, peers: &[PeerId], over: &AtomicBool) -> Vec<Duration> {
    let mut times = Vec::with_capacity(ANSWERS);
    for peer in peers.iter().cycle() {
        let start = Instant::now();
        black_box(ask(peer));
        times.push(start.elapsed());
        // A short run may be over before the first question.
        if over.load(Ordering::Relaxed) || times.len() == ANSWERS {
            break;
        }
    }
    times.sort();
    times
}

fn percentile(sorted: &[Duration], share: f64) -> Value {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    let at = sorted.get(rank.clamp(1, sorted.len().max(1)) - 1);
    at.map(|time| time.as_secs_f64() * 1e6).into()
}

pub(crate) fn hold(who: Who, peers: u32) -> anyhow::Result<()> {
    let ids: Vec<PeerId> = (0..peers).map(|_| PeerId::random()).collect();
    let now = Instant::now();
    let before = resident()?;
    let mut store: Box<dyn Store> = match who {
        Who::Tracker => Box::new(Core::new(now, 0)),
        Who::Shared => Box::new(Shared::new(now, 0)),
        Who::Watch => Box::new(Watches::default()),
        Who::Broadcast => Box::new(Broadcast::new()),
    };
    for peer in &ids {
        store.come(now, usize::MAX, peer);
    }
    let grown = resident()?.saturating_sub(before);
    drop(store);
    let result = json!({
        "event": "held",
        "peers": peers,
        "bytes_a_peer": grown as f64 / f64::from(peers.max(1)),
    });
    println!("{result}");
    Ok(())
}
