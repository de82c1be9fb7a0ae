//! yamux: frames of one byte that fill the windows of many streams, none of which the node reads.

use std::time::Duration;

use anyhow::Result;
use tests::harness::peers::Stack;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::{LIMITED, source};
use crate::figures::Unread;
use crate::libp2p::{self, DATA, PING, SYN, frame};
use crate::node_under_attack::Start;
use crate::siege::{Aim, Counts, besiege};
use crate::{Outcome, Setting};

/// The receive window of a new stream (yamux spec, section "Flow Control").
const WINDOW: usize = 256 << 10;

/// Questions for the list of protocols. The answers fill the attacker's window, because it reads nothing, so that the node waits
/// there and does not read on.
const QUESTIONS: usize = 4_000;

/// The number of the last of the two streams that ping. A peer may have two such streams.
const PINGING: u32 = 3;

/// One-byte frames per write.
const BATCH: usize = 4_096;

/// How long the node may leave a write waiting before the attacker believes that it has stopped reading.
const PATIENCE: Duration = Duration::from_secs(2);

pub(crate) fn frames_64(setting: &Setting) -> Result<Outcome> {
    frames(setting, 64)
}

pub(crate) fn frames_256(setting: &Setting) -> Result<Outcome> {
    // As many streams as one peer may open.
    frames(setting, 256)
}

fn frames(setting: &Setting, streams: u32) -> Result<Outcome> {
    let start = Start {
        settings: LIMITED.to_owned(),
        ..Start::default()
    };
    let attack = move |aim: Aim| async move {
        // A node that closes the connection is attacked again.
        while !aim.is_over() {
            let _ = fill(&aim, streams).await;
            if !aim.is_over() {
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        }
        Ok(())
    };
    let mut siege = besiege(setting, &start, Stack::TcpTls, attack)?;
    siege.figures.unread = Some(Unread {
        payload: Counts::get(&siege.counts.unread),
        streams: Counts::get(&siege.counts.streams),
    });
    Ok(Outcome::Ran(Box::new(siege.figures)))
}

/// Opens the streams so that the node does not read them, and sends one-byte frames over all of them in turn until their windows are
/// full or the flood is over. Keeps the connection until then.
async fn fill(aim: &Aim, streams: u32) -> Result<()> {
    let mut node = libp2p::raw_muxer(source(0), aim).await?;
    let mut send = async |bytes: &[u8]| -> Result<()> {
        timeout(PATIENCE, node.write_all(bytes)).await??;
        timeout(PATIENCE, node.flush()).await??;
        Ok(())
    };
    let header = libp2p::message("/multistream/1.0.0");
    let questions = libp2p::message("ls").repeat(QUESTIONS);
    let opening = [header, questions].concat();
    let pings = libp2p::proposal(PING);
    let numbers: Vec<u32> = (0..streams).map(|n| 2 * n + 1).collect();
    for number in &numbers {
        // The answers to pings fill the window, too.
        let said = if *number <= PINGING { &pings } else { &opening };
        send(&frame(DATA, SYN, *number, said)).await?;
    }
    Counts::raise(&aim.counts.streams, numbers.len());
    let frames = numbers
        .iter()
        .flat_map(|number| frame(DATA, 0, *number, &[7]));
    let frames: Vec<u8> = frames.collect();
    let rounds = WINDOW - opening.len();
    let rounds_per_write = BATCH / numbers.len();
    let many = frames.repeat(rounds_per_write);
    for round in 1..=rounds / rounds_per_write {
        if aim.is_over() {
            return Ok(());
        }
        send(&many).await?;
        Counts::add(&aim.counts.tries, rounds_per_write * numbers.len());
        Counts::raise(&aim.counts.unread, round * rounds_per_write * numbers.len());
    }
    tokio::time::sleep_until(aim.until.into()).await;
    Ok(())
}
