//! Dials by several ways in short turns, so that a slow second of the machine hurts them alike.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use serde_json::json;
use tokio::task::JoinSet;

use crate::way::{Name, Way};

/// Dials of each way before those that count: caches fill, and spare connections are made.
const WARM_UP: u32 = 10;

#[derive(Debug, Args)]
pub(crate) struct How {
    /// The ways to compare
    #[arg(long, value_enum, value_delimiter = ',', required = true)]
    ways: Vec<Name>,
    /// The SOCKS5 proxy, for those ways that take one
    #[arg(long)]
    proxy: Option<SocketAddr>,
    /// How often each way has its turn
    #[arg(long, default_value_t = 10)]
    turns: usize,
    /// How many dials a turn has
    #[arg(long, default_value_t = 100)]
    dials: u32,
    /// How many dials are under way at a time. With 1, each waits for the end of all that the one before has caused.
    #[arg(long, default_value_t = 1)]
    at_once: u32,
}

/// One way and what it took.
struct Course {
    name: Name,
    way: Arc<Way>,
    times: Vec<Duration>,
    /// Of all its turns, from a turn's first dial to its last.
    took: Duration,
}

pub(crate) async fn run(target: SocketAddr, how: &How) -> anyhow::Result<()> {
    let mut courses = Vec::new();
    for name in &how.ways {
        let way = Way::new(*name, target, how.proxy)?;
        let mut course = Course {
            name: *name,
            way: Arc::new(way),
            times: Vec::new(),
            took: Duration::ZERO,
        };
        course.one_by_one(WARM_UP).await?;
        course.times.clear();
        courses.push(course);
    }
    for turn in 0..how.turns {
        // Who goes first changes, and so does who goes before whom.
        courses.rotate_left(1);
        if turn % courses.len() == 0 {
            courses.reverse();
        }
        for course in &mut courses {
            match how.at_once {
                1 => course.one_by_one(how.dials).await?,
                at_once => course.at_once(how.dials, at_once).await?,
            }
        }
    }
    courses.into_iter().for_each(Course::report);
    Ok(())
}

impl Course {
    async fn one_by_one(&mut self, dials: u32) -> anyhow::Result<()> {
        for _ in 0..dials {
            let start = Instant::now();
            let stream = self.way.dial().await?;
            let took = start.elapsed();
            self.times.push(took);
            self.took += took;
            stream.settle().await?;
        }
        Ok(())
    }

    async fn at_once(&mut self, dials: u32, at_once: u32) -> anyhow::Result<()> {
        let begun = Arc::new(AtomicU32::new(0));
        let start = Instant::now();
        let mut dialing = JoinSet::new();
        for _ in 0..at_once {
            let (way, begun) = (Arc::clone(&self.way), Arc::clone(&begun));
            dialing.spawn(async move {
                let mut times = Vec::new();
                while begun.fetch_add(1, Ordering::Relaxed) < dials {
                    let start = Instant::now();
                    let stream = way.dial().await?;
                    times.push(start.elapsed());
                    stream.abort()?;
                }
                anyhow::Ok(times)
            });
        }
        while let Some(times) = dialing.join_next().await {
            self.times.extend(times??);
        }
        self.took += start.elapsed();
        Ok(())
    }

    /// Prints the median, the 99th percentile and the rate.
    fn report(mut self) {
        self.times.sort();
        let at = |share: f64| {
            let rank = (self.times.len() as f64 * share).ceil() as usize;
            self.times[rank.clamp(1, self.times.len()) - 1].as_secs_f64() * 1e6
        };
        let name = self.name.to_possible_value();
        let line = json!({
            "event": "dials",
            "way": name.as_ref().map(|name| name.get_name()),
            "count": self.times.len(),
            "p50_us": at(0.50),
            "p99_us": at(0.99),
            "per_second": self.times.len() as f64 / self.took.as_secs_f64(),
        });
        println!("{line}");
    }
}
