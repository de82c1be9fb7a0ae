//! Dialers in dialers, as a rule of the node's puts them together.

use std::{sync::Arc, time::Duration};

use transport_tcp::{
    Balance, BalanceConfig, Chain, Deadline, DeadlineConfig, Dialer, Matcher, Metered, Retry,
    RetryConfig, Rules, Socks5, Warm, WarmConfig,
};

use crate::{
    cut::{alone, dial, for_every_cut, for_every_cut_but},
    proxies::Servers,
};

const SIZE: usize = 2;

/// Everything at once. Which way a dial takes is the seed's choice.
fn stack(servers: &Servers, warm: Socks5, seed: u64) -> Metered<Rules> {
    let warm = Warm::new(warm, WarmConfig::default().with_size(SIZE));
    let chain = Chain::new(servers.socks(), [servers.http().into()]);
    let ways: [Arc<dyn Dialer>; 2] = [Arc::new(warm), Arc::new(chain)];
    let balance = Balance::new(ways, BalanceConfig::default().with_seed(seed));
    let limits = DeadlineConfig::default()
        .with_reach(Duration::from_secs(10))
        .with_handshake(Duration::from_secs(10));
    let pauses = RetryConfig::default().with_pauses(Duration::from_micros(1), Duration::MAX);
    let retry = Retry::new(Deadline::new(balance, limits), pauses);
    Metered::new(Rules::new().via("all", Matcher::any(), retry))
}

/// A proxy that nobody is.
fn nobody() -> Socks5 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    Socks5::new(listener.local_addr().unwrap())
}

#[test]
fn a_dropped_dial_by_the_whole_stack_leaves_nothing() {
    alone(async {
        let servers = Servers::start().await;
        for seed in 0..4 {
            let what = format!("the stack with seed {seed}");
            let polls = for_every_cut(&what, async |polls| {
                let stack = stack(&servers, servers.socks(), seed);
                dial(&stack, &servers.target, polls).await
            })
            .await;
            assert!(polls >= 25, "{what} was cut in {polls} places only");
        }
    });
}

#[test]
fn nor_does_one_that_goes_on_to_the_next_way() {
    alone(async {
        let servers = Servers::start().await;
        for seed in 0..4 {
            let what = format!("the stack with seed {seed} and one way dead");
            for_every_cut(&what, async |polls| {
                let stack = stack(&servers, nobody(), seed);
                dial(&stack, &servers.target, polls).await
            })
            .await;
        }
    });
}

#[test]
fn dropped_dials_by_a_stack_that_is_kept_leave_no_more_than_it_says() {
    alone(async {
        let servers = Servers::start().await;
        let kept = stack(&servers, servers.socks(), 1);
        // The two tasks, and for each ready connection two descriptors and the proxy's task.
        let rest = (2 * SIZE, 2 + SIZE);
        for round in 0..4 {
            let polls = for_every_cut_but("a kept stack", rest, async |polls| {
                dial(&kept, &servers.target, polls).await
            })
            .await;
            let counters = kept.counters();
            assert!(counters.dropped > 0 && polls > 1, "round {round}");
            let over = counters.succeeded + counters.dropped;
            // A dial that was never polled has not begun.
            assert_eq!(counters.dials, over);
        }
    });
}
