//! A node that crashed and came back, seen by a peer that still holds a connection to it.
#![allow(clippy::unwrap_used)]

mod common;

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use common::{Node, id, localhost, within};
use tokio::runtime::Runtime;
use transport_quic::{
    CloseCode, CloseReason, Config, Endpoint, Faults, Keypair, Misbehaving, ProbeError,
};

/// Runs on a runtime of its own, so that it can be killed without a farewell.
struct Mortal {
    runtime: Runtime,
    endpoint: Endpoint,
}

impl Mortal {
    fn born(address: SocketAddr, keypair: &Keypair, config: Config) -> Self {
        let runtime = Runtime::new().unwrap();
        let endpoint = {
            let _inside = runtime.enter();
            Endpoint::bind(address, keypair, config).unwrap()
        };
        let accepting = endpoint.clone();
        runtime.spawn(async move {
            while let Ok(incoming) = accepting.accept().await {
                tokio::spawn(async {
                    if let Ok(connection) = incoming.accept().await {
                        common::echo_streams(connection).await;
                    }
                });
            }
        });
        Self { runtime, endpoint }
    }

    /// Its tasks vanish, so nothing is sent any more; then its socket closes.
    fn killed(self) {
        self.runtime.shutdown_timeout(Duration::from_secs(5));
        drop(self.endpoint);
    }
}

/// A survivor whose connection's other end is killed and bound again. Nothing but a packet of
/// the survivor's can tell it: its own timers are far away.
fn survivor_of_a_restart(
    keypair: &Keypair,
    test: impl AsyncFnOnce(&Node, transport_quic::Connection),
) {
    let quiet = quiet();
    let first = Mortal::born(localhost(), keypair, quiet.clone());
    let address = first.endpoint.local_addr().unwrap();
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let survivor = Node::new(quiet.clone());
        let dialed = within(survivor.endpoint.dial(address, Some(id(keypair))));
        let connection = dialed.await.unwrap();
        assert_eq!(
            common::ask(&connection, b"alive?").await.unwrap(),
            b"alive?"
        );

        tokio::task::spawn_blocking(|| first.killed())
            .await
            .unwrap();
        let second = Mortal::born(address, keypair, quiet);
        test(&survivor, connection).await;
        tokio::task::spawn_blocking(|| second.killed())
            .await
            .unwrap();
    });
}

fn quiet() -> Config {
    Config::default()
        .with_keep_alive(Duration::ZERO)
        .with_idle_timeout(Duration::from_secs(120))
}

fn each_kind_of_identity() -> Vec<Keypair> {
    vec![
        Keypair::generate_ed25519(),
        Keypair::generate_secp256k1(),
        Keypair::generate_ecdsa(),
        rsa(),
    ]
}

fn rsa() -> Keypair {
    let key = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048);
    Keypair::rsa_from_pkcs8(&mut key.unwrap().serialize_der()).unwrap()
}

#[test]
fn a_probe_of_the_old_connection_ends_it_with_a_reset() {
    for keypair in each_kind_of_identity() {
        survivor_of_a_restart(&keypair, async |_, connection| {
            let probe = connection.probe(Duration::from_secs(10)).await;
            assert!(
                matches!(probe, Err(ProbeError::Closed(CloseReason::Reset))),
                "{probe:?}"
            );
            assert_eq!(connection.closed().await, CloseReason::Reset);
        });
    }
}

/// The paused clock gives the time without the machine's load. 50 ms is one way.
#[tokio::test(start_paused = true)]
async fn the_reset_comes_one_round_trip_after_the_probe() {
    let one_way = Duration::from_millis(50);
    for keypair in each_kind_of_identity() {
        let faults = Faults::default().with_delay(one_way, Duration::ZERO);
        let network = Arc::new(Misbehaving::in_memory(1, faults.clone()));
        let address: SocketAddr = "192.0.2.1:4001".parse().unwrap();
        let bind = || Endpoint::with_binder(address, &keypair, quiet(), network.clone()).unwrap();
        let first = bind();
        let survivor_at = "198.51.100.1:4001".parse().unwrap();
        let stranger = Keypair::generate_ed25519();
        let survivor = Endpoint::with_binder(survivor_at, &stranger, quiet(), network.clone());
        let survivor = survivor.unwrap();
        let accepted = async { first.accept().await.unwrap().accept().await.unwrap() };
        let dialed = survivor.dial(address, Some(id(&keypair)));
        let (connection, accepted) = tokio::join!(dialed, accepted);
        let connection = connection.unwrap();
        connection.probe(Duration::from_secs(10)).await.unwrap();

        // The first node dies: its farewell is lost.
        network.control().set(Faults::default().with_loss(1.0));
        first.close(CloseCode::NONE, "").await;
        drop((first, accepted));
        network.control().set(faults);
        let _second = bind();
        assert!(!connection.is_closed(), "the survivor heard the farewell");

        let start = tokio::time::Instant::now();
        let probe = connection.probe(Duration::from_secs(10)).await;
        let took = start.elapsed();
        println!("{}: reset after {took:?}", keypair.key_type());
        assert!(
            matches!(probe, Err(ProbeError::Closed(CloseReason::Reset))),
            "{probe:?}"
        );
        assert!(took >= 2 * one_way && took < 3 * one_way, "{took:?}");
    }
}

#[test]
fn a_listener_finds_out_about_a_restarted_dialer_the_same_way() {
    let keypair = Keypair::generate_ed25519();
    let quiet = quiet();
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let survivor = Node::new(quiet.clone());
        let accepted = survivor.accept_one();
        let first = Mortal::born(localhost(), &keypair, quiet.clone());
        let address = first.endpoint.local_addr().unwrap();
        let (dialer, to) = (first.endpoint.clone(), survivor.address);
        let dialed = first
            .runtime
            .spawn(async move { dialer.dial(to, None).await });
        let dialed = within(dialed).await.unwrap().unwrap();
        let connection = within(accepted).await.unwrap();
        tokio::spawn(common::echo_streams(connection.clone()));
        let asked = first.runtime.spawn(async move {
            let answer = common::ask(&dialed, b"there?").await;
            (dialed, answer)
        });
        let (dialed, answer) = within(asked).await.unwrap();
        assert_eq!(answer.unwrap(), b"there?");

        tokio::task::spawn_blocking(|| {
            first.killed();
            drop(dialed);
        })
        .await
        .unwrap();
        let second = Mortal::born(address, &keypair, quiet);
        let probe = connection.probe(Duration::from_secs(10)).await;
        assert!(
            matches!(probe, Err(ProbeError::Closed(CloseReason::Reset))),
            "{probe:?}"
        );
        tokio::task::spawn_blocking(|| second.killed())
            .await
            .unwrap();
    });
}

#[test]
fn so_does_data_written_to_it() {
    let keypair = Keypair::generate_ed25519();
    survivor_of_a_restart(&keypair, async |_, connection| {
        let asked = within(common::ask(&connection, b"still there?")).await;
        assert!(asked.is_err());
        assert_eq!(connection.closed().await, CloseReason::Reset);
    });
}

#[test]
fn the_survivor_can_dial_the_restarted_node_at_once() {
    let keypair = Keypair::generate_ed25519();
    survivor_of_a_restart(&keypair, async |survivor, connection| {
        let address = connection.remote_addr();
        let again = within(survivor.endpoint.dial(address, Some(id(&keypair))));
        let again = again.await.unwrap();
        assert_eq!(
            within(common::ask(&again, b"again")).await.unwrap(),
            b"again"
        );
    });
}

/// A dialer that is killed `after` its dial has succeeded, and started again on the same port
/// and key. Returns how the survivor's probe of its old connection ended when the new one came.
async fn survivor_of_a_killed_dialer(
    survivor: &Node,
    after: Duration,
) -> (Result<(), ProbeError>, Duration) {
    let keypair = Keypair::generate_ed25519();
    let to = survivor.address;
    let accepting = survivor.accept_one();
    let first = Mortal::born(localhost(), &keypair, quiet());
    let address = first.endpoint.local_addr().unwrap();
    let dialer = first.endpoint.clone();
    let (done, dialed) = std::sync::mpsc::channel();
    first.runtime.spawn(async move {
        let dialed = dialer.dial(to, None).await.unwrap();
        done.send(Instant::now()).unwrap();
        // Its drop would be a farewell.
        std::mem::forget(dialed);
    });
    let killing = tokio::task::spawn_blocking(move || {
        let at = dialed.recv().unwrap();
        std::thread::sleep(after.saturating_sub(at.elapsed()));
        first.killed();
    });
    let old = within(accepting).await.unwrap();
    within(killing).await.unwrap();

    let accepting = survivor.accept_one();
    let second = Mortal::born(address, &keypair, quiet());
    let dialer = second.endpoint.clone();
    let again = second
        .runtime
        .spawn(async move { dialer.dial(to, None).await.unwrap() });
    let new = within(accepting).await.unwrap();
    assert_eq!(new.handshake_addr(), old.handshake_addr());
    let (start, heard) = (Instant::now(), old.received_datagrams());
    let probe = old.probe(Duration::from_secs(1)).await;
    let took = start.elapsed();
    if matches!(probe, Err(ProbeError::Silent { .. })) {
        assert_eq!(old.received_datagrams(), heard, "the dead send nothing");
    }
    let _again = within(again).await.unwrap();
    tokio::task::spawn_blocking(|| second.killed())
        .await
        .unwrap();
    (probe, took)
}

#[test]
fn a_dialer_killed_right_after_its_handshake_and_restarted_resets_its_old_connection() {
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let survivor = Node::new(quiet());
        for after in [0, 1, 5].map(Duration::from_millis) {
            let mut times = Vec::new();
            for _ in 0..20 {
                let (probe, took) = survivor_of_a_killed_dialer(&survivor, after).await;
                println!("killed after {after:?}: {probe:?} in {took:?}");
                if matches!(probe, Err(ProbeError::Closed(CloseReason::Reset))) {
                    times.push(took);
                }
            }
            times.sort();
            println!(
                "killed after {after:?}: {} of 20, slowest {:?}",
                times.len(),
                times.last()
            );
            assert_eq!(times.len(), 20);
        }
    });
}
