use std::{cell::RefCell, time::Duration};

use futures::channel::mpsc;
use tokio::time::{sleep, timeout};

use super::*;

/// Stands in for connecting: answers by the address's port after as many milliseconds, with
/// success where the port is even. Notes when each attempt began.
struct Network {
    begun: Instant,
    log: RefCell<Vec<(u16, u128)>>,
    open: RefCell<usize>,
}

struct Socket<'a>(&'a Network, u16);

impl Drop for Socket<'_> {
    fn drop(&mut self) {
        *self.0.open.borrow_mut() -= 1;
    }
}

impl Network {
    fn new() -> Self {
        Self {
            begun: Instant::now(),
            log: RefCell::default(),
            open: RefCell::default(),
        }
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<Socket<'_>> {
        let port = address.port();
        let at = self.begun.elapsed().as_millis();
        self.log.borrow_mut().push((port, at));
        *self.open.borrow_mut() += 1;
        let socket = Socket(self, port);
        sleep(Duration::from_millis(port.into())).await;
        match port % 2 {
            0 => Ok(socket),
            _ => Err(io::ErrorKind::ConnectionRefused.into()),
        }
    }

    async fn race(&self, ports: &[u16], tried: &mut Vec<Attempt>) -> Option<Socket<'_>> {
        let (finds, arriving) = mpsc::unbounded();
        finds.unbounded_send(found(ports)).unwrap();
        drop(finds);
        self.race_for(arriving, tried).await
    }

    async fn race_for(
        &self,
        arriving: mpsc::UnboundedReceiver<Vec<Found>>,
        tried: &mut Vec<Attempt>,
    ) -> Option<Socket<'_>> {
        let cx = DialContext::new(Instant::now() + Duration::from_secs(3600));
        let delay = Duration::from_millis(250);
        let mut race = KeepsTried(Race::new(None, delay, ConnectBudget::default()), tried);
        let running = race.0.run(arriving, &cx, |it| self.connect(it.address));
        running.await
    }
}

/// Shows what had failed, even after a race that was cut short.
struct KeepsTried<'a>(Race<'static>, &'a mut Vec<Attempt>);

impl Drop for KeepsTried<'_> {
    fn drop(&mut self) {
        self.1.append(&mut self.0.tried);
    }
}

fn found(ports: &[u16]) -> Vec<Found> {
    let found = ports.iter().map(|port| Found {
        address: ([127, 0, 0, 1], *port).into(),
        peer: None,
    });
    found.collect()
}

#[tokio::test(start_paused = true)]
async fn the_first_to_answer_wins_and_the_others_are_closed() {
    let (network, mut tried) = (Network::new(), Vec::new());
    let won = network
        .race(&[5000, 400, 100, 9000], &mut tried)
        .await
        .unwrap();
    assert_eq!(won.1, 100);
    assert_eq!(*network.log.borrow(), [(5000, 0), (400, 250), (100, 500)]);
    assert_eq!(*network.open.borrow(), 1, "a loser is still open");
    assert!(tried.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_failure_starts_the_next_at_once() {
    let (network, mut tried) = (Network::new(), Vec::new());
    let won = network.race(&[11, 21, 30], &mut tried).await.unwrap();
    assert_eq!(won.1, 30);
    assert_eq!(*network.log.borrow(), [(11, 0), (21, 11), (30, 32)]);
    assert_eq!(tried.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn when_all_fail_each_is_named() {
    let (network, mut tried) = (Network::new(), Vec::new());
    assert!(network.race(&[11, 21, 501], &mut tried).await.is_none());
    let ports: Vec<_> = tried.iter().map(|attempt| attempt.address.port()).collect();
    assert_eq!(ports, [11, 21, 501]);
    assert_eq!(*network.open.borrow(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_race_cut_short_closes_everything_and_keeps_what_had_failed() {
    let (network, mut tried) = (Network::new(), Vec::new());
    let race = network.race(&[11, 5000, 6000, 7000], &mut tried);
    assert!(timeout(Duration::from_millis(600), race).await.is_err());
    assert_eq!(network.log.borrow().len(), 4);
    assert_eq!(*network.open.borrow(), 0);
    assert_eq!(tried.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn no_address_is_no_race() {
    let (network, mut tried) = (Network::new(), Vec::new());
    assert!(network.race(&[], &mut tried).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn an_address_is_tried_at_once_while_others_are_still_being_found() {
    let (network, mut tried) = (Network::new(), Vec::new());
    let (finds, arriving) = mpsc::unbounded();
    let finding = async {
        finds.unbounded_send(found(&[11, 5000])).unwrap();
        sleep(Duration::from_millis(100)).await;
        finds.unbounded_send(found(&[20, 11])).unwrap();
        std::future::pending::<()>().await;
    };
    let won = tokio::select! {
        won = network.race_for(arriving, &mut tried) => won.unwrap(),
        () = finding => unreachable!(),
    };
    assert_eq!(won.1, 20);
    assert_eq!(*network.log.borrow(), [(11, 0), (5000, 11), (20, 261)]);
    assert_eq!(
        tried.len(),
        1,
        "an address that was tried is not tried again"
    );
}

#[tokio::test(start_paused = true)]
async fn addresses_that_refuse_at_once_are_tried_at_a_pace_and_no_more_than_a_hundred_of_them() {
    let (network, mut tried) = (Network::new(), Vec::new());
    let (finds, arriving) = mpsc::unbounded();
    for host in 0..=255 {
        let address = ([127, 0, 0, host], 1).into();
        finds
            .unbounded_send(vec![Found {
                address,
                peer: None,
            }])
            .unwrap();
    }
    // The race ends although more could be found.
    let lost = timeout(
        Duration::from_secs(60),
        network.race_for(arriving, &mut tried),
    );
    assert!(lost.await.unwrap().is_none());
    drop(finds);
    let starts: Vec<_> = network.log.borrow().iter().map(|(_, at)| *at).collect();
    println!(
        "{} connects in {} ms",
        starts.len(),
        starts[starts.len() - 1]
    );
    assert_eq!((starts.len(), tried.len()), (100, 100));
    for (n, at) in starts.iter().enumerate().skip(8) {
        assert!(
            *at - starts[n - 8] >= 20,
            "connect {n} at {at} ms: {starts:?}"
        );
    }
    assert!(starts[8] < 30, "the first ones wait for nobody: {starts:?}");
}

#[test]
fn one_address_of_two_peers_is_tried_for_each() {
    let mut race = Race::new(None, Duration::ZERO, ConnectBudget::default());
    let at = |peer| Found {
        address: ([127, 0, 0, 1], 1).into(),
        peer: Some(peer),
    };
    let (one, two) = (PeerId::random(), PeerId::random());
    race.add(vec![at(one), at(two), at(one)]);
    race.add(vec![at(two)]);
    assert_eq!(race.found, [at(one), at(two)]);
}
