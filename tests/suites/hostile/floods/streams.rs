//! Streams of one authenticated peer: pushes of identify, and renewals of a relay's slot.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use node::relay_slots::Status;
use node::relay_slots::wire::{HOP_PROTOCOL, HopMessage};
use node::transport_tcp::Connection;
use tests::harness::peers::Stack;
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{LIMITED, source};
use crate::libp2p::{self, PUSH};
use crate::node_under_attack::Start;
use crate::siege::{Aim, Counts, besiege};
use crate::{Outcome, Setting};

/// The protocol names of a push, and the length of each, which is mostly control characters.
const NAMES: usize = 36;
const NAME: usize = 100;

/// Requests at the same time on one connection.
const TOGETHER: usize = 8;

/// Renewals that a relay may grant at once, and about one more per second. A holder needs one in half an hour.
const RENEWALS: u64 = 64;

const PATIENCE: Duration = Duration::from_secs(2);

/// Pushes that name protocols of control characters, ten per second, each with other names.
pub(crate) fn pushes(setting: &Setting) -> Result<Outcome> {
    let start = Start {
        settings: LIMITED.to_owned(),
        ..Start::default()
    };
    let attack = |aim: Aim| async move { repeat(aim, 1, Duration::from_millis(100), push).await };
    let siege = besiege(setting, &start, Stack::TcpTls, attack)?;
    Ok(Outcome::Ran(Box::new(siege.figures)))
}

async fn push(connection: &Connection, aim: &Aim) -> Result<()> {
    let mut stream = connection.open().await?;
    ensure!(libp2p::propose(&mut stream, PUSH).await?, "no pushes");
    let number = Counts::get(&aim.counts.tries).to_be_bytes();
    let mut message = Vec::new();
    for n in 0..NAMES {
        let mut name = vec![1; NAME - 16];
        // No two pushes are the same. The characters are control characters, too.
        name.extend(
            number
                .iter()
                .flat_map(|byte| [byte >> 4 | 0x10, byte & 0xf]),
        );
        name[0] = 1 + n as u8 % 30;
        libp2p::field(&mut message, 3, &name);
    }
    let message = libp2p::framed(&message);
    stream.write_all(&message).await?;
    stream.shutdown().await?;
    Counts::add(&aim.counts.taken, 1);
    Ok(())
}

/// Requests for the slot that the attacker holds already, as fast as they go.
pub(crate) fn renewals(setting: &Setting) -> Result<Outcome> {
    let start = Start {
        settings: format!("{LIMITED}[relay]\nserver = true\n"),
        ..Start::default()
    };
    let attack = |aim: Aim| async move { repeat(aim, TOGETHER, Duration::ZERO, renew).await };
    let mut siege = besiege(setting, &start, Stack::TcpTls, attack)?;
    let granted = Counts::get(&siege.counts.taken);
    let most = RENEWALS + setting.length.as_secs();
    if granted > most {
        let broken = format!("the relay granted {granted} renewals, not {most}");
        siege.figures.own.push(broken);
    }
    Ok(Outcome::Ran(Box::new(siege.figures)))
}

async fn renew(connection: &Connection, aim: &Aim) -> Result<()> {
    let mut stream = connection.open().await?;
    ensure!(
        libp2p::propose(&mut stream, HOP_PROTOCOL).await?,
        "no relay"
    );
    let request = HopMessage::Reserve.encode()?;
    stream.write_all(&request).await?;
    stream.flush().await?;
    let answer = libp2p::read_frame(&mut stream).await?;
    let answer = HopMessage::decode(&answer).context("no answer")?;
    if matches!(answer, HopMessage::Status { status, .. } if status == Status::Ok) {
        Counts::add(&aim.counts.taken, 1);
    }
    Ok(())
}

/// Makes requests on one connection until the end of the flood, several at the same time. Connects again if the node closes the
/// connection.
async fn repeat(
    aim: Aim,
    together: usize,
    pause: Duration,
    request: impl AsyncFn(&Connection, &Aim) -> Result<()> + Copy,
) -> Result<()> {
    let mut n = 0;
    while !aim.is_over() {
        let connecting = libp2p::authenticate(source(n), &aim);
        n += 1;
        let Ok(Ok(connection)) = timeout(PATIENCE, connecting).await else {
            continue;
        };
        let serving = connection.clone();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { while serving.accept().await.is_some() {} });
        let workers = (0..together).map(|_| async {
            while !aim.is_over() {
                Counts::add(&aim.counts.tries, 1);
                // A refusal is followed by the next request.
                let _ = timeout(PATIENCE, request(&connection, &aim)).await;
                tokio::time::sleep(pause).await;
                if connection.is_closed() {
                    return;
                }
            }
        });
        futures::future::join_all(workers).await;
    }
    Ok(())
}
