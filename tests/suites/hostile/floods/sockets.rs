//! TCP connections that come and say nothing, or too slowly, or leave at once.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::Result;
use tests::harness::peers::Stack;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep};

use super::{LIMITED, source};
use crate::libp2p::{self, IDENTIFY, PING};
use crate::node_under_attack::Start;
use crate::siege::{Aim, Counts, besiege};
use crate::{Outcome, Setting};

/// The sockets that an attacker holds. It closes the oldest one for the next.
const HELD: usize = 1_000;

/// The attackers that authenticate, and how many connections each address may have by default.
const HOLDERS: usize = 32;
const PER_ADDRESS: usize = 8;

/// The settings of a host with 1 GiB of memory.
const SMALL: &str = "max_inbound = 256\nmax_per_subnet = 64\n";

/// Places that are held for this long count as idle.
const HEAD_START: Duration = Duration::from_secs(12);

/// The bytes that a TCP connection without payload costs its opener: three packets (SYN, ACK and FIN) with two headers of 20 bytes.
const BARE_CONNECTION: usize = 3 * 40;

pub(crate) fn silent_16(setting: &Setting) -> Result<Outcome> {
    silent(setting, Duration::from_micros(62_500))
}

pub(crate) fn silent_fast(setting: &Setting) -> Result<Outcome> {
    silent(setting, Duration::ZERO)
}

fn silent(setting: &Setting, pause: Duration) -> Result<Outcome> {
    finish(setting, limited(""), |aim| async move {
        let mut held = VecDeque::new();
        each(&aim, pause, |stream| {
            if held.len() == HELD {
                held.pop_front();
            }
            held.push_back(stream);
        })
        .await;
        Ok(())
    })
}

pub(crate) fn connect_and_close(setting: &Setting) -> Result<Outcome> {
    finish(setting, limited(""), |aim| async move {
        each(&aim, Duration::ZERO, drop).await;
        Ok(())
    })
}

/// Sixteen connections per second, each of which sends a byte every half second.
pub(crate) fn trickle(setting: &Setting) -> Result<Outcome> {
    finish(setting, limited(""), |aim| async move {
        let mut trickles = JoinSet::new();
        let of = aim.clone();
        each(&aim, Duration::from_micros(62_500), |stream| {
            let aim = of.clone();
            trickles.spawn(async move { drip(stream, &aim).await });
        })
        .await;
        Ok(())
    })
}

async fn drip(mut stream: TcpStream, aim: &Aim) {
    let said = libp2p::proposal("/tls/1.0.0");
    for byte in said {
        if aim.is_over() || stream.write_all(&[byte]).await.is_err() {
            return;
        }
        Counts::add(&aim.counts.sent, 1);
        sleep(Duration::from_millis(500)).await;
    }
}

/// Authenticated connections from 32 addresses that stay for as long as they are let.
pub(crate) fn hold_places(setting: &Setting) -> Result<Outcome> {
    let start = Start {
        head_start: HEAD_START,
        ..limited(SMALL)
    };
    finish(setting, start, |aim| async move {
        let mut holders = JoinSet::new();
        for n in 0..HOLDERS * PER_ADDRESS {
            let aim = aim.clone();
            holders.spawn(async move {
                while !aim.is_over() {
                    // A connection that is refused or closed is followed by the next one.
                    let _ = hold(n % HOLDERS, &aim).await;
                    sleep(Duration::from_millis(100)).await;
                }
            });
        }
        tokio::time::sleep_until(aim.until.into()).await;
        Ok(())
    })
}

async fn hold(source_number: usize, aim: &Aim) -> Result<()> {
    Counts::add(&aim.counts.tries, 1);
    Counts::add(&aim.counts.sent, BARE_CONNECTION);
    let connection = libp2p::authenticate(source(source_number), aim).await?;
    Counts::add(&aim.counts.taken, 1);
    while let Some(mut stream) = connection.accept().await {
        tokio::spawn(async move {
            match libp2p::respond(&mut stream, &[PING, IDENTIFY]).await? {
                PING => libp2p::answer_pings(stream).await,
                _ => Ok(stream.shutdown().await?),
            }
        });
    }
    Ok(())
}

/// Connects until the end of the flood, from one address after the other, and passes each connection on.
async fn each(aim: &Aim, pause: Duration, mut with: impl FnMut(TcpStream)) {
    let mut ticks = interval(pause.max(Duration::from_nanos(1)));
    let patience = Duration::from_secs(1);
    let mut n = 0;
    while !aim.is_over() {
        if !pause.is_zero() {
            ticks.tick().await;
        }
        Counts::add(&aim.counts.tries, 1);
        let begun = Instant::now();
        let connecting = libp2p::connect(source(n), aim.tcp);
        if let Ok(Ok(stream)) = tokio::time::timeout_at(begun + patience, connecting).await {
            Counts::add(&aim.counts.taken, 1);
            Counts::add(&aim.counts.sent, BARE_CONNECTION);
            with(stream);
        }
        n += 1;
    }
}

fn limited(more: &str) -> Start {
    Start {
        settings: format!("{LIMITED}{more}"),
        ..Start::default()
    }
}

fn finish<F>(
    setting: &Setting,
    start: Start,
    attack: impl FnOnce(Aim) -> F + Send,
) -> Result<Outcome>
where
    F: Future<Output = Result<()>>,
{
    let siege = besiege(setting, &start, Stack::TcpTls, attack)?;
    Ok(Outcome::Ran(Box::new(siege.figures)))
}
