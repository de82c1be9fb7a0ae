//! A rust-libp2p node with QUIC and gossipsub is killed and restarted on its old port and key, without the crate bootstrap and
//! with it. How long does it take until the other node, the survivor, receives what the restarted node publishes?

mod member;

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tests::harness::Home;
use tests::harness::process::Deadline;

use member::{Member, Stack};

/// How long the restarted node is listened to that publishes to nobody. QUIC gives up the dead connection before that.
const WATCHED: Duration = Duration::from_secs(16);

/// How long a node with bootstrap may take at most, from the start of the process to the message.
const HEALED: Duration = Duration::from_secs(1);

/// rust-libp2p's idle timeout of QUIC is 10 s and begins again with the keep-alive after 5 s. One second more to rejoin.
const NOTICED: Duration = Duration::from_secs(16);

/// The promise of bootstrap's store: a saved peer is on the disk within this time after the report.
const DURABLE: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Restart {
    BareDials,
    BareIsDialed,
    SavedPeers,
    SurvivorOnly,
    KnowsNobody,
}

impl Restart {
    pub(crate) const ALL: [Self; 5] = [
        Self::BareDials,
        Self::BareIsDialed,
        Self::SavedPeers,
        Self::SurvivorOnly,
        Self::KnowsNobody,
    ];

    /// The program, who dials, and the case, for tables.
    pub(crate) fn names(self) -> [&'static str; 3] {
        let (target, case) = match self {
            Self::BareDials => ("restarted node dials", "no bootstrap"),
            Self::BareIsDialed => ("survivor dials", "no bootstrap"),
            Self::SavedPeers => ("restarted node dials", "bootstrap in both, saved peers"),
            Self::SurvivorOnly => ("restarted node dials", "bootstrap in the survivor"),
            Self::KnowsNobody => ("survivor dials", "bootstrap in both, no saved peers"),
        };
        [member::NAME, target, case]
    }

    /// The time from the start of the restarted process to the first message. Nothing, if the program was not named.
    pub(crate) fn run(self, deadline: Deadline) -> Option<Result<String>> {
        std::env::var_os("PEER_ADOPT")?;
        Some(match self {
            Self::BareDials => self.is_never_heard(deadline),
            Self::BareIsDialed => self.is_heard_when_dialed(deadline),
            Self::SavedPeers | Self::SurvivorOnly => self.is_heard_within(HEALED, deadline),
            Self::KnowsNobody => self.is_heard_within(NOTICED, deadline),
        })
    }

    /// Whether the survivor and the restarted node have the crate.
    fn stacks(self) -> [Stack; 2] {
        match self {
            Self::BareDials | Self::BareIsDialed => [Stack::Bare, Stack::Bare],
            Self::SurvivorOnly => [Stack::Bootstrap, Stack::Bare],
            Self::SavedPeers | Self::KnowsNobody => [Stack::Bootstrap, Stack::Bootstrap],
        }
    }

    /// The complaint: the restarted node is connected, but the survivor never announces its topics again.
    fn is_never_heard(self, deadline: Deadline) -> Result<String> {
        let network = Network::before_the_restart(self, deadline)?;
        let (mut network, _) = network.restart(self, deadline)?;
        let connected_in_vain = ["up", "unheard"];
        network
            .restarted
            .wait_for_all(&connected_in_vain, deadline)?;
        let lost = network.survivor.hears_nothing("restarted", WATCHED)?;
        ensure!(lost, "the dead connection is still there");
        Ok(format!("not heard for {} s", WATCHED.as_secs()))
    }

    /// The survivor's program dials when it loses the connection. Nothing in rust-libp2p does.
    fn is_heard_when_dialed(self, deadline: Deadline) -> Result<String> {
        let network = Network::before_the_restart(self, deadline)?;
        let (mut network, started) = network.restart(self, deadline)?;
        network.survivor.wait_for("down", deadline)?;
        let dial = format!("dial {}", network.restarted.address);
        network.survivor.tell(&dial)?;
        network.survivor.hears("restarted", deadline)?;
        Ok(figure(started.elapsed()))
    }

    /// The survivor hears the restarted node in time, and the restarted node hears the survivor.
    fn is_heard_within(self, bound: Duration, deadline: Deadline) -> Result<String> {
        let network = Network::before_the_restart(self, deadline)?;
        let (mut network, started) = network.restart(self, deadline)?;
        network.survivor.hears("restarted", deadline)?;
        let took = started.elapsed();
        network.survivor.tell("publish survivor")?;
        network.restarted.hears("survivor", deadline)?;
        ensure!(took <= bound, "heard after {took:?} instead of {bound:?}");
        Ok(figure(took))
    }
}

/// Two nodes, of which one is restarted.
struct Network {
    survivor: Member,
    restarted: Member,
    home: Home,
    _survivors_home: Home,
}

impl Network {
    /// The two are connected, and the survivor hears the other. If they have the crate, both have saved each other.
    fn before_the_restart(restart: Restart, deadline: Deadline) -> Result<Self> {
        let [survivors, restarteds] = restart.stacks();
        let (survivors_home, home) = (Home::new()?, Home::new()?);
        let mut survivor = Member::start(survivors, &survivors_home, None, &[], deadline)?;
        let known = [survivor.address.clone()];
        let mut restarted = Member::start(restarteds, &home, None, &known, deadline)?;
        restarted.tell("publish first")?;
        survivor.hears("first", deadline)?;
        let both = [(survivors, &mut survivor), (restarteds, &mut restarted)];
        for (_, member) in both
            .into_iter()
            .filter(|(stack, _)| *stack == Stack::Bootstrap)
        {
            member.wait_for("saved", deadline)?;
        }
        thread::sleep(DURABLE);
        Ok(Self {
            survivor,
            restarted,
            home,
            _survivors_home: survivors_home,
        })
    }

    /// Kills the node and starts it at its old address, with its old key. It publishes at once. Also gives the time of the start.
    fn restart(self, restart: Restart, deadline: Deadline) -> Result<(Self, Instant)> {
        let [_, stack] = restart.stacks();
        let (before, listen) = (self.restarted.address.clone(), self.restarted.listens_at()?);
        let known = match restart {
            Restart::BareDials | Restart::SurvivorOnly => vec![self.survivor.address.clone()],
            Restart::BareIsDialed | Restart::SavedPeers | Restart::KnowsNobody => Vec::new(),
        };
        // SIGKILL.
        drop(self.restarted);
        if restart == Restart::KnowsNobody {
            let saved = member::saved_peers(&self.home);
            fs::remove_file(&saved).with_context(|| format!("no {}", saved.display()))?;
        }
        let started = Instant::now();
        let mut restarted = Member::start(stack, &self.home, Some(&listen), &known, deadline)?;
        let now = &restarted.address;
        ensure!(*now == before, "it was {before} and is {now}");
        restarted.tell("publish restarted")?;
        Ok((Self { restarted, ..self }, started))
    }
}

fn figure(took: Duration) -> String {
    format!("{:.3} s", took.as_secs_f64())
}
