//! Proxies that stall, lie, babble or hang up.

mod http;
mod lies;
mod socks5;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, duplex},
    time::{Instant, sleep},
};
use transport_tcp::{
    ByteStream, Chain, Deadline, DeadlineConfig, DialContext, DialError, DialStage, Dialer, Proxy,
    ProxyError, Socks5, Target, Warm, WarmConfig,
};

use crate::support::proxy::{Network, Socks, at, head};

const PROXY: &str = "192.0.2.1:1080";

/// An honest proxy, in front of the other one where there are two.
const FIRST: &str = "192.0.2.2:1080";

const TARGET: &str = "/dns4/target.example/tcp/80";

/// What a pipe to the proxy holds.
const PIPE: usize = 1024;

/// How long a proxy's handshake may take. A dial has more.
const HANDSHAKE: Duration = Duration::from_secs(5);

const DEADLINE: Duration = Duration::from_secs(60);

/// What a proxy does with a connection, one after the other. At the end it hangs up.
#[derive(Debug, Clone)]
enum Step {
    /// Reads so many bytes,
    Read(usize),
    /// or to the end of an HTTP header.
    Head,
    Write(Vec<u8>),
    /// Byte by byte, with a pause after each.
    Trickle(Vec<u8>, Duration),
    /// The same again and again.
    Endless(Vec<u8>, Duration),
    Stall,
}

use Step::{Endless, Head, Read, Stall, Trickle, Write};

/// Runs the script for each connection, and counts the bytes that were taken from it.
#[derive(Clone)]
struct Hostile {
    script: Vec<Step>,
    taken: Arc<AtomicUsize>,
    connections: Arc<AtomicUsize>,
}

impl Hostile {
    fn new(script: impl IntoIterator<Item = Step>) -> Self {
        Self {
            script: script.into_iter().collect(),
            taken: Arc::default(),
            connections: Arc::default(),
        }
    }

    async fn run(self, mut io: ByteStream) {
        for step in self.script {
            let done = match step {
                Read(n) => io.read_exact(&mut vec![0; n]).await.map(drop),
                Head => head(&mut io).await.map(drop),
                Write(bytes) => write(&mut io, &bytes, &self.taken).await,
                Trickle(bytes, pause) => trickle(&mut io, &bytes, pause, &self.taken).await,
                Endless(bytes, pause) => loop {
                    let written = write(&mut io, &bytes, &self.taken).await;
                    if written.is_err() {
                        break written;
                    }
                    // Not even without a pause may it take all of the test's time.
                    sleep(pause).await;
                },
                Stall => std::future::pending().await,
            };
            if done.is_err() {
                return;
            }
        }
    }
}

async fn write(io: &mut ByteStream, bytes: &[u8], taken: &AtomicUsize) -> std::io::Result<()> {
    for piece in bytes.chunks(PIPE) {
        io.write_all(piece).await?;
        taken.fetch_add(piece.len(), Ordering::Relaxed);
    }
    Ok(())
}

async fn trickle(
    io: &mut ByteStream,
    bytes: &[u8],
    pause: Duration,
    taken: &AtomicUsize,
) -> std::io::Result<()> {
    for byte in bytes {
        write(io, &[*byte], taken).await?;
        sleep(pause).await;
    }
    Ok(())
}

#[async_trait::async_trait]
impl Dialer for Hostile {
    async fn dial(&self, _: &Target, _: &DialContext) -> Result<ByteStream, DialError> {
        self.connections.fetch_add(1, Ordering::Relaxed);
        let (near, far) = duplex(PIPE);
        tokio::spawn(self.clone().run(ByteStream::boxed(far)));
        Ok(ByteStream::boxed(near))
    }
}

/// Every dialer that leads over the hostile proxy: it alone, kept warm, behind an honest one, and both.
fn victims(
    hostile: &Hostile,
    proxy: impl Fn(Arc<dyn Dialer>) -> Proxy,
) -> [(&'static str, Arc<dyn Dialer>); 4] {
    let base: Arc<dyn Dialer> = Arc::new(hostile.clone());
    let network = Network::default();
    network.add(FIRST, Socks::onward(hostile.clone()).service());
    let first = || Socks5::new(at(FIRST)).through(network.clone());
    let behind = Arc::new(Chain::new(first(), []));
    let warm = |base| Warm::new(proxy(base), WarmConfig::default().with_size(2));
    let limits = DeadlineConfig::default().with_handshake(HANDSHAKE);
    let limited = |dialer: Arc<dyn Dialer>| Arc::new(Deadline::new(dialer, limits));
    let alone = Chain::new(proxy(base.clone()), []);
    let chain = Chain::new(first(), [proxy(base.clone())]);
    [
        ("alone", limited(Arc::new(alone))),
        ("warm", limited(Arc::new(warm(base)))),
        ("in a chain", limited(Arc::new(chain))),
        ("warm behind another", limited(Arc::new(warm(behind)))),
    ]
}

/// A dial that took so long.
struct Attempt {
    outcome: Result<ByteStream, DialError>,
    took: Duration,
}

async fn attempt(dialer: &dyn Dialer) -> Attempt {
    let target: Target = TARGET.parse().unwrap();
    let begun = Instant::now();
    let cx = DialContext::new(begun + DEADLINE);
    let outcome = dialer.dial(&target, &cx).await;
    Attempt {
        outcome,
        took: begun.elapsed(),
    }
}

/// Dials over each of `proxy`'s dialers, twice, so that a warm one has something ready the second time: each time it
/// must fail in this `stage`, in no more than this `time`, and for a reason that `is` the right one.
async fn fails(
    script: impl IntoIterator<Item = Step>,
    proxy: impl Fn(Arc<dyn Dialer>) -> Proxy,
    (stage, time): (DialStage, Duration),
    is: impl Fn(&ProxyError) -> bool,
) {
    let hostile = Hostile::new(script);
    for (name, dialer) in victims(&hostile, proxy) {
        for time_round in [time, time] {
            let Attempt { outcome, took } = attempt(&*dialer).await;
            let what = format!("{name}: {:?}", hostile.script);
            let error = outcome.err().unwrap_or_else(|| panic!("no error: {what}"));
            let DialError::Proxy {
                proxy,
                stage: at,
                source,
                ..
            } = &error
            else {
                panic!("{what}: {error}");
            };
            assert!(proxy.contains(PROXY), "{what}: {error}");
            assert!(is(source), "{what}: {error}");
            assert_eq!(*at, stage, "{what}: {error}");
            assert!(took <= time_round, "{took:?}, {what}");
            sleep(Duration::from_millis(20)).await;
        }
    }
}

/// All honest bytes of both sides of a handshake, as steps: what is read and what is written in turn.
fn transcript(steps: &[(Step, &[u8])]) -> Vec<Step> {
    let pairs = steps
        .iter()
        .map(|(read, written)| [read.clone(), Write(written.to_vec())]);
    pairs.flatten().collect()
}

/// The transcript up to each byte that the proxy writes, and the number of the answer that is cut.
fn cuts(steps: &[(Step, &[u8])]) -> Vec<(usize, Vec<Step>)> {
    let mut cuts = Vec::new();
    for (n, (read, written)) in steps.iter().enumerate() {
        for length in 0..written.len() {
            let mut script = transcript(&steps[..n]);
            script.push(read.clone());
            script.push(Write(written[..length].to_vec()));
            cuts.push((n, script));
        }
    }
    cuts
}
