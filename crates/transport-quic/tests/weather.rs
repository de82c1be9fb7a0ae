//! What the lossy binder does to datagrams, and what connections make of it.
#![allow(clippy::unwrap_used)]

mod common;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use common::{Node, ask, within};
use tokio::io::AsyncWriteExt;
use transport_quic::{CloseReason, Config, Connection, Lossy, Rates, Tuned, Weather};

/// A dialer and a listener with the same weather on both ways, each with its own dice.
async fn under(rates: Rates) -> (Node, Connection, Node, [Weather; 2]) {
    let lossy = [1, 2].map(|seed| Lossy::new(Arc::new(Tuned::default()), seed, Rates::default()));
    let weather = [lossy[0].weather(), lossy[1].weather()];
    let nodes = lossy.map(|lossy| Node::with_binder(Config::default(), Arc::new(lossy)));
    let [dialer, listener] = nodes;
    let _echo = listener.echo();
    let dialed = within(dialer.endpoint.dial(listener.address, None)).await;
    let dialed = dialed.unwrap();
    for weather in &weather {
        weather.set(rates);
    }
    (dialer, dialed, listener, weather)
}

async fn transfer(connection: &Connection, length: usize) {
    let data: Vec<u8> = (0..length).map(|n| (n >> 2) as u8).collect();
    let echoed = within(ask(connection, &data)).await.unwrap();
    assert!(echoed == data);
}

#[tokio::test]
async fn everything_arrives_through_loss_duplication_and_reordering() {
    let rates = Rates {
        loss: 0.02,
        duplicate: 0.02,
        reorder: 0.05,
        delay: Duration::from_millis(2),
        jitter: Duration::from_millis(1),
    };
    let (_d, dialed, _l, weather) = under(rates).await;
    transfer(&dialed, 1_000_000).await;
    let lost: u64 = weather.iter().map(Weather::lost).sum();
    assert!(lost > 0);
}

#[tokio::test]
async fn a_delay_on_both_ways_is_the_round_trip() {
    let rates = Rates {
        delay: Duration::from_millis(30),
        ..Rates::default()
    };
    let (_d, dialed, _l, _) = under(rates).await;
    let start = Instant::now();
    transfer(&dialed, 10).await;
    assert!(start.elapsed() >= Duration::from_millis(60));
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
        let rates = Rates {
            delay: Duration::from_millis(delay),
            ..Rates::default()
        };
        let lossy = |seed| Arc::new(Lossy::new(Arc::new(Tuned::default()), seed, rates));
        let dialer = Node::with_binder(Config::default(), lossy(1));
        let listener = Node::with_binder(Config::default(), lossy(2));
        let accepted = listener.accept_one();
        let dialed = within(dialer.endpoint.dial(listener.address, None)).await;
        let (dialed, accepted) = (dialed.unwrap(), within(accepted).await.unwrap());
        assert_eq!(room(&dialed, &accepted).await, expected);
    }
}

#[tokio::test]
async fn a_handshake_gets_through_one_lost_datagram_in_five() {
    let rates = Rates {
        loss: 0.2,
        ..Rates::default()
    };
    let lossy = Lossy::new(Arc::new(Tuned::default()), 7, rates);
    let (dialer, listener) = (
        Node::with_binder(Config::default(), Arc::new(lossy)),
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
async fn in_a_black_hole_a_connection_ends_at_the_idle_timeout() {
    let lossy = Lossy::new(Arc::new(Tuned::default()), 1, Rates::default());
    let weather = lossy.weather();
    let config = Config::default()
        .with_idle_timeout(Duration::from_millis(400))
        .with_keep_alive(Duration::from_millis(100));
    let dialer = Node::with_binder(config.clone(), Arc::new(lossy));
    let listener = Node::new(config);
    let accepted = listener.accept_one();
    let dialed = within(dialer.endpoint.dial(listener.address, None)).await;
    let (dialed, accepted) = (dialed.unwrap(), within(accepted).await.unwrap());
    // Keep-alives hold it up for longer than the timeout.
    tokio::time::sleep(Duration::from_millis(900)).await;
    assert!(!dialed.is_closed() && !accepted.is_closed());
    weather.blackhole(true);
    assert_eq!(within(dialed.closed()).await, CloseReason::TimedOut);
    assert_eq!(within(accepted.closed()).await, CloseReason::TimedOut);
    assert!(weather.lost() > 0);
}
