//! Two nodes of ours, in this process.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures::future::{FutureExt, try_join_all};
use node::conn_state::{State, Subscription, Update};
use node::{Connection, Event, Events, IncomingStreams, Keypair, Multiaddr, Node, PeerId};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::Outcome;

/// Pairs at once.
const TOGETHER: usize = 50;

/// How long a round may take.
const PATIENCE: Duration = Duration::from_secs(30);

const PROTOCOL: &str = "/bowline/test/echo/1";

/// What each stream carries and brings back.
const PAYLOAD: usize = 100_000;

/// Streams that each end opens the moment its dial is done.
const STREAMS: usize = 4;

const TCP: &str = "/ip4/127.0.0.1/tcp/0";
const QUIC: &str = "/ip4/127.0.0.1/udp/0/quic-v1";

/// Over which transport each end dials the other.
#[derive(Clone, Copy)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    listen: [&'static str; 2],
}

pub(crate) const KINDS: [Kind; 3] = [
    Kind {
        name: "tcp, tcp",
        listen: [TCP, TCP],
    },
    Kind {
        name: "quic, quic",
        listen: [QUIC, QUIC],
    },
    Kind {
        name: "tcp, quic",
        listen: [TCP, QUIC],
    },
];

/// Runs all rounds.
pub(crate) fn run(kind: Kind, rounds: usize) -> Result<Outcome> {
    let runtime = tokio::runtime::Runtime::new()?;
    let mut outcome = Outcome {
        rounds,
        doubled: 0,
        failures: Vec::new(),
    };
    runtime.block_on(async {
        let mut running = JoinSet::new();
        for number in 0..rounds {
            if running.len() >= TOGETHER {
                note(&mut outcome, running.join_next().await);
            }
            running.spawn(async move {
                let round = timeout(PATIENCE, round(kind)).await;
                let doubled = round.context("it took too long").flatten();
                doubled.with_context(|| format!("round {number}"))
            });
        }
        while let Some(round) = running.join_next().await {
            note(&mut outcome, Some(round));
        }
    });
    Ok(outcome)
}

fn note(outcome: &mut Outcome, round: Option<Result<Result<bool>, tokio::task::JoinError>>) {
    match round {
        Some(Ok(Ok(doubled))) => outcome.doubled += usize::from(doubled),
        Some(Ok(Err(error))) => outcome.failures.push(format!("{error:#}")),
        Some(Err(error)) => outcome.failures.push(error.to_string()),
        None => {}
    }
}

struct End {
    node: Node,
    address: Multiaddr,
    states: Subscription<PeerId>,
    events: Events,
}

impl End {
    async fn new(listen: &str) -> Result<Self> {
        let node = Node::builder(Keypair::generate_ed25519()).build()?;
        let (_, states) = node.tracker().subscribe();
        let events = node.events();
        let addresses = node.listen(listen.parse()?).await?;
        tokio::spawn(echo(node.handle(PROTOCOL, 64)?));
        Ok(Self {
            address: addresses.into_iter().next().context("no address")?,
            node,
            states,
            events,
        })
    }

    /// Waits until there is one connection. Gives it, and how many there were.
    async fn settled(&mut self) -> Result<(Connection, usize)> {
        let mut opened = 0;
        loop {
            while let Some(event) = self.events.next().now_or_never() {
                opened += usize::from(matches!(event?, Event::Connected { .. }));
            }
            match &*self.node.connections() {
                [only] if !only.is_draining() => return Ok((only.clone(), opened)),
                [] => bail!("no connection is left"),
                _ => {}
            }
            let event = self.events.next().await?;
            opened += usize::from(matches!(event, Event::Connected { .. }));
        }
    }

    /// Whether the peer was connected, and from then on at any time.
    fn was_never_without(&mut self) -> Result<()> {
        let mut story = Vec::new();
        while let Some(update) = self.states.try_next() {
            let Update::Event(event) = update else {
                bail!("events were missed");
            };
            story.push(event.to);
        }
        let first = story.iter().position(|state| *state == State::Connected);
        let after = &story[first.context("it never was connected")?..];
        let unbroken = after.iter().all(|state| *state == State::Connected);
        ensure!(unbroken, "it was without a connection: {story:?}");
        Ok(())
    }
}

async fn echo(mut streams: IncomingStreams) {
    while let Some(mut incoming) = streams.next().await {
        tokio::spawn(async move {
            let (mut read, mut write) = tokio::io::split(&mut incoming.stream);
            // What breaks here is missed at the other end.
            let _ = tokio::io::copy(&mut read, &mut write).await;
            let _ = write.shutdown().await;
        });
    }
}

/// One round; gives whether both ends had two connections.
async fn round(kind: Kind) -> Result<bool> {
    let mut here = End::new(kind.listen[0]).await?;
    let mut there = End::new(kind.listen[1]).await?;
    let together = Barrier::new(2);
    let (one, other) = tokio::join!(
        dial_and_talk(&here.node, &there.address, &together),
        dial_and_talk(&there.node, &here.address, &together),
    );
    one.context("the first end")?;
    other.context("the second end")?;
    let (one, opened_here) = here.settled().await.context("the first end")?;
    let (other, opened_there) = there.settled().await.context("the second end")?;
    ensure!(
        one.direction() != other.direction() && one.via() == other.via(),
        "they keep different ones: {one:?}, {other:?}"
    );
    if let (Some(one), Some(other)) = (one.link(), other.link()) {
        ensure!(
            one.local() == other.remote() && one.remote() == other.local(),
            "they keep different ones: {one:?}, {other:?}"
        );
    }
    talk(&one).await.context("over what is kept")?;
    talk(&other).await.context("over what is kept")?;
    here.was_never_without().context("the first end")?;
    there.was_never_without().context("the second end")?;
    tokio::join!(here.node.shutdown(), there.node.shutdown());
    Ok(opened_here > 1 && opened_there > 1)
}

async fn dial_and_talk(node: &Node, address: &Multiaddr, together: &Barrier) -> Result<()> {
    together.wait().await;
    let connection = node.dial([address.clone()]).await?;
    let streams = (0..STREAMS).map(|_| talk(&connection));
    try_join_all(streams).await.map(drop)
}

/// Sends bytes and wants them back.
async fn talk(connection: &Connection) -> Result<()> {
    let (_, stream) = connection.open(&[PROTOCOL]).await?;
    let sent: Vec<u8> = (0..PAYLOAD).map(|n| (n % 251) as u8).collect();
    let (mut read, mut write) = tokio::io::split(stream);
    let mut returned = Vec::with_capacity(PAYLOAD);
    let write_all = async {
        write.write_all(&sent).await?;
        write.shutdown().await
    };
    let (written, read) = tokio::join!(write_all, read.read_to_end(&mut returned));
    written.context("writing")?;
    read.context("reading")?;
    ensure!(
        returned == sent,
        "{} of {PAYLOAD} bytes came back",
        returned.len()
    );
    Ok(())
}
