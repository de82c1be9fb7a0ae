//! What the binder for tests does to datagrams and connections, and that a seed repeats it.
#![allow(clippy::unwrap_used)]

mod common;

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use common::{Node, ask, within};
use tokio::{io::AsyncWriteExt, task::JoinHandle};
use transport_quic::{
    BindError, CloseCode, CloseReason, Config, Connection, DialError, Endpoint, FaultControl,
    Faults, Keypair, Misbehaving, Tuned,
};

const MS: Duration = Duration::from_millis(1);

/// A dialer and a listener with the same faults on real sockets, each with its own seed.
async fn under(faults: Faults) -> (Node, Connection, Node, [FaultControl; 2]) {
    let binders =
        [1, 2].map(|seed| Misbehaving::new(Arc::new(Tuned::default()), seed, Faults::default()));
    let controls = [binders[0].control(), binders[1].control()];
    let nodes = binders.map(|binder| Node::with_binder(Config::default(), Arc::new(binder)));
    let [dialer, listener] = nodes;
    let _echo = listener.echo();
    let dialed = within(dialer.endpoint.dial(listener.address, None)).await;
    let dialed = dialed.unwrap();
    for control in &controls {
        control.set(faults.clone());
    }
    (dialer, dialed, listener, controls)
}

async fn transfer(connection: &Connection, length: usize) {
    let data: Vec<u8> = (0..length).map(|n| (n >> 2) as u8).collect();
    let echoed = within(ask(connection, &data)).await.unwrap();
    assert!(echoed == data);
}

#[tokio::test]
async fn everything_arrives_through_loss_duplication_and_reordering() {
    let faults = Faults::default()
        .with_loss(0.02)
        .with_duplicate(0.02)
        .with_reorder(0.05)
        .with_delay(2 * MS, MS);
    let (_d, dialed, _l, controls) = under(faults).await;
    transfer(&dialed, 1_000_000).await;
    let lost: u64 = controls.iter().map(FaultControl::lost).sum();
    assert!(lost > 0);
}

#[tokio::test]
async fn a_delay_in_both_directions_is_the_round_trip() {
    let faults = Faults::default().with_delay(30 * MS, Duration::ZERO);
    let (_d, dialed, _l, _) = under(faults).await;
    let start = Instant::now();
    transfer(&dialed, 10).await;
    assert!(start.elapsed() >= 60 * MS);
}

/// How much may be written before anything of it has been acknowledged.
async fn room(dialed: &Connection, accepted: &Connection) -> usize {
    let _fitted_to_the_round_trip = (dialed.open().await, accepted.open().await);
    // With its answer the other side's credit has arrived.
    within(accepted.probe(common::PATIENCE)).await.unwrap();
    let mut stream = dialed.open().await.unwrap();
    stream.write(&vec![0; 64 << 20]).await.unwrap()
}

#[tokio::test]
async fn a_long_round_trip_has_larger_windows_than_a_short_one() {
    for (delay, expected) in [(0, 4 << 20), (50, 10 << 20)] {
        let faults = Faults::default().with_delay(delay * MS, Duration::ZERO);
        let binder = |seed| {
            let inner = Arc::new(Tuned::default());
            Arc::new(Misbehaving::new(inner, seed, faults.clone()))
        };
        let dialer = Node::with_binder(Config::default(), binder(1));
        let listener = Node::with_binder(Config::default(), binder(2));
        let accepted = listener.accept_one();
        let dialed = within(dialer.endpoint.dial(listener.address, None)).await;
        let (dialed, accepted) = (dialed.unwrap(), within(accepted).await.unwrap());
        assert_eq!(room(&dialed, &accepted).await, expected);
    }
}

#[tokio::test]
async fn a_handshake_gets_through_one_lost_datagram_in_five() {
    let faults = Faults::default().with_loss(0.2);
    let binder = Misbehaving::new(Arc::new(Tuned::default()), 7, faults);
    let (dialer, listener) = (
        Node::with_binder(Config::default(), Arc::new(binder)),
        Node::new(Config::default()),
    );
    let _echo = listener.echo();
    for _ in 0..5 {
        within(dialer.endpoint.dial(listener.address, None))
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_connection_ends_at_the_idle_timeout_when_the_network_stalls() {
    let binder = Misbehaving::new(Arc::new(Tuned::default()), 1, Faults::default());
    let control = binder.control();
    let config = Config::default()
        .with_idle_timeout(400 * MS)
        .with_keep_alive(100 * MS);
    let dialer = Node::with_binder(config.clone(), Arc::new(binder));
    let listener = Node::new(config);
    let accepted = listener.accept_one();
    let dialed = within(dialer.endpoint.dial(listener.address, None)).await;
    let (dialed, accepted) = (dialed.unwrap(), within(accepted).await.unwrap());
    // Keep-alives hold it up for longer than the timeout.
    tokio::time::sleep(900 * MS).await;
    assert!(!dialed.is_closed() && !accepted.is_closed());
    control.stall(true);
    let before = accepted.received_datagrams();
    assert_eq!(within(dialed.closed()).await, CloseReason::TimedOut);
    assert_eq!(within(accepted.closed()).await, CloseReason::TimedOut);
    assert!(control.lost() > 0);
    // One datagram may have been on its way.
    let arrived = accepted.received_datagrams() - before;
    assert!(arrived <= 1, "{arrived} datagrams of the dialer arrived");
}

#[tokio::test]
async fn with_real_sockets_a_cut_resets_both_ends_and_the_next_dial_works() {
    let binder = Arc::new(Misbehaving::new(
        Arc::new(Tuned::default()),
        1,
        Faults::default(),
    ));
    let dialer = Node::with_binder(Config::default(), binder.clone());
    let listener = Node::with_binder(Config::default(), binder.clone());
    let accepted = listener.accept_one();
    let dialed = within(dialer.endpoint.dial(listener.address, None)).await;
    let (dialed, accepted) = (dialed.unwrap(), within(accepted).await.unwrap());
    within(accepted.probe(common::PATIENCE)).await.unwrap();
    binder.control().cut();
    for end in [&dialed, &accepted] {
        within(end.probe(common::PATIENCE)).await.unwrap_err();
        assert_eq!(end.closed().await, CloseReason::Reset);
    }
    let _echo = listener.echo();
    let again = within(dialer.endpoint.dial(listener.address, None)).await;
    transfer(&again.unwrap(), 1_000).await;
}

/// A client and a server in memory. The server echoes.
struct Network {
    binder: Arc<Misbehaving>,
    control: FaultControl,
    client: Endpoint,
    server: Endpoint,
    _echo: JoinHandle<()>,
}

const CLIENT: &str = "192.0.2.1:4001";
const SERVER: &str = "198.51.100.1:4001";

fn at(address: &str) -> SocketAddr {
    address.parse().unwrap()
}

fn bind(binder: &Arc<Misbehaving>, address: &str) -> Result<Endpoint, BindError> {
    let keypair = Keypair::generate_ed25519();
    Endpoint::with_binder(at(address), &keypair, Config::default(), binder.clone())
}

impl Network {
    fn new(seed: u64, faults: Faults) -> Self {
        let binder = Arc::new(Misbehaving::in_memory(seed, faults));
        let server = bind(&binder, SERVER).unwrap();
        let endpoint = server.clone();
        let echo = tokio::spawn(async move {
            while let Ok(incoming) = endpoint.accept().await {
                tokio::spawn(async move {
                    if let Ok(connection) = incoming.accept().await {
                        common::echo_streams(connection).await;
                    }
                });
            }
        });
        Self {
            control: binder.control(),
            client: bind(&binder, CLIENT).unwrap(),
            binder,
            server,
            _echo: echo,
        }
    }

    async fn dial(&self) -> Result<Connection, DialError> {
        self.client.dial(at(SERVER), None).await
    }
}

/// Asks until the connection has ended. Returns the number of answers and the reason of the end.
async fn ask_until_it_ends(connection: &Connection) -> (u32, CloseReason) {
    for answers in 0..10_000 {
        if ask(connection, b"ping").await.is_err() {
            return (answers, within(connection.closed()).await);
        }
    }
    panic!("the connection still answers");
}

#[tokio::test(start_paused = true)]
async fn in_memory_a_delay_is_exact_and_takes_no_time() {
    let network = Network::new(1, Faults::default().with_delay(30 * MS, Duration::ZERO));
    let (begun, real) = (tokio::time::Instant::now(), Instant::now());
    let dialed = network.dial().await.unwrap();
    let handshake = begun.elapsed();
    assert!((60 * MS..63 * MS).contains(&handshake), "{handshake:?}");
    let begun = tokio::time::Instant::now();
    ask(&dialed, b"ping").await.unwrap();
    let asked = begun.elapsed();
    assert!((60 * MS..63 * MS).contains(&asked), "{asked:?}");

    let begun = tokio::time::Instant::now();
    network.control.stall(true);
    assert_eq!(dialed.closed().await, CloseReason::TimedOut);
    assert!(begun.elapsed() > 5_000 * MS);
    assert!(real.elapsed() < 5_000 * MS);
}

#[tokio::test(start_paused = true)]
async fn with_5_percent_loss_and_reordering_a_megabyte_arrives_complete() {
    let faults = Faults::default()
        .with_loss(0.05)
        .with_reorder(0.1)
        .with_delay(20 * MS, 5 * MS);
    let network = Network::new(5, faults);
    let dialed = network.dial().await.unwrap();
    transfer(&dialed, 1_000_000).await;
    assert!(network.control.lost() > 40, "{}", network.control.lost());
    assert!(dialed.stats().lost_packets > 0);
}

#[tokio::test(start_paused = true)]
async fn bandwidth_limits_a_transfer() {
    let network = Network::new(1, Faults::default().with_bandwidth(100_000));
    let dialed = network.dial().await.unwrap();
    let begun = tokio::time::Instant::now();
    transfer(&dialed, 500_000).await;
    let took = begun.elapsed();
    assert!((5_000 * MS..7_000 * MS).contains(&took), "{took:?}");
}

/// Each dial's outcome, each connection's end, and when.
async fn run(seed: u64) -> Vec<String> {
    let faults = Faults::default()
        .with_silence(0.3)
        .with_loss(0.05)
        .with_delay(20 * MS, 10 * MS)
        .with_cut_after(30..=300);
    let network = Network::new(seed, faults);
    let begun = tokio::time::Instant::now();
    let mut outcomes = Vec::new();
    for _ in 0..20 {
        let outcome = match network.dial().await {
            Ok(dialed) => {
                let (answers, end) = ask_until_it_ends(&dialed).await;
                format!("{answers} answers, then {end:?}")
            }
            Err(error) => error.to_string(),
        };
        outcomes.push(format!("{outcome} at {} ms", begun.elapsed().as_millis()));
    }
    network.client.close(CloseCode::NONE, "").await;
    outcomes
}

#[tokio::test(start_paused = true)]
async fn a_seed_repeats_a_run() {
    let first = run(7).await;
    assert_eq!(first, run(7).await);
    assert_ne!(first, run(8).await);
}

#[tokio::test(start_paused = true)]
async fn a_silent_dial_ends_at_its_timeout_and_silence_comes_as_often_as_asked() {
    let network = Network::new(3, Faults::default().with_silence(0.4));
    let mut silent = 0;
    for _ in 0..100 {
        let begun = tokio::time::Instant::now();
        match network.dial().await {
            Ok(dialed) => dialed.close(CloseCode::NONE, ""),
            Err(DialError::Timeout { .. }) => {
                silent += 1;
                let took = begun.elapsed();
                assert!((10_000 * MS..10_010 * MS).contains(&took), "{took:?}");
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert!((28..52).contains(&silent), "{silent}");
    assert_eq!(network.control.dials(), 100);
    assert_eq!(network.control.silent(), silent);
}

#[tokio::test(start_paused = true)]
async fn a_stalled_connection_times_out_while_a_new_dial_works() {
    let network = Network::new(1, Faults::default().with_stall_after(40..=40));
    let stalls = network.dial().await.unwrap();
    assert_eq!(ask_until_it_ends(&stalls).await.1, CloseReason::TimedOut);
    network.control.set(Faults::default());
    let works = network.dial().await.unwrap();
    transfer(&works, 100_000).await;
}

#[tokio::test(start_paused = true)]
async fn a_cut_connection_is_reset_at_both_ends_while_another_one_lives() {
    let network = Network::new(1, Faults::default().with_cut_after(40..=40));
    let cut = network.dial().await.unwrap();
    network.control.set(Faults::default());
    let lives = network.dial().await.unwrap();
    ask(&lives, b"ping").await.unwrap();
    let begun = tokio::time::Instant::now();
    assert_eq!(ask_until_it_ends(&cut).await.1, CloseReason::Reset);
    assert!(begun.elapsed() < 1_000 * MS, "{:?}", begun.elapsed());
    ask(&lives, b"ping").await.unwrap();
    assert_eq!(network.control.connections_cut(), 1);

    network.control.cut();
    lives.probe(common::PATIENCE).await.unwrap_err();
    assert_eq!(lives.closed().await, CloseReason::Reset);
    assert_eq!(network.control.connections_cut(), 2);
    // The server's ends are told when they send, at the latest with their keep-alive.
    tokio::time::sleep(Config::default().keep_alive + 100 * MS).await;
    assert_eq!(network.server.open_connections(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_clients_retries_download_a_file_through_silence_and_cuts() {
    const CHUNK: usize = 20_000;
    let faults = Faults::default()
        .with_silence(0.3)
        .with_loss(0.01)
        .with_delay(40 * MS, 10 * MS)
        .with_cut_after(50..=400);
    let network = Network::new(7, faults);
    let mut received = 0;
    'dials: for _ in 0..50 {
        let Ok(dialed) = network.dial().await else {
            continue;
        };
        while ask(&dialed, &[7; CHUNK]).await.is_ok() {
            received += CHUNK;
            if received == 50 * CHUNK {
                break 'dials;
            }
        }
    }
    assert_eq!(received, 50 * CHUNK);
    assert!(network.control.silent() > 0 && network.control.connections_cut() > 0);
}

#[tokio::test(start_paused = true)]
async fn an_address_in_memory_is_bound_once_and_free_after_its_endpoint() {
    let network = Network::new(1, Faults::default());
    let taken = bind(&network.binder, CLIENT).unwrap_err();
    let wildcard = bind(&network.binder, "0.0.0.0:4001").unwrap_err();
    for (error, kind) in [
        (taken, io::ErrorKind::AddrInUse),
        (wildcard, io::ErrorKind::AddrNotAvailable),
    ] {
        assert!(matches!(error, BindError::Socket { source, .. } if source.kind() == kind));
    }
    let chosen = ["192.0.2.1:0"; 2].map(|address| bind(&network.binder, address).unwrap());
    assert_ne!(
        chosen[0].local_addr().unwrap(),
        chosen[1].local_addr().unwrap()
    );
    network.client.close(CloseCode::NONE, "").await;
    bind(&network.binder, CLIENT).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_rebound_endpoint_in_memory_keeps_its_address_and_its_connections() {
    let network = Network::new(1, Faults::default());
    let dialed = network.dial().await.unwrap();
    network.client.rebind().unwrap();
    assert_eq!(network.client.local_addr().unwrap(), at(CLIENT));
    ask(&dialed, b"ping").await.unwrap();
}
