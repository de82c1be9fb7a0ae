//! The network, and cold starts in it.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde::Serialize;
use tests::harness::process::{Deadline, Process};
use tests::harness::program::serve;

use crate::contender::{self, Contender, Transport};

/// How long one step may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// How much is measured at a time.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Sizes {
    /// How often each contender starts in a round.
    pub(crate) starts: u32,
    /// Half of the network: the nodes of one implementation.
    half: usize,
    wanted: usize,
}

impl Sizes {
    pub(crate) const FULL: Self = Self {
        starts: 15,
        half: 50,
        wanted: 20,
    };
    pub(crate) const QUICK: Self = Self {
        starts: 2,
        half: 10,
        wanted: 5,
    };
}

/// The running peers. Dropping it ends them.
pub(crate) struct Network {
    transport: Transport,
    /// One of Bowline, one of rust-libp2p, and so on.
    peers: Vec<String>,
    _servers: Vec<Process>,
}

/// What one contender did in a round.
#[derive(Default)]
pub(crate) struct Starts(Vec<Start>);

struct Start {
    millis: f64,
    peers: f64,
}

impl Network {
    pub(crate) fn start(transport: Transport, sizes: &Sizes) -> Result<Self> {
        let deadline = Deadline::within(PATIENCE);
        let (mut servers, mut halves) = (Vec::new(), Vec::new());
        for mut command in contender::servers(transport, sizes.half)? {
            let (process, addresses) = serve("servers", &mut command, deadline)?;
            halves.push(addresses);
            servers.push(process);
        }
        ensure!(
            halves.iter().all(|half| half.len() == sizes.half),
            "not {} nodes of each kind: {halves:?}",
            sizes.half
        );
        let pairs = halves[0].iter().zip(&halves[1]);
        let peers = pairs.flat_map(|(ours, theirs)| [ours.clone(), theirs.clone()]);
        Ok(Self {
            transport,
            peers: peers.collect(),
            _servers: servers,
        })
    }
}

impl Starts {
    /// One cold start with a new identity. It closes its connections afterwards.
    pub(crate) fn take(
        &mut self,
        network: &Network,
        contender: Contender,
        sizes: &Sizes,
    ) -> Result<()> {
        let deadline = Deadline::within(PATIENCE);
        let mut command = contender.join(network.transport, sizes.wanted, &network.peers)?;
        let started = Instant::now();
        let mut process = Process::spawn("join", &mut command)?;
        let joined = process.wait_for("joined", deadline, |event| event.kind() == "joined")?;
        let millis = started.elapsed().as_secs_f64() * 1e3;
        let peers = joined.number("peers")?;
        process.close_stdin();
        let ended = process.finish(deadline)?;
        ensure!(ended.code == Some(0), "a cold start ended with {ended:?}");
        self.0.push(Start { millis, peers });
        Ok(())
    }

    /// There is at least one start.
    pub(crate) fn median(&mut self) -> f64 {
        self.0
            .sort_by(|one, other| one.millis.total_cmp(&other.millis));
        self.0[self.0.len() / 2].millis
    }

    /// The longest start, and the mean number of connected peers when the last of the wanted peers was identified.
    pub(crate) fn notes(&self) -> [(&'static str, f64); 2] {
        let longest = self.0.iter().map(|start| start.millis).fold(0.0, f64::max);
        let peers = self.0.iter().map(|start| start.peers).sum::<f64>() / self.0.len() as f64;
        [("longest", longest), ("peers", peers)]
    }
}
