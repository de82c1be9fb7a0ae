//! Each dialer for itself.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use transport_tcp::{
    Balance, BalanceConfig, Bound, Chain, Deadline, DeadlineConfig, Dialer, Direct, DirectConfig,
    HttpConnect, Matcher, Metered, Retry, RetryConfig, Rules, Socks5, Target, Uplink, Warm,
    WarmConfig,
};

use crate::{
    cut::{alone, dial, for_every_cut, for_every_cut_but},
    halting::Halting,
    support::{
        proxy::{Http, Socks, echo, listen, until},
        scripted::{Outcome, Scripted},
        tls::secured,
    },
};

/// Proxies on loopback that really connect, and whom they connect to.
pub(crate) struct Servers {
    pub(crate) target: Target,
    socks: SocketAddr,
    guarded: SocketAddr,
    http: SocketAddr,
    https: SocketAddr,
    tls: transport_tcp::ProxyTls,
}

impl Servers {
    pub(crate) async fn start() -> Self {
        let target = listen(echo()).await;
        let mut guarded = Socks::onward(Direct::default());
        guarded.password = Some(("u", "p"));
        let http = Http::onward(Direct::default()).service();
        let (https, tls, _) = secured(&["127.0.0.1"], http.clone());
        Self {
            target: target.into(),
            socks: listen(Socks::onward(Direct::default()).service()).await,
            guarded: listen(guarded.service()).await,
            http: listen(http).await,
            https: listen(https).await,
            tls,
        }
    }

    pub(crate) fn socks(&self) -> Socks5 {
        Socks5::new(self.socks).through(halting(1))
    }

    fn guarded(&self) -> Socks5 {
        let proxy = Socks5::new(self.guarded).through(halting(1));
        proxy.with_password("u", "p")
    }

    pub(crate) fn http(&self) -> HttpConnect {
        HttpConnect::new(self.http).through(halting(4))
    }

    fn https(&self) -> HttpConnect {
        let proxy = HttpConnect::new(self.https).with_tls(self.tls.clone());
        proxy.through(halting(16))
    }

    /// Cuts dials of a new dialer, which is dropped as well.
    async fn cut<D: Dialer>(&self, what: &str, at_least: usize, dialer: impl Fn() -> D) {
        let polls = for_every_cut(what, async |polls| {
            let dialer = dialer();
            dial(&dialer, &self.target, polls).await
        })
        .await;
        assert!(polls >= at_least, "{what} was cut in {polls} places only");
    }
}

/// How a proxy is reached: by so many bytes at a time.
fn halting(step: usize) -> Halting<Direct> {
    let inner = Direct::default();
    Halting { inner, step }
}

/// Runs a test against the servers.
fn served(test: impl AsyncFnOnce(Servers)) {
    alone(async { test(Servers::start().await).await });
}

#[test]
fn a_dropped_dial_by_socks5_leaves_nothing() {
    served(async |servers| {
        servers.cut("socks5", 25, || servers.socks()).await;
        servers
            .cut("with a password", 35, || servers.guarded())
            .await;
        // At the pace of the sockets themselves.
        let address = servers.socks;
        servers
            .cut("socks5 unhalted", 3, || Socks5::new(address))
            .await;
    });
}

#[test]
fn a_dropped_dial_by_http_leaves_nothing() {
    served(async |servers| {
        servers.cut("http", 25, || servers.http()).await;
        servers.cut("https", 100, || servers.https()).await;
        let address = servers.http;
        servers
            .cut("http unhalted", 2, || HttpConnect::new(address))
            .await;
    });
}

#[test]
fn a_dropped_dial_by_a_chain_leaves_nothing() {
    served(async |servers| {
        servers
            .cut("socks5 then http", 80, || {
                Chain::new(servers.socks(), [servers.http().into()])
            })
            .await;
        servers
            .cut("https then socks5 then http", 100, || {
                let rest = [servers.guarded().into(), servers.http().into()];
                Chain::new(servers.https(), rest)
            })
            .await;
    });
}

/// Another attempt follows at once.
fn retry(inner: impl Dialer) -> Retry<impl Dialer> {
    let config = RetryConfig::default().with_pauses(Duration::from_micros(1), Duration::MAX);
    Retry::new(inner, config)
}

#[test]
fn a_dropped_dial_that_is_tried_again_leaves_nothing() {
    served(async |servers| {
        let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let closed = nobody.local_addr().unwrap();
        drop(nobody);
        servers
            .cut("retry", 25, || {
                let refused = Socks5::new(closed).through(halting(1));
                let dials = std::sync::atomic::AtomicU32::new(0);
                let ways = [Arc::new(refused), Arc::new(servers.socks())];
                retry(move |target: Target, cx| {
                    let n = dials.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    let way = Arc::clone(&ways[usize::from(n > 0)]);
                    async move { way.dial(&target, &cx).await }
                })
            })
            .await;
    });
}

#[test]
fn a_dropped_dial_by_what_only_passes_it_on_leaves_nothing() {
    served(async |servers| {
        let limits = DeadlineConfig::default()
            .with_reach(Duration::from_secs(10))
            .with_handshake(Duration::from_secs(10))
            .with_total(Duration::from_secs(15));
        servers
            .cut("deadline", 25, || Deadline::new(servers.socks(), limits))
            .await;
        servers
            .cut("rules", 25, || {
                Rules::new().via("all", Matcher::any(), servers.socks())
            })
            .await;
        servers
            .cut("metered", 25, || Metered::new(servers.socks()))
            .await;
    });
}

#[test]
fn a_dropped_dial_from_an_uplink_leaves_nothing() {
    served(async |servers| {
        // The first one is not ours, and the second one is.
        let uplinks = ["192.0.2.55", "127.0.0.2"].map(|ip| Uplink::Address(ip.parse().unwrap()));
        let bound = || Bound::new(uplinks.clone(), DirectConfig::default());
        servers.cut("bound", 1, bound).await;
        servers
            .cut("a proxy from an uplink", 25, || {
                let (inner, step) = (bound(), 1);
                servers.socks().through(Halting { inner, step })
            })
            .await;
    });
}

fn balance(ways: [Arc<dyn Dialer>; 2]) -> Balance {
    Balance::new(ways, BalanceConfig::default().with_seed(1))
}

#[test]
fn a_dropped_dial_by_a_balance_leaves_nothing() {
    served(async |servers| {
        servers
            .cut("balance", 25, || {
                balance([Arc::new(servers.socks()), Arc::new(servers.http())])
            })
            .await;
        servers
            .cut("balance with a dead way", 25, || {
                let dead = Scripted::new(Outcome::Way);
                balance([Arc::new(dead), Arc::new(servers.socks())])
            })
            .await;
    });
}

#[test]
fn dropped_dials_by_a_balance_that_is_kept_leave_no_more_than_its_task() {
    served(async |servers| {
        let kept = balance([Arc::new(servers.socks()), Arc::new(servers.http())]);
        let task = (0, 1);
        for_every_cut_but("a kept balance", task, async |polls| {
            dial(&kept, &servers.target, polls).await
        })
        .await;
    });
}

fn warm(proxy: Socks5, size: usize) -> Warm {
    Warm::new(proxy, WarmConfig::default().with_size(size))
}

#[test]
fn a_dropped_dial_by_a_cold_or_a_warm_proxy_leaves_nothing() {
    served(async |servers| {
        servers.cut("cold", 25, || warm(servers.guarded(), 2)).await;
        for_every_cut("with one ready", async |polls| {
            let warm = warm(servers.guarded(), 1);
            assert!(dial(&warm, &servers.target, usize::MAX).await);
            until("one is ready", || warm.ready() == 1).await;
            dial(&warm, &servers.target, polls).await
        })
        .await;
    });
}

#[test]
fn dropped_dials_by_a_warm_proxy_that_is_kept_leave_no_more_than_its_size() {
    served(async |servers| {
        let size = 3;
        let kept = warm(servers.guarded(), size);
        // The task, and for each connection a descriptor of ours, one of the proxy's and its task.
        let rest = (2 * size, 1 + size);
        for_every_cut_but("a kept warm proxy", rest, async |polls| {
            dial(&kept, &servers.target, polls).await
        })
        .await;
        until("all are ready", || kept.ready() == size).await;
    });
}
