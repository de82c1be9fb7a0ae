//! Fully connected networks of `bowline up`, one per transport.

use std::time::Instant;

use anyhow::{Context, Result};
use tests::harness::Home;
use tests::harness::process::Deadline;

use crate::watched::{PATIENCE, Watched, wait_until};

/// The number of nodes in a network.
pub(crate) const NODES: usize = 8;

/// The transports on which the nodes of a network listen.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mode {
    Tcp,
    Quic,
    Both,
}

/// A network on loopback. Each node has an address and a data directory of its own.
pub(crate) struct Network {
    mode: Mode,
    number: u8,
    homes: Vec<Home>,
    pub(crate) nodes: Vec<Option<Watched>>,
}

impl Mode {
    pub(crate) const ALL: [Self; 3] = [Self::Tcp, Self::Quic, Self::Both];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Quic => "quic",
            Self::Both => "tcp and quic",
        }
    }

    /// The listen addresses of a node at this IP address.
    pub(crate) fn listen(self, ip: &str) -> Vec<String> {
        let tcp = format!("/ip4/{ip}/tcp/4077");
        let quic = format!("/ip4/{ip}/udp/4077/quic-v1");
        match self {
            Self::Tcp => vec![tcp],
            Self::Quic => vec![quic],
            Self::Both => vec![tcp, quic],
        }
    }
}

/// The flag once for each value.
pub(crate) fn flags(flag: &str, values: &[String]) -> Vec<String> {
    let pairs = values
        .iter()
        .map(|value| [flag.to_owned(), value.to_owned()]);
    pairs.flatten().collect()
}

/// A loopback address. Suites that run at the same time have different addresses.
pub(crate) fn loopback(network: u8, node: usize) -> String {
    format!(
        "127.{}.{network}.{}",
        32 + std::process::id() % 200,
        node + 1
    )
}

impl Network {
    /// Starts the nodes, each with the earlier ones as its bootstrap list, and waits until all are connected. `number` differs
    /// between the networks of a run.
    pub(crate) fn start(mode: Mode, number: u8) -> Result<Self> {
        let mut network = Self {
            mode,
            number,
            homes: Vec::new(),
            nodes: Vec::new(),
        };
        let mut known = Vec::new();
        for index in 0..NODES {
            network.homes.push(Home::new()?);
            network.nodes.push(None);
            network.up(index, &flags("--bootstrap", &known))?;
            known.extend(network.node(index)?.addresses());
        }
        network.settle()?;
        Ok(network)
    }

    /// As [`Self::start`], but then all nodes start again, and know each other only from their data directories. They treat
    /// each other as peers, and not as bootstrap peers, which a node redials less often.
    pub(crate) fn start_listless(mode: Mode, number: u8) -> Result<Self> {
        let mut network = Self::start(mode, number)?;
        network.last()?;
        for index in 0..NODES {
            network.kill(index)?;
        }
        for index in 0..NODES {
            network.up(index, &[])?;
        }
        network.settle()?;
        Ok(network)
    }

    /// Starts a node without any other source of peers than its flags and its data directory.
    pub(crate) fn up(&mut self, index: usize, more: &[String]) -> Result<()> {
        let listen = self.mode.listen(&loopback(self.number, index));
        let mut all = flags("--listen", &listen);
        all.push("--no-mdns".to_owned());
        all.extend_from_slice(more);
        self.nodes[index] = Some(Watched::up(&self.homes[index], &all)?);
        Ok(())
    }

    pub(crate) fn home(&self, index: usize) -> &Home {
        &self.homes[index]
    }

    pub(crate) fn node(&mut self, index: usize) -> Result<&mut Watched> {
        self.nodes[index].as_mut().context("the node is down")
    }

    /// Kills a node and gives the moment after its end.
    pub(crate) fn kill(&mut self, index: usize) -> Result<Instant> {
        let node = self.nodes[index].take().context("the node is down")?;
        node.kill()
    }

    pub(crate) fn survivors(index: usize) -> impl Iterator<Item = usize> {
        (0..NODES).filter(move |other| *other != index)
    }

    fn ids(&self) -> Vec<String> {
        let nodes = self.nodes.iter().flatten();
        nodes.map(|node| node.id().to_owned()).collect()
    }

    /// Waits until each node has exactly one connection to each other one.
    pub(crate) fn settle(&mut self) -> Result<()> {
        let deadline = Deadline::within(PATIENCE);
        let ids = self.ids();
        for node in self.nodes.iter_mut().flatten() {
            let own = node.id().to_owned();
            let others: Vec<&String> = ids.iter().filter(|id| **id != own).collect();
            node.until("one connection to each other node", deadline, |node| {
                let one = |id: &&&String| node.open_to(id).len() == 1;
                (others.iter().filter(one).count() == others.len()).then_some(())
            })?;
            node.forget_closed();
        }
        Ok(())
    }

    /// Waits until all connections have lasted, and all peers are saved.
    pub(crate) fn last(&mut self) -> Result<()> {
        self.settle()?;
        let moments = self.nodes.iter().flatten().map(Watched::lasting_from);
        wait_until(moments.flatten().max().unwrap_or_else(Instant::now));
        self.settle()
    }
}

/// A round: when the restarted node was started and ready, and when each survivor was connected to it.
pub(crate) struct Return {
    pub(crate) started: Instant,
    pub(crate) ready: Instant,
    /// Of each survivor: both ends are connected, and the survivor no longer has the dead connection.
    pub(crate) connected: Vec<Instant>,
    /// Of each survivor: both ends are connected.
    pub(crate) open: Vec<Instant>,
    /// The number of survivors to which the restarted node has dialed its first connection.
    pub(crate) dialed: usize,
}

impl Network {
    /// Waits until all survivors are connected to a node that was restarted. `dead` has each survivor's connections to the
    /// node at the moment of the kill.
    pub(crate) fn returned(&mut self, index: usize, dead: &[Vec<String>]) -> Result<Return> {
        let deadline = Deadline::within(PATIENCE);
        let back = self.node(index)?;
        let (id, started, ready) = (back.id().to_owned(), back.started, back.ready_at);
        let (mut connected, mut open, mut dialed) = (Vec::new(), Vec::new(), 0);
        for (survivor, dead) in Self::survivors(index).zip(dead) {
            let node = self.node(survivor)?;
            let peer = node.id().to_owned();
            let (opened, there) = node.until("the node that is back", deadline, |node| {
                let opened = node.first_since(&id, started)?.opened;
                let gone = node.all_closed(dead)?;
                Some((opened, gone.map_or(opened, |gone| gone.max(opened))))
            })?;
            let back = self.node(index)?;
            let here = back.until("a survivor", deadline, |node| {
                node.first_since(&peer, started).cloned()
            })?;
            dialed += usize::from(here.outbound);
            connected.push(there.max(here.opened));
            open.push(opened.max(here.opened));
        }
        Ok(Return {
            started,
            ready,
            connected,
            open,
            dialed,
        })
    }

    /// Each survivor's connections to a node.
    pub(crate) fn connections_to(&mut self, index: usize) -> Result<Vec<Vec<String>>> {
        let id = self.node(index)?.id().to_owned();
        let survivors = Self::survivors(index);
        survivors
            .map(|survivor| {
                let node = self.node(survivor)?;
                node.catch_up();
                Ok(node.open_to(&id))
            })
            .collect()
    }
}
