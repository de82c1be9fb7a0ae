use std::{cell::RefCell, time::Duration};

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
        let candidates = ports.iter().map(|port| Candidate {
            address: ([127, 0, 0, 1], *port).into(),
            uplink: None,
        });
        let schedule = Schedule::new(candidates, Duration::from_millis(250));
        race(schedule, tried, |candidate| self.connect(candidate.address)).await
    }
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
