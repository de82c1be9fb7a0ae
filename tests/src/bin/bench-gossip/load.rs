//! The load of `cargo xtask bench gossip`. The program of each contender contains this file, so that all contenders publish the
//! same messages and count deliveries in the same way.
//!
//! | line of standard input | does |
//! | --- | --- |
//! | `one RATE SECONDS` | the first member publishes RATE messages per second |
//! | `all RATE SECONDS` | all members publish in turn, RATE messages per second together |
//!
//! With the rate 0, the members publish as fast as the implementation lets them. The program answers each line with an event
//! `load`.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader, stdin},
    time::{sleep, sleep_until},
};

use self::delays::Delays;

#[path = "delays.rs"]
mod delays;

/// The size of a message in bytes.
const SIZE: usize = 1024;

/// A sender may be this far behind its schedule, because timers are inexact. A greater lag counts as delay of the messages.
const SLACK: Duration = Duration::from_millis(5);

/// The messages that have not arrived count as lost when no message has arrived for this long.
const QUIET: Duration = Duration::from_secs(5);

/// How often the program checks whether all messages have arrived.
const POLL: Duration = Duration::from_millis(2);

/// A member of the topic.
pub(crate) trait Member: Send + Sync + 'static {
    /// Publishes a message. Waits if the implementation makes publishers wait.
    fn publish(&self, content: Vec<u8>) -> impl Future<Output = Result<()>> + Send;
}

/// What the members of this process have received.
pub(crate) struct Tally {
    began: Instant,
    /// The number of the current load. Messages of earlier loads do not count.
    load: AtomicU32,
    members: Vec<Mutex<Received>>,
}

/// What one member has received of the current load.
#[derive(Default)]
struct Received {
    /// A bit for each message.
    seen: Vec<u64>,
    messages: u64,
    /// The number of deliveries of a message that was already delivered.
    doubled: u64,
    delays: Delays,
    last: Option<Instant>,
}

/// What a message tells about itself.
struct Header {
    load: u32,
    number: u64,
    /// When the message was published, since the start of the tally.
    at: Duration,
}

/// A line of standard input.
struct Order {
    all: bool,
    rate: u64,
    time: Duration,
}

/// Says that the members are ready. Another process joins by these addresses.
pub(crate) fn say_ready(addresses: &[String]) {
    println!("{}", json!({"event": "ready", "addresses": addresses}));
}

/// Says that a peer is a neighbour of a member now, or is not a neighbour any more.
pub(crate) fn say_neighbour(member: usize, peer: &str, is_up: bool) {
    let event = if is_up {
        "neighbour_up"
    } else {
        "neighbour_down"
    };
    println!(
        "{}",
        json!({"event": event, "member": member, "peer": peer})
    );
}

/// Carries out the lines of standard input until it closes.
pub(crate) async fn obey<M: Member>(members: &[M], tally: &Tally) -> Result<()> {
    let mut lines = BufReader::new(stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let done = carry_out(members, tally, &Order::parse(&line)?).await?;
        println!("{done}");
    }
    Ok(())
}

async fn carry_out<M: Member>(members: &[M], tally: &Tally, order: &Order) -> Result<Value> {
    let load = tally.begin();
    let begun = Instant::now();
    let published = publish(members, tally, load, order).await?;
    let publishing = begun.elapsed();
    let expected = published * (members.len() as u64).saturating_sub(1);
    tally.settle(expected).await;
    let sum = tally.sum();
    let took = sum.last.map_or(Duration::ZERO, |last| last - begun);
    Ok(json!({
        "event": "load",
        "published": published,
        "publishing_seconds": publishing.as_secs_f64(),
        "expected": expected,
        "delivered": sum.messages,
        "doubled": sum.doubled,
        "seconds": took.as_secs_f64(),
        "p50_us": sum.delays.percentile(0.50),
        "p99_us": sum.delays.percentile(0.99),
        "slowest_us": sum.delays.percentile(1.0),
        "resident": memory("VmRSS:")?,
        "peak": memory("VmHWM:")?,
    }))
}

/// Publishes the messages of a load. Returns their number. A sender that falls behind its schedule has twice the time.
async fn publish<M: Member>(members: &[M], tally: &Tally, load: u32, order: &Order) -> Result<u64> {
    let begun = Instant::now();
    let mut number = 0;
    loop {
        let due = match order.rate {
            0 => Instant::now(),
            rate => begun + Duration::from_secs(1).mul_f64(number as f64 / rate as f64),
        };
        let is_late = begun.elapsed() >= 2 * order.time;
        if due >= begun + order.time || is_late {
            return Ok(number);
        }
        if due > Instant::now() {
            sleep_until(due.into()).await;
        }
        let now = Instant::now();
        let from = if now - due > SLACK { due } else { now };
        let header = Header {
            load,
            number,
            at: from - tally.began,
        };
        let sender = if order.all {
            number as usize % members.len()
        } else {
            0
        };
        members[sender].publish(header.write()).await?;
        number += 1;
    }
}

impl Tally {
    pub(crate) fn new(members: usize) -> Arc<Self> {
        Arc::new(Self {
            began: Instant::now(),
            load: AtomicU32::new(0),
            members: (0..members).map(|_| Mutex::default()).collect(),
        })
    }

    /// Counts a message that a member has received.
    pub(crate) fn receive(&self, member: usize, content: &[u8]) {
        let now = Instant::now();
        let mut received = lock(&self.members[member]);
        let load = self.load.load(Relaxed);
        let Some(header) = Header::read(content).filter(|header| header.load == load) else {
            return;
        };
        if received.note(header.number) {
            let since = now - self.began;
            received.delays.add(since.saturating_sub(header.at));
            received.last = Some(now);
        }
    }

    /// Begins the next load. Returns its number.
    fn begin(&self) -> u32 {
        let load = self.load.fetch_add(1, Relaxed) + 1;
        for member in &self.members {
            *lock(member) = Received::default();
        }
        load
    }

    /// Waits until all messages have arrived, or until nothing arrives any more.
    async fn settle(&self, expected: u64) {
        let (mut known, mut since) = (0, Instant::now());
        loop {
            let delivered = self.members.iter().map(|member| lock(member).messages);
            let delivered: u64 = delivered.sum();
            if delivered != known {
                (known, since) = (delivered, Instant::now());
            }
            if delivered >= expected || since.elapsed() >= QUIET {
                return;
            }
            sleep(POLL).await;
        }
    }

    fn sum(&self) -> Received {
        let mut sum = Received::default();
        for member in &self.members {
            let member = lock(member);
            sum.messages += member.messages;
            sum.doubled += member.doubled;
            sum.delays.add_all(&member.delays);
            sum.last = sum.last.max(member.last);
        }
        sum
    }
}

impl Received {
    /// Notes a message. Returns whether it is new.
    fn note(&mut self, number: u64) -> bool {
        let (word, bit) = ((number / 64) as usize, 1 << (number % 64));
        if self.seen.len() <= word {
            self.seen.resize(word + 1, 0);
        }
        let is_new = self.seen[word] & bit == 0;
        self.seen[word] |= bit;
        match is_new {
            true => self.messages += 1,
            false => self.doubled += 1,
        }
        is_new
    }
}

impl Header {
    fn write(&self) -> Vec<u8> {
        let mut bytes = vec![self.number as u8; SIZE];
        bytes[..4].copy_from_slice(&self.load.to_be_bytes());
        bytes[4..12].copy_from_slice(&self.number.to_be_bytes());
        bytes[12..20].copy_from_slice(&(self.at.as_nanos() as u64).to_be_bytes());
        bytes
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let number = |from: usize| -> Option<u64> {
            let bytes = bytes.get(from..from + 8)?;
            Some(u64::from_be_bytes(bytes.try_into().ok()?))
        };
        Some(Self {
            load: u32::from_be_bytes(bytes.get(..4)?.try_into().ok()?),
            number: number(4)?,
            at: Duration::from_nanos(number(12)?),
        })
    }
}

impl Order {
    fn parse(line: &str) -> Result<Self> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [who @ ("one" | "all"), rate, seconds] = words[..] else {
            bail!("there is no such command: {line}");
        };
        Ok(Self {
            all: who == "all",
            rate: rate.parse()?,
            time: Duration::from_secs(seconds.parse()?),
        })
    }
}

fn lock(member: &Mutex<Received>) -> MutexGuard<'_, Received> {
    member.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A figure of this process's memory, in bytes.
fn memory(name: &str) -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    Ok(kib.with_context(|| format!("no {name}"))?.parse::<u64>()? * 1024)
}
