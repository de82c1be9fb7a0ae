//! A relay that harms the node that trusts it with a slot.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use node::relay_slots::Status;
use node::relay_slots::wire::{HOP_PROTOCOL, HopMessage, Reservation, STOP_PROTOCOL, StopMessage};
use node::transport_tcp::{Connection, Stream, UpgradeConfig, Upgrader};
use node::{Keypair, Multiaddr};
use tests::harness::peers::Stack;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::LIMITED;
use crate::bystanders;
use crate::libp2p::{self, Counted, IDENTIFY, PING};
use crate::node_under_attack::Start;
use crate::siege::{Aim, Counts, besiege};
use crate::{Outcome, Setting};

/// The addresses of the malicious relay and of somebody else, at whom it aims the node. The victim has all addresses.
const RELAY: &str = "127.20.0.1:0";
const VICTIM: &str = "0.0.0.0:0";

/// The addresses that the relay claims to have. The protocol's reader takes no more.
const ADDRESSES: usize = 32;

/// Circuits that the relay opens.
const OPENED: u64 = 2_000;

/// The circuits that the node accepts from one relay.
const CIRCUITS: u64 = 64;

const PATIENCE: Duration = Duration::from_secs(2);

/// A relay that grants every request at once. It ends when it is dropped.
struct MaliciousRelay {
    address: Multiaddr,
    state: Arc<State>,
    _runtime: Runtime,
}

struct State {
    ttl: Duration,
    claimed: Vec<Multiaddr>,
    requests: AtomicU64,
    /// What the relay sends before and during the flood.
    counts: Arc<Counts>,
    /// Connections to the victim.
    victim_reached: AtomicU64,
    /// The node's newest connection.
    client: watch::Sender<Option<Connection>>,
}

impl MaliciousRelay {
    fn start(ttl: Duration, claims_victim: bool) -> Result<Self> {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build()?;
        let keypair = Keypair::generate_ed25519();
        let id = keypair.public().to_peer_id();
        let listener = runtime.block_on(TcpListener::bind(RELAY))?;
        let victim = runtime.block_on(TcpListener::bind(VICTIM))?;
        let (at, port) = (listener.local_addr()?, victim.local_addr()?.port());
        let address: Multiaddr = format!("/ip4/{}/tcp/{}/p2p/{id}", at.ip(), at.port()).parse()?;
        let mut claimed = vec![address.clone()];
        if claims_victim {
            let of_victim =
                (1..=ADDRESSES).map(|n| format!("/ip4/127.66.0.{n}/tcp/{port}/p2p/{id}"));
            let of_victim = of_victim.map(|text| text.parse());
            claimed = of_victim.collect::<Result<_, _>>()?;
        }
        let state = Arc::new(State {
            ttl,
            claimed,
            requests: AtomicU64::new(0),
            counts: Arc::default(),
            victim_reached: AtomicU64::new(0),
            client: watch::channel(None).0,
        });
        let counted = state.clone();
        runtime.spawn(async move {
            while victim.accept().await.is_ok() {
                counted.victim_reached.fetch_add(1, Ordering::Relaxed);
            }
        });
        let upgrader = Upgrader::new(&keypair, UpgradeConfig::default())?;
        runtime.spawn(accept(listener, upgrader, state.clone()));
        Ok(Self {
            address,
            state,
            _runtime: runtime,
        })
    }
}

async fn accept(listener: TcpListener, upgrader: Upgrader, state: Arc<State>) {
    while let Ok((socket, _)) = listener.accept().await {
        let (upgrader, state) = (upgrader.clone(), state.clone());
        let socket = Counted::new(socket, state.counts.clone());
        tokio::spawn(async move {
            let connection = upgrader.inbound(socket, &mut |_| {}).await?;
            state.client.send_replace(Some(connection.clone()));
            while let Some(stream) = connection.accept().await {
                tokio::spawn(answer(stream, state.clone()));
            }
            anyhow::Ok(())
        });
    }
}

async fn answer(mut stream: Stream, state: Arc<State>) -> Result<()> {
    match libp2p::respond(&mut stream, &[PING, IDENTIFY, HOP_PROTOCOL]).await? {
        PING => libp2p::answer_pings(stream).await,
        HOP_PROTOCOL => {
            libp2p::read_frame(&mut stream).await?;
            state.requests.fetch_add(1, Ordering::Relaxed);
            let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
            let expire = (now + state.ttl).as_secs();
            let granted = HopMessage::Status {
                status: Status::Ok,
                reservation: Some(Reservation::new(expire, state.claimed.clone(), None)),
                limit: None,
            };
            stream.write_all(&granted.encode()?).await?;
            Ok(stream.shutdown().await?)
        }
        _ => Ok(stream.shutdown().await?),
    }
}

/// Besieges a node that holds a slot at the relay.
fn run<F>(
    setting: &Setting,
    relay: &MaliciousRelay,
    settings: &str,
    attack: impl FnOnce(Aim, Arc<State>) -> F + Send,
) -> Result<crate::siege::Siege>
where
    F: Future<Output = Result<()>>,
{
    let start = Start {
        settings: format!("{LIMITED}{settings}"),
        flags: vec!["--reserve-at".to_owned(), relay.address.to_string()],
        ..Start::default()
    };
    let state = relay.state.clone();
    let mut siege = besiege(setting, &start, Stack::TcpTls, |aim| attack(aim, state))?;
    siege.figures.received += Counts::get(&relay.state.counts.sent);
    // A relay that is dialed again now and then is no harm.
    siege.figures.opened_at_most = 8;
    Ok(siege)
}

/// A slot that expires after two seconds.
pub(crate) fn short_ttl(setting: &Setting) -> Result<Outcome> {
    let relay = MaliciousRelay::start(Duration::from_secs(2), false)?;
    let mut siege = run(setting, &relay, "", |aim, _| async move {
        tokio::time::sleep_until(aim.until.into()).await;
        Ok(())
    })?;
    let requests = relay.state.requests.load(Ordering::Relaxed);
    siege.figures.note = format!("{requests} requests for slots");
    // The pause after a refused slot doubles, from one second on.
    let most = 4 + setting.length.as_secs().ilog2();
    if requests > most.into() {
        let broken = format!("the relay made the node ask {requests} times, not {most}");
        siege.figures.own.push(broken);
    }
    let output = siege.node.output();
    let granted = output.matches("\"reservation_granted\"").count();
    if granted > 0 {
        let broken = format!("the node accepted {granted} slots of 2 seconds");
        siege.figures.own.push(broken);
    }
    Ok(Outcome::Ran(Box::new(siege.figures)))
}

/// Addresses of somebody else, which the node would announce as its own.
pub(crate) fn many_addresses(setting: &Setting) -> Result<Outcome> {
    let relay = MaliciousRelay::start(Duration::from_secs(3600), true)?;
    let mut siege = run(setting, &relay, "", |aim, _| async move {
        let at: Multiaddr = format!("/ip4/{}/tcp/{}", aim.tcp.ip(), aim.tcp.port()).parse()?;
        while !aim.is_over() {
            let tries = Counts::get(&aim.counts.tries) as u8;
            let peer = bystanders::node([127, 251, tries, 1].into(), false).await?;
            let connection = peer.dial([at.clone()]).await?;
            let info = connection.identify().await?;
            let listen = info.listen.iter();
            let wrong: Vec<Multiaddr> = listen
                .filter(|a| a.to_string().contains("/127.66."))
                .cloned()
                .collect();
            Counts::add(&aim.counts.tries, 1);
            Counts::add(&aim.counts.taken, wrong.len());
            if !wrong.is_empty() {
                // What a peer does that wants another way to the node.
                let _ = timeout(PATIENCE, peer.dial(wrong)).await;
            }
            peer.shutdown().await;
            sleep(Duration::from_millis(500)).await;
        }
        Ok(())
    })?;
    let announced = Counts::get(&siege.counts.taken);
    let reached = relay.state.victim_reached.load(Ordering::Relaxed);
    siege.figures.note =
        format!("{announced} false addresses announced, {reached} connects to the victim");
    if announced > 0 {
        let broken = format!("the node announced {announced} addresses of somebody else");
        siege.figures.own.push(broken);
    }
    if reached > 8 {
        let broken = format!("somebody else received {reached} connections");
        siege.figures.own.push(broken);
    }
    Ok(Outcome::Ran(Box::new(siege.figures)))
}

/// Circuits from made-up peers, as many as the node takes. The last ones stay in their handshake.
pub(crate) fn many_circuits(setting: &Setting) -> Result<Outcome> {
    let relay = MaliciousRelay::start(Duration::from_secs(3600), false)?;
    let settings = format!("max_per_relay = {CIRCUITS}\n");
    let mut siege = run(setting, &relay, &settings, |aim, state| async move {
        let mut client = state.client.subscribe();
        let client = client.wait_for(Option::is_some).await?.clone();
        let client = client.context("no client")?;
        let mut circuits = JoinSet::new();
        let mut n = 0_u64;
        while !aim.is_over() && n < OPENED && !client.is_closed() {
            let (client, aim) = (client.clone(), aim.clone());
            let silent = n >= OPENED / 2;
            circuits.spawn(async move { circuit(&client, &aim, silent).await });
            n += 1;
            sleep(Duration::from_millis(2)).await;
        }
        tokio::time::sleep_until(aim.until.into()).await;
        Ok(())
    })?;
    let taken = Counts::get(&siege.counts.taken);
    if taken > CIRCUITS {
        let broken = format!("the node took {taken} circuits of one relay, not {CIRCUITS}");
        siege.figures.own.push(broken);
    }
    Ok(Outcome::Ran(Box::new(siege.figures)))
}

async fn circuit(client: &Connection, aim: &Aim, silent: bool) -> Result<()> {
    let keypair = Keypair::generate_ed25519();
    let mut stream = timeout(PATIENCE, client.open()).await??;
    Counts::add(&aim.counts.tries, 1);
    ensure!(
        libp2p::propose(&mut stream, STOP_PROTOCOL).await?,
        "no circuits"
    );
    let peer = keypair.public().to_peer_id();
    let limit = Some(node::relay_slots::wire::Limit::new(
        Some(Duration::from_secs(3600)),
        None,
    ));
    let announced = StopMessage::Connect { peer, limit }.encode()?;
    stream.write_all(&announced).await?;
    let answer = libp2p::read_frame(&mut stream).await?;
    let granted = matches!(
        StopMessage::decode(&answer)?,
        StopMessage::Status(Status::Ok)
    );
    ensure!(granted, "refused");
    if silent {
        tokio::time::sleep_until(aim.until.into()).await;
        return Ok(());
    }
    let upgrader = Upgrader::new(&keypair, UpgradeConfig::default())?;
    let connection = upgrader.outbound(stream, None, &mut |_| {}).await?;
    // A connection that the node refuses after its handshake is closed soon.
    let closed = timeout(PATIENCE, connection.closed()).await;
    if closed.is_err() {
        Counts::add(&aim.counts.taken, 1);
    }
    tokio::time::sleep_until(aim.until.into()).await;
    drop(connection);
    Ok(())
}
