//! One flood from its start to its figures.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use node::{Multiaddr, PeerId};
use tests::harness::peers::Stack;

use crate::Setting;
use crate::bystanders;
use crate::figures::Figures;
use crate::logs;
use crate::node_under_attack::{NodeUnderAttack, Start, socket};

/// How long after the end of a flood the memory must be given back.
const AFTER: Duration = Duration::from_secs(10);

/// How often the memory is looked at meanwhile.
const POLL: Duration = Duration::from_millis(100);

/// The memory that may be left, in bytes. The wait for less ends there.
const ENOUGH: u64 = 8 << 20;

/// Honest connects before the flood, so that what is allocated once is allocated.
const WARM_UP: u8 = 5;

/// How long an attacker may take to notice the end of its flood.
const GRACE: Duration = Duration::from_secs(5);

/// The counter of the connections that the node opened.
const DIALS: &str = "bowline_dials_total";

/// What an attacker knows of the node, and what it counts.
#[derive(Clone)]
pub(crate) struct Aim {
    pub(crate) tcp: SocketAddr,
    pub(crate) quic: SocketAddr,
    pub(crate) peer: PeerId,
    /// The admin endpoint, as the ready line names it.
    pub(crate) admin: String,
    pub(crate) data_dir: PathBuf,
    /// When the flood ends.
    pub(crate) until: Instant,
    pub(crate) counts: Arc<Counts>,
}

#[derive(Default)]
pub(crate) struct Counts {
    /// Bytes sent to the node.
    pub(crate) sent: AtomicU64,
    /// Connections, frames or requests: whatever the flood consists of.
    pub(crate) tries: AtomicU64,
    /// Those that the node took.
    pub(crate) taken: AtomicU64,
    /// Bytes of payload on one connection that nobody reads, at the most.
    pub(crate) unread: AtomicU64,
    /// Streams of one connection, at the most.
    pub(crate) streams: AtomicU64,
}

impl Counts {
    pub(crate) fn add(counter: &AtomicU64, n: usize) {
        counter.fetch_add(n as u64, Ordering::Relaxed);
    }

    /// The counter becomes at least `n`.
    pub(crate) fn raise(counter: &AtomicU64, n: usize) {
        counter.fetch_max(n as u64, Ordering::Relaxed);
    }

    pub(crate) fn get(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::Relaxed)
    }
}

impl Aim {
    fn at(node: &NodeUnderAttack, until: Instant) -> Result<Self> {
        Ok(Self {
            tcp: socket(&node.address("/tcp/")?)?,
            quic: socket(&node.address("/quic-v1")?)?,
            peer: node.peer_id()?,
            admin: node.ready["admin"].as_str().unwrap_or_default().to_owned(),
            data_dir: node.home().data_dir(),
            until,
            counts: Arc::default(),
        })
    }

    pub(crate) fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }
}

/// The node under attack after a flood, with the figures that every flood has.
pub(crate) struct Siege {
    pub(crate) node: NodeUnderAttack,
    pub(crate) counts: Arc<Counts>,
    pub(crate) figures: Figures,
}

/// Starts a node, attacks it for the length of a flood while bystanders connect over `stack`, and measures.
pub(crate) fn besiege<F>(
    setting: &Setting,
    start: &Start,
    stack: Stack,
    attack: impl FnOnce(Aim) -> F + Send,
) -> Result<Siege>
where
    F: Future<Output = Result<()>>,
{
    let mut node = NodeUnderAttack::start(start)?;
    let transport = if stack == Stack::Quic {
        "/quic-v1"
    } else {
        "/tcp/"
    };
    let at = node.address(transport)?;
    warm_up(&at)?;
    let before = Before::of(&node)?;
    let aim = Aim::at(&node, Instant::now() + start.head_start + setting.length)?;
    let (counts, until) = (aim.counts.clone(), aim.until);
    let mut figures = Figures::default();
    let attacked = thread::scope(|threads| {
        let attacked = threads.spawn(|| run_attack(attack(aim), until + GRACE));
        thread::sleep(start.head_start);
        let foreign = setting.peers.iter().map(|peer| {
            let at = &at;
            let connects = threads.spawn(move || bystanders::foreign(peer, stack, at, until));
            (peer.name.clone(), connects)
        });
        let foreign: Vec<_> = foreign.collect();
        let ours = bystanders::bowline(&at, until)?;
        figures.honest.insert("bowline".to_owned(), ours);
        for (name, connects) in foreign {
            let connects = connects.join().ok().context("a bystander panicked")?;
            figures.honest.insert(name, connects);
        }
        attacked.join().ok().context("the attacker panicked")?
    });
    attacked.context("the attack failed")?;
    ensure!(!node.has_ended()?, "the node has ended");
    before.compare(&node, &counts, &mut figures)?;
    Ok(Siege {
        node,
        counts,
        figures,
    })
}

/// What is compared after a flood.
struct Before {
    memory: u64,
    dialed: u64,
    printed: usize,
    errors: u64,
}

impl Before {
    fn of(node: &NodeUnderAttack) -> Result<Self> {
        node.forget_peak()?;
        Ok(Self {
            memory: node.memory()?.0,
            dialed: node.counter(DIALS)?,
            printed: node.output().len(),
            errors: node.error_bytes(),
        })
    }

    fn compare(self, node: &NodeUnderAttack, counts: &Counts, figures: &mut Figures) -> Result<()> {
        let after = memory_after(node, self.memory)?;
        figures.memory = [self.memory, node.memory()?.1, after];
        figures.opened = node.counter(DIALS)? - self.dialed;
        let output = node.output();
        let printed = logs::bytes_of_attack(&output[self.printed..], bystanders::is_honest);
        figures.logged = printed + node.error_bytes() - self.errors;
        figures.received = Counts::get(&counts.sent);
        let (tries, taken) = (Counts::get(&counts.tries), Counts::get(&counts.taken));
        figures.note = format!("{tries} tries, {taken} taken");
        Ok(())
    }
}

fn run_attack(attack: impl Future<Output = Result<()>>, end: Instant) -> Result<()> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).enable_all().build()?;
    let outcome = runtime.block_on(async {
        // An attacker that hangs has done what it could.
        tokio::time::timeout_at(end.into(), attack)
            .await
            .unwrap_or(Ok(()))
    });
    runtime.shutdown_background();
    outcome
}

fn warm_up(at: &Multiaddr) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    for n in 0..WARM_UP {
        let connect = bystanders::connect(at.clone(), [127, 250, n, 1].into());
        runtime
            .block_on(connect)
            .context("the node does not answer before the flood")?;
    }
    Ok(())
}

/// The memory once it is back near its start, or when the time for that is over.
fn memory_after(node: &NodeUnderAttack, before: u64) -> Result<u64> {
    let ended = Instant::now();
    loop {
        let now = node.memory()?.0;
        if now <= before + ENOUGH || ended.elapsed() >= AFTER {
            return Ok(now);
        }
        thread::sleep(POLL);
    }
}
