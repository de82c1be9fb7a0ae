//! The part in a node with real sockets on loopback.
#![allow(clippy::unwrap_used, reason = "a panic is a test's verdict")]

mod ends;

use std::{path::Path, sync::atomic::AtomicUsize, task::Poll};

use bootstrap::{Candidate, Found, Origin, RejoinConfig, StoreConfig, sources::List};
use tokio::sync::Notify;
use transport_tcp::{ByteStream, Direct, HostKind, Matcher, Rules};

use super::*;
use crate::{Config, Event, Events, Keypair, Node, builder::Builder, part::Observer};

const HOUR: Duration = Duration::from_secs(3600);

fn builder(bootstrap: BootstrapConfig) -> Builder {
    let config = Config::default().with_bootstrap(bootstrap);
    Node::builder(Keypair::generate_ed25519()).config(config)
}

/// A node whose connections have settled and lasted after 50 ms.
fn quick(bootstrap: BootstrapConfig) -> Node {
    let stay = Duration::from_millis(50);
    let figures = RejoinConfig::default().with_stays(stay, stay);
    builder(bootstrap.with_rejoin(figures)).build().unwrap()
}

/// Figures with which each candidate is dialed once, unless something else causes a dial.
fn once() -> RejoinConfig {
    let figures = RejoinConfig::default().with_base(HOUR);
    figures.with_caps(HOUR, HOUR)
}

fn part(node: &Node) -> Arc<Rejoin> {
    node.part::<Rejoin>().unwrap()
}

async fn listen(node: &Node) -> Multiaddr {
    let address = "/ip4/127.0.0.1/tcp/0".parse().unwrap();
    node.listen(address).await.unwrap().remove(0)
}

async fn within<T>(job: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(Duration::from_secs(20), job).await;
    done.unwrap()
}

async fn until(is_it: impl Fn() -> bool) {
    let waiting = async {
        while !is_it() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    within(waiting).await;
}

async fn wait<T>(events: &mut Events, wanted: impl Fn(&Event) -> Option<T>) -> T {
    let waiting = async {
        loop {
            if let Some(found) = wanted(&events.next().await.unwrap()) {
                return found;
            }
        }
    };
    within(waiting).await
}

async fn joined(events: &mut Events) -> NetworkEvent {
    let is_joined = |event: &Event| match event {
        Event::Part(event) => {
            let event = event.downcast_ref::<NetworkEvent>()?;
            (event.to == State::Joined).then(|| event.clone())
        }
        _ => None,
    };
    wait(events, is_joined).await
}

#[tokio::test]
async fn the_port_from_which_a_peer_has_dialed_is_no_address_of_the_peer() {
    let config = BootstrapConfig::default;
    let (here, there) = (quick(config().with_redial(true)), quick(config()));
    let at = listen(&here).await;
    let mut events = here.events();
    within(there.dial([at])).await.unwrap();
    let joined = joined(&mut events).await;
    let reason = "1 of 1 wanted peers are connected and have settled";
    assert_eq!(joined.reason, reason);
    // The connection has lasted since the same moment.
    assert_eq!(here.candidates(), []);
}

#[tokio::test]
async fn a_peer_that_this_node_has_dialed_is_a_candidate_only_if_the_node_redials() {
    for redials in [false, true] {
        let config = BootstrapConfig::default;
        let (here, there) = (quick(config().with_redial(redials)), quick(config()));
        let at = listen(&there).await;
        let mut events = here.events();
        within(here.dial([at])).await.unwrap();
        joined(&mut events).await;
        let known = here.candidates();
        assert_eq!(known.len(), usize::from(redials), "{known:?}");
        let of_peer = |one: &NodeCandidate| one.origins == [Origin::Peer];
        assert!(known.iter().all(of_peer), "{known:?}");
    }
}

#[tokio::test]
async fn a_node_redials_by_itself_if_its_configuration_or_its_host_names_a_source() {
    let redials = |builder: Builder| part(&builder.build().unwrap()).redials;
    let none = BootstrapConfig::default;
    let named = || none().with_list(["/ip4/127.0.0.1/tcp/1".parse().unwrap()]);
    let source = || Box::new(List::<PeerId, Multiaddr>::new([]));
    assert!(!redials(builder(none())));
    assert!(redials(builder(named())));
    assert!(redials(builder(none()).source(source())));
    assert!(!redials(
        builder(named().with_redial(false)).source(source())
    ));
}

#[tokio::test]
async fn a_dialer_that_hides_any_kind_of_host_is_not_direct_and_its_dials_have_more_time() {
    let figures = |hidden: Option<Matcher>| {
        let mut builder = builder(BootstrapConfig::default());
        if let Some(matcher) = hidden {
            let rules = Rules::new().refuse("hidden", matcher);
            let rules = rules.via("rest", Matcher::any(), Direct::default());
            builder = builder.dialer(Arc::new(rules));
        }
        let node = builder.build().unwrap();
        let part = part(&node);
        let attempt = part.handle.with(|core, _| core.config().attempt);
        (sources::dials_all_directly(&part.context), attempt)
    };
    assert_eq!(figures(None), (true, Duration::from_secs(3)));
    let networks = ["10.0.0.0/8", "192.168.0.0/16", "fd00::/8"];
    let networks = networks.map(|text| Matcher::any().cidr(text.parse().unwrap()));
    let kinds = [HostKind::Ip4, HostKind::Ip6, HostKind::Dns].map(|kind| Matcher::any().kind(kind));
    for hidden in networks.into_iter().chain(kinds) {
        let found = figures(Some(hidden.clone()));
        assert_eq!(found, (false, Duration::from_secs(15)), "{hidden:?}");
    }
}

#[tokio::test]
async fn a_change_of_the_network_redials_and_the_search_of_the_lan_learns_new_addresses() {
    let list = ["/ip4/127.0.0.1/tcp/1".parse().unwrap()];
    let config = BootstrapConfig::default().with_list(list);
    let here = builder(config.with_rejoin(once())).build().unwrap();
    let is_dialed = |times| {
        let known = here.candidates();
        let mut known = known.iter();
        known.any(|one| one.dials == times && one.in_flight == 0)
    };
    until(|| is_dialed(1)).await;
    let part = part(&here);
    part.handle(Instant::now(), &Change::Network);
    until(|| is_dialed(2)).await;

    let mut local = part.local.subscribe();
    assert!(local.borrow().is_empty());
    listen(&here).await;
    within(local.wait_for(|all| !all.is_empty())).await.unwrap();
    assert_eq!(*local.borrow(), part.context.announced());
}

#[tokio::test]
async fn an_address_at_which_the_node_reaches_itself_is_not_dialed_again() {
    let here = builder(BootstrapConfig::default()).build().unwrap();
    let mut at = listen(&here).await;
    at.pop();
    let unnamed = Candidate::new(None, vec![at], Origin::List);
    let part = part(&here);
    part.handle
        .with(|core, now| core.handle_candidate(now, unnamed));
    let only = || here.candidates().remove(0);
    until(|| only().dials > 0 && only().in_flight == 0).await;
    assert_eq!(only().next, None);
}

#[tokio::test]
async fn a_name_without_peers_is_told_like_a_bootstrap_peer_that_does_not_answer() {
    let here = builder(BootstrapConfig::default()).build().unwrap();
    let mut events = here.events();
    let name = "a.example".to_owned();
    let problem = SourceError::Empty { name };
    part(&here).tell(&problem);
    let told = wait(&mut events, |event| match event {
        Event::Part(event) => event.downcast_ref::<BootstrapFailed>().cloned(),
        _ => None,
    });
    let (what, error) = ("bootstrap list", problem.to_string());
    assert_eq!(told.await, BootstrapFailed { what, error });
}

#[tokio::test(start_paused = true)]
async fn every_part_is_told_that_the_process_was_asleep() {
    let woken = Arc::new(Notify::new());
    let notify = Arc::clone(&woken);
    let watch = Observer(move |change: &Change| {
        if let Change::Woke = change {
            notify.notify_one();
        }
    });
    let built = builder(BootstrapConfig::default()).build_with(|_| vec![Arc::new(watch)]);
    let _node = built.unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    tokio::time::advance(Duration::from_secs(6)).await;
    within(woken.notified()).await;
}
