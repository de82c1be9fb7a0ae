//! `Balance` over three proxies of which one is killed and comes back: it is found out, spared and taken back.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tests::harness::process::Deadline;
use tests::harness::table::Table;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use transport_tcp::{Balance, BalanceConfig, DialContext, Dialer, Socks5, Target};

use crate::report::Report;
use crate::servers::{Kind, Server};

const PROXIES: usize = 3;

/// The one that is killed,
const VICTIM: usize = 1;

/// after this many dials,
const KILL_AT: usize = 300;

/// and started again after this many.
const RESTART_AT: usize = 600;

const DIALS: usize = 1_000;

/// How many dials are under way at a time.
const BATCH: usize = 10;

/// The pause after them, so that a way is checked and comes back within the dials there are.
const PAUSE: Duration = Duration::from_millis(10);

/// How long a way may go unseen before it is checked: shorter than by default, because the test waits for it.
const INTERVAL: Duration = Duration::from_millis(250);

/// How long the whole may take. It ends when everything was seen, not when this has passed.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn run(report: &mut Report, microsocks: Option<&Path>) {
    let names = ["balance", "3 microsocks", "one killed, restarted"];
    if microsocks.is_none() {
        report.skip(names, "microsocks is not there");
        return;
    }
    report.cell(names, || {
        let runtime = tokio::runtime::Runtime::new().context("no runtime")?;
        runtime.block_on(async { Trial::start().await?.run().await })
    });
}

struct Trial {
    /// The victim's place is empty while it is dead.
    servers: Vec<Option<Server>>,
    addresses: Vec<SocketAddr>,
    balance: Arc<Balance>,
    target: Target,
    deadline: Deadline,
    phases: Vec<Phase>,
}

/// What came of the dials that began in one stretch of the trial.
struct Phase {
    name: &'static str,
    began: Instant,
    dials: usize,
    /// No stream came of it.
    failed: usize,
    /// A stream came of it, and did not carry a byte there and back.
    broken: usize,
    shares: [usize; PROXIES],
    errors: Vec<String>,
}

enum Outcome {
    Echoed(SocketAddr),
    Broken(String),
    Failed(String),
}

impl Trial {
    async fn start() -> Result<Self> {
        let servers: Vec<Server> = (0..PROXIES)
            .map(|_| Kind::Microsocks.start(false))
            .collect::<Result<_>>()?;
        let addresses: Vec<SocketAddr> = servers.iter().map(|server| server.address).collect();
        let way = |address: &SocketAddr| Arc::new(Socks5::new(*address)) as Arc<dyn Dialer>;
        let ways: Vec<_> = addresses.iter().map(way).collect();
        let config = BalanceConfig::default()
            .with_interval(INTERVAL)
            .with_seed(1);
        Ok(Self {
            servers: servers.into_iter().map(Some).collect(),
            addresses,
            balance: Arc::new(Balance::new(ways, config)),
            target: Target::from(echo().await?),
            deadline: Deadline::within(PATIENCE),
            phases: Vec::new(),
        })
    }

    async fn run(mut self) -> Result<String> {
        self.begin("all well");
        while self.dials() < KILL_AT {
            self.batch().await?;
        }

        self.begin("killed");
        let dialing = self.dial_batch();
        let victim = self.servers[VICTIM].take().context("no victim")?;
        tokio::task::spawn_blocking(move || victim.stop()).await??;
        self.count(dialing).await?;
        while self.is_healthy() {
            self.batch().await?;
        }

        self.begin("out");
        let dials_by_victim = self.balance.health()[VICTIM].dials;
        while self.dials() < RESTART_AT {
            self.batch().await?;
        }
        let more = self.balance.health()[VICTIM].dials - dials_by_victim;
        ensure!(more == 0, "{more} dials were tried by a proxy that is out");

        self.begin("restarted");
        let port = self.addresses[VICTIM].port();
        let restarted =
            tokio::task::spawn_blocking(move || Kind::Microsocks.start_at(false, port)).await?;
        self.servers[VICTIM] = Some(restarted?);
        while !self.is_healthy() {
            self.batch().await?;
        }

        self.begin("back");
        while self.dials() < DIALS || self.phase().shares[VICTIM] == 0 {
            self.batch().await?;
        }
        println!("{}", self.table());
        self.judge()
    }

    fn judge(&self) -> Result<String> {
        let [well, killed, after @ ..] = self.phases.as_slice() else {
            anyhow::bail!("the trial has not begun");
        };
        ensure!(
            well.failed + well.broken == 0,
            "dials failed with all proxies well: {:?}",
            well.errors
        );
        let lost: usize = after.iter().map(|phase| phase.failed + phase.broken).sum();
        let errors: Vec<&String> = after.iter().flat_map(|phase| &phase.errors).collect();
        ensure!(
            lost == 0,
            "{lost} dials failed after the ejection: {errors:?}"
        );
        let back = self.phase();
        Ok(format!(
            "{} dials, {} failed and {} cut off before the ejection, 0 after, {} by the proxy that came back",
            self.dials(),
            killed.failed,
            killed.broken,
            back.shares[VICTIM]
        ))
    }

    fn begin(&mut self, name: &'static str) {
        self.phases.push(Phase {
            name,
            began: Instant::now(),
            dials: 0,
            failed: 0,
            broken: 0,
            shares: [0; PROXIES],
            errors: Vec::new(),
        });
    }

    fn phase(&self) -> &Phase {
        self.phases.last().expect("a trial begins with a phase")
    }

    fn dials(&self) -> usize {
        self.phases.iter().map(|phase| phase.dials).sum()
    }

    fn is_healthy(&self) -> bool {
        self.balance.health()[VICTIM].healthy
    }

    async fn batch(&mut self) -> Result<()> {
        let dialing = self.dial_batch();
        self.count(dialing).await?;
        tokio::time::sleep(PAUSE).await;
        Ok(())
    }

    /// Sets out on a few dials.
    fn dial_batch(&self) -> JoinSet<Outcome> {
        let mut dialing = JoinSet::new();
        for _ in 0..BATCH {
            dialing.spawn(dial(Arc::clone(&self.balance), self.target.clone()));
        }
        dialing
    }

    /// Counts what came of them towards the phase.
    async fn count(&mut self, mut dialing: JoinSet<Outcome>) -> Result<()> {
        ensure!(
            !self.deadline.left().is_zero(),
            "still in the phase {:?} after {PATIENCE:?}\n{}{:?}",
            self.phase().name,
            self.table(),
            self.balance
        );
        while let Some(outcome) = dialing.join_next().await {
            let addresses = &self.addresses;
            let phase = self.phases.last_mut().context("no phase")?;
            phase.dials += 1;
            match outcome? {
                Outcome::Echoed(proxy) => {
                    let way = addresses.iter().position(|address| *address == proxy);
                    phase.shares[way.context("dialed past the proxies")?] += 1;
                }
                Outcome::Broken(error) => {
                    phase.broken += 1;
                    phase.errors.push(error);
                }
                Outcome::Failed(error) => {
                    phase.failed += 1;
                    phase.errors.push(error);
                }
            }
        }
        Ok(())
    }

    fn table(&self) -> String {
        let mut table = Table::new(&[
            "balance", "dials", "failed", "broken", "first", "second", "third", "ms",
        ]);
        let mut ends = self.phases.iter().skip(1).map(|phase| phase.began);
        for phase in &self.phases {
            let took = ends.next().unwrap_or_else(Instant::now) - phase.began;
            let counts = [phase.dials, phase.failed, phase.broken];
            let counts = counts.into_iter().chain(phase.shares);
            let row = std::iter::once(phase.name.to_owned()).chain(counts.map(|n| n.to_string()));
            table.row(row.chain([took.as_millis().to_string()]));
        }
        let mut text = table.to_string();
        for error in self.phases.iter().flat_map(|phase| &phase.errors) {
            let _ = writeln!(text, "  {error}");
        }
        text
    }
}

async fn dial(balance: Arc<Balance>, target: Target) -> Outcome {
    let patience = Duration::from_secs(5);
    let context = DialContext::new(tokio::time::Instant::now() + patience);
    let mut stream = match balance.dial(&target, &context).await {
        Ok(stream) => stream,
        Err(error) => return Outcome::Failed(error.to_string()),
    };
    let Some(proxy) = stream.remote_addr() else {
        return Outcome::Broken("a stream that ends nowhere".to_owned());
    };
    let echoed = tokio::time::timeout(patience, async {
        stream.write_all(b"!").await?;
        stream.read_u8().await
    });
    match echoed.await {
        Ok(Ok(b'!')) => Outcome::Echoed(proxy),
        Ok(Ok(other)) => Outcome::Broken(format!("{other:#x} came back by {proxy}")),
        Ok(Err(error)) => Outcome::Broken(format!("no echo by {proxy}: {error}")),
        Err(_) => Outcome::Broken(format!("no echo by {proxy} in time")),
    }
}

/// Sends one byte back on each connection.
async fn echo() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                if let Ok(byte) = stream.read_u8().await {
                    let _ = stream.write_u8(byte).await;
                }
            });
        }
    });
    Ok(address)
}
