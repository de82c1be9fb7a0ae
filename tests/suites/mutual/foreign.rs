//! A foreign peer and one of ours: whatever either makes of two connections, there is one at any time.

use std::io::Write;
use std::process::ChildStdin;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures::{StreamExt, stream};
use node::conn_state::{State, Update};
use node::{Keypair, Multiaddr, Node, PeerId};
use tests::harness::peers::{Peer, Stack};
use tests::harness::process::Deadline;
use tokio::time::{Instant, timeout};

use crate::Outcome;

pub(crate) const STACKS: [Stack; 2] = [Stack::TcpTls, Stack::Quic];

/// How long a pair is watched: until after what one of them drops is closed.
const WATCHED: Duration = Duration::from_millis(2_500);

/// How long a round may take, and the start of the peer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Rounds at once.
const TOGETHER: usize = 10;

/// How often what is kept is pinged meanwhile.
const EVERY: Duration = Duration::from_millis(50);

/// Runs all rounds against one process of the peer, each with a node of its own.
pub(crate) fn run(peer: &Peer, stack: Stack, rounds: usize) -> Result<Outcome> {
    let runtime = tokio::runtime::Runtime::new()?;
    let mut listening = peer.listen(stack, Deadline::within(PATIENCE))?;
    let orders = listening.process.take_stdin();
    let there = There {
        address: listening.address.parse()?,
        peer: listening.peer_id.parse()?,
        orders: Mutex::new(orders.context("it has no standard input")?),
        stack,
    };
    let mut outcome = Outcome {
        rounds,
        doubled: 0,
        failures: Vec::new(),
    };
    runtime.block_on(async {
        let there = &there;
        let rounds = stream::iter(0..rounds).map(|number| async move {
            let round = timeout(PATIENCE, round(there)).await;
            let doubled = round.context("it took too long").flatten();
            doubled.with_context(|| format!("round {number}"))
        });
        let mut rounds = rounds.buffer_unordered(TOGETHER);
        while let Some(round) = rounds.next().await {
            match round {
                Ok(doubled) => outcome.doubled += usize::from(doubled),
                Err(error) => outcome.failures.push(format!("{error:#}")),
            }
        }
    });
    Ok(outcome)
}

/// The foreign peer.
struct There {
    address: Multiaddr,
    peer: PeerId,
    orders: Mutex<ChildStdin>,
    stack: Stack,
}

/// One round; gives whether there were two connections for a while.
async fn round(there: &There) -> Result<bool> {
    let node = Node::builder(Keypair::generate_ed25519()).build()?;
    let (_, mut states) = node.tracker().subscribe();
    let ours = node.listen(there.stack.loopback().parse()?).await?;
    let ours = ours.first().context("no address")?;
    {
        let mut orders = there.orders.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(orders, "dial {ours}")?;
    }
    node.dial([there.address.clone()]).await?;
    // The other one, if there is one, is up by now or soon; what is to be closed is quiet for a second by then. Foreign
    // dialers may keep a second one of their own.
    let mut most = 0;
    let begun = Instant::now();
    while begun.elapsed() < WATCHED {
        most = most.max(node.connections().len());
        let connection = node.connection(there.peer).context("none is left")?;
        let pinged = connection.ping().await;
        pinged.context("what is kept does not answer")?;
        tokio::time::sleep(EVERY).await;
    }
    let mut connected = false;
    while let Some(update) = states.try_next() {
        let Update::Event(event) = update else {
            bail!("events were missed");
        };
        ensure!(
            !connected || event.to == State::Connected,
            "it was {}",
            event.to
        );
        connected |= event.to == State::Connected;
    }
    ensure!(connected, "it never was connected");
    node.shutdown().await;
    Ok(most > 1)
}
